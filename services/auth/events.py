"""What others are told of users: facts, to whoever wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.outbox import Event

if TYPE_CHECKING:
    from auth.accounts import Change
    from auth.models import User

USERS = "user_events"


def told(change: Change, user: User) -> list[Event]:
    return [
        Event(
            type=f"user.{change}",
            aggregate="user",
            aggregate_id=str(user.uid),
            queue=USERS,
            payload={
                "user_id": str(user.uid),
                "email": user.email,
                "name": user.name,
                "timestamp": user.updated_at.isoformat().replace("+00:00", "Z"),
            },
        )
    ]
