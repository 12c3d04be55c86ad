"""The collector on files as an engine or containerd writes them, as it is rendered: what reaches Loki."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from testing import patient
from testing.process import free_port

from hostwright import application
from hostwright.render import Cluster, Environment, pinned, render
from lab.programs import program

pytestmark = pytest.mark.slow  # its program is built from Go modules

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Backends:
    """Loki and Jaeger as the collector sees them: what they took, and whether they are there."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.spans: list[str] = []
        self.away = False
        backends = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                self.send_response(503 if backends.away else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if not backends.away:
                    (backends.logs if self.path.endswith("/logs") else backends.traces)(body)

            def log_message(self, *_: object) -> None:
                """The test's output is not its log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def logs(self, body: bytes) -> None:
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            labels = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_logs:
                for each in scope.log_records:
                    beside = {found.key: found.value.string_value for found in each.attributes}
                    self.records.append(
                        {
                            "labels": labels,
                            "beside": beside,
                            "line": each.body.string_value,
                            "severity": each.severity_number,
                            "trace": each.trace_id.hex(),
                            "time": each.time_unix_nano,
                        }
                    )

    def traces(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.spans += [span.name for scope in resource.scope_spans for span in scope.spans]

    def lines(self) -> list[str]:
        return [each["line"] for each in self.records]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Trial:
    """A collector and the folder of an engine's files."""

    def __init__(self, folder: Path, backends: Backends) -> None:
        self.folder, self.backends = folder, backends
        self.engine, data = folder / "containers", folder / "data"
        self.engine.mkdir()
        data.mkdir()
        self.otlp, counts = free_port(), free_port()
        text = self.rendered()
        for there, here in (
            (self.files, str(self.engine)),
            ("/var/lib/otelcol", str(data)),
            ("0.0.0.0:4318", f"127.0.0.1:{self.otlp}"),
            ("host: 0.0.0.0, port: 8888", f"host: 127.0.0.1, port: {counts}"),
            ("loki:3100", backends.address),
            ("jaeger:4318", backends.address),
        ):
            assert there in text
            text = text.replace(there, here)
        self.config = folder / "collector.yaml"
        self.config.write_text(text)

    files = "/var/lib/docker/containers"

    def rendered(self) -> str:
        files = render(application.load("warehouse", components="all"), Environment())
        return files["otel-collector/collector.yaml"]

    def write(self, service: str, *texts: str, project: str = "warehouse", stamp: str = "") -> Path:
        """As the engine does: a line a record, each with its time and whose it is."""
        attributes = {"com.docker.compose.project": project, "com.docker.compose.service": service}
        path = self.engine / f"{project}-{service}" / f"{project}-{service}-json.log"
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            for text in texts:
                record = {
                    "log": text,
                    "stream": "stdout",
                    "attrs": attributes,
                    "time": stamp or "2026-01-02T03:04:05.000000006Z",
                }
                file.write(json.dumps(record) + "\n")
        return path

    @contextmanager
    def running(self) -> Iterator[None]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [program("otelcol"), "--config", self.config],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"NODE": "node-2"},
            )
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(60) == 0, (self.folder / "log").read_text()

    def until(self, true: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline, (self.backends.lines(), (self.folder / "log").read_text())
            time.sleep(0.1)


class Pods(Trial):
    """A collector and a node's folder of pods' files."""

    files = "/var/log/pods"

    def rendered(self) -> str:
        app = application.load("warehouse", components="all")
        place = Environment(topology="cluster", cluster=Cluster(pins=pinned(app, ["node-1"])))
        text = render(app, place)["1-base/configmap-otel-collector.yaml"]
        return str(yaml.safe_load(text)["data"]["collector.yaml"])

    def log(
        self, pod: str, container: str, *texts: str, namespace: str = "warehouse-prod", name: str = "0.log"
    ) -> Path:
        """As containerd does: in the node's own time, and what is cut is marked."""
        path = self.engine / f"{namespace}_{pod}_0b5c0f6e-1111-2222-3333-444455556666" / container / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            for text in texts:
                tag = "F" if text.endswith("\n") else "P"
                file.write(f"2026-01-02T04:04:05.000000006+01:00 stdout {tag} {text.rstrip()}\n")
        return path


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    backends = Backends()
    yield Pods(tmp_path, backends)
    backends.stop()


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    backends = Backends()
    yield Trial(tmp_path, backends)
    backends.stop()


def test_what_a_line_tells_of_itself(trial: Trial) -> None:
    ours = json.dumps(
        {
            "level": "warning",
            "logger": "orders.api",
            "message": "refused",
            "service": "orders",
            "request_id": "request-12345",
            "trace_id": TRACE,
        }
    )
    long = json.dumps({"level": "error", "service": "orders", "message": "x" * 40_000})
    trial.write("orders-2", f"{ours}\n")
    trial.write("orders-2", long[:16384], long[16384:32768], long[32768:] + "\n")
    trial.write("orders-db", "2026-01-02 03:04:05.000 UTC [1] LOG:  ready\n", "FATAL:  no\n", "and more\n")
    trial.write("rabbitmq", "2026-01-02 03:04:05.123 [warning] <0.1.0> slow\n", "{not json\n")
    trial.write("gateway", '{"level":"info","service":"gateway","request_id":"r","trace_id":""}\n')
    trial.write("elsewhere", "secret of another\n", project="other")
    trial.write("otel-collector", "about itself\n")
    with trial.running():
        trial.until(lambda: len(trial.backends.records) >= 8)
        time.sleep(1)
    found = {each["line"]: each for each in trial.backends.records}
    assert len(found) == len(trial.backends.records) == 8
    line = found[ours]
    assert line["labels"] == {
        "service.name": "orders",
        "service.namespace": "warehouse",
        "deployment.environment.name": "development",
    }
    assert line["beside"] == {"request_id": "request-12345", "logger": "orders.api"}
    assert (line["severity"], line["trace"], line["time"]) == (13, TRACE, 1767323045000000006)
    assert found[long]["severity"] == 17
    texts = {line: each["severity"] for line, each in found.items() if not line.startswith("{")}
    assert list(texts.values()).count(0) == 1
    assert texts["2026-01-02 03:04:05.000 UTC [1] LOG:  ready"] == 9
    assert (texts["FATAL:  no"], texts["and more"]) == (21, 0)
    assert texts["2026-01-02 03:04:05.123 [warning] <0.1.0> slow"] == 13
    assert found["{not json"]["labels"]["service.name"] == "rabbitmq"


def test_nothing_is_lost_and_nothing_told_twice(trial: Trial) -> None:
    """While the collector is away, while Loki is, and while the engine puts a full file aside."""
    trial.write("mail", "one\n")
    with trial.running():
        trial.until(lambda: trial.backends.lines() == ["one"])
    path = trial.write("mail", "two\n")
    path.rename(path.with_name(f"{path.name}.1"))
    trial.write("mail", "three\n")
    trial.backends.away = True
    with trial.running():
        trial.write("mail", "four\n")
        time.sleep(2)
    trial.write("mail", "five\n")
    trial.backends.away = False
    with trial.running():
        trial.until(lambda: len(trial.backends.records) >= 5)
        time.sleep(1)
    assert sorted(trial.backends.lines()) == ["five", "four", "one", "three", "two"]


def test_what_a_line_of_a_pod_tells_of_itself(pods: Pods) -> None:
    fields = {"level": "warning", "service": "orders", "request_id": "request-12345", "trace_id": TRACE}
    ours = json.dumps({"logger": "orders.api", "message": "refused"} | fields)
    long = json.dumps({"level": "error", "service": "orders", "message": "x" * 40_000})
    pods.log("orders-7c9f8-abcde", "orders", f"{ours}\n")
    pods.log("orders-7c9f8-abcde", "orders", long[:16384], long[16384:32768], long[32768:] + "\n")
    pods.log("orders-db-0", "orders-db", "2026-01-02 03:04:05.000 UTC [1] LOG:  ready\n", "\n", "and more\n")
    pods.log("orders-7c9f8-abcde", "orders", "compressed already\n", name="0.log.20260102-030405.gz")
    pods.log("gateway-5d-x", "nginx-exporter", "beside\n")
    pods.log("web-1", "web", "secret of another\n", namespace="warehouse-production")
    pods.log("otel-collector-x", "otel-collector", "about itself\n")
    with pods.running():
        pods.until(lambda: len(pods.backends.records) >= 5)
        time.sleep(1)
    found = {each["line"]: each for each in pods.backends.records if each["line"]}
    assert {*found} == {ours, long, "2026-01-02 03:04:05.000 UTC [1] LOG:  ready", "and more", "beside"}
    line = found[ours]
    assert line["labels"] == {
        "service.name": "orders",
        "service.namespace": "warehouse",
        "deployment.environment.name": "development",
        "k8s.pod.name": "orders-7c9f8-abcde",
    }
    assert line["beside"] == {
        "request_id": "request-12345",
        "logger": "orders.api",
        "k8s.node.name": "node-2",
    }
    assert (line["severity"], line["trace"], line["time"]) == (13, TRACE, 1767323045000000006)
    assert found[long]["severity"] == 17
    assert found["and more"]["labels"]["service.name"] == "orders-db"
    assert found["beside"]["labels"]["service.name"] == "nginx-exporter"


def test_nothing_of_pods_is_lost_and_nothing_told_twice(pods: Pods) -> None:
    """While the collector is away, while Loki is, and while the kubelet puts a full file aside."""
    pods.log("mail-1", "mail", "one\n")
    with pods.running():
        pods.until(lambda: pods.backends.lines() == ["one"])
    path = pods.log("mail-1", "mail", "two\n")
    path.rename(path.with_name("0.log.20260102-030405"))
    pods.log("mail-1", "mail", "three\n")
    pods.backends.away = True
    with pods.running():
        pods.log("mail-1", "mail", "four\n")
        time.sleep(2)
    pods.log("mail-1", "mail", "five\n", name="1.log")  # of the container that was started again
    pods.backends.away = False
    with pods.running():
        pods.until(lambda: len(pods.backends.records) >= 5)
        time.sleep(1)
    assert sorted(pods.backends.lines()) == ["five", "four", "one", "three", "two"]


def test_traces_are_handed_on(trial: Trial) -> None:
    span = {"traceId": TRACE, "spanId": "00f067aa0ba902b7", "name": "GET /", "kind": 2}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}

    def sent() -> bool:
        try:
            return patient.post(f"http://127.0.0.1:{trial.otlp}/v1/traces", json=body).status_code == 200
        except httpx2.HTTPError:
            return False

    with trial.running():
        trial.until(sent)
        trial.until(lambda: trial.backends.spans)
    assert set(trial.backends.spans) == {"GET /"}
