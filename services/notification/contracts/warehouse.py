"""The warehouse's contract: notifications for its staff, as a list and as a feed; events in by webhook."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from kit import webhooks
from kit.authentication import Identity, require
from kit.errors import Forbidden, Invalid, Unauthorized, responses
from kit.live import Gate
from pydantic import BaseModel, Field, WithJsonSchema
from starlette.websockets import WebSocket

from notification.notifications import EVENTS, QUEUE, STAFF, Notification, NotificationNotFound, Notifications
from notification.texts import Language

MAX_PAGE = 1000
MAX_ID = 2**63 - 1
HEARTBEAT = '{"type":"heartbeat"}'

Staff = Annotated[Identity, Depends(require(*STAFF))]
After = Annotated[
    int | None, Query(ge=0, le=MAX_ID, description="only notifications after this one, oldest first")
]
NotificationId = Annotated[int, Path(ge=1, le=MAX_ID)]


class NotificationOut(BaseModel):
    """Times are UTC; `total_amount` always has two decimals; `text` is in the language asked for."""

    id: int
    event_id: uuid.UUID
    order_id: int
    status: str
    customer_name: str
    total_amount: Annotated[Decimal, WithJsonSchema({"type": "number"})]
    text: str = Field(examples=["New order no. 12: Jan Kowalski, PLN 299.99"])
    text_pl: str = Field(examples=["Nowe zamówienie nr 12: Jan Kowalski, 299,99 zł"])
    text_en: str
    channel: Literal["rabbitmq", "webhook"]
    source: str | None = Field(description="of a new order, where orders told it in time")
    customer_email: str | None
    occurred_at: datetime = Field(description="when the order changed")
    created_at: datetime = Field(description="when we heard of it")


class Taken(BaseModel):
    event_id: uuid.UUID
    duplicate: bool = Field(description="The event had come already, by webhook or by queue")


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    service: str


async def _notifications(request: Request) -> Notifications:
    found: Notifications = request.state.notifications
    return found


UseCases = Annotated[Notifications, Depends(_notifications)]


async def list_notifications(
    _: Staff,
    use: UseCases,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    language: Language = "en",
) -> Response:
    """The newest first; with `after`, what came after that one, oldest first."""
    found, total = await use.page(after, limit)
    return _json([_shown(each, language) for each in found], headers={"X-Total-Count": str(total)})


async def get_notification(
    _: Staff, notification_id: NotificationId, use: UseCases, language: Language = "en"
) -> Response:
    return _json(_shown(await use.find(notification_id), language))


async def receive_event(request: Request, use: UseCases) -> Taken:
    """Takes an event of orders, signed as Standard Webhooks say. One that came already is no error."""
    secret = request.app.state.settings.webhook_key.get_secret_value()
    event = webhooks.receive(secret, request.headers, await request.body(), QUEUE)
    if event.type not in EVENTS:
        raise Invalid({"ce-type": f"is none of {', '.join(EVENTS)}"})
    first = await use.received["webhook"](event)
    return Taken(event_id=event.id, duplicate=not first)


async def live_notifications(websocket: WebSocket, after: After = None, language: Language = "en") -> None:
    """First what came after `after`, then each as it comes: `{"type": "notification", "payload": {...}}`."""
    gate: Gate[Notification] = websocket.state.gate
    use: Notifications = websocket.state.notifications
    last = 0

    def message(each: Notification) -> str | None:
        nonlocal last
        if each.id <= last:  # told already, among the missed
            return None
        last = each.id
        return orjson.dumps(
            {"type": "notification", "payload": _shown(each, language)}, option=orjson.OPT_UTC_Z
        ).decode()

    async def missed() -> AsyncIterator[Notification]:
        if after is not None:
            async for each in use.since(after):
                yield each

    await gate.serve(websocket, message, HEARTBEAT, missed)


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


def _shown(each: Notification, language: Language) -> dict[str, Any]:
    return {
        "id": each.id,
        "event_id": each.event_id,
        "order_id": each.order_id,
        "status": each.status,
        "customer_name": each.customer_name,
        "total_amount": orjson.Fragment(str(each.total_amount)),  # as a float 299.90 would lose its zero
        "text": each.text_pl if language == "pl" else each.text_en,
        "text_pl": each.text_pl,
        "text_en": each.text_en,
        "channel": each.channel,
        "source": each.source,
        "customer_email": each.customer_email,
        "occurred_at": each.occurred_at,
        "created_at": each.created_at,
    }


def _json(content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), 200, headers, "application/json")


LIST: dict[str, Any] = {
    "headers": {"X-Total-Count": {"description": "Notifications on all pages", "schema": {"type": "integer"}}}
}
SIGNED: dict[str, Any] = {
    "parameters": [
        {"in": "header", "name": name, "required": True, "schema": {"type": "string"}, "description": what}
        for name, what in (
            ("webhook-id", "the event's id (UUID)"),
            ("webhook-timestamp", "seconds since 1970, at most 300 off"),
            ("webhook-signature", "v1,<base64 HMAC-SHA256 of id.timestamp.body>"),
            ("ce-type", " or ".join(EVENTS)),
        )
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}

router = APIRouter(tags=["notifications"])
for path, shown in (("/api/notifications", True), ("/api/notifications/", False)):
    router.add_api_route(
        path,
        list_notifications,
        response_model=list[NotificationOut],
        responses={200: LIST, **responses(Unauthorized, Forbidden)},
        include_in_schema=shown,
    )
router.add_api_route(
    "/api/notifications/{notification_id}",
    get_notification,
    response_model=NotificationOut,
    responses=responses(Unauthorized, Forbidden, NotificationNotFound),
)
router.add_api_route(
    "/webhooks/orders",
    receive_event,
    methods=["POST"],
    status_code=202,
    responses=responses(Unauthorized),
    openapi_extra=SIGNED,
)
router.add_api_route("/health", health)
router.add_api_websocket_route("/ws/notifications", live_notifications)
