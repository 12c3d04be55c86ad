"""One trace from a request through the outbox and the queue to the database; and nothing where it is off."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kit.app
import psycopg
import pytest
from fastapi import APIRouter, FastAPI
from kit import context, logging, outbox, tracing
from kit.broker import RabbitPublisher
from kit.consumer import Consumer, Message
from kit.database import Database, Session
from kit.effects import once
from kit.lanes import Lanes
from kit.outbox import Event, Relay
from kit.tests.conftest import Settings, lines
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from testing.app import client
from testing.process import free_port

SERVICES = Path(kit.app.__file__).parents[1]
TRACE, GATEWAY = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "jan.kowalski@example.com"

router = APIRouter()


@router.post("/things/{queue}", status_code=201)
async def thing(queue: str, session: Session) -> None:
    await outbox.add(session, Event("thing.made", "thing", "1", queue, {"n": 1}))


@pytest.fixture
def spans(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Tracing is on, and the spans that have ended are here."""
    monkeypatch.setattr(context, "tracer", None)  # and so it is after this test
    exported = InMemorySpanExporter()
    provider = tracing.start(settings, SimpleSpanProcessor(exported))
    monkeypatch.setattr(tracing, "start", lambda _: provider)
    yield exported
    provider.shutdown()


@pytest.fixture
async def traced(settings: Settings, spans: InMemorySpanExporter) -> AsyncIterator[Database]:
    async with Database.open(settings) as found:
        yield found


def application(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with Database.open(settings) as database:
            yield {"database": database}

    here = settings.model_copy(update={"otel_exporter_otlp_endpoint": "http://collector:4318"})
    return kit.app.create(here, title="Shop", routers=[router], lifespan=lifespan)


async def test_one_trace_from_the_gateway_through_the_broker_to_the_database(
    settings: Settings,
    spans: InMemorySpanExporter,
    traced: Database,
    queue: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = asyncio.Event()

    async def take(session: AsyncSession, message: Message) -> None:
        logging.get("shop").info("taken")
        await session.execute(text("INSERT INTO effects VALUES (:id, :n)"), {"id": message.id, "n": 1})
        done.set()

    headers = {"X-Request-ID": "request-12345", "traceparent": f"00-{TRACE}-{GATEWAY}-01"}
    async with client(application(settings)) as http:
        assert (await http.post(f"/things/{queue}", headers=headers)).status_code == 201
    async with RabbitPublisher.open(settings) as publisher:
        await Relay(traced, publisher, queues=[queue]).once()
    consumer = Consumer(settings, queue, once(traced, settings.service_name, take), database=traced)
    async with consumer.running(), asyncio.timeout(60):
        await done.wait()
    found = {span.name: span for span in spans.get_finished_spans()}
    assert {trace(span) for span in found.values()} == {TRACE}
    request, sent, processed = (
        found[name] for name in ("POST /things/{queue}", f"send {queue}", f"process {queue}")
    )
    written = [span for span in found.values() if span.attributes and "db.query.text" in span.attributes]
    assert parent(request) == GATEWAY
    assert [parent(each) for each in (sent, processed)] == [own(request), own(sent)]
    assert {parent(span) for span in written} == {own(request), own(processed)}
    assert {span.attributes["db.namespace"] for span in written if span.attributes} == {
        settings.database_name
    }
    (taken,) = [each for each in lines(capsys) if each["message"] == "taken"]
    assert (taken["request_id"], taken["trace_id"]) == ("request-12345", TRACE)


def trace(span: ReadableSpan) -> str:
    return f"{_context(span).trace_id:032x}"


def own(span: ReadableSpan) -> str:
    return f"{_context(span).span_id:016x}"


def _context(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def parent(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


async def test_spans_are_not_named_by_methods_that_are_made_up(
    settings: Settings, spans: InMemorySpanExporter
) -> None:
    async with client(application(settings)) as http:
        await http.request("BREW", "/no/such")
    assert [span.name for span in spans.get_finished_spans()] == ["OTHER unmatched"]


async def test_a_statement_tells_its_text_and_no_value(
    settings: Settings, spans: InMemorySpanExporter, traced: Database
) -> None:
    """Over SQLAlchemy and over the driver itself; an error tells its code and not its row."""
    assert context.tracer is not None
    async with traced.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE people (email text UNIQUE)"))
    with context.tracer.start_as_current_span("request"):
        async with traced.transaction() as session:
            await session.execute(text("INSERT INTO people VALUES (:email)"), {"email": SECRET})
        async with Lanes.open(traced, size=1) as lanes, lanes.lane() as lane:
            await lane.execute(b"SELECT *\n  FROM people WHERE email = %s", [SECRET])
            await lane.cursor().executemany("DELETE FROM people WHERE email = %s", [["a"], ["b"]])
            with pytest.raises(psycopg.errors.UniqueViolation):
                await lane.execute("INSERT INTO people VALUES (%s)", [SECRET])
    found = spans.get_finished_spans()
    assert [span.name.split()[0] for span in found] == ["INSERT", "SELECT", "DELETE", "INSERT", "request"]
    told = [dict(span.attributes or {}) for span in found]
    assert told[1]["db.query.text"] == "SELECT * FROM people WHERE email = %s"
    assert told[3]["error.type"] == "23505"
    assert found[3].status.status_code is StatusCode.ERROR
    assert not any(SECRET in span.to_json() for span in found)


async def test_what_belongs_to_no_request_makes_no_trace(
    settings: Settings, spans: InMemorySpanExporter, traced: Database, publisher: RabbitPublisher
) -> None:
    """The looks of relays and probes, of which there are more than requests."""
    await Relay(traced, publisher, queues=["nothing"]).once()
    await traced.ping()
    assert spans.get_finished_spans() == ()


async def test_a_collector_that_is_away_holds_up_neither_requests_nor_a_stop(
    settings: Settings, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "tracer", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")  # what it would be without ours
    async with asyncio.timeout(tracing.PATIENCE + 20), client(application(settings)) as http:
        assert (await http.post(f"/things/{queue}")).status_code == 201


async def test_a_request_that_is_not_sampled_costs_no_spans(
    settings: Settings, spans: InMemorySpanExporter, queue: str
) -> None:
    async with client(application(settings)) as http:
        unsampled = {"traceparent": f"00-{TRACE}-{GATEWAY}-00"}
        assert (await http.post(f"/things/{queue}", headers=unsampled)).status_code == 201
    assert spans.get_finished_spans() == ()


def test_where_tracing_is_off_none_of_its_machinery_is_imported() -> None:
    """FastAPI imports the interfaces itself."""
    script = """
import sys
import orders.bootstrap
print({name.split(".")[1] for name in sys.modules if name.startswith("opentelemetry.")})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=SERVICES, capture_output=True, text=True, check=True
    )
    imported = ast.literal_eval(done.stdout)
    assert not imported & {"exporter", "instrumentation", "sdk"}
