"""The starter's contract: orders below /api/orders through the gateway, and directly on the service's port.

Its document leaves bodies open: they are in an envelope, as the gatekeeper's are. Reading needs a token on
both ways; a status is changed by the order's owner or an admin, which the original asks of nobody.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from kit.authentication import Current, bearer
from kit.envelope import ENVELOPE, Listed, Success, answer, dump, responses
from kit.errors import Forbidden, Invalid, Unauthorized, Unavailable
from kit.fields import PageNumber, PerPage, UuidPath
from pydantic import BaseModel, Field

from orders import events
from orders.contracts import Contract
from orders.dependencies import UseCases
from orders.fields import MOST, IdempotencyKey, Line, Number, Price, money
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
    total,
)
from orders.settings import StarterSettings
from orders.status import FORWARD, Life, Status
from orders.users import Users


class OrderIn(BaseModel):
    product: Annotated[Line, Field(examples=["Go Programming Book"])]
    quantity: Annotated[int, Field(ge=1, le=10_000)]
    price: Price


class StatusChange(BaseModel):
    status: Status


class OrderOut(BaseModel):
    """Money always has two decimals."""

    id: uuid.UUID
    user_id: uuid.UUID
    product: str
    quantity: int
    price: Number
    total_amount: Number
    status: Status
    created_at: datetime
    updated_at: datetime


class Health(BaseModel):
    status: Literal["healthy"] = "healthy"
    service: str


async def _customer(request: Request, identity: Current) -> str:
    """The caller's name, as the service of users knows it."""
    users: Users = request.state.users
    return await users.name(identity, bearer(request))


Customer = Annotated[str, Depends(_customer)]


async def create_order(
    identity: Current, body: OrderIn, customer: Customer, use: UseCases, key: IdempotencyKey = None
) -> Response:
    items = (Item(body.product, body.quantity, body.price),)
    if total(items) > MOST:
        raise Invalid({"price": f"comes to more than {MOST} with this quantity"})
    new = NewOrder(customer, identity.email, Source.WEBSITE, total(items), items=items)
    if key is None:
        return answer(_shown(await use.place(new, identity)), status=201)
    first, replayed = await use.place_once(new, identity, key, lambda order: dump(_shown(order)))
    headers = {"Idempotent-Replayed": "true"} if replayed else None
    return Response(first, 201, headers, "application/json")


async def list_orders(
    identity: Current, use: UseCases, page: PageNumber = 1, per_page: PerPage = 100
) -> Response:
    """The caller's own, the newest first; an admin's are all."""
    found, count = await use.page(Filters(), identity, "-created_at", per_page, (page - 1) * per_page)
    pagination = Listed.of([], page, per_page, count).pagination.model_dump()
    return answer([_shown(each) for each in found], pagination=pagination)


async def get_order(identity: Current, order_id: UuidPath, use: UseCases) -> Response:
    return answer(_shown(await use.find(order_id, identity)))


async def update_status(identity: Current, order_id: UuidPath, body: StatusChange, use: UseCases) -> Response:
    return answer(_shown(await use.change_status(order_id, body.status, identity)))


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


def _shown(order: Order) -> dict[str, Any]:
    (item,) = order.parsed()
    return {
        "id": order.uid,
        "user_id": order.owner_uid,
        "product": item.product,
        "quantity": item.quantity,
        "price": money(item.price),
        "total_amount": money(order.total_amount),
        "status": order.status,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }


router = APIRouter(tags=["orders"])
for prefix in ("/api/orders", "/orders"):
    router.add_api_route(
        prefix,
        create_order,
        methods=["POST"],
        status_code=201,
        response_model=Success[OrderOut],
        responses=responses(Unauthorized, Forbidden, KeyInUse, KeyReused, Unavailable),
    )
    router.add_api_route(
        prefix, list_orders, response_model=Listed[OrderOut], responses=responses(Unauthorized)
    )
    router.add_api_route(
        f"{prefix}/{{order_id}}",
        get_order,
        response_model=Success[OrderOut],
        responses=responses(Unauthorized, Forbidden, OrderNotFound),
    )
router.add_api_route(
    "/api/orders/{order_id}/status",
    update_status,
    methods=["PUT"],
    response_model=Success[OrderOut],
    responses=responses(Unauthorized, Forbidden, OrderNotFound, IllegalStatus),
)
router.add_api_route("/health", health)

CONTRACT = Contract(
    router,
    StarterSettings,
    Rules(life=Life(FORWARD, own=FORWARD), told=events.for_starter, hides=False),
    queues=(events.ORDERS,),
    topics=(events.ORDERS,),
    errors=ENVELOPE,
)
