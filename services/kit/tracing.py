"""OpenTelemetry traces of requests, events and statements, only where an OTLP endpoint is configured.

The kit's own spans, in place of the instrumentations of each library: they begin nothing by themselves, so
that a relay or a health check that looks at the database makes no trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from psycopg.abc import Query
from psycopg.rows import Row
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit import context
from kit.metrics import standard, template
from kit.settings import Settings

PATIENCE = 2.0  # seconds for the collector to take what is sent, tries again included: a stop waits so long


def start(settings: Settings, processor: SpanProcessor | None = None) -> TracerProvider:
    """Sets `context.tracer`. By default to `OTEL_EXPORTER_OTLP_ENDPOINT`, as OTLP over HTTP.

    Whether a request is recorded is decided where its trace begins; `OTEL_TRACES_SAMPLER` says otherwise.
    """
    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.name": settings.service_name,
                "service.namespace": settings.application,
                "deployment.environment.name": settings.environment,
            }
        )
    )
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter(timeout=PATIENCE)))
    context.tracer = provider.get_tracer("kit")
    return provider


def middleware(provider: TracerProvider) -> list[Middleware]:
    """A span for each request, probes left out."""
    return [
        Middleware(
            OpenTelemetryMiddleware,
            tracer_provider=provider,
            excluded_urls="health/,metrics",
            exclude_spans=["receive", "send"],
        ),
        Middleware(RouteMiddleware),
    ]


class RouteMiddleware:
    """Names the span after the route, once it is known: by path or any method, names would be without end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def name(message: Message) -> None:
            if message["type"] == "http.response.start":  # the span ends with the answer
                span = trace.get_current_span()
                span.update_name(f"{standard(scope)} {template(scope)}")
                span.set_attribute("http.route", template(scope))
            await send(message)

        await self.app(scope, receive, name)


class Cursor(psycopg.AsyncCursor[Row]):
    """Each statement that belongs to a trace is a span, with its text and never its parameters."""

    async def execute(self, query: Query, *arguments: Any, **options: Any) -> Cursor[Row]:
        with self._span(query):
            return await super().execute(query, *arguments, **options)

    async def executemany(self, query: Query, *arguments: Any, **options: Any) -> None:
        with self._span(query):
            await super().executemany(query, *arguments, **options)

    @contextmanager
    def _span(self, query: Query) -> Iterator[None]:
        tracer = context.tracer
        if tracer is None or not trace.get_current_span().is_recording():
            yield
            return
        text = _text(query)
        operation = text.partition(" ")[0].upper()
        database = self.connection.info.dbname
        attributes = {
            "db.system.name": "postgresql",
            "db.namespace": database,
            "db.operation.name": operation,
            "db.query.text": text,
        }
        with tracer.start_as_current_span(
            f"{operation} {database}",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,  # its text may quote a row
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except psycopg.Error as error:
                span.set_attribute("error.type", error.sqlstate or type(error).__name__)
                span.set_status(trace.StatusCode.ERROR)
                raise


def _text(query: Query) -> str:
    """On one line. What is composed may hold values, and is not told."""
    if isinstance(query, bytes):
        query = query.decode()
    return " ".join(query.split()) if isinstance(query, str) else "(composed)"
