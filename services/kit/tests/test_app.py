"""What every service has: ids, errors, logs, metrics and health, over a small service of its own."""

from __future__ import annotations

import asyncio
import json
import logging as stdlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Annotated, Any

import httpx2
import kit.app
import pytest
from fastapi import APIRouter, Depends, FastAPI
from kit import context, logging, tracing
from kit.authentication import Current, Identity, require
from kit.database import Database, Session
from kit.envelope import ENVELOPE
from kit.errors import PLAIN, NotFound, Shape, TooManyRequests, responses
from kit.settings import DatabaseSettings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import BaseModel, Field
from sqlalchemy import text
from starlette.requests import Request
from testing.app import client
from testing.postgres import Postgres
from testing.process import free_port

SERVICES = Path(kit.app.__file__).parents[1]

router = APIRouter()


class Item(BaseModel):
    name: str = Field(min_length=2)
    price: float


@router.get("/items/{number}", responses=responses(NotFound))
async def item(number: int) -> dict[str, int]:
    if number > 100:
        raise NotFound("Item not found")
    return {"number": number}


@router.post("/items")
async def create(body: Item) -> Item:
    return body


@router.get("/crash")
async def crash() -> None:
    raise RuntimeError("a detail that no client may see")


@router.get("/busy")
async def busy() -> None:
    raise TooManyRequests(7)


@router.get("/endless")
async def endless() -> None:
    await asyncio.sleep(60)


@router.get("/rows")
async def rows(session: Session) -> int:
    return int(await session.scalar(text("SELECT 1")) or 0)


@router.get("/session/{number}")
async def in_session(number: int, session: Session) -> None:
    await session.execute(text("SELECT CAST(:n AS smallint)"), {"n": number})


@router.get("/driver/{number}")
async def by_driver(number: int, request: Request) -> None:
    async with await request.state.database.dedicated() as connection:
        await connection.execute("SELECT %s::smallint", [number])


@router.get("/me")
async def me(identity: Current) -> dict[str, str]:
    return {"role": identity.role}


@router.get("/staff")
async def staff(identity: Annotated[Identity, Depends(require("admin", "employee"))]) -> dict[str, str]:
    logging.get("shop").info("staff is in", password="hunter2", token="abc", who=identity.email)
    return {"role": identity.role}


@dataclass
class TokenIsRole:
    """The token is the role: what is tested here is what happens after it was checked."""

    async def __call__(self, token: str) -> Identity:
        return Identity(7, "jan@example.com", token, "s")


