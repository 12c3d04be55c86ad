"""The warehouse's contract: for admins, what mail came. It holds links that open accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from kit.authentication import Identity, require
from kit.errors import Forbidden, NotFound, Unauthorized, responses
from pydantic import BaseModel, Field

from mailsink.sink import Memory, Taken

Admin = Annotated[Identity, Depends(require("admin"))]
Pair = Annotated[list[str], Field(min_length=2, max_length=2)]


class MessageNotFound(NotFound):
    """404, also for one that newer ones have pushed out."""

    text = "Message not found"


class Brief(BaseModel):
    id: int
    received_at: datetime
    sender: str = Field(description="of the envelope")
    recipients: list[str] = Field(description="of the envelope")
    subject: str
    size: int = Field(description="bytes")


class Full(Brief):
    headers: list[Pair] = Field(description="name and value, decoded, in their order")
    text: str | None
    html: str | None
    raw: str = Field(description="as it came; bytes that are not UTF-8 are replaced")


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    service: str


async def _memory(request: Request) -> Memory:
    found: Memory = request.state.memory
    return found


Held = Annotated[Memory, Depends(_memory)]


async def list_messages(
    _: Admin,
    memory: Held,
    response: Response,
    recipient: Annotated[str | None, Query(max_length=254)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Brief]:
    found = memory.newest(recipient)
    response.headers["X-Total-Count"] = str(len(found))
    return [Brief.model_validate(_brief(each)) for each in found[:limit]]


async def get_message(_: Admin, memory: Held, message_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> Full:
    taken = memory.find(message_id)
    if taken is None:
        raise MessageNotFound
    message = taken.message
    more = {
        "headers": [(name, str(value)) for name, value in message.items()],
        "text": _part(taken, "plain"),
        "html": _part(taken, "html"),
        "raw": taken.raw.decode(errors="replace"),
    }
    return Full.model_validate(_brief(taken) | more)


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


def _brief(taken: Taken) -> dict[str, object]:
    return {
        "id": taken.id,
        "received_at": taken.received_at,
        "sender": taken.sender,
        "recipients": list(taken.recipients),
        "subject": taken.subject,
        "size": len(taken.raw),
    }


def _part(taken: Taken, kind: str) -> str | None:
    body = taken.message.get_body((kind,))
    if body is None:
        return None
    try:
        return str(body.get_content())
    except (LookupError, ValueError):  # of a charset that nobody knows
        payload = body.get_payload(decode=True)
        return payload.decode(errors="replace") if isinstance(payload, bytes) else str(payload)


router = APIRouter(tags=["mailsink"])
router.add_api_route(
    "/messages",
    list_messages,
    responses={
        200: {"headers": {"X-Total-Count": {"description": "Messages held", "schema": {"type": "integer"}}}},
        **responses(Unauthorized, Forbidden),
    },
)
router.add_api_route(
    "/messages/{message_id}", get_message, responses=responses(Unauthorized, Forbidden, MessageNotFound)
)
router.add_api_route("/health", health)
