"""The life of an order: which status may follow which."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    NEW = "new"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


# Goods that left the house cannot be cancelled any more, they can only arrive.
NEXT: dict[Status, tuple[Status, ...]] = {
    Status.NEW: (Status.CONFIRMED, Status.CANCELLED),
    Status.CONFIRMED: (Status.SHIPPED, Status.CANCELLED),
    Status.SHIPPED: (Status.DELIVERED,),
    Status.DELIVERED: (),
    Status.CANCELLED: (),
}


def objection(old: Status, new: Status) -> str | None:
    """Why an order that is `old` cannot become `new`, for people; None if it can."""
    if new in NEXT[old]:
        return None
    if new is old:
        return f"The order is already {old}"
    if not NEXT[old]:
        return f"The order is {old}, which is final"
    return f"An order that is {old} cannot become {new}, only {' or '.join(NEXT[old])}"
