"""What the proof sees of listeners, with the real `ss`, and from within networks, with real namespaces."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from hostwright.application import Port
from hostwright.proof import observe
from tests.rows import proof_of

ADDRESS = "127.0.0.9"

ports = proof_of("test_ports")


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


# --- From within networks ---

LISTEN = """
import socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    input()
"""


def container(name: str, pid: int, networks: Sequence[str]) -> dict[str, Any]:
    """What the engine tells of one that runs; in each of its networks it is at loopback."""
    address = {"IPAddress": "127.0.0.1", "GlobalIPv6Address": ""}
    return {
        "Name": f"/{name}",
        "Config": {"Labels": {"com.docker.compose.service": name}},
        "HostConfig": {"NetworkMode": networks[0]},
        "NetworkSettings": {"Networks": dict.fromkeys(networks, address)},
        "State": {"Pid": pid},
    }


@pytest.fixture
def elsewhere() -> Iterator[tuple[int, int]]:
    """Process and port of who listens at loopback of a network of his own."""
    with subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", LISTEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
        process.kill()


@pytest.fixture
def ended() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def look(port: int, *running: dict[str, Any]) -> list[dict[str, Any]]:
    """What is seen in the networks of containers that knock at each other's port."""
    inside = [{"service": each["Name"][1:], "port": port, "protocol": "tcp"} for each in running]
    with ThreadPoolExecutor(1) as abroad:  # it stays there
        knocks = list(abroad.map(lambda each: observe._knock_from(each, [*running], inside), running))
    listeners = [observe._guarded(functools.partial(observe._listeners_in, each)) for each in running]
    return [
        {"name": each["service"], "service": each["service"], "knocks": answers, "listeners": found}
        for each, answers, found in zip(inside, knocks, listeners, strict=True)
    ]


def failures(seen: list[dict[str, Any]], port: int) -> dict[str, str]:
    """`ROW OWNER` of each row of the proof that does not hold of these -> why."""
    names = [each["name"] for each in seen]
    machine = SimpleNamespace(
        seen={"containers": {"containers": seen}},
        instances={name: name for name in names},
        published=[],
        internal=[Port(port, "tcp", "internal", (), name, port) for name in names],
    )
    found = {}
    for each in machine.internal:
        for row, case in (
            (ports.test_answers_in_network, each),
            (ports.test_silent_beyond_network, each),
            (ports.test_nothing_else_listens_in_network, each.owner),
        ):
            try:
                row(machine, machine.seen, case, str)
            except AssertionError as error:
                found[f"{row.__name__.removeprefix('test_')} {each.owner}"] = str(error)
    return found


def test_knocks_come_from_within_the_network(elsewhere: tuple[int, int]) -> None:
    pid, port = elsewhere
    there, here = look(port, container("there", pid, ["own"]), container("here", os.getpid(), ["own"]))
    assert [each["state"] for each in there["knocks"]] == ["open"]
    assert [each["state"] for each in here["knocks"]] == ["refused"]
    assert [each["port"] for each in there["listeners"]] == [port]


def test_a_network_that_cannot_be_entered_costs_its_own_rows(elsewhere: tuple[int, int], ended: int) -> None:
    pid, port = elsewhere
    running = [container("one", pid, ["own", "near"]), container("other", pid, ["own", "near"])]
    assert failures(look(port, *running), port) == {}
    wrong = failures(look(port, *running, container("gone", ended, ["own"])), port)
    assert wrong.keys() == {
        "answers_in_network one",
        "answers_in_network other",
        "silent_beyond_network one",
        "silent_beyond_network other",
        "nothing_else_listens_in_network gone",
    }
    why = "the network of gone cannot be entered: [Errno 2] No such file or directory"
    assert [
        row for row, said in wrong.items() if row.startswith(("answers", "silent")) and why not in said
    ] == []
    assert "cannot be seen" in wrong["nothing_else_listens_in_network gone"]
