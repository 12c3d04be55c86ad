"""The gatekeeper's contract: the paths, envelopes, codes and words of its original service of orders.

Differences on purpose: an order that is completed or cancelled stays so, and so do its items. `processing` is
what answers call a state that the document also calls `in_progress`: both are understood.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from kit.authentication import Current
from kit.envelope import ENVELOPE, Listed, Success, answer, dump, responses
from kit.errors import Conflict, Forbidden, Invalid, Unauthorized
from kit.fields import PageNumber, PerPage, Uuid, UuidPath
from pydantic import BaseModel, Field

from orders.contracts import Contract
from orders.dependencies import UseCases
from orders.fields import MOST, Amount, IdempotencyKey, Line, Number, Price, money
from orders.idempotency import KeyInUse, KeyReused
from orders.models import Source
from orders.orders import (
    Filters,
    IllegalStatus,
    Item,
    NewOrder,
    Order,
    OrderNotFound,
    Rules,
    sees_all,
    total,
)
from orders.settings import GatekeeperSettings
from orders.status import FORWARD, Life, Status

Word = Literal["created", "processing", "completed", "cancelled"]
SHOWN: dict[Status, Word] = {
    Status.NEW: "created",
    Status.CONFIRMED: "processing",
    Status.SHIPPED: "processing",
    Status.DELIVERED: "completed",
    Status.CANCELLED: "cancelled",
}
AnyWord = Literal["created", "processing", "in_progress", "completed", "cancelled"]
MEANT = {
    "created": Status.NEW,
    "processing": Status.CONFIRMED,
    "in_progress": Status.CONFIRMED,
    "completed": Status.DELIVERED,
    "cancelled": Status.CANCELLED,
}
LIFE = Life(FORWARD, own={Status.NEW: (Status.CANCELLED,), Status.CONFIRMED: (Status.CANCELLED,)})
SortBy = Literal["created_at", "updated_at", "total_amount"]


class NotNow(Conflict):
    """409: the life of an order does not go that way."""


class ItemIn(BaseModel):
    product: Annotated[Line, Field(examples=["Laptop"])]
    quantity: Annotated[int, Field(ge=1, le=10_000)]
    price: Price


Items = Annotated[list[ItemIn], Field(min_length=1, max_length=100)]


class OrderIn(BaseModel):
    items: Items


class OrderChange(BaseModel):
    items: Items | None = None
    status: AnyWord | None = None


class StatusChange(BaseModel):
    status: AnyWord


class ItemOut(BaseModel):
    product: str
    quantity: int
    price: Number


class OrderOut(BaseModel):
    """Money always has two decimals."""

    id: uuid.UUID
    user_id: uuid.UUID
    items: list[ItemOut]
    status: Word
    total_amount: Number
    created_at: datetime
    updated_at: datetime


class Deleted(BaseModel):
    message: str
    deletedOrder: OrderOut


class ByStatus(BaseModel):
    created: int
    processing: int
    completed: int
    cancelled: int


class Stats(BaseModel):
    total_orders: int
    by_status: ByStatus
    recent_orders: int = Field(description="of the last 7 days")


class OwnStats(Stats):
    total_spent: Number = Field(description="on orders that are not cancelled")


class Revenue(BaseModel):
    total: Number
    average_order_value: Number


class AllStats(Stats):
    revenue: Revenue = Field(description="of orders that are not cancelled")


async def create_order(
    identity: Current, body: OrderIn, use: UseCases, key: IdempotencyKey = None
) -> Response:
    items = _items(body.items)
    name = identity.email[:200]  # an address may be longer than a name
    new = NewOrder(name, identity.email, Source.WEBSITE, total(items), items=items)
    if key is None:
        return answer(_shown(await use.place(new, identity)), status=201)
    first, replayed = await use.place_once(new, identity, key, lambda order: dump(_shown(order)))
    headers = {"Idempotent-Replayed": "true"} if replayed else None
    return Response(first, 201, headers, "application/json")


async def list_orders(
    identity: Current,
    use: UseCases,
    page: PageNumber = 1,
    per_page: PerPage = 10,
    status: AnyWord | None = None,
    min_amount: Amount | None = None,
    max_amount: Amount | None = None,
    sort_by: SortBy = "created_at",
    sort_order: Literal["asc", "desc"] = "desc",
    user_id: Annotated[Uuid | None, Query(alias="userId", description="for admins")] = None,
) -> Response:
    if user_id not in (None, identity.uid) and not sees_all(identity):
        raise Forbidden(("admin",), identity.role)
    filters = Filters(
        status=[each for each, word in SHOWN.items() if word == _word(status)],
        owner_uid=user_id,
        min_amount=min_amount,
        max_amount=max_amount,
    )
    sort = sort_by if sort_order == "asc" else f"-{sort_by}"
    found, count = await use.page(filters, identity, sort, per_page, (page - 1) * per_page)
    pagination = Listed.of([], page, per_page, count).pagination.model_dump()
    return answer([_shown(each) for each in found], pagination=pagination)


async def get_order(identity: Current, order_id: UuidPath, use: UseCases) -> Response:
    return answer(_shown(await use.find(order_id, identity)))


async def update_order(identity: Current, order_id: UuidPath, body: OrderChange, use: UseCases) -> Response:
    status = MEANT[body.status] if body.status else None
    with worded(body.status):
        if body.items is not None:
            return answer(_shown(await use.change(order_id, _items(body.items), status, identity)))
        if status is None:
            raise Invalid({"body": "has neither items nor status"})
        return answer(_shown(await use.change_status(order_id, status, identity)))


async def update_status(identity: Current, order_id: UuidPath, body: StatusChange, use: UseCases) -> Response:
    with worded(body.status):
        return answer(_shown(await use.change_status(order_id, MEANT[body.status], identity)))


async def delete_order(identity: Current, order_id: UuidPath, use: UseCases) -> Response:
    order = await use.delete(order_id, identity)
    return answer({"message": "Order deleted successfully", "deletedOrder": _shown(order)})


async def own_stats(identity: Current, use: UseCases) -> Response:
    found = await use.stats(identity, own=True)
    shown = {"total_spent": money(found.amount), "recent_orders": found.recent}
    return answer(_counted(found.by_status) | shown)


async def all_stats(identity: Current, use: UseCases) -> Response:
    found = await use.stats(identity, own=False)
    average = found.amount / found.kept if found.kept else Decimal(0)
    revenue = {"total": money(found.amount), "average_order_value": money(average)}
    return answer(_counted(found.by_status) | {"revenue": revenue, "recent_orders": found.recent})


@contextmanager
def worded(wanted: AnyWord | None) -> Iterator[None]:
    """What the domain objects to, in this contract's words."""
    try:
        yield
    except IllegalStatus as error:
        is_ = SHOWN[error.more["status"]]
        raise NotNow(f"An order that is {is_} cannot become {_word(wanted)}") from error


