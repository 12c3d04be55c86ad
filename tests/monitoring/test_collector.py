"""The collector on files as the engine writes them, with its rendered configuration: what reaches Loki."""

from __future__ import annotations

import gzip
import json
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
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from testing import patient
from testing.process import free_port

from hostwright import application
from hostwright.render import Environment, render
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
        text = render(application.load("warehouse", components="all"), Environment())[
            "otel-collector/collector.yaml"
        ]
        for there, here in (
            ("/var/lib/docker/containers", str(self.engine)),
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
