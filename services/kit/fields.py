"""Types of what requests carry, the same in every contract that has them: texts, UUIDs, pages."""

from __future__ import annotations

import unicodedata
import uuid
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from kit.errors import ServiceError


def _printable(text: str) -> str:
    if any(unicodedata.category(each) == "Cc" for each in text):
        raise ValueError("has control characters")
    return text


Printable = AfterValidator(_printable)  # of a str


class InvalidUuid(ServiceError):
    """400 for what stands in the place of an id and is none."""

    status = 400
    code = "INVALID_UUID"
    text = "Invalid UUID format"


def _uuid(given: object) -> uuid.UUID:
    try:
        return uuid.UUID(str(given))
    except ValueError:
        raise InvalidUuid from None


Uuid = Annotated[uuid.UUID, BeforeValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
UuidPath = Annotated[Uuid, Path()]
PageNumber = Annotated[int, Query(ge=1, le=10**6)]
PerPage = Annotated[int, Query(ge=1, le=100)]
