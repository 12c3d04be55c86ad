"""Instances: all of them are asked, one that is away by nobody; a reload and a roll drop nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from testing.process import until

from tests.policy.gateway import PATIENCE, Gateway, desk


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    document = desk()
    document["gateway"]["policy"]["limits"]["default"]["requests"] = 100_000
    found = Gateway(document, replicas={"orders": 2})
    try:
        found.start("auth", "orders", "orders-2")
        yield found
    finally:
        found.stop()


def instances(gateway: Gateway, times: int = 10) -> list[str]:
    return [gateway.ask("/open").json["instance"] for _ in range(times)]


def test_all_instances_are_asked(gateway: Gateway) -> None:
    assert {*instances(gateway)} == {"orders", "orders-2"}


def test_one_that_dies_costs_no_request(gateway: Gateway) -> None:
    gateway.services["orders-2"].stop()
    for method in ("GET", "POST", "PUT"):
        assert {gateway.ask("/open", method, b"{}").status for _ in range(6)} == {200}
    assert {*instances(gateway)} == {"orders"}
    gateway.serve("orders-2")
    until(lambda: "orders-2" in instances(gateway, 4), PATIENCE)


def test_what_may_not_happen_twice_is_not_sent_twice(gateway: Gateway) -> None:
    for name in ("orders", "orders-2"):
        gateway.services[name].how = "reset"

    def sent() -> int:
        return sum(
            len([each for each in service.asked if "/open" in each]) for service in gateway.services.values()
        )

    assert gateway.ask("/open", "POST", b"{}").status == 502
    assert sent() == 1
    assert gateway.ask("/open", "PATCH", b"{}").status == 502
    assert sent() == 2
    assert gateway.ask("/open", "GET").status == 502
    assert sent() > 3


def test_one_that_is_set_aside_is_asked_by_nobody(gateway: Gateway) -> None:
    aside = gateway.folder / "gateway" / "aside"
    aside.mkdir()
    (aside / "orders").touch()
    until(lambda: {*instances(gateway, 4)} == {"orders-2"}, PATIENCE)
    # All of them: then after all by one.
    (aside / "orders-2").touch()
    until(lambda: gateway.ask("/open").headers.get("server") is not None, PATIENCE)
    assert {gateway.ask("/open").status for _ in range(4)} == {200}
    for each in aside.iterdir():
        each.unlink()
    until(lambda: {*instances(gateway, 6)} == {"orders", "orders-2"}, PATIENCE)


def test_who_stands_in_is_asked_while_the_only_one_is_aside(gateway: Gateway) -> None:
    def served() -> str:
        return str(gateway.ask("/v1/users/login", "POST", b"{}", client="127.0.0.2").json["instance"])

    document = gateway.document
    document["gateway"]["policy"]["limits"]["entry"]["requests"] = 1000
    gateway.write()
    gateway.reload()
    gateway.serve("auth-spare")
    assert {served() for _ in range(4)} == {"auth"}
    aside = gateway.folder / "gateway" / "aside"
    aside.mkdir()
    (aside / "auth").touch()
    until(lambda: served() == "auth-spare", PATIENCE)
    gateway.services["auth"].stop()
    assert {served() for _ in range(4)} == {"auth-spare"}
    gateway.serve("auth")
    (aside / "auth").unlink()
    until(lambda: served() == "auth", PATIENCE)


def test_a_reload_drops_nothing(gateway: Gateway) -> None:
    """Neither a request on its way, nor one on a connection that was ready, nor a new one."""
    failed: list[BaseException] = []
    done, asked = threading.Event(), [0, 0, 0]

    def keep(number: int) -> None:
        connection = HTTPConnection(gateway.address, 8080, timeout=PATIENCE)
        try:
            while not done.is_set():
                connection.request("GET", "/open", headers={"Connection": "close"} if number == 2 else {})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                asked[number] += 1
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    ready = HTTPConnection(gateway.address, 8080, timeout=PATIENCE)
    ready.request("GET", "/open")
    ready.getresponse().read()
    held = ready.sock
    threads = [threading.Thread(target=keep, args=(number,)) for number in range(3)]
    for each in threads:
        each.start()
    for requests in (5000, 6000, 7000):
        gateway.write(settings={"gateway": {"RATE_LIMIT": requests}})
        gateway.reload()
        before = list(asked)
        until(
            lambda before=before: all(now > then + 3 for now, then in zip(asked, before, strict=True)),
            PATIENCE,
        )
    done.set()
    for each in threads:
        each.join()
    assert not failed
    assert isinstance(held, socket.socket)
    assert ready.sock is held
    ready.request("GET", "/open")
    answer = ready.getresponse()
    assert (answer.status, answer.getheader("connection")) == (200, "close")


def test_a_configuration_that_is_none_changes_nothing(gateway: Gateway) -> None:
    """A deployment checks before it signals; where somebody does not, the old one goes on."""
    config = gateway.folder / "gateway" / "haproxy.cfg"
    good = config.read_text()
    config.write_text(good + "\nnonsense\n")
    log = gateway.folder / "log"
    gateway.reload(seen=lambda: "unknown keyword 'nonsense'" in log.read_text())
    assert {gateway.ask("/open").status for _ in range(4)} == {200}
    config.write_text(good)
    gateway.reload()
    assert gateway.ask("/open").status == 200
