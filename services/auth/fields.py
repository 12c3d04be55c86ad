"""Types of what requests carry, the same in every contract: addresses, names, passwords."""

from __future__ import annotations

from typing import Annotated

from kit.fields import Printable
from pydantic import AfterValidator, Field, StringConstraints

from auth.accounts import normalised

Email = Annotated[str, AfterValidator(normalised), Field(examples=["jan@example.com"])]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=2, max_length=100),
    Printable,
    Field(examples=["Jan"]),
]
AnyPassword = Annotated[str, Field(min_length=1, max_length=1024)]