def application(errors: Shape = PLAIN, **changes: object) -> FastAPI:
    settings = DatabaseSettings.model_validate(
        {
            "service_name": "shop",
            "application": "warehouse",
            "database_host": "127.0.0.1",
            "database_port": free_port(),  # where nothing listens
            "database_name": "shop",
            "database_user": "shop",
            "database_password": "not-a-secret",
            "cors_origins": ["https://shop.example"],
            "trusted_proxies": ["10.0.0.0/8"],
            **changes,
        }
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[kit.app.State]:
        async with Database.open(settings) as database:
            yield kit.app.State(database=database, authenticator=TokenIsRole())

    return kit.app.create(settings, title="Shop", routers=[router], lifespan=lifespan, errors=errors)


@pytest.fixture
async def api() -> AsyncIterator[httpx2.AsyncClient]:
    async with client(application()) as found:
        yield found


def as_role(role: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {role}", **headers}


def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[dict[str, object]]:
    for line in capsys.readouterr().out.splitlines():
        yield json.loads(line)


async def test_errors_have_one_form(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/items/7")).json() == {"number": 7}
    missing = await api.get("/items/101")
    assert (missing.status_code, missing.json()) == (404, {"error": "Item not found"})
    assert (await api.get("/nothing")).json() == {"error": "Not Found"}
    assert (await api.delete("/items")).json() == {"error": "Method Not Allowed"}
    busy = await api.get("/busy")
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "7")
    wrong = await api.post("/items", json={"name": "x"})
    assert wrong.status_code == 400
    assert wrong.json()["error"] == "Invalid request"
    assert set(wrong.json()["fields"]) == {"name", "price"}
    for rubbish in (b"{", b"\xff\xfe1", b""):
        assert set((await api.post("/items", content=rubbish)).json()["fields"]) == {"body"}
    assert (await api.get("/items/seven")).json()["fields"].keys() == {"number"}


async def test_errors_in_an_envelope() -> None:
    async with client(application(ENVELOPE)) as api:
        for path, status, error in (
            ("/items/101", 404, {"code": "NOT_FOUND", "message": "Item not found"}),
            ("/nothing", 404, {"code": "NOT_FOUND", "message": "Not Found"}),
            ("/me", 401, {"code": "UNAUTHORIZED", "message": "Authentication required"}),
            ("/rows", 503, {"code": "SERVICE_UNAVAILABLE", "message": "Service unavailable"}),
            ("/crash", 500, {"code": "INTERNAL_ERROR", "message": "Internal server error"}),
        ):
            answer = await api.get(path)
            assert (answer.status_code, answer.json()) == (status, {"success": False, "error": error})
        assert (await api.delete("/items")).json()["error"]["code"] == "METHOD_NOT_ALLOWED"
        busy = (await api.get("/busy")).json()["error"]
        assert (busy["code"], busy["retry_after"]) == ("RATE_LIMIT_EXCEEDED", 7)
        wrong = (await api.post("/items", json={"name": "x"})).json()["error"]
        assert (wrong["code"], set(wrong["fields"])) == ("VALIDATION_ERROR", {"name", "price"})
        denied = (await api.get("/staff", headers=as_role("customer"))).json()["error"]
        assert denied == {
            "code": "FORBIDDEN",
            "message": "You do not have permission to access this resource",
        }
        documented = (await api.get("/openapi.json")).json()["paths"]["/items"]["post"]["responses"]["400"]
        assert documented["content"]["application/json"]["schema"]["$ref"].endswith("/Failure")


async def test_a_crash_is_one_log_line_and_says_nothing(
    capsys: pytest.CaptureFixture[str], api: httpx2.AsyncClient
) -> None:
    capsys.readouterr()
    answer = await api.get("/crash", headers={"X-Request-ID": "from-the-gateway"})
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal server error"})
    assert answer.headers["x-request-id"] == "from-the-gateway"
    crash, refused = lines(capsys)
    assert (crash["message"], crash["level"], crash["route"]) == ("unhandled error", "error", "/crash")
    assert "a detail that no client may see" in str(crash["exception"])
    assert refused["status"] == 500
    assert {each["request_id"] for each in (crash, refused)} == {"from-the-gateway"}


async def test_what_is_not_answered_in_time_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    async with client(application(answer_timeout=0.2)) as api:
        capsys.readouterr()
        answer = await api.get("/endless")
        late = next(each for each in lines(capsys) if each["level"] == "error")
    assert (answer.status_code, answer.json()) == (503, {"error": "Service unavailable"})
    assert (late["message"], late["route"]) == ("no answer in time", "/endless")


async def test_request_ids(api: httpx2.AsyncClient) -> None:
    first, second = [(await api.get("/items/1")).headers["x-request-id"] for _ in range(2)]
    assert first != second
    for forged in ("short", "x" * 200, "with spaces in it", '{"a":"b"}'):
        assert (await api.get("/items/1", headers={"X-Request-ID": forged})).headers["x-request-id"] != forged


async def test_logs_are_json_without_secrets(
    capsys: pytest.CaptureFixture[str], api: httpx2.AsyncClient
) -> None:
    capsys.readouterr()
    await api.get("/staff", headers=as_role("admin", **{"X-Request-ID": "request-12345"}))
    stdlib.getLogger("some.library").warning("of %s", "a library", extra={"authorization": "Bearer abc"})
    ours, theirs = lines(capsys)
    assert ours | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "logger": "shop",
        "message": "staff is in",
        "service": "shop",
        "request_id": "request-12345",
        "method": "GET",
        "path": "/staff",
        "user_id": 7,
        "who": "jan@example.com",
        "password": "[redacted]",
        "token": "[redacted]",
    }
    assert (theirs["message"], theirs["logger"], theirs["level"]) == (
        "of a library",
        "some.library",
        "warning",
    )
    assert theirs["authorization"] == "[redacted]"


async def test_roles(api: httpx2.AsyncClient) -> None:
    nobody = await api.get("/me")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    for header in ("", "Bearer", "Bearer ", "Basic abc", "abc"):
        assert (await api.get("/me", headers={"Authorization": header})).status_code == 401
    assert (await api.get("/staff", headers=as_role("employee"))).json() == {"role": "employee"}
    assert (await api.get("/me", headers={"Authorization": "bearer customer"})).json() == {"role": "customer"}
    forbidden = await api.get("/staff", headers=as_role("customer"))
    assert forbidden.status_code == 403
    assert forbidden.json() == {
        "error": "insufficient_permissions",
        "message": "You do not have permission to access this resource",
        "required_roles": ["admin", "employee"],
        "user_role": "customer",
    }


async def test_the_role_of_this_moment_comes_from_the_gateway_only() -> None:
    fresh = {"X-User-Id": "7", "X-User-Role": "customer"}
    async with client(application(), peer="10.1.2.3") as behind_gateway:
        assert (await behind_gateway.get("/staff", headers=as_role("admin", **fresh))).status_code == 403
        other = fresh | {"X-User-Id": "8"}
        assert (await behind_gateway.get("/staff", headers=as_role("admin", **other))).status_code == 200
    async with client(application(), peer="192.0.2.1") as direct:
        forged = {"X-User-Id": "7", "X-User-Role": "admin"}
        assert (await direct.get("/staff", headers=as_role("customer", **forged))).status_code == 403


async def test_metrics_by_route_template(api: httpx2.AsyncClient) -> None:
    for path in ("/items/1", "/items/2", "/items/101", "/crash", "/no/such", "/nor/this", "/health/live"):
        await api.get(path)
    text = (await api.get("/metrics")).text
    assert 'http_requests_total{method="GET",route="/items/{number}",status="200"} 2.0' in text
    assert 'http_requests_total{method="GET",route="/items/{number}",status="404"} 1.0' in text
    assert 'http_requests_total{method="GET",route="/crash",status="500"} 1.0' in text
    assert 'http_requests_total{method="GET",route="unmatched",status="404"} 2.0' in text
    assert 'http_request_seconds_count{method="GET",route="/items/{number}"} 3.0' in text
    assert "/items/1" not in text
    assert "/health" not in text
    assert "process_resident_memory_bytes" in text


async def test_methods_that_are_made_up_are_one_series(api: httpx2.AsyncClient) -> None:
    for method in ("BREW", "WHEN"):
        assert (await api.request(method, "/no/such")).status_code == 404
    text = (await api.get("/metrics")).text
    assert 'http_requests_total{method="OTHER",route="unmatched",status="404"} 2.0' in text
    assert 'http_request_seconds_count{method="OTHER",route="unmatched"} 2.0' in text
    assert "BREW" not in text


async def test_a_value_that_the_database_cannot_hold(postgres: Postgres) -> None:
    """It passed the service's checks, and is the client's all the same: 500 would count against everybody."""
    async with client(application(PLAIN, **postgres.settings("postgres"))) as api:
        for path in ("/session", "/driver"):
            assert (await api.get(f"{path}/32767")).status_code == 200
            refused = await api.get(f"{path}/32768")
            assert refused.status_code == 400
            assert refused.json() == {
                "error": "Invalid request",
                "fields": {"request": "has a value that cannot be kept"},
            }


async def test_live_without_the_database_but_not_ready(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/health/live")).json() == {"status": "ok"}
    ready = await api.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {"status": "unavailable", "checks": {"database": "OperationalError"}}
    down = await api.get("/rows")
    assert (down.status_code, down.json()) == (503, {"error": "Service unavailable"})


async def test_cors(api: httpx2.AsyncClient) -> None:
    ask = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
    good = await api.options("/items", headers={"Origin": "https://shop.example", **ask})
    assert good.headers["access-control-allow-origin"] == "https://shop.example"
    bad = await api.options("/items", headers={"Origin": "https://evil.example", **ask})
    assert "access-control-allow-origin" not in bad.headers
    failed = await api.get("/crash", headers={"Origin": "https://shop.example"})
    assert failed.headers["access-control-allow-origin"] == "https://shop.example"


def test_openapi_documents_what_is_answered() -> None:
    document = application().openapi()
    assert document == application().openapi()
    answers = document["paths"]["/items/{number}"]["get"]["responses"]
    assert set(answers) == {"200", "400", "404"}
    assert answers["404"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "/metrics" not in document["paths"]


def test_a_contract_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        kit.app.contract("auth", "nonsense")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: CONTRACT: auth has no contract nonsense\n"


async def test_traces_reach_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where an endpoint is configured: spans by route template, none of probes."""
    monkeypatch.setattr(context, "tracer", None)  # and so it is after this test
    monkeypatch.setattr(tracing, "PATIENCE", 60.0)
    asked: list[tuple[str, str]] = []
    received: list[ExportTraceServiceRequest] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Content-Type"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The test's output is not its log."""

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        try:
            for app in (application(), application(otel_exporter_otlp_endpoint=endpoint)):
                async with client(app) as api:
                    for path in ("/items/1", "/health/live"):
                        assert (await api.get(path)).status_code == 200
                for each in app.user_middleware:
                    provider: Any = each.kwargs.get("tracer_provider")
                    if provider is not None:
                        await asyncio.to_thread(provider.shutdown)
        finally:
            collector.shutdown()
    assert set(asked) == {("/v1/traces", "application/x-protobuf")}
    spans = [
        span for each in received for scope in each.resource_spans[0].scope_spans for span in scope.spans
    ]
    assert {span.name for span in spans if span.kind == span.SPAN_KIND_SERVER} == {"GET /items/{number}"}
    resource = {
        each.key: each.value.string_value for each in received[0].resource_spans[0].resource.attributes
    }
    assert (resource["service.name"], resource["service.namespace"]) == ("shop", "warehouse")


def test_the_probe_imports_nothing_heavy() -> None:
    script = "import sys, kit.health; print(sorted({'fastapi', 'asyncio', 'socket'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=SERVICES, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
