"""`/ws` through real servers: who is let in, what they are told, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import jwt
import psycopg
import pytest
from kit.live import BACKLOG
from kit.tokens import Issuer
from orders.live import CHANNEL
from orders.tests.conftest import Deployed, rows
from testing import patient
from testing.keys import Keys
from testing.process import free_port
from testing.service import Service
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

HEARTBEAT = {"type": "heartbeat"}


def listen(service: Service, token: str | None = None) -> Any:
    """A connection that gives its token as programs do."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return connect(f"{service.url.replace('http', 'ws')}/ws", additional_headers=headers, open_timeout=60)


def listen_as_browser(service: Service, *protocols: str) -> Any:
    """A page cannot set headers; it offers the token as a subprotocol."""
    url = f"{service.url.replace('http', 'ws')}/ws"
    return connect(url, subprotocols=list(protocols), open_timeout=60)  # type: ignore[arg-type]


async def update(connection: ClientConnection, within: float = 60) -> dict[str, Any]:
    """The next message that is no heartbeat."""
    async with asyncio.timeout(within):
        while True:
            message: dict[str, Any] = json.loads(await connection.recv())
            if message != HEARTBEAT:
                return message


async def quiet(connection: ClientConnection, seconds: float = 0.7) -> bool:
    try:
        await update(connection, seconds)
    except TimeoutError:
        return True
    return False


async def closed(connection: ClientConnection, within: float = 60) -> tuple[int, str]:
    """Code and reason of the close, which must come."""
    async with asyncio.timeout(within):
        await connection.wait_closed()
    assert connection.close_code is not None
    return connection.close_code, connection.close_reason or ""


def told(order_id: int, status: str, by: str) -> dict[str, Any]:
    return {"type": "order_update", "payload": {"order_id": order_id, "new_status": status, "updated_by": by}}


async def test_updates_go_to_those_who_may_see_the_order(deployed: Deployed) -> None:
    jan, ewa, admin = deployed.customer(), deployed.customer(), deployed.admin
    async with (
        listen(deployed.orders, jan.token) as of_jan,
        listen(deployed.orders, ewa.token) as of_ewa,
        listen(deployed.orders, admin.token) as of_admin,
    ):
        order_id = deployed.place(jan)
        for connection in (of_jan, of_admin):
            assert await update(connection) == told(order_id, "new", "system")
        assert deployed.change(admin, order_id, "confirmed").status_code == 200
        assert deployed.change(jan, order_id, "shipped").status_code == 403
        for connection in (of_jan, of_admin):
            assert await update(connection) == told(order_id, "confirmed", "admin")
            assert await quiet(connection)
        assert await quiet(of_ewa)
        own = deployed.place(ewa)
        assert deployed.change(ewa, own, "cancelled").status_code == 200
        assert await update(of_ewa) == told(own, "new", "system")
        assert await update(of_ewa) == told(own, "cancelled", "customer")
        assert await quiet(of_jan)


async def test_who_lists_after_connecting_misses_nothing(deployed: Deployed) -> None:
    admin = deployed.admin
    for _ in range(20):
        async with listen(deployed.orders, admin.token) as connection:
            order_id = await asyncio.to_thread(deployed.place, admin)
            assert await update(connection) == told(order_id, "new", "system")


async def test_a_browsers_token_is_a_subprotocol(deployed: Deployed) -> None:
    jan = deployed.customer()
    async with listen_as_browser(deployed.orders, "bearer", jan.token) as connection:
        assert connection.subprotocol == "bearer"
        order_id = deployed.place(jan)
        assert await update(connection) == told(order_id, "new", "system")


