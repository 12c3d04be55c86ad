"""Types of what requests carry, the same in every contract that has them: addresses, names, passwords."""

from __future__ import annotations

from typing import Annotated

from kit.fields import Printable
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from auth.accounts import normalised
from auth.passwords import weakness


def _long_enough(password: str) -> str:
    if problem := weakness(password, strict=False):
        raise ValueError(problem)
    return password


Email = Annotated[str, AfterValidator(normalised), Field(examples=["jan@example.com"])]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=2, max_length=100),
    Printable,
    Field(examples=["Jan"]),
]
AnyPassword = Annotated[str, Field(min_length=1, max_length=1024)]
LongPassword = Annotated[str, AfterValidator(_long_enough), Field(examples=["password123"])]


class Credentials(BaseModel):
    email: Email
    password: AnyPassword
