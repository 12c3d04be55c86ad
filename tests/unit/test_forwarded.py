"""What is asked through a forwarded port: by a kubectl of our own, and a server on this machine."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostwright import forwarded, loglines, status
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.hosts.record import HostRecord
from hostwright.reached import Cluster, cluster
from hostwright.status import Status

OBSERVED = Environment(
    "big", Path("shop"), {"topology": "cluster", "application": "warehouse", "components": "all"}
)
ALERT = {
    "labels": {"alertname": "DiskFull", "severity": "critical", "instance": "node-exporter/10.1.2.3"},
    "annotations": {"summary": "full", "action": "look"},
    "state": "firing",
    "activeAt": "2026-01-01T01:00:00.1Z",
}
LINES = [["1767323045000000002", '{"request_id": "request-1"}']]
STREAM = {"stream": {"service_name": "orders", "k8s_node_name": "k2"}, "values": LINES}
ANSWERS = {
    "/api/v1/alerts": {"data": {"alerts": [ALERT]}},
    "/loki/api/v1/query_range": {"data": {"result": [STREAM]}},
}

# As much of kubectl as is called: what it forwards is a server here, and of pods there is one, without lines.
KUBECTL = """#!/bin/bash
cd "$(dirname "$0")"
echo "$@" >> asked
case "$*" in
*port-forward*) if [ -e port ]; then
        echo "Forwarding from 127.0.0.1:$(cat port) -> 9090"
        sleep 600 & echo $! > forwarding; wait
    fi
    echo "error: no pod is there" >&2; exit 1 ;;
*logs*) echo '[pod/orders-1/orders] 2026-01-02T03:04:05.000000001Z {"request_id": "request-1"}' ;;
*) echo '{"items": [{"metadata": {"name": "orders-1"}, "spec": {"nodeName": "k1"}}]}' ;;
esac
"""


class Here(Cluster):
    """What would run on the server runs on this machine."""

    def command(self, *words: str) -> list[str]:
        return list(words)


@pytest.fixture
def here(tmp_path: Path) -> Here:
    command = tmp_path / "kubectl"
    command.write_text(KUBECTL)
    command.chmod(0o755)
    known = cluster(OBSERVED, [HostRecord(name="big-1", address="192.0.2.1")])
    found = Here(OBSERVED, known.application, known.hosts)
    found.__dict__["variables"] = {"app_kubernetes_kubectl": [str(command)]}
    return found


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[list[str]]:
    """The paths that were asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            body = json.dumps(ANSWERS.get(self.path.partition("?")[0], "nothing")).encode()
            self.send_response(200 if self.path.partition("?")[0] in ANSWERS else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "port").write_text(str(server.server_port))
    yield paths
    server.shutdown()
    server.server_close()


def ended(pid: int) -> bool:
    """Within a minute: a machine may stall."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_service_is_asked_and_nothing_stays_behind(
    here: Here, answering: list[str], tmp_path: Path
) -> None:
    assert forwarded.ask(here, "prometheus", 9090, "/api/v1/alerts") == ANSWERS["/api/v1/alerts"]
    assert answering == ["/api/v1/alerts"]
    asked = (tmp_path / "asked").read_text()
    assert "--namespace=warehouse-prod port-forward --address=127.0.0.1" in asked
    assert "service/prometheus :9090" in asked
    assert ended(int((tmp_path / "forwarding").read_text())), "what the command has started ends with it"


def test_who_does_not_answer_is_told_of(here: Here) -> None:
    with pytest.raises(Failure, match="error: no pod is there"):
        forwarded.ask(here, "prometheus", 9090, "/api/v1/alerts")


def test_an_error_is_no_answer(here: Here, answering: list[str]) -> None:
    with pytest.raises(Failure, match="HTTP Error 404"):
        forwarded.ask(here, "prometheus", 9090, "/api/v2")


def row(service: str) -> dict[str, str]:
    return {"service": service, "state": "running", "health": "healthy"}


def test_alerts_of_a_cluster_name_the_node(here: Here, answering: list[str]) -> None:
    found = Status([], [row("prometheus")], [], [])
    status._hear(here, found, {"10.1.2.3": "k2"})
    assert [(each["host"], each["alert"]) for each in found.alerts] == [("k2", "DiskFull")]
    assert status.critical(found.alerts) == ["alert DiskFull"]
    assert found.wrong == []


def test_a_prometheus_that_is_deployed_and_does_not_answer_is_not_well(here: Here) -> None:
    found = Status([], [row("prometheus")], [], [])
    status._hear(here, found, {})
    assert found.wrong == ["Prometheus does not answer: error: no pod is there"]
    without = Status([], [row("orders")], [], [])
    status._hear(here, without, {})
    assert without.wrong == []


def test_lines_are_lokis_where_it_answers_and_the_nodes_where_not(
    here: Here, answering: list[str], tmp_path: Path
) -> None:
    (found,) = loglines._in(here, "request-1")
    assert (found.host, found.service, found.time[-4:]) == ("k2", "orders", "002Z")
    assert "since=720h" in answering[0]
    (tmp_path / "port").unlink()
    (found,) = loglines._in(here, "request-1")
    assert (found.host, found.service, found.time[-4:]) == ("k1", "orders", "001Z")