async def test_nobody_is_let_in_without_a_good_token(deployed: Deployed, keys: Keys) -> None:
    jan = deployed.customer()
    claims = jwt.decode(jan.token, options={"verify_signature": False})
    who = {"user_id": jan.user_id, "email": claims["email"], "role": "customer", "session": claims["sid"]}
    expired = Issuer(keys.private, "warehouse", lifetime=-5).issue(**who)
    forged = Issuer(Keys.generate().private, "warehouse").issue(**who)
    elsewhere = Issuer(keys.private, "goshop").issue(**who)
    unknown = Issuer(keys.private, "warehouse").issue(
        **{**who, "session": "00000000-0000-4000-8000-000000000000"}
    )
    revoked = deployed.customer()
    revoked.logout()
    invalid = (1008, "Invalid or expired token")
    for token, wanted in (
        (None, (1008, "Authentication required")),
        ("nonsense", invalid),
        (expired, invalid),
        (forged, invalid),
        (elsewhere, invalid),
        (unknown, invalid),
        (revoked.token, invalid),
    ):
        async with listen(deployed.orders, token) as connection:
            assert await closed(connection) == wanted
    for protocols, wanted in (
        (("bearer", revoked.token), invalid),
        (("bearer",), (1008, "Authentication required")),
    ):
        async with listen_as_browser(deployed.orders, *protocols) as connection:
            assert connection.subprotocol == "bearer"
            assert await closed(connection) == wanted


async def test_a_token_that_is_revoked_or_expires_ends_the_connection(deployed: Deployed, keys: Keys) -> None:
    jan, ewa = deployed.customer(), deployed.customer()
    claims = jwt.decode(ewa.token, options={"verify_signature": False})
    who = {"user_id": ewa.user_id, "email": claims["email"], "role": "customer", "session": claims["sid"]}
    async with listen(deployed.orders, jan.token) as of_jan:
        jan.logout()
        assert await closed(of_jan) == (1008, "Invalid or expired token")
    for lifetime in (2, 20, 60):  # on a busy machine it may expire before it is looked at
        short = Issuer(keys.private, "warehouse", lifetime=lifetime).issue(**who)
        async with listen(deployed.orders, short) as of_ewa:
            why = await closed(of_ewa, within=lifetime + 60)
        if why != (1008, "Invalid or expired token"):
            break
    assert why == (1008, "Token expired")


async def test_a_new_role_counts_without_reconnecting(deployed: Deployed) -> None:
    ewa, admin = deployed.customer(), deployed.admin
    async with listen(deployed.orders, ewa.token) as connection:
        url = f"{deployed.auth.url}/api/auth/users/{ewa.user_id}/role"
        patient.put(url, json={"role": "employee"}, headers=admin.headers()).raise_for_status()
        placed: list[int] = []
        found: dict[str, Any] | None = None
        async with asyncio.timeout(60):
            while found is None:  # the deployed service asks every half second
                placed.append(deployed.place(admin))
                with suppress(TimeoutError):
                    found = await update(connection, within=0.7)
        assert found in [told(each, "new", "system") for each in placed]


async def test_heartbeats(deployed: Deployed) -> None:
    async with listen(deployed.orders, deployed.customer().token) as connection, asyncio.timeout(60):
        for _ in range(2):
            assert json.loads(await connection.recv()) == HEARTBEAT


async def test_what_a_client_says_is_ignored(deployed: Deployed) -> None:
    jan = deployed.customer()
    async with listen(deployed.orders, jan.token) as connection:
        for said in ("ping", b"\x00\xff", "", '{"type": "order_update"}'):
            await connection.send(said)
        order_id = deployed.place(jan)
        assert await update(connection) == told(order_id, "new", "system")


Another = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def another(deployed: Deployed) -> Another:
    """Another instance on the deployed database, with other settings."""

    @asynccontextmanager
    async def running(**changes: object) -> Any:
        with Service.running("orders", {**deployed.settings, **changes}) as service:
            yield service

    return running


async def test_every_instance_tells_its_clients(deployed: Deployed, another: Another) -> None:
    admin = deployed.admin
    async with another() as second, listen(second, admin.token) as connection:
        order_id = deployed.place(admin)
        assert await update(connection) == told(order_id, "new", "system")


async def test_while_auth_is_away(deployed: Deployed, another: Another) -> None:
    """Nobody is let in who could have been revoked; who is in stays."""
    jan = deployed.customer()
    async with another(auth_url=f"http://127.0.0.1:{free_port()}") as lonely:
        async with listen(lonely, jan.token) as connection:
            assert await closed(connection) == (1013, "Authentication service unavailable")
        answer = patient.get(f"{lonely.url}/api/orders", headers=jan.headers())
        assert answer.status_code == 200
    with Service.running("auth", deployed.of_auth) as auth:
        async with another(auth_url=auth.url) as service, listen(service, jan.token) as connection:
            auth.kill()
            await asyncio.sleep(4)  # a recheck fails, however often it is tried again
            order_id = deployed.place(jan)
            assert await update(connection) == told(order_id, "new", "system")


