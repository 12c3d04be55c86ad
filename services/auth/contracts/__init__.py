"""What auth publishes for each application: paths, fields, codes and texts. Rules are the domain's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from kit.errors import PLAIN, Shape

from auth.accounts import Rules
from auth.models import User
from auth.settings import AuthSettings


@dataclass(frozen=True, slots=True)
class Contract:
    """A module's `CONTRACT`: all that the service is told of its application.

    `queues` are those of the events that `rules` tell, `topics` those of them that are exchanges; `claims` is
    what only its tokens say of a user.
    """

    router: APIRouter
    settings: type[AuthSettings]
    rules: Rules
    queues: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    claims: Callable[[User], dict[str, Any]] = lambda user: {}  # noqa: ARG005
    errors: Shape = PLAIN
