"""Types of what requests and answers carry, the same in every contract that has them: texts, money, keys."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import orjson
from fastapi import Header
from kit.fields import Printable
from pydantic import Field, StringConstraints, WithJsonSchema

Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    Printable,
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[ -~]{1,255}$",
        description="a request repeated within 24 hours places no second order, but gets the first answer",
    ),
]

# Of contracts with Decimal(10, 2).
MOST = Decimal("99999999.99")
SCHEMA = {"type": "number", "multipleOf": 0.01, "maximum": float(MOST)}
Price = Annotated[
    Decimal,
    Field(gt=0, max_digits=10, decimal_places=2),
    WithJsonSchema(SCHEMA | {"exclusiveMinimum": 0}),
]
Amount = Annotated[
    Decimal, Field(ge=0, max_digits=10, decimal_places=2), WithJsonSchema(SCHEMA | {"minimum": 0})
]
Number = Annotated[Decimal, WithJsonSchema({"type": "number"})]


def money(amount: Decimal) -> orjson.Fragment:
    """As JSON with its two decimals, which a float would lose."""
    return orjson.Fragment(f"{amount:.2f}")