async def test_a_slow_auth_counts_as_away(deployed: Deployed, another: Another) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with (
            another(auth_url=url, auth_timeout=0.3) as service,
            listen(service, deployed.customer().token) as connection,
        ):
            assert await closed(connection) == (1013, "Authentication service unavailable")


async def test_one_user_takes_not_all_places(deployed: Deployed, another: Another) -> None:
    jan, ewa = deployed.customer(), deployed.customer()
    async with (
        another(websocket_clients_each=2) as service,
        listen(service, jan.token) as first,
        listen(service, jan.token) as second,
        listen(service, jan.token) as third,
    ):
        assert await closed(third) == (1013, "Too many connections")
        async with listen(service, ewa.token) as of_ewa:
            for connection in (first, second, of_ewa):
                assert json.loads(await connection.recv()) == HEARTBEAT


async def test_only_so_many_clients(deployed: Deployed, another: Another) -> None:
    token = deployed.customer().token
    async with another(websocket_clients=1) as service:
        async with listen(service, token), listen(service, token) as second:
            assert await closed(second) == (1013, "Too many connections")
        async with asyncio.timeout(60):
            while True:  # until the service has noticed that the first one went
                async with listen(service, token) as third:
                    with suppress(ConnectionClosed):
                        assert json.loads(await third.recv()) == HEARTBEAT
                        break


async def test_an_interrupted_database_sends_clients_back(deployed: Deployed, another: Another) -> None:
    """What happened in between is unknown, so they come again and read their lists."""
    admin = deployed.admin
    async with another(service_name="interrupted") as service:
        async with listen(service, admin.token) as connection:
            ended = rows(
                deployed.settings,
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'interrupted' AND query LIKE 'LISTEN%%'",
            )
            assert ended == [(1,)]
            assert await closed(connection) == (1012, "Live updates were interrupted")
        async with listen(service, admin.token) as connection:
            order_id = deployed.place(admin)
            assert await update(connection) == told(order_id, "new", "system")


async def test_a_slow_client_is_dropped_and_harms_nobody(deployed: Deployed) -> None:
    admin = deployed.admin
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", deployed.orders.port))
    async with (
        listen(deployed.orders, admin.token) as quick,
        connect(
            f"ws://127.0.0.1:{deployed.orders.port}/ws",
            sock=narrow,
            additional_headers=admin.headers(),
            max_queue=1,
            open_timeout=60,
            ping_interval=None,
            close_timeout=0.1,
        ),
    ):
        async with await psycopg.AsyncConnection.connect(_dsn(deployed), autocommit=True) as connection:
            for _ in range(500):  # each as big as NOTIFY carries, until all buffers are full
                payload = {"order_id": 1, "owner_id": 0, "new_status": "new", "updated_by": "x" * 7000}
                for _ in range(BACKLOG // 4):
                    await connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps(payload)])
                for _ in range(BACKLOG // 4):
                    assert (await update(quick))["payload"]["order_id"] == 1
                metrics = await asyncio.to_thread(patient.get, f"{deployed.orders.url}/metrics")
                dropped = re.search(r"^websocket_dropped_total (.*)$", metrics.text, re.MULTILINE)
                assert dropped
                if float(dropped[1]):
                    assert float(dropped[1]) == 1, "one client is counted more than once"
                    return
        pytest.fail("the slow client is still served")


async def test_another_versions_updates_are_understood(deployed: Deployed) -> None:
    """During an upgrade two versions share the channel; nonsense interrupts, and it goes on."""
    async with listen(deployed.orders, deployed.admin.token) as connection:
        payload = {"order_id": 5, "owner_id": 0, "new_status": "new", "updated_by": "v2", "more": 1}
        rows(deployed.settings, "SELECT pg_notify(%s, %s)", CHANNEL, json.dumps(payload))
        assert await update(connection) == told(5, "new", "v2")


def _dsn(deployed: Deployed) -> str:
    told = deployed.settings
    return (
        f"host={told['database_host']} port={told['database_port']} dbname={told['database_name']}"
        f" user={told['database_user']} password={told['database_password']}"
    )
