"""What auth is told, beyond what every service is."""

from __future__ import annotations

from kit.settings import DatabaseSettings, TokenSettings
from kit.tokens import LIFETIME, private_key, public_key
from pydantic import Field, SecretStr, model_validator


class PasswordSettings(DatabaseSettings):
    bcrypt_cost: int = Field(default=12, ge=4, le=16)


class AuthSettings(PasswordSettings, TokenSettings):
    """Of the service. Times in seconds."""

    token_private_key: SecretStr
    token_lifetime: int = Field(default=LIFETIME, ge=60)
    login_window: int = Field(default=300, ge=1)
    login_attempts: int = Field(default=5, ge=1, description="failed logins of one account from one client")
    client_attempts: int = Field(
        default=50, ge=1, description="failed logins of any accounts from one client"
    )

    @model_validator(mode="after")
    def _pair(self) -> AuthSettings:
        ours = private_key(self.token_private_key.get_secret_value()).public_key()
        if ours.public_numbers() != public_key(self.token_public_key).public_numbers():
            raise ValueError("secret files token_private_key and token_public_key are not a pair")
        return self


class AdminSettings(PasswordSettings):
    """Of the migration job, which creates the first admin."""

    admin_email: str = Field(min_length=3)
    admin_password: SecretStr = Field(min_length=1)
