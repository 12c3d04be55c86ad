"""What the sink is told, beyond what every service is."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from kit.settings import TokenSettings
from pydantic import Field, SecretStr, model_validator


class SinkSettings(TokenSettings):
    """The same user and password as the sender's. Sizes in bytes."""

    smtp_host: str = "0.0.0.0"  # noqa: S104  # of a container
    smtp_port: int = Field(default=2525, ge=1, le=65535)
    smtp_tls: Literal["starttls", "tls"] = "starttls"
    smtp_user: str = Field(min_length=1)
    smtp_password: SecretStr = Field(min_length=1)
    tls_certificate: Path = Path("/run/secrets/certificate")
    tls_private_key: Path = Path("/run/secrets/private_key")
    sink_messages: int = Field(default=500, ge=1)
    sink_bytes: int = Field(default=16 * 2**20, ge=1)
    message_bytes: int = Field(default=2**20, ge=1024)

    @model_validator(mode="after")
    def _certificate(self) -> SinkSettings:
        try:
            self.tls_context()
        except (OSError, ssl.SSLError):
            raise ValueError(
                f"no certificate with its key in {self.tls_certificate} and {self.tls_private_key}"
            ) from None
        return self

    def tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.tls_certificate, self.tls_private_key)
        return context