def _word(given: AnyWord | None) -> Word | None:
    return SHOWN[MEANT[given]] if given else None


def _items(given: list[ItemIn]) -> tuple[Item, ...]:
    found = tuple(Item(each.product, each.quantity, each.price) for each in given)
    if total(found) > MOST:
        raise Invalid({"items": f"come to more than {MOST}"})
    return found


def _shown(order: Order) -> dict[str, Any]:
    return {
        "id": order.uid,
        "user_id": order.owner_uid,
        "items": orjson.Fragment(order.items or "[]"),
        "status": SHOWN[Status(order.status)],
        "total_amount": money(order.total_amount),
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }


def _counted(by_status: dict[Status, int]) -> dict[str, Any]:
    counts = dict.fromkeys(SHOWN.values(), 0)
    for status, count in by_status.items():
        counts[SHOWN[status]] += count
    return {"total_orders": sum(counts.values()), "by_status": counts}


router = APIRouter(tags=["orders"], prefix="/v1")
router.add_api_route(
    "/orders",
    create_order,
    methods=["POST"],
    status_code=201,
    response_model=Success[OrderOut],
    responses=responses(Unauthorized, Forbidden, KeyInUse, KeyReused),
)
router.add_api_route(
    "/orders",
    list_orders,
    response_model=Listed[OrderOut],
    responses=responses(Unauthorized, Forbidden),
)
router.add_api_route(
    "/orders/my-stats", own_stats, response_model=Success[OwnStats], responses=responses(Unauthorized)
)
router.add_api_route(
    "/orders/stats",
    all_stats,
    response_model=Success[AllStats],
    responses=responses(Unauthorized, Forbidden),
)
router.add_api_route(
    "/orders/{order_id}",
    get_order,
    response_model=Success[OrderOut],
    responses=responses(Unauthorized, Forbidden, OrderNotFound),
)
router.add_api_route(
    "/orders/{order_id}",
    update_order,
    methods=["PUT"],
    response_model=Success[OrderOut],
    responses=responses(Unauthorized, Forbidden, OrderNotFound, NotNow),
)
# The second as an example of its document spells it.
for path in ("/orders/{order_id}/status", "/{order_id}/status"):
    router.add_api_route(
        path,
        update_status,
        methods=["PUT"],
        response_model=Success[OrderOut],
        responses=responses(Unauthorized, Forbidden, OrderNotFound, NotNow),
    )
router.add_api_route(
    "/orders/{order_id}",
    delete_order,
    methods=["DELETE"],
    response_model=Success[Deleted],
    responses=responses(Unauthorized, Forbidden, OrderNotFound),
)

CONTRACT = Contract(
    router,
    GatekeeperSettings,
    Rules(life=LIFE, told=lambda order, old: (), hides=False),  # noqa: ARG005
    errors=ENVELOPE,
)
