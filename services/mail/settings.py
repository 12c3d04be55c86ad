"""What mail is told, beyond what every service is."""

from __future__ import annotations

import ssl
from email.headerregistry import Address
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kit.settings import BrokerSettings, DatabaseSettings, HttpUrl, TokenSettings
from pydantic import Field, PositiveFloat, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode


class SmtpSettings(DatabaseSettings):
    """The relay that takes our mail. `smtp_ca` is a file or PEM; none means the system's authorities."""

    mail_from: str = Field(description="`no-reply@example.com`, or `Shop <no-reply@example.com>`")
    smtp_host: str = Field(min_length=1)
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    smtp_ca: str | None = None
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    # Below the 30 s after which PostgreSQL ends a transaction that does nothing: a mail is sent within one.
    smtp_timeout: float = Field(default=20, gt=0, le=25)

    @field_validator("mail_from")
    @classmethod
    def _from(cls, value: str) -> str:
        sender(value)
        return value

    @field_validator("smtp_ca")
    @classmethod
    def _authorities(cls, value: str | None) -> str | None:
        if value:
            _context(value)
        return value

    @model_validator(mode="after")
    def _login(self) -> SmtpSettings:
        if self.smtp_user and self.smtp_password is None:
            raise ValueError("secret file smtp_password is missing, and SMTP_USER is there")
        if self.smtp_user and self.smtp_tls == "none":
            raise ValueError("SMTP_TLS: none would send the password readable; take SMTP_USER out")
        return self

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """Checks certificate and name; None where TLS is off."""
        return None if self.smtp_tls == "none" else _context(self.smtp_ca)


class MailSettings(SmtpSettings, BrokerSettings, TokenSettings):
    """Of the service. Times in seconds."""

    public_url: HttpUrl = Field(description="where the links of a mail lead")
    order_path: str = Field(default="/#/orders/{id}", pattern=r"^/\S*\{id\}\S*$")
    shop_name: str = Field(default="Warehouse", min_length=1)
    time_zone: str = "Europe/Warsaw"
    # Each mail under way holds a connection to the database and now and then borrows a second one.
    mail_parallel: int = Field(default=3, ge=1, description="at once; at most half of DATABASE_POOL")
    mail_delays: Annotated[tuple[PositiveFloat, ...], NoDecode] = Field(
        default=(5, 30, 120, 900, 3600, 14400), description="between attempts, then given up; `5,30,120`"
    )
    mail_twin_window: float = Field(
        default=600, ge=0, description="how long the same password reset is not sent again"
    )
    mail_log_days: int = Field(default=90, ge=1)

    @field_validator("mail_delays", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("is no time zone of this system") from None
        return value

    @model_validator(mode="after")
    def _connections(self) -> MailSettings:
        if self.mail_parallel * 2 > self.database_pool:
            raise ValueError("MAIL_PARALLEL: must be at most half of DATABASE_POOL")
        return self


def sender(text: str) -> Address:
    """The address that mail comes from; raises ValueError for what is none."""
    name, address = parseaddr(text)
    try:
        found = Address(name, addr_spec=address)
    except Exception:  # the parser of headers raises whatever it stumbles over
        raise ValueError("is not an e-mail address") from None
    if not found.username or "." not in found.domain:
        raise ValueError("is not an e-mail address")
    return found


def _context(ca: str | None) -> ssl.SSLContext:
    try:
        if ca and "-----BEGIN" in ca:
            return ssl.create_default_context(cadata=ca)
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError):
        where = "PEM" if ca and "-----BEGIN" in ca else Path(ca or "")
        raise ValueError(f"holds no certificate that could be read ({where})") from None
