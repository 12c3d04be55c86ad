"""The day-to-day verbs on a living environment."""

from __future__ import annotations

from typing import Any

import pytest

from tests.host import Node


def test_logs_are_what_the_services_wrote(live: Any) -> None:
    done = live.hostwright("logs", "--service", "orders", "--tail", "5")
    lines = done.stdout.splitlines()
    assert 1 <= len(lines) <= 5
    assert all(line.startswith("orders-1 ") for line in lines), lines
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("command", [["logs", "--service"], ["restart"]])
def test_an_unknown_service_is_refused(live: Any, command: list[str]) -> None:
    done = live.hostwright(*command, "billing", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown service 'billing'" in done.stderr
    assert "orders-db, orders-migrate, panel, rabbitmq" in done.stderr


def test_restart_ends_when_the_service_is_healthy(live: Any, node: Node) -> None:
    before = node.inspect(node.service("orders"), "{{.State.StartedAt}}")
    live.hostwright("restart", "orders")
    assert node.healthy("orders")
    assert node.inspect(node.service("orders"), "{{.State.StartedAt}}") > before
