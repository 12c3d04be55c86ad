"""What auth is told, beyond what every service is."""

from __future__ import annotations

from abc import abstractmethod

from kit.settings import (
    BrokerSettings,
    DatabaseSettings,
    HttpUrl,
    SharedTokenSettings,
    Tokens,
    TokenSettings,
)
from kit.tokens import LIFETIME, SHARED, Issuer, private_key, public_key
from pydantic import Field, SecretStr, model_validator


class AuthSettings(DatabaseSettings, Tokens):
    """Of the service, whatever its contract. Times in seconds."""

    token_lifetime: int = Field(default=LIFETIME, ge=60, description="of an access token")
    session_lifetime: int = Field(default=30 * 24 * 3600, ge=60, description="of a login and its refreshes")
    login_window: int = Field(default=300, ge=1, description="in which the following are counted")
    login_attempts: int = Field(default=5, ge=1, description="failed logins of one account from one client")
    client_attempts: int = Field(
        default=50, ge=1, description="failed logins of any accounts from one client"
    )
    client_registrations: int = Field(default=50, ge=1, description="tries to register from one client")

    @abstractmethod
    def issuer(self) -> Issuer:
        """What signs its tokens."""


class KeyPairSettings(AuthSettings, TokenSettings):
    """Of contracts whose tokens are signed by a key that only auth has."""

    token_private_key: SecretStr

    def issuer(self) -> Issuer:
        return Issuer(self.token_private_key.get_secret_value(), self.application, self.token_lifetime)

    @model_validator(mode="after")
    def _pair(self) -> KeyPairSettings:
        ours = private_key(self.token_private_key.get_secret_value()).public_key()
        if ours.public_numbers() != public_key(self.token_public_key).public_numbers():
            raise ValueError("secret files token_private_key and token_public_key are not a pair")
        return self


class WarehouseSettings(KeyPairSettings, BrokerSettings):
    """Of the contract that sends mails."""

    public_url: HttpUrl = Field(description="where people open the shop: links in mails begin so")
    reset_lifetime: int = Field(default=3600, ge=1, description="of a link that sets a new password")
    client_resets: int = Field(default=10, ge=1, description="password resets asked for from one client")


class StarterSettings(AuthSettings, SharedTokenSettings, BrokerSettings):
    """Of the contract whose tokens are signed with a shared secret, and whose events leave by RabbitMQ."""

    def issuer(self) -> Issuer:
        secret = self.jwt_secret.get_secret_value()
        return Issuer(secret, self.application, self.token_lifetime, SHARED)


class AdminSettings(DatabaseSettings):
    """Of the migration job, which creates the first admin."""

    admin_email: str = Field(min_length=3)
    admin_password: SecretStr = Field(min_length=1)
