"""The warehouse's contract: the paths, answers and texts of its original orders service.

Differences on purpose: a customer sees only own orders, an illegal change of status is 409, lists have pages
(`X-Total-Count` says how much there is), and `/ws` wants a token and tells only who may see the order.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Header, Path, Query, Request, Response
from kit.addresses import recipient
from kit.authentication import Current
from kit.errors import Forbidden, Unauthorized, responses
from kit.live import Gate
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema
from starlette.websockets import WebSocket

from orders import events
from orders.contracts import Contract
from orders.dependencies import UseCases
from orders.fields import IdempotencyKey, Line, money
from orders.idempotency import KeyInUse, KeyReused
from orders.language import preferred
from orders.live import Update
from orders.models import Source
from orders.orders import Filters, IllegalStatus, NewOrder, Order, OrderNotFound, Rules
from orders.settings import WarehouseSettings
from orders.status import GOODS, Status

MAX_PAGE = 1000
POLISH = {"źródło_jeden": Source.ZRODLO_JEDEN, "źródło_dwa": Source.ZRODLO_DWA}


def _email(text: str) -> str:
    found = text.lower()
    if not all(recipient(found).domain.rpartition(".")):  # a bare host is a slip
        raise ValueError("is not an e-mail address")
    return found


def _source(given: object) -> object:
    return POLISH.get(unicodedata.normalize("NFC", given), given) if isinstance(given, str) else given


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


Name = Annotated[Line, Field(examples=["Jan Kowalski"])]
Email = Annotated[
    str,
    AfterValidator(_email),
    Field(examples=["jan@example.com"], json_schema_extra={"format": "email", "maxLength": 254}),
]
AnySource = Annotated[
    Source, BeforeValidator(_source), Field(description="`źródło_jeden` and `źródło_dwa` are understood too")
]
Money = Annotated[
    Decimal,
    Field(ge=0, max_digits=12, decimal_places=2, examples=[299.99]),
    WithJsonSchema({"type": "number", "minimum": 0, "multipleOf": 0.01, "maximum": 9999999999.99}),
]
Accepted = Annotated[
    str | None,
    Header(alias="Accept-Language", description="the customer's mails: `pl`, unless `en` is preferred"),
]
Time = Annotated[datetime, AfterValidator(_utc)]
OrderId = Annotated[int, Path(ge=1, le=2**31 - 1)]
Sort = Literal["created_at", "-created_at", "updated_at", "-updated_at", "total_amount", "-total_amount"]


class OrderIn(BaseModel):
    customer_name: Name
    customer_email: Email
    source: AnySource = Source.WEBSITE
    total_amount: Money


class OrderOut(BaseModel):
    """Times are UTC; `total_amount` always has two decimals."""

    id: int
    customer_name: str
    customer_email: str
    source: Source
    status: Status
    total_amount: Annotated[Decimal, WithJsonSchema({"type": "number"})]
    created_at: datetime
    updated_at: datetime


class ChangeOut(BaseModel):
    """`old_status` is null for the order's first."""

    old_status: Status | None
    new_status: Status
    changed_by: Annotated[int, Field(description="the user's id")]
    role: str
    changed_at: datetime


class StatusIn(BaseModel):
    status: Status


class StatusOut(BaseModel):
    message: str
    order_id: int
    new_status: Status


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    service: str


