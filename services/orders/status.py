"""The life of an order: which status may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    NEW = "new"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


Steps = Mapping[Status, tuple[Status, ...]]


@dataclass(frozen=True, slots=True)
class Life:
    """Which status may follow which (`steps`), and which of these steps an order's owner may take (`own`)."""

    steps: Steps
    own: Steps

    def objection(self, old: Status, new: Status) -> str | None:
        """Why an order that is `old` cannot become `new`, for people; None if it can."""
        allowed = self.steps[old]
        if new in allowed:
            return None
        if new is old:
            return f"The order is already {old}"
        if not allowed:
            return f"The order is {old}, which is final"
        return f"An order that is {old} cannot become {new}, only {' or '.join(allowed)}"

    def owner_may(self, new: Status, old: Status | None = None) -> bool:
        """Whether an owner may make an order `new` that is `old`; or at all, while that is not known."""
        return any(new in found for was, found in self.own.items() if old in (None, was))


# Goods that left the house cannot be cancelled any more, they can only arrive.
GOODS = Life(
    steps={
        Status.NEW: (Status.CONFIRMED, Status.CANCELLED),
        Status.CONFIRMED: (Status.SHIPPED, Status.CANCELLED),
        Status.SHIPPED: (Status.DELIVERED,),
        Status.DELIVERED: (),
        Status.CANCELLED: (),
    },
    own={Status.NEW: (Status.CANCELLED,)},
)
# Whoever moves an order may skip what does not happen to it, but goes back never.
FORWARD: Steps = {
    Status.NEW: (Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED, Status.CANCELLED),
    Status.CONFIRMED: (Status.SHIPPED, Status.DELIVERED, Status.CANCELLED),
    Status.SHIPPED: (Status.DELIVERED, Status.CANCELLED),
    Status.DELIVERED: (),
    Status.CANCELLED: (),
}
OPEN = tuple(status for status, steps in FORWARD.items() if steps)
