"""OpenTelemetry traces of requests, only where an OTLP endpoint is configured."""

from __future__ import annotations

from opentelemetry import trace
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit import context
from kit.metrics import template
from kit.settings import Settings


def middleware(settings: Settings) -> list[Middleware]:
    """The ASGI instrumentation, exporting to `OTEL_EXPORTER_OTLP_ENDPOINT` as OTLP over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.name": settings.service_name,
                "service.namespace": settings.application,
                "deployment.environment.name": settings.environment,
            }
        )
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    context.tracer = provider.get_tracer("kit")  # for what is no request: events, calls
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
    """Names the span after the route, once it is known: names by path would be without end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def name(message: Message) -> None:
            if message["type"] == "http.response.start":  # the span ends with the answer
                span = trace.get_current_span()
                span.update_name(f"{scope['method']} {template(scope)}")
                span.set_attribute("http.route", template(scope))
            await send(message)

        await self.app(scope, receive, name)
