"""What orders is told, beyond what every service is."""

from __future__ import annotations

from kit.settings import BrokerSettings, DatabaseSettings, TokenSettings
from pydantic import Field


class OrdersSettings(DatabaseSettings, BrokerSettings, TokenSettings):
    """Of the service. Times in seconds."""

    auth_url: str = Field(min_length=1)
    auth_timeout: float = Field(default=3, gt=0)
    websocket_clients: int = Field(default=1000, ge=1, description="at once, of this instance")
    websocket_heartbeat: float = Field(default=25, gt=0, description="below every proxy's read time-out")
    websocket_recheck: float = Field(default=60, gt=0, description="how late a revoked token is noticed")
