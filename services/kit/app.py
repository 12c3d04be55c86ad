"""Assembly of a service: its routers plus what every service has, every resource opened and closed here."""

from __future__ import annotations

import asyncio
import importlib
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import psycopg
import structlog
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit import context, health, logging
from kit.authentication import Authenticator
from kit.database import Database, unavailable
from kit.errors import PLAIN, Invalid, MethodNotAllowed, NotFound, ServiceError, Shape, Unavailable
from kit.metrics import Metrics, MetricsMiddleware, template
from kit.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.get("kit.app")


class State(TypedDict):
    """What requests find as `request.state`; a service's own state extends this class."""

    database: Database
    authenticator: Authenticator


class Ready(Protocol):
    """The dependencies without which a service is not ready: name -> check that raises."""

    def __call__(self, state: Any) -> Mapping[str, Callable[[], Awaitable[None]]]: ...


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


def create(
    settings: Settings,
    *,
    title: str,
    routers: Sequence[APIRouter],
    lifespan: Lifespan,
    ready: Ready = lambda state: {"database": state.database.ping},
    errors: Shape = PLAIN,
    version: str = "1.0.0",
) -> FastAPI:
    """The ASGI application of a service.

    `lifespan(app)` opens the service's resources and yields its `State`. `app.state.metrics` is the registry.
    `errors` is how the contract words them.
    """
    logging.configure(settings.service_name, settings.log_level)
    metrics = Metrics()
    provider = _provider(settings)

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with lifespan(app) as state:
            log.info("started", contract=settings.contract, version=version)
            yield dict(state)
        log.info("stopped")
        if provider is not None:
            await asyncio.to_thread(provider.force_flush)

    app = FastAPI(
        title=title,
        version=version,
        lifespan=opened,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,  # a redirected POST loses its body in many clients
        middleware=_middleware(settings, metrics, provider, errors),
        responses={400: {"model": errors.invalid, "description": "Bad Request"}},
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.errors = errors
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    for down in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(down, _database_down)
    for impossible in (DataError, psycopg.DataError):
        app.add_exception_handler(impossible, _impossible)
    for router in routers:
        app.include_router(router)
    app.router.routes.extend([*health.routes(lambda request: ready(request.state)), metrics.route()])
    generate = app.openapi
    app.openapi = lambda: _without_422(generate())  # type: ignore[method-assign]
    return app


def contract(service: str, name: str) -> Any:
    """The module `SERVICE.contracts.NAME`, or exit status 2 if there is no such contract."""
    module = f"{service}.contracts.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        print(f"error: CONTRACT: {service} has no contract {name}", file=sys.stderr)
        raise SystemExit(2) from None


class RequestMiddleware:
    """Gives each request an id (the gateway's, else a new one); a crash becomes one log line and a 500.

    A request without an answer after `patience` seconds is given up, with a 503: what it waits for may wait
    for ever, and who asked has gone by then.
    """

    def __init__(self, app: ASGIApp, patience: float, errors: Shape) -> None:
        self.app = app
        self.patience = patience
        self.errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = next(
            (value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), ""
        )
        request_id = given if context.VALID.match(given) else uuid.uuid4().hex
        header = (b"x-request-id", request_id.encode())
        status = 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.accept"):
                status = message.get("status", 101)
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        # `user_id` is told by who finds it out (kit.authentication).
        about = {"method": scope.get("method"), "path": scope["path"], "user_id": None}
        with structlog.contextvars.bound_contextvars(request_id=request_id, **about):
            limit = asyncio.timeout(self.patience if scope["type"] == "http" else None)
            try:
                async with limit:
                    await self.app(scope, receive, stamped)
            except Exception:
                error: ServiceError
                if limit.expired():
                    log.error("no answer in time", route=template(scope), seconds=self.patience)
                    error = Unavailable()
                else:
                    log.exception("unhandled error", route=template(scope))
                    error = ServiceError()
                if scope["type"] == "websocket" or status:
                    raise
                body = self.errors.body(error)
                await JSONResponse(body, status_code=error.status)(scope, receive, stamped)
            finally:
                # The gateway logs every request under the same id; we what went wrong, and what was done.
                if status >= 400:
                    log.info("refused", route=template(scope), status=status)


def _provider(settings: Settings) -> TracerProvider | None:
    if not settings.otel_exporter_otlp_endpoint:
        return None
    from kit import tracing

    return tracing.start(settings)


def _middleware(
    settings: Settings, metrics: Metrics, provider: TracerProvider | None, errors: Shape
) -> list[Middleware]:
    """Outermost first."""
    found = [Middleware(MetricsMiddleware, metrics=metrics)]
    if provider is not None:
        from kit import tracing

        found += tracing.middleware(provider)
    if settings.cors_origins:
        found.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"],
                expose_headers=["X-Request-ID", "X-Total-Count", "Retry-After", "Idempotent-Replayed"],
                max_age=600,
            )
        )
    return [*found, Middleware(RequestMiddleware, patience=settings.answer_timeout, errors=errors)]


async def _service_error(request: Request, error: Any) -> Response:
    return _worded(request, error, error.status)


def _worded(request: Request, error: ServiceError, status: int) -> Response:
    errors: Shape = request.app.state.errors
    return JSONResponse(errors.body(error), status_code=status, headers=error.headers)


async def _http_error(request: Request, error: Any) -> Response:
    if error.status_code == 400:  # FastAPI's own, of a body that is not even text
        return await _service_error(request, Invalid({"body": error.detail}))
    kind = NotFound if error.status_code == 404 else MethodNotAllowed
    return _worded(request, kind(error.detail, headers=error.headers), error.status_code)


async def _database_down(request: Request, error: Any) -> Response:
    return await _service_error(request, unavailable(error))


async def _impossible(request: Request, error: Any) -> Response:
    """A value that no check of ours refused, and no column takes: their gap, but no outage of the service."""
    log.error("database refused a value", route=template(request.scope), reason=type(error).__name__)
    return await _service_error(request, Invalid({"request": "has a value that cannot be kept"}))


async def _invalid(request: Request, error: Any) -> Response:
    fields = {_field(each): str(each["msg"]).removeprefix("Value error, ") for each in error.errors()}
    return await _service_error(request, Invalid(fields))


def _field(wrong: dict[str, Any]) -> str:
    """`email`, `items.0.price`; `body` when it is not JSON at all."""
    inner = wrong["loc"][1:] if wrong["type"] != "json_invalid" else ()
    return ".".join(map(str, inner)) or str(wrong["loc"][0])


def _without_422(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI documents 422 for invalid requests; ours are 400, and a 422 that a route declares stays."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            found = operation.get("responses", {})
            if "HTTPValidationError" in str(found.get("422")):
                del found["422"]
    for unused in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(unused, None)
    return document
