"""One request is followed from its answer's id to what every service wrote about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.environment import Account
from tests.host import until

TOUCHED = {"gateway", "orders", "notification", "analytics", "mail"}
ORDER = {"customer_name": "Jan Kowalski", "source": "website", "total_amount": 12.5}


def test_the_lines_of_one_request_come_from_every_service_it_touched(live: Any, customer: Account) -> None:
    """From the gateway through the broker: in the order of time, and none of another's."""
    other = customer.ask("GET", "/api/orders").headers["x-request-id"]
    answer = customer.ask("POST", "/api/orders", json=ORDER | {"customer_email": customer.email})
    assert answer.status_code == 201, answer.text
    request = answer.headers["x-request-id"]
    lines: list[dict[str, Any]] = []

    def told() -> bool:
        done = live.hostwright("logs", "--request", request, "--json")
        lines[:] = json.loads(done.stdout)
        return {line["service"] for line in lines} >= TOUCHED

    until(told, 120, "lines of the gateway and of all who took part")
    assert {line["line"]["request_id"] for line in lines} == {request}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    (access,) = [line["line"] for line in lines if line["service"] == "gateway"]
    assert (access["message"], access["level"]) == ("POST /api/orders 201", "info")
    assert all(
        {"timestamp", "level", "logger", "message", "service", "request_id"} <= line["line"].keys()
        for line in lines
    )
    shown = live.hostwright("logs", "--request", request, "--service", "gateway").stdout
    assert "POST /api/orders 201" in shown
    assert other not in shown


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--request", "$(id)"], 2, "is no id of a request"),
        (["--request", "f" * 32, "--follow"], 2, "nothing to follow"),
        (["--json"], 2, "add --request ID"),
        (["--request", "f" * 32], 1, f"no log line of request {'f' * 32}"),
    ],
)
def test_a_request_that_cannot_be_told_of(live: Any, options: list[str], status: int, said: str) -> None:
    done = live.hostwright("logs", *options, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
