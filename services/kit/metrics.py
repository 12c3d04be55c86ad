"""Prometheus metrics of HTTP by method and route template (never by path), and `/metrics`."""

from __future__ import annotations

import time
from http import HTTPMethod

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
METHODS = frozenset(HTTPMethod)
OWN = ("/metrics", "/health/live", "/health/ready")  # probes and scrapes are not traffic


disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is scraped and stored


class Metrics:
    """One registry for one app; services add their own metrics to `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Counter(
            "http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "http_request_seconds",
            "Time to the last byte of the answer",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )

    def route(self) -> BaseRoute:
        async def metrics(_: Request) -> Response:
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        return Route("/metrics", metrics)


class MetricsMiddleware:
    """Counts and times each HTTP request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OWN:
            await self.app(scope, receive, send)
            return
        status = 500
        begun = time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            method, route = standard(scope), template(scope)
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.seconds.labels(method, route).observe(time.perf_counter() - begun)


def standard(scope: Scope) -> str:
    """The request's method; one name for all that are no standard's, of which anybody can make up more."""
    return str(scope["method"]) if scope["method"] in METHODS else "OTHER"


def template(scope: Scope) -> str:
    """`/api/orders/{id}` for `/api/orders/17`; one name for all that no route matched."""
    return str(getattr(scope.get("route"), "path", None) or "unmatched")
