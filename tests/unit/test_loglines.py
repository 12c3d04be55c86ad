"""Lines of one request, as containers' logs and Loki give them."""

from __future__ import annotations

import json

import pytest

from hostwright import environments, loglines
from hostwright.errors import BadInput
from hostwright.loglines import Line

ID = "0123456789abcdef0123456789abcdef"


def line(**fields: object) -> str:
    return json.dumps({"level": "info", "logger": "orders", "message": "order created", **fields})


def test_lines_of_containers_are_the_requests_own() -> None:
    """Compose 2.26 begins each line with an escape; a line that quotes the id is of another request."""
    output = "\n".join(
        [
            f"\x1b[2Korders-2-1  | 2026-01-02T03:04:05.000000002Z {line(service='orders', request_id=ID)}",
            f"gateway-1  | 2026-01-02T03:04:05.000000001Z {line(service='gateway', trace_id=ID)}",
            f"orders-1   | 2026-01-02T03:04:05.000000003Z {line(request_id='other', quoted=ID)}",
            f"orders-db-1   | 2026-01-02T03:04:05.000000004Z LOG:  {ID}",
            f"orders-1   | 2026-01-02T03:04:05.000000004Z [{ID!r}",
            "",
        ]
    )
    found = loglines.of_containers(output, "host1", ID)
    assert [(each.service, each.time[-4:]) for each in found] == [("orders", "002Z"), ("gateway", "001Z")]


PODS = [
    f"[pod/orders-7c9f-abcde/orders] 2026-01-02T03:04:05.000000002Z {line(service='orders', request_id=ID)}",
    f"[pod/gateway-5d-x/gateway] 2026-01-02T05:04:05.000000001+02:00 {line(trace_id=ID)}",
    f"[pod/orders-7c9f-abcde/orders] 2026-01-02T03:04:05.000000003Z {line(request_id='other', quoted=ID)}",
    f"[pod/orders-db-0/orders-db] 2026-01-02T03:04:05.000000004Z LOG:  {ID}",
    "error: container is waiting to start",
]


def test_lines_of_pods_are_the_requests_own() -> None:
    found = loglines.of_pods("\n".join(PODS), {"gateway-5d-x": "node-2"}, ID)
    assert [(each.host, each.service, each.time) for each in found] == [
        ("", "orders", "2026-01-02T03:04:05.000000002Z"),
        ("node-2", "gateway", "2026-01-02T03:04:05.000000001Z"),
    ]


def test_lines_of_pods_are_shown_as_those_of_containers() -> None:
    shown = [loglines.as_on_a_host(each, 18) for each in PODS]
    assert shown[1].startswith('gateway-5d-x        | 2026-01-02T03:04:05.000000001Z {"level"')
    assert shown[3:] == [f"orders-db-0         | 2026-01-02T03:04:05.000000004Z LOG:  {ID}", PODS[4]]


def test_lines_of_loki() -> None:
    answer = {
        "data": {
            "result": [{"stream": {"service_name": "orders"}, "values": [["1767323045000000002", line()]]}]
        }
    }
    (found,) = loglines.of_loki(answer, "host1")
    assert (found.time, found.service) == ("2026-01-02T03:04:05.000000002Z", "orders")
    assert found.fields["message"] == "order created"
    assert found.host == "host1"
    answer["data"]["result"][0]["stream"]["k8s_node_name"] = "node-2"
    assert [each.host for each in loglines.of_loki(answer)] == ["node-2"]
    assert loglines.query("shop", ID) == (
        f'{{service_namespace="shop"}} | request_id="{ID}" or trace_id="{ID}"'
    )


def test_how_a_line_reads() -> None:
    text = line(order_id=7, service="orders", request_id=ID, exception="Traceback\n  boom", detail=None)
    shown = str(Line("2026-01-02T03:04:05Z", "host1", "orders", text)).splitlines()
    assert shown == [
        "2026-01-02T03:04:05Z orders       info    order created  logger=orders order_id=7",
        "    Traceback",
        "      boom",
    ]
    assert str(Line("t", "h", "orders-db", "LOG: ready")) == "t orders-db    LOG: ready"
    assert Line("t", "h", "s", text).as_dict()["line"]["order_id"] == 7


@pytest.mark.parametrize("given", ["short", "a b c d e f g", "$(reboot)--", "x" * 129])
def test_what_is_no_id_is_refused_before_any_host_is_asked(given: str) -> None:
    nowhere = environments.Environment("none", environments.paths.toolkit(), {})
    with pytest.raises(BadInput, match="is no id of a request"):
        loglines.find(nowhere, [], given)
