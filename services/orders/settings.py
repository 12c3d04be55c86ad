"""What orders is told, beyond what every service is."""

from __future__ import annotations

from kit.live import LiveSettings
from kit.settings import BrokerSettings, DatabaseSettings, ServiceTokenSettings, WebhookSettings
from pydantic import Field


class OrdersSettings(DatabaseSettings, BrokerSettings, LiveSettings, ServiceTokenSettings, WebhookSettings):
    """Of the service."""

    notification_url: str = Field(min_length=1)
