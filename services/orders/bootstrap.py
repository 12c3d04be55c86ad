"""Puts the service together from its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NotRequired

import kit.app
from fastapi import FastAPI
from kit.authentication import Authenticator, Local, WithServices
from kit.broker import RabbitPublisher
from kit.database import Database
from kit.lanes import Lanes
from kit.live import Feed, Gate, Hub
from kit.outbox import Relay
from kit.remote import Remote
from kit.settings import BrokerSettings, Settings
from kit.tokens import ServiceTokens
from kit.webhooks import WebhookPublisher

from orders import events, idempotency
from orders.contracts import Contract
from orders.live import CHANNEL, Update, read
from orders.orders import Orders, may_see
from orders.settings import OrdersSettings, StarterSettings, WarehouseSettings
from orders.users import Users


class State(kit.app.State):
    orders: Orders
    gate: NotRequired[Gate[Update]]
    users: NotRequired[Users]


def contract(settings: Settings) -> Contract:
    """The one that the settings name, or exit status 2."""
    found: Contract = kit.app.contract("orders", settings.contract).CONTRACT
    return found


def create(settings: OrdersSettings) -> FastAPI:
    """`settings` of the contract's class.

    Ready without RabbitMQ and others: orders are taken while they are down, and told after.
    """
    chosen = contract(settings)
    feed = Feed(CHANNEL, read, lambda identity, update: may_see(identity, update.owner_id))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        verifier = settings.verifier()
        authenticator: Authenticator = Local(verifier)
        registry = app.state.metrics.registry
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(Database.open(settings))
            lanes = await stack.enter_async_context(Lanes.open(database))
            await stack.enter_async_context(idempotency.purging(lanes))
            state = State(database=database, authenticator=authenticator, orders=Orders(lanes, chosen.rules))
            if isinstance(settings, BrokerSettings):
                publisher = await stack.enter_async_context(RabbitPublisher.open(settings, chosen.topics))
                relay = Relay(database, publisher, queues=chosen.queues, registry=registry)
                await stack.enter_async_context(relay.running())
            if isinstance(settings, WarehouseSettings):
                services = ServiceTokens(settings.service_key.get_secret_value(), settings.application)
                state["authenticator"] = WithServices(authenticator, services)
                receivers = {"notification": f"{settings.notification_url.rstrip('/')}/webhooks/orders"}
                webhooks = await stack.enter_async_context(WebhookPublisher.open(settings, receivers))
                relay = Relay(database, webhooks, queues=(events.WEBHOOK,), registry=registry)
                await stack.enter_async_context(relay.running())
                remote = await stack.enter_async_context(Remote.open(settings, verifier))
                hub = await stack.enter_async_context(Hub.running(database, feed, settings, registry))
                # The gateway has asked auth about every HTTP request; it cannot for a browser's WebSocket.
                state["gate"] = Gate(settings, hub, verifier, remote)
            if isinstance(settings, StarterSettings):
                state["users"] = await stack.enter_async_context(Users.open(settings, settings.users_url))
            yield state

    return kit.app.create(
        settings, title="Orders", routers=[chosen.router], lifespan=lifespan, errors=chosen.errors
    )
