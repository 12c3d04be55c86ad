"""Who is told of a change, and what: the consumers of three queues, and notification's webhook."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kit.outbox import Event

if TYPE_CHECKING:
    from orders.orders import Order

NOTIFICATIONS, ANALYTICS, MAIL = QUEUES = ("order_notifications", "order_analytics", "mail.send")
WEBHOOK = "webhook:notification"
ORDERS = "order_events"


def for_warehouse(order: Order, old_status: str | None) -> list[Event]:
    """The events of a change; `old_status` is None for an order just placed.

    Two consumers that read different bodies get different events. The webhook carries the very event of
    its queue, so that notification, which hears both, counts it once.
    """
    kind = "order.status_changed" if old_status else "order.created"
    notification = _event(
        order,
        kind,
        NOTIFICATIONS,
        {
            "order_id": order.id,
            "customer_name": order.customer_name,
            "status": order.status,
            "total_amount": float(order.total_amount),
            "timestamp": _time(order.updated_at),
        },
    )
    change = {
        "order_id": order.id,
        "source": order.source,
        "status": order.status,
        "old_status": old_status,
        "total_amount": float(order.total_amount),
        "created_at": _time(order.created_at),
        "changed_at": _time(order.updated_at),
    }
    return [
        notification,
        replace(notification, queue=WEBHOOK),
        _event(order, kind, ANALYTICS, change),
        _event(order, "mail.requested", MAIL, _mail(order, old_status)),
    ]


def for_starter(order: Order, old_status: str | None) -> list[Event]:
    """One fact, for whoever wants it."""
    (item,) = order.parsed()
    kind = "order.status_changed" if old_status else "order.created"
    fact = {
        "order_id": str(order.uid),
        "user_id": str(order.owner_uid),
        "product": item.product,
        "quantity": item.quantity,
        "price": float(item.price),
        "total_amount": float(order.total_amount),
        "status": order.status,
        "old_status": old_status,
        "timestamp": _time(order.updated_at),
    }
    return [_event(order, kind, ORDERS, fact)]


def _mail(order: Order, old_status: str | None) -> dict[str, Any]:
    context = {
        "order_id": order.id,
        "customer_name": order.customer_name,
        "total_amount": float(order.total_amount),
    }
    if old_status:
        template, more = "status_changed", {"status": order.status, "old_status": old_status}
    else:
        template, more = "order_placed", {"source": order.source, "created_at": _time(order.created_at)}
    return {
        "template": template,
        "to": order.customer_email,
        "language": order.language,
        "context": context | more,
    }


def _event(order: Order, kind: str, queue: str, payload: dict[str, Any]) -> Event:
    return Event(
        type=kind,
        aggregate="order",
        aggregate_id=str(order.id),
        queue=queue,
        payload=payload,
        time=order.updated_at,
    )


def _time(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
