"""Native notifications: org.freedesktop.Notifications on the session's D-Bus, and what a click opens."""

from __future__ import annotations

import asyncio
import html
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

log = logging.getLogger(__name__)

NAME = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
DEFAULT = "default"  # the action of a click on the notification itself
RETRY = 5.0  # seconds between attempts to find the notification daemon


class Desktop:
    """Shows notifications, and opens in the browser what the user clicks."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._urls: dict[int, str] = {}  # of the notifications on the screen
        self._activation: dict[int, str] = {}
        self._opening: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Desktop]:
        """Raises OSError where there is no session bus."""
        bus = await MessageBus(bus_type=BusType.SESSION).connect()
        desktop = cls(bus)
        try:
            bus.add_message_handler(desktop._heard)
            await desktop._call(BUS, BUS_PATH, "AddMatch", "s", f"type='signal',sender='{NAME}'")
            yield desktop
        finally:
            bus.disconnect()

    async def gone(self) -> None:
        """Until the bus goes, as at the end of the user's session."""
        await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    async def show(self, title: str, body: str, url: str, action: str) -> None:
        """Waits for a notification daemon as long as there is none."""
        while True:
            try:
                (capabilities,) = await self._call(NAME, PATH, "GetCapabilities")
                shown = html.escape(body, quote=False) if "body-markup" in capabilities else body
                (found,) = await self._call(
                    *(NAME, PATH, "Notify", "susssasa{sv}i"),
                    *("Hostwright", 0, "emblem-package", title, shown),
                    [DEFAULT, action],
                    {"urgency": Variant("y", 1)},
                    -1,
                )
            except DBusError as error:
                log.warning("no notification daemon: %s", error)
                await asyncio.sleep(RETRY)
            else:
                self._urls[found] = url
                return

    async def _call(self, name: str, path: str, member: str, signature: str = "", *body: Any) -> list[Any]:
        message = Message(
            destination=name, path=path, interface=name, member=member, signature=signature, body=list(body)
        )
        reply = await self._bus.call(message)
        if reply.message_type is MessageType.ERROR:
            raise DBusError(str(reply.error_name), reply.body[0] if reply.body else "", reply)
        return reply.body

    def _heard(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL or message.interface != NAME:
            return
        number = message.body[0]
        if message.member == "ActivationToken":  # with it Wayland lets the browser come to the front
            self._activation[number] = message.body[1]
        elif message.member == "ActionInvoked" and number in self._urls:
            task = asyncio.create_task(_open(self._urls[number], self._activation.pop(number, None)))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        elif message.member == "NotificationClosed":
            self._urls.pop(number, None)
            self._activation.pop(number, None)


async def _open(url: str, activation: str | None) -> None:
    environment = os.environ | ({"XDG_ACTIVATION_TOKEN": activation} if activation else {})
    try:
        process = await asyncio.create_subprocess_exec("xdg-open", url, env=environment)
    except OSError as error:
        log.error("cannot open %s: xdg-open: %s", url, error)
        return
    if status := await process.wait():
        log.error("cannot open %s: xdg-open ended with status %d", url, status)
