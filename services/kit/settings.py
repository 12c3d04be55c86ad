"""Settings of a service: environment variables and secret files, checked before anything starts."""

from __future__ import annotations

import json
import os
import sys
from abc import abstractmethod
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError
from sqlalchemy import URL

from kit import tokens

Network = IPv4Network | IPv6Network


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port or an address in brackets that is none
        good = False
    if not good or any(each.isspace() or each in "?#" for each in value):
        raise ValueError("is not an address such as http://host:8080")
    return value


HttpUrl = Annotated[str, AfterValidator(_url)]  # where paths are added


class Settings(BaseSettings):
    """What every service is told. A service's own class mixes in what it needs of the classes below."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    service_name: str = Field(min_length=1)
    application: str = Field(min_length=1)
    contract: str = Field(default="warehouse", pattern=r"^[a-z][a-z0-9_]*$")
    environment: str = "development"
    port: int = Field(default=8080, ge=1, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    answer_timeout: float = Field(default=25, gt=0, description="seconds; less than the gateway waits")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    otel_exporter_otlp_endpoint: HttpUrl | None = None

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        """`warn`, as many say, is understood."""
        found = value.lower() if isinstance(value, str) else value
        return "warning" if found == "warn" else found

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        return _listed(value)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return tuple(
            ip_network(each, strict=False) if isinstance(each, str) else each for each in _listed(value)
        )


class DatabaseSettings(Settings):
    """For a service with a database."""

    database_host: str = Field(min_length=1)
    database_port: int = Field(default=5432, ge=1, le=65535)
    database_name: str = Field(min_length=1)
    database_user: str = Field(min_length=1)
    database_password: SecretStr
    database_pool: int = Field(default=8, ge=1, le=100)

    @property
    def database_url(self) -> URL:
        return URL.create(
            "postgresql+psycopg",
            username=self.database_user,
            password=self.database_password.get_secret_value(),
            host=self.database_host,
            port=self.database_port,
            database=self.database_name,
        )


class BrokerSettings(Settings):
    """For a service that publishes or consumes events."""

    broker_host: str = Field(min_length=1)
    broker_port: int = Field(default=5672, ge=1, le=65535)
    broker_user: str = Field(min_length=1)
    broker_vhost: str = "/"
    broker_password: SecretStr


class Tokens(Settings):
    """For a service that accepts tokens, whatever they are checked with."""

    @abstractmethod
    def verifier(self) -> tokens.Verifier:
        """What checks them."""


class TokenSettings(Tokens):
    """For a service that accepts tokens: the issuer's public key (PEM), and where to ask about revocation."""

    token_public_key: str = Field(min_length=1)
    auth_url: HttpUrl | None = None

    @field_validator("token_public_key")
    @classmethod
    def _key(cls, value: str) -> str:
        tokens.public_key(value)
        return value

    def verifier(self) -> tokens.Verifier:
        return tokens.Verifier(self.token_public_key, self.application)


class SharedTokenSettings(Tokens):
    """For a service of an application whose tokens are signed and checked with one secret."""

    jwt_secret: SecretStr = Field(min_length=tokens.MIN_SECRET)

    def verifier(self) -> tokens.Verifier:
        return tokens.Verifier(self.jwt_secret.get_secret_value(), self.application, tokens.SHARED)


class ServiceTokenSettings(Settings):
    """For a service that calls, or is called by, others of its application."""

    service_key: SecretStr = Field(min_length=32)


class WebhookSettings(Settings):
    """For a service that sends or receives webhooks."""

    webhook_key: SecretStr = Field(min_length=24)


S = TypeVar("S", bound=Settings)


def load(settings: type[S]) -> S:
    """The settings of this process, or exit status 2 after one line on stderr for each wrong value.

    Secret files are read from `SECRETS_DIR` (default /run/secrets); values are never printed.
    """
    directory = os.environ.get("SECRETS_DIR", "/run/secrets")
    try:
        return settings(_secrets_dir=directory if Path(directory).is_dir() else None)  # type: ignore[call-arg]
    except (ValidationError, SettingsError) as error:
        for line in explain(error, settings, directory):
            print(f"error: {line}", file=sys.stderr)
        raise SystemExit(2) from None


def explain(error: ValidationError | SettingsError, settings: type[Settings], directory: str) -> list[str]:
    """One line for each wrong value, naming the variable or the secret file, never the value."""
    if isinstance(error, SettingsError):
        return [str(error)]
    return [_line(each, settings, directory) for each in error.errors(include_input=False, include_url=False)]


SECRETS = frozenset({"token_public_key", "token_private_key", "admin_email"})


def _line(wrong: ErrorDetails, settings: type[Settings], directory: str) -> str:
    what = "is missing" if wrong["type"] == "missing" else wrong["msg"].removeprefix("Value error, ")
    return f"{_origin(str(wrong['loc'][0]), settings, directory)}: {what}" if wrong["loc"] else what


def _origin(name: str, settings: type[Settings], directory: str) -> str:
    """Where a value comes from in the operator's words."""
    field = settings.model_fields.get(name)
    secret = name in SECRETS or (field is not None and "SecretStr" in str(field.annotation))
    return f"secret file {Path(directory) / name}" if secret else name.upper()


def _listed(value: object) -> tuple[object, ...]:
    """A list from a JSON array or from words separated by commas."""
    if isinstance(value, str):
        text = value.strip()
        found = json.loads(text) if text.startswith("[") else [each.strip() for each in text.split(",")]
        return tuple(each for each in found if each != "")
    return tuple(value) if isinstance(value, (list, tuple, set)) else (value,)
