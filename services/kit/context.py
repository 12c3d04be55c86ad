"""What follows a request from service to service, over HTTP and through queues: its id, and its trace."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

REQUEST_ID = "X-Request-ID"
VALID = re.compile(r"^[A-Za-z0-9._-]{8,128}$")

# Set by `kit.tracing` where tracing is on; elsewhere OpenTelemetry is not even imported.
tracer: Tracer | None = None


def trace_id() -> str | None:
    """Of the trace that what is done here and now belongs to, as 32 hexadecimal digits."""
    if tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    found = get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else None


def outgoing() -> dict[str, str]:
    """The headers that a call or an event made here and now is to carry."""
    headers = {}
    if request_id := structlog.contextvars.get_contextvars().get("request_id"):
        headers[REQUEST_ID] = str(request_id)
    if tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
    return headers


def bound(headers: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Log lines within carry the id of the request that these headers come from."""
    request_id = str(headers.get(REQUEST_ID, ""))
    found = {"request_id": request_id} if VALID.match(request_id) else {}
    return structlog.contextvars.bound_contextvars(**found)


@contextmanager
def incoming(headers: Mapping[str, Any], doing: str, kind: str = "CONSUMER") -> Iterator[None]:
    """As `bound`, and a span `doing` of this kind continues the request's trace."""
    with bound(headers):
        if tracer is None:
            yield
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name: str(headers[name]) for name in ("traceparent", "tracestate") if name in headers}
        parent = TraceContextTextMapPropagator().extract(carrier)
        with tracer.start_as_current_span(doing, parent, SpanKind[kind]):
            yield


@contextmanager
def span(doing: str) -> Iterator[None]:
    """A call to somebody else, as a span of its own where tracing is on."""
    if tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with tracer.start_as_current_span(doing, kind=SpanKind.CLIENT):
        yield
