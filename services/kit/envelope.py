"""The envelope of some contracts, as their documents publish it:

    {"success": true, "data": ...}                              `Success`; `dump` and `answer` write the same
    {"success": true, "data": [...], "pagination": {"page": 1, "per_page": 20, "total": 41, "pages": 3}}
    {"success": false, "error": {"code": "...", "message": "..."}}       and, of some errors,
        "fields": {NAME: what is wrong with it}, "retry_after": seconds to wait

The models have no docstrings: those would be part of the published documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar

import orjson
from pydantic import BaseModel, Field
from starlette.responses import Response

from kit.errors import ServiceError, Shape, TooManyRequests

T = TypeVar("T")
TOO_MANY = "Too many requests. Please try again later."


class Success(BaseModel, Generic[T]):
    success: Literal[True] = True
    data: T


class Pagination(BaseModel):
    page: int
    per_page: int
    total: int
    pages: int


class Listed(Success[list[T]], Generic[T]):
    pagination: Pagination

    @classmethod
    def of(cls, found: Sequence[T], page: int, per_page: int, total: int) -> Listed[T]:
        """One page of `total`; pages count from 1, and of nothing there are none."""
        pages = -(-total // per_page)
        return cls(
            data=list(found), pagination=Pagination(page=page, per_page=per_page, total=total, pages=pages)
        )


class Problem(BaseModel):
    code: str = Field(description="What is wrong, for programs")
    message: str = Field(description="The same for people")
    fields: dict[str, str] | None = Field(default=None, description="Field name -> what is wrong with it")
    retry_after: int | None = Field(default=None, description="Seconds to wait")


class Failure(BaseModel):
    success: Literal[False] = False
    error: Problem


def dump(data: object, **more: object) -> bytes:
    """The envelope of a success, where an answer is written without a model: exact money, and quickly."""
    return orjson.dumps({"success": True, "data": data, **more}, option=orjson.OPT_UTC_Z)


def answer(data: object, status: int = 200, **more: object) -> Response:
    """The same as a response; `more` stands beside `data`, as `pagination` does."""
    return Response(dump(data, **more), status, media_type="application/json")


def body(error: ServiceError) -> dict[str, Any]:
    """`{"success": false, "error": {"code", "message"}}`, with fields or seconds where the error has some."""
    text = TOO_MANY if isinstance(error, TooManyRequests) else str(error.more.get("message", error.error))
    found = {"code": error.code, "message": text}
    more = {name: error.more[name] for name in ("fields", "retry_after") if name in error.more}
    return {"success": False, "error": found | more}


ENVELOPE = Shape(body, Failure)


def responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may raise these errors, for a contract of this shape."""
    return {each.status: {"model": Failure, "description": HTTPStatus(each.status).phrase} for each in errors}