async def list_orders(
    identity: Current,
    use: UseCases,
    status: Annotated[list[Status] | None, Query()] = None,
    source: Annotated[list[AnySource] | None, Query()] = None,
    customer_email: Email | None = None,
    query: Annotated[
        Line | None, Query(description="part of the customer's name, in capitals or not")
    ] = None,
    created_from: Annotated[Time | None, Query(description="inclusive; UTC unless it says otherwise")] = None,
    created_to: Annotated[Time | None, Query(description="exclusive")] = None,
    sort: Annotated[Sort, Query(description="`-` is descending")] = "-created_at",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    filters = Filters(status or (), source or (), customer_email, query, created_from, created_to)
    found, total = await use.page(filters, identity, sort, limit, offset)
    return _json([_shown(each) for each in found], headers={"X-Total-Count": str(total)})


async def count_orders(identity: Current, use: UseCases) -> Response:
    return _json(await use.counts(identity))


async def create_order(
    identity: Current, body: OrderIn, use: UseCases, key: IdempotencyKey = None, accepted: Accepted = None
) -> Response:
    language = preferred(accepted)
    new = NewOrder(body.customer_name, body.customer_email, body.source, body.total_amount, language)
    if key is None:
        return _json(_shown(await use.place(new, identity)), status=201)
    answer, replayed = await use.place_once(new, identity, key, lambda order: _dump(_shown(order)))
    return Response(answer, 201, REPLAYED if replayed else None, "application/json")


async def get_order(identity: Current, order_id: OrderId, use: UseCases) -> Response:
    return _json(_shown(await use.find(order_id, identity)))


async def get_history(identity: Current, order_id: OrderId, use: UseCases) -> Response:
    return _json([each._asdict() for each in await use.history(order_id, identity)])


async def update_status(identity: Current, order_id: OrderId, body: StatusIn, use: UseCases) -> StatusOut:
    order = await use.change_status(order_id, body.status, identity)
    return StatusOut(
        message="Order status updated successfully", order_id=order.id, new_status=Status(order.status)
    )


async def live_updates(websocket: WebSocket) -> None:
    gate: Gate[Update] = websocket.state.gate
    await gate.serve(websocket, _update, '{"type":"heartbeat"}')


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


def _update(update: Update) -> str:
    payload = {
        "order_id": update.order_id,
        "new_status": update.new_status,
        "updated_by": update.updated_by,
    }
    return orjson.dumps({"type": "order_update", "payload": payload}).decode()


def _shown(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "customer_name": order.customer_name,
        "customer_email": order.customer_email,
        "source": order.source,
        "status": order.status,
        "total_amount": money(order.total_amount),
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }


def _json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_dump(content), status, headers, "application/json")


def _dump(content: object) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


LIST: dict[str, Any] = {
    "headers": {"X-Total-Count": {"description": "Orders on all pages", "schema": {"type": "integer"}}}
}
REPLAYED = {"Idempotent-Replayed": "true"}
PLACED: dict[str, Any] = {
    "headers": {
        "Idempotent-Replayed": {
            "description": "The answer to an earlier request with this key",
            "schema": {"type": "string", "enum": ["true"]},
        }
    }
}

router = APIRouter(tags=["orders"])
for path, shown in (("/api/orders", True), ("/api/orders/", False)):
    router.add_api_route(
        path,
        list_orders,
        response_model=list[OrderOut],
        responses={200: LIST, **responses(Unauthorized)},
        include_in_schema=shown,
    )
    router.add_api_route(
        path,
        create_order,
        methods=["POST"],
        status_code=201,
        response_model=OrderOut,
        responses={201: PLACED, **responses(Unauthorized, Forbidden, KeyInUse, KeyReused)},
        include_in_schema=shown,
    )
for path, shown in (("/api/orders/counts", True), ("/api/orders/counts/", False)):
    router.add_api_route(
        path,
        count_orders,
        response_model=dict[Status, int],
        responses=responses(Unauthorized, Forbidden),
        include_in_schema=shown,
    )
for path, shown in (("/api/orders/{order_id}", True), ("/api/orders/{order_id}/", False)):
    router.add_api_route(
        path,
        get_order,
        response_model=OrderOut,
        responses=responses(Unauthorized, OrderNotFound),
        include_in_schema=shown,
    )
for path, shown in (("/api/orders/{order_id}/history", True), ("/api/orders/{order_id}/history/", False)):
    router.add_api_route(
        path,
        get_history,
        response_model=list[ChangeOut],
        responses=responses(Unauthorized, OrderNotFound),
        include_in_schema=shown,
    )
for path, shown in (("/api/orders/{order_id}/status", True), ("/api/orders/{order_id}/status/", False)):
    router.add_api_route(
        path,
        update_status,
        methods=["PATCH"],
        responses=responses(Unauthorized, Forbidden, OrderNotFound, IllegalStatus),
        include_in_schema=shown,
    )
router.add_api_route("/health", health)
router.add_api_websocket_route("/ws", live_updates)

CONTRACT = Contract(
    router,
    WarehouseSettings,
    Rules(life=GOODS, told=events.for_warehouse, live=True),
    queues=events.QUEUES,
)
