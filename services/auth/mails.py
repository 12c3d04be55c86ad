"""Mails that auth asks for: an event in the outbox, in the transaction of its cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from kit.outbox import Event

if TYPE_CHECKING:
    from auth.accounts import Change
    from auth.models import User

QUEUE = "mail.send"


def told(change: Change, user: User) -> list[Event]:
    """Who is new is welcomed."""
    if change != "registered":
        return []
    return [mail("welcome", user.id, user.email, user.language, {"email": user.email})]


def mail(
    template: Literal["welcome", "password_reset"],
    user_id: int,
    email: str,
    language: str,
    context: Mapping[str, Any],
) -> Event:
    return Event(
        type="mail.requested",
        aggregate="user",
        aggregate_id=str(user_id),
        queue=QUEUE,
        payload={"template": template, "to": email, "language": language, "context": dict(context)},
    )
