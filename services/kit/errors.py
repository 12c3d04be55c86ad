"""Errors that a client may see: one base class yields status, headers, JSON body and OpenAPI schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from pydantic import BaseModel, Field


class ErrorBody(BaseModel):
    """What every error answer has."""

    error: str = Field(description="What is wrong, for people")


class InvalidBody(ErrorBody):
    """A request that breaks the rules of its fields."""

    fields: dict[str, str] = Field(description="Field name -> what is wrong with it")


class ForbiddenBody(ErrorBody):
    """A role that may not do this."""

    message: str
    required_roles: list[str]
    user_role: str


class ServiceError(Exception):
    """An expected failure: raise a subclass anywhere, the client gets `status` and a body in JSON.

    `code` is for programs, where a contract's shape has one.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"
    schema: ClassVar[type[ErrorBody]] = ErrorBody
    text: ClassVar[str] = "Internal server error"

    def __init__(
        self, error: str | None = None, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        self.error = error or self.text
        self.more = more
        self.headers = headers or {}
        super().__init__(self.error)

    def body(self) -> dict[str, Any]:
        return {"error": self.error, **self.more}


@dataclass(frozen=True, slots=True)
class Shape:
    """How a contract words errors: the body of one, and the schema of what every route may answer, a 400."""

    body: Callable[[ServiceError], dict[str, Any]]
    invalid: type[BaseModel]


class Invalid(ServiceError):
    """400 with, where known, what is wrong with each field."""

    status = 400
    code = "VALIDATION_ERROR"
    schema = InvalidBody
    text = "Invalid request"

    def __init__(self, fields: dict[str, str], error: str | None = None) -> None:
        super().__init__(error, fields=fields)


class Unauthorized(ServiceError):
    """401: no token, or not one of ours."""

    status = 401
    code = "UNAUTHORIZED"
    text = "Authentication required"

    def __init__(self, error: str | None = None) -> None:
        super().__init__(error, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ServiceError):
    """403 in the words of the warehouse's own code."""

    status = 403
    code = "FORBIDDEN"
    schema = ForbiddenBody
    text = "insufficient_permissions"

    def __init__(self, required: Sequence[str], role: str, message: str | None = None) -> None:
        super().__init__(
            message=message or "You do not have permission to access this resource",
            required_roles=list(required),
            user_role=role,
        )


class NotFound(ServiceError):
    status = 404
    code = "NOT_FOUND"
    text = "Not found"


class MethodNotAllowed(ServiceError):
    status = 405
    code = "METHOD_NOT_ALLOWED"
    text = "Method Not Allowed"


class Conflict(ServiceError):
    status = 409
    code = "CONFLICT"
    text = "Conflict"


class TooManyRequests(ServiceError):
    """429 with the whole seconds to wait in `Retry-After` and in the body."""

    status = 429
    code = "RATE_LIMIT_EXCEEDED"
    text = "Too many requests"

    def __init__(self, retry_after: int, error: str | None = None) -> None:
        super().__init__(error, headers={"Retry-After": str(retry_after)}, retry_after=retry_after)


class Unavailable(ServiceError):
    """503: something this service needs does not answer."""

    status = 503
    code = "SERVICE_UNAVAILABLE"
    text = "Service unavailable"


PLAIN = Shape(ServiceError.body, InvalidBody)


def responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may raise these errors."""
    return {
        each.status: {"model": each.schema, "description": HTTPStatus(each.status).phrase} for each in errors
    }
