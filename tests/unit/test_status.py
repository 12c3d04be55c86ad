"""What the verb `status` makes of what hosts, Compose and Prometheus answer."""

from __future__ import annotations

from typing import Any

import pytest

from hostwright import application, status
from hostwright.errors import Failure
from hostwright.status import Status

HOST = {
    "host": "prod-1",
    "address": "192.0.2.10",
    "up": 93600,
    "load": 0.5,
    "cpus": 2,
    "memory": 4096,
    "memory_available": 1024,
    "disk": 20480,
    "disk_available": 5120,
}


def row(service: str, state: str = "running", health: str = "healthy", exit: int = 0) -> dict[str, Any]:
    found = {"service": service, "state": state, "health": health, "exit": exit}
    return {"host": "prod-1", "container": f"warehouse-{service}-1", "image": "x", **found}


def alert(name: str, state: str, severity: str, since: str) -> dict[str, Any]:
    """As /api/v1/alerts of Prometheus has it."""
    return {
        "labels": {"alertname": name, "severity": severity, "service": "orders"},
        "annotations": {"summary": f"{name} of orders", "action": "look"},
        "state": state,
        "activeAt": f"{since}.123456789Z",
        "value": "0e+00",
    }


@pytest.mark.parametrize(
    ("of", "is_well"),
    [
        (row("orders"), True),
        (row("nginx-exporter", health=""), True),
        (row("orders", health="unhealthy"), False),
        (row("orders", health="starting"), False),
        (row("orders", state="restarting", health=""), False),
        (row("orders-migrate", state="exited", health="", exit=0), True),
        (row("orders-migrate", state="exited", health="", exit=1), False),
        (row("orders", state="exited", health="", exit=0), False),
    ],
)
def test_who_is_well(of: dict[str, Any], is_well: bool) -> None:
    assert status.well(of) == is_well


def test_only_what_fires_is_told_and_the_worst_first() -> None:
    found = status.firing(
        [
            alert("DeadLetters", "firing", "warning", "2026-01-01T00:00:00"),
            alert("NotReady", "firing", "critical", "2026-01-01T02:00:00"),
            alert("ServiceDown", "firing", "critical", "2026-01-01T01:00:00"),
            alert("Slow", "pending", "warning", "2026-01-01T00:00:00"),
        ]
    )
    assert [each["alert"] for each in found] == ["ServiceDown", "NotReady", "DeadLetters"]
    assert found[0] == {
        "alert": "ServiceDown",
        "severity": "critical",
        "since": "2026-01-01T01:00:00Z",
        "what": "ServiceDown of orders",
        "action": "look",
    }


def test_prometheus_is_asked_where_it_was_deployed() -> None:
    observed, plain = (application.load("warehouse", components=chosen) for chosen in ("all", ()))
    assert status.alerts_url(observed, [row("prometheus")]) == "http://127.0.0.1:9090/api/v1/alerts"
    assert status.alerts_url(observed, [row("orders")]) == ""  # its image was not to be had
    assert status.alerts_url(plain, [row("prometheus")]) == ""


def test_tables_are_those_that_have_rows() -> None:
    hosts, services = Status([HOST], [row("orders")], [], []).tables()
    assert hosts[1] == [
        ("prod-1", "192.0.2.10", "1 d 2 h", "0.50 of 2", "1024 of 4096 MiB", "5.0 of 20.0 GiB")
    ]
    assert services[1] == [("prod-1", "orders", "running", "healthy", "x")]


def test_what_is_not_well_is_named() -> None:
    Status([HOST], [row("orders")], [], []).require_well()
    with pytest.raises(Failure, match="not well: orders, alert ServiceDown") as caught:
        Status([HOST], [row("orders")], [], ["orders", "alert ServiceDown"]).require_well()
    assert "hostwright logs" in caught.value.fix
    with pytest.raises(Failure, match="nothing runs") as caught:
        Status([HOST], [], [], ["nothing runs"]).require_well()
    assert caught.value.fix == "hostwright up"
