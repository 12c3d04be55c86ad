"""What orders is told, beyond what every service is."""

from __future__ import annotations

from kit.live import LiveSettings
from kit.settings import (
    BrokerSettings,
    DatabaseSettings,
    HttpUrl,
    ServiceTokenSettings,
    SharedTokenSettings,
    Tokens,
    TokenSettings,
    WebhookSettings,
)
from pydantic import model_validator


class OrdersSettings(DatabaseSettings, Tokens):
    """Of the service, whatever its contract."""


class WarehouseSettings(OrdersSettings, BrokerSettings, LiveSettings, ServiceTokenSettings, WebhookSettings):
    """Of the contract with live updates, whose events leave by RabbitMQ and by webhook."""

    notification_url: HttpUrl


class GatekeeperSettings(OrdersSettings, TokenSettings):
    """Of the contract whose events nobody hears."""


class StarterSettings(OrdersSettings, SharedTokenSettings, BrokerSettings):
    """Of the contract that asks the service of users who somebody is.

    `USER_SERVICE_URL` is the document's name of its address, which goes before the deployment's own.
    """

    user_service_url: HttpUrl | None = None
    auth_url: HttpUrl | None = None

    @model_validator(mode="after")
    def _asked(self) -> StarterSettings:
        if not self.users_url:
            raise ValueError("USER_SERVICE_URL: is missing")
        return self

    @property
    def users_url(self) -> str:
        return self.user_service_url or self.auth_url or ""
