"""What may be in a message: one JSON Schema a queue, which its writer and its readers are held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema_rs
import orjson

WEBHOOK = "webhook:"  # a queue of this name is a receiver over HTTP
TWINS = {f"{WEBHOOK}notification": "order_notifications"}  # the same bodies go both ways


class Misfit(ValueError):
    """A body that its queue's schema does not allow: the text says where and why, without its values."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it arrived, from a queue or by webhook; `payload` fits the schema of its queue."""

    id: UUID
    type: str
    source: str
    time: datetime
    payload: dict[str, Any]
    headers: Mapping[str, Any]


def check(queue: str, payload: Mapping[str, Any]) -> None:
    """Raises `Misfit`. A queue without a schema takes everything."""
    validator = _validator(TWINS.get(queue, queue))
    if validator is None or validator.is_valid(payload):
        return
    wrong = next(validator.iter_errors(payload))
    where = ".".join(map(str, wrong.instance_path)) or "body"
    raise Misfit(f"{queue}: {where}: breaks {'/'.join(map(str, wrong.schema_path))}")


def read(
    queue: str, body: bytes, *, id: str, type: str, source: str, time: str, headers: Mapping[str, Any]
) -> Message:
    """The message that a body and its attributes make; raises `Misfit` for anything that is none."""
    try:
        payload = orjson.loads(body)
        found = UUID(id), datetime.fromisoformat(time)
    except ValueError as error:
        raise Misfit(f"{queue}: {error}") from None
    if not isinstance(payload, dict):
        raise Misfit(f"{queue}: body: is not an object")
    check(queue, payload)
    return Message(found[0], type, source, found[1], payload, headers)


@cache
def _validator(queue: str) -> jsonschema_rs.Draft202012Validator | None:
    path = Path(__file__).parent / f"{queue}.json"
    if "/" in queue or not path.is_file():
        return None
    return jsonschema_rs.Draft202012Validator(orjson.loads(path.read_bytes()), validate_formats=True)
