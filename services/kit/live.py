"""Live updates: PostgreSQL tells every instance of a change, and each instance its own WebSocket clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge
from pydantic import Field
from starlette.websockets import WebSocket, WebSocketDisconnect

from kit import logging
from kit.authentication import Authenticator, Identity, bearer
from kit.database import Database
from kit.errors import Forbidden, Unauthorized, Unavailable
from kit.settings import HttpUrl, TokenSettings
from kit.tokens import Verifier

log = logging.get("kit.live")

BACKLOG = 100  # updates that a client may be behind
SEND_TIMEOUT = 10.0  # seconds for a client to take one
CLOSE_TIMEOUT = 2.0  # seconds for a client to be told why
LISTEN_TIMEOUT = 5.0  # seconds that a client waits for us to listen, as after a start
RECONNECT = 1.0  # seconds between attempts to listen

# Close codes of RFC 6455 and its registry.
POLICY, RESTART, LATER = 1008, 1012, 1013

T = TypeVar("T")  # an update: what a service tells its clients


class LiveSettings(TokenSettings):
    """For a service with a WebSocket. Times in seconds."""

    auth_url: HttpUrl
    auth_timeout: float = Field(default=3, gt=0)
    websocket_clients: int = Field(default=1000, ge=1, description="at once, of this instance")
    websocket_clients_each: int = Field(default=20, ge=1, description="of these, of one user")
    websocket_heartbeat: float = Field(default=25, gt=0, description="below every proxy's read time-out")
    websocket_recheck: float = Field(default=60, gt=0, description="how late a revoked token is noticed")


@dataclass(frozen=True, slots=True)
class Feed(Generic[T]):
    """What is told: a channel of NOTIFY, how its payload reads, and who may see which update."""

    channel: str
    read: Callable[[str], T]
    may_see: Callable[[Identity, T], bool]


@dataclass(frozen=True, slots=True)
class Close:
    """Why a connection ends: a code of RFC 6455 and a text for people."""

    code: int
    reason: str


class Client(Generic[T]):
    """One connection: who it is, what waits to be sent, and, once known, why it ends."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.waiting: asyncio.Queue[T] = asyncio.Queue(BACKLOG)
        self.closing: asyncio.Future[Close] = asyncio.get_running_loop().create_future()

    def end(self, why: Close) -> None:
        if not self.closing.done():
            self.closing.set_result(why)


class Hub(Generic[T]):
    """The clients of this instance, and the one database connection that hears for all of them."""

    def __init__(
        self,
        database: Database,
        feed: Feed[T],
        settings: LiveSettings,
        registry: CollectorRegistry,
    ) -> None:
        self._database = database
        self._feed = feed
        self._settings = settings
        self._clients: set[Client[T]] = set()
        self._listening = asyncio.Event()
        self._gauge = Gauge("websocket_clients", "Connected WebSocket clients", registry=registry)
        self._dropped = Counter("websocket_dropped", "Clients too slow to keep up", registry=registry)

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        database: Database,
        feed: Feed[T],
        settings: LiveSettings,
        registry: CollectorRegistry,
    ) -> AsyncIterator[Hub[T]]:
        """Listens in the background."""
        hub = cls(database, feed, settings, registry)
        task = asyncio.create_task(hub._listen(), name="live-updates")
        try:
            yield hub
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def client(self, identity: Identity) -> AsyncIterator[Client[T]]:
        """A registered client; raises `Unavailable` where updates could not be promised."""
        try:
            async with asyncio.timeout(LISTEN_TIMEOUT):
                await self._listening.wait()
        except TimeoutError as error:
            raise Unavailable("Live updates are unavailable") from error
        own = sum(each.identity.user_id == identity.user_id for each in self._clients)
        if (
            len(self._clients) >= self._settings.websocket_clients
            or own >= self._settings.websocket_clients_each
        ):
            raise Unavailable("Too many connections")
        client: Client[T] = Client(identity)
        self._clients.add(client)
        self._gauge.set(len(self._clients))
        try:
            yield client
        finally:
            self._clients.discard(client)
            self._gauge.set(len(self._clients))

    def publish(self, update: T) -> None:
        """Hands an update to the clients who may see it; who cannot keep up is dropped."""
        for client in self._clients:
            if self._feed.may_see(client.identity, update):
                try:
                    client.waiting.put_nowait(update)
                except asyncio.QueueFull:
                    self.drop(client)

    def drop(self, client: Client[T]) -> None:
        """Ends a client who is too slow; counted once, however many updates still find it here."""
        if not client.closing.done():
            self._dropped.inc()
            client.end(Close(LATER, "Too slow"))

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except Exception as error:  # whatever it is, the next connection may do better
                log.warning("live updates wait for the database", reason=type(error).__name__)
            finally:
                self._listening.clear()
                # What happened meanwhile is not known: clients reconnect and read their lists again.
                self._end_all(Close(RESTART, "Live updates were interrupted"))
            await asyncio.sleep(RECONNECT)

    async def _hear(self) -> None:
        async with await self._database.dedicated() as connection:
            await connection.execute(f"LISTEN {self._feed.channel}".encode())
            self._listening.set()
            async for each in connection.notifies():
                self.publish(self._feed.read(each.payload))

    def _end_all(self, why: Close) -> None:
        for client in self._clients:
            client.end(why)


