"""What orders is told, beyond what every service is."""

from __future__ import annotations

from kit.live import LiveSettings
from kit.settings import BrokerSettings, DatabaseSettings


class OrdersSettings(DatabaseSettings, BrokerSettings, LiveSettings):
    """Of the service."""
