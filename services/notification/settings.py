"""What notification is told, beyond what every service is."""

from __future__ import annotations

from kit.live import LiveSettings
from kit.settings import BrokerSettings, DatabaseSettings, HttpUrl, ServiceTokenSettings, WebhookSettings
from pydantic import Field


class NotificationSettings(
    DatabaseSettings, BrokerSettings, LiveSettings, ServiceTokenSettings, WebhookSettings
):
    """Of the service. Times in seconds."""

    orders_url: HttpUrl
    orders_timeout: float = Field(default=1, gt=0, description="how late orders may make a notification")
    orders_pause: float = Field(
        default=5, ge=0, description="how long orders is not asked after it did not answer"
    )
    retention_days: int = Field(default=90, ge=7, le=3650, description="how long notifications are kept")
