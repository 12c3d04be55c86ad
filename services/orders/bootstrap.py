"""Puts the service together from its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import kit.app
from fastapi import FastAPI
from kit.authentication import Local, WithServices
from kit.broker import RabbitPublisher
from kit.database import Database
from kit.lanes import Lanes
from kit.live import Feed, Gate, Hub
from kit.outbox import Relay
from kit.remote import Remote
from kit.tokens import ServiceTokens, Verifier
from kit.webhooks import WebhookPublisher

from orders import events, idempotency
from orders.live import CHANNEL, Update, read
from orders.orders import Orders, may_see
from orders.settings import OrdersSettings


class State(kit.app.State):
    orders: Orders
    gate: Gate[Update]


def create(settings: OrdersSettings) -> FastAPI:
    """Ready without RabbitMQ and notification: orders are taken while they are down, and told after."""

    feed = Feed(CHANNEL, read, lambda identity, update: may_see(identity, update.owner_id))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        verifier = Verifier(settings.token_public_key, settings.application)
        services = ServiceTokens(settings.service_key.get_secret_value(), settings.application)
        receivers = {"notification": f"{settings.notification_url.rstrip('/')}/webhooks/orders"}
        registry = app.state.metrics.registry
        async with (
            Database.open(settings) as database,
            Lanes.open(database) as lanes,
            RabbitPublisher.open(settings) as publisher,
            httpx2.AsyncClient(timeout=settings.auth_timeout) as http,
            WebhookPublisher.open(settings, receivers) as webhooks,
            Relay(database, publisher, queues=events.QUEUES, registry=registry).running(),
            Relay(database, webhooks, queues=(events.WEBHOOK,), registry=registry).running(),
            idempotency.purging(lanes),
            Hub.running(database, feed, settings.websocket_clients, registry) as hub,
        ):
            # The gateway has asked auth about every HTTP request; it cannot do so for a browser's WebSocket.
            gate = Gate(settings, hub, verifier, Remote(verifier, settings.auth_url, http))
            authenticator = WithServices(Local(verifier), services)
            yield State(database=database, authenticator=authenticator, orders=Orders(lanes), gate=gate)

    return kit.app.create(
        settings, title="Orders", routers=kit.app.contract("orders", settings.contract), lifespan=lifespan
    )