class Gate(Generic[T]):
    """Serves WebSocket clients from their first request to their close."""

    def __init__(
        self,
        settings: LiveSettings,
        hub: Hub[T],
        verifier: Verifier,
        authenticator: Authenticator,
        roles: Iterable[str] = (),
    ) -> None:
        """`roles` are let in; none means everybody with a good token."""
        self._settings = settings
        self._hub = hub
        self._verifier = verifier
        self._authenticator = authenticator
        self._roles = tuple(roles)

    async def serve(
        self,
        websocket: WebSocket,
        message: Callable[[T], str | None],
        heartbeat: str,
        missed: Callable[[], AsyncIterator[T]] | None = None,
    ) -> None:
        """Sends `message(update)` for each update, `heartbeat` where there is none for a while.

        Accepted when updates flow, so that a client who then reads its list misses nothing. What `missed`
        yields comes before them; an update that comes again there has no message (None). A refused client
        is accepted too, and closed: only so does a browser's page learn why.
        """
        offered = websocket.scope.get("subprotocols", [])
        subprotocol = "bearer" if "bearer" in offered else None
        try:
            token = _token(websocket, offered)
            identity = await self._identified(token)
            left = self._verifier.verify(token).expires - time.time()
            async with self._hub.client(identity) as client:
                await websocket.accept(subprotocol)
                why = await self._first(
                    client.closing,
                    self._read(websocket),
                    self._write(websocket, client, message, heartbeat, missed),
                    self._recheck(client, token),
                    _after(left, Close(POLICY, "Token expired")),
                )
                await _close(websocket, why)
        except (Unauthorized, Forbidden, Unavailable) as error:
            code = LATER if isinstance(error, Unavailable) else POLICY
            await websocket.accept(subprotocol)
            await _close(websocket, Close(code, error.error))

    async def _first(self, closing: asyncio.Future[Close], *rest: Awaitable[Close | None]) -> Close | None:
        """What the first of them to end says; the others are cancelled."""
        tasks = [asyncio.ensure_future(each) for each in (closing, *rest)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return closing.result() if closing.done() else done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, websocket: WebSocket) -> None:
        """Until the client goes; what it says is of no interest."""
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass

    async def _write(
        self,
        websocket: WebSocket,
        client: Client[T],
        message: Callable[[T], str | None],
        heartbeat: str,
        missed: Callable[[], AsyncIterator[T]] | None,
    ) -> None:
        try:
            if missed:
                async for update in missed():
                    await self._send(websocket, message(update))
            while True:
                try:
                    async with asyncio.timeout(self._settings.websocket_heartbeat):
                        line = message(await client.waiting.get())
                except TimeoutError:
                    line = heartbeat
                await self._send(websocket, line)
        except TimeoutError:
            self._hub.drop(client)
        except Unavailable as error:  # the database, for what was missed
            client.end(Close(LATER, error.error))
        except (RuntimeError, WebSocketDisconnect):
            return

    async def _send(self, websocket: WebSocket, line: str | None) -> None:
        if line is not None:
            async with asyncio.timeout(SEND_TIMEOUT):
                await websocket.send_text(line)

    async def _identified(self, token: str) -> Identity:
        identity = await self._authenticator(token)
        if self._roles and not identity.has(*self._roles):
            raise Forbidden(self._roles, identity.role)
        return identity

    async def _recheck(self, client: Client[T], token: str) -> Close:
        """Ends a client whose token has been revoked; follows a changed role."""
        while True:
            await asyncio.sleep(self._settings.websocket_recheck)
            try:
                client.identity = await self._identified(token)
            except (Unauthorized, Forbidden) as error:
                return Close(POLICY, error.error)
            except Unavailable:
                continue  # who was let in stays while auth is away


async def _close(websocket: WebSocket, why: Close | None) -> None:
    """Says why, unless the client has gone already."""
    if why:
        with suppress(RuntimeError, TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await websocket.close(why.code, why.reason)


async def _after(seconds: float, why: Close) -> Close:
    await asyncio.sleep(max(seconds, 0))
    return why


def _token(websocket: WebSocket, offered: list[str]) -> str:
    """From the header, or from the subprotocols, the one thing that browsers let a page choose."""
    if offered[:1] == ["bearer"] and len(offered) == 2:
        return offered[1]
    return bearer(websocket)
