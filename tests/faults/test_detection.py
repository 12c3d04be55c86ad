"""Proof is exact: what somebody starts by hand, or stops, is found and named: port, process and place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.host import Node, until

ANY = "0.0.0.0"  # noqa: S104  (to be found there)
LISTEN = "import socket,time\ns=socket.create_server(('{}',{}),family=socket.{})\ntime.sleep(600)"


@pytest.fixture(scope="module")
def disturbed(live: Any, node: Node) -> Iterator[dict[str, Any]]:
    """The proof of an environment in which five things are wrong at once."""
    image = node.inspect(node.service("orders"), "{{.Config.Image}}")
    try:
        # 1: on the host, where only the host sees it.
        node.start("python3", "-c", LISTEN.format("127.0.0.1", 4441, "AF_INET"))
        # 2: on the host, and its firewall opened for it, over IPv6.
        node.start("python3", "-c", LISTEN.format("::", 4442, "AF_INET6"))
        node.run("firewall-cmd", "--zone=hostwright", "--add-port=4442/tcp")
        # 3: a container that publishes a port; Docker opens its own way past the firewall for it.
        command = ["python", "-c", LISTEN.format(ANY, 4443, "AF_INET")]
        node.run("docker", "run", "--detach", "--name", "stray", "--publish", "4443:4443", image, *command)
        # 4: in the network of the application, beside a service.
        orders = node.service("orders")
        node.run("docker", "exec", "--detach", orders, "python", "-c", LISTEN.format(ANY, 4444, "AF_INET"))
        # 5: something that should run does not.
        node.run("docker", "stop", "--time", "30", node.service("rabbitmq"))
        until(
            lambda: node.run("docker", "ps", "--quiet", "--filter", "name=stray").strip(),
            60,
            "the stray runs",
        )
        done = live.hostwright("proof", "--json", check=False)
        assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
        yield json.loads(done.stdout)
    finally:
        node.run("docker", "rm", "--force", "stray", check=False)
        node.run("docker", "start", node.service("rabbitmq"))
        node.run("pkill", "-f", "socket.create_server", check=False)
        node.run("firewall-cmd", "--zone=hostwright", "--remove-port=4442/tcp", check=False)
        until(lambda: node.healthy("rabbitmq"), 90, "rabbitmq is healthy")


def failures(proof: dict[str, Any], place: str) -> str:
    rows = [row for row in proof["rows"] if row["result"] == "fails" and row["place"] == place]
    return "\n".join(f"{row['what']}: {row['detail']}" for row in rows)


def test_a_listener_on_loopback_is_named(disturbed: dict[str, Any]) -> None:
    text = failures(disturbed, "host")
    assert "port 4441/tcp on the host: python3 (pid " in text
    assert "listens on 127.0.0.1" in text


def test_a_listener_that_answers_outside_is_named(disturbed: dict[str, Any]) -> None:
    text = failures(disturbed, "outside")
    assert "port 4442/tcp answers at " in text
    assert "python3 (pid " in text
    assert "port 4442/tcp on the host: python3 (pid " in failures(disturbed, "host")


def test_a_stray_container_is_named_and_shut_in(disturbed: dict[str, Any]) -> None:
    """Docker opens its published ports to everybody; the host's firewall has the last word."""
    assert "undeclared: stray" in failures(disturbed, "host")
    assert "port 4443 is published with scope public; nobody declared that" in failures(disturbed, "host")
    assert "4443" not in failures(disturbed, "outside")


def test_a_listener_in_the_network_is_named(disturbed: dict[str, Any]) -> None:
    assert "port 4444/tcp on orders: python" in failures(disturbed, "network")


def test_a_stopped_container_is_named(disturbed: dict[str, Any]) -> None:
    assert "rabbitmq-1 is exited" in failures(disturbed, "host")
    assert "5672/amqp of rabbitmq" in failures(disturbed, "network")
    assert "5434/amqp of rabbitmq" in failures(disturbed, "host")


def test_everything_else_holds(disturbed: dict[str, Any]) -> None:
    """What fails is what was disturbed: a proof that fails everywhere helps nobody."""
    assert disturbed["failed"] < 15
    assert disturbed["total"] - disturbed["failed"] > 110
