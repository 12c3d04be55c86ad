"""What orders publishes for each application: paths, fields, codes and texts. Rules are the domain's."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from kit.errors import PLAIN, Shape

from orders.orders import Rules
from orders.settings import OrdersSettings


@dataclass(frozen=True, slots=True)
class Contract:
    """A module's `CONTRACT`: all that the service is told of its application.

    `queues` are the broker's queues of the events that `rules` tell, `topics` those that are exchanges.
    """

    router: APIRouter
    settings: type[OrdersSettings]
    rules: Rules
    queues: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    errors: Shape = PLAIN
