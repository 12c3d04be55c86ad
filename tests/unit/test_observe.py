"""What the proof sees of listeners, with the real `ss`: a socket that nobody has is looked at twice."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from hostwright.proof import observe

ADDRESS = "127.0.0.9"


def seen(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[socket.socket], object]) -> list[Any]:
    """Who listens, in two looks, at a socket on its way to somebody; `meanwhile` is told its other end."""
    way, end = socket.socketpair()
    with way, end, socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
        socket.send_fds(way, [b"."], [listener.fileno()])
        listener.close()
        monkeypatch.setattr(observe, "time", SimpleNamespace(sleep=lambda _: meanwhile(end)))
        looked = observe.look({})["listeners"]
    return [each["pid"] for each in looked if (each["address"], each["port"]) == (ADDRESS, port)]


def test_what_is_gone_at_the_second_look_did_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, lambda end: end.close()) == []


def test_what_is_somebodys_at_the_second_look_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    try:
        assert seen(monkeypatch, lambda end: taken.extend(socket.recv_fds(end, 1, 1)[1])) == [os.getpid()]
    finally:
        for descriptor in taken:
            os.close(descriptor)


def test_what_stays_nobodys_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, lambda _: None) == [0]
