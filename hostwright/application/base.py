"""What application files and service.yml are spelled with: names, paths, numbers, and how strictly."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Scope = Literal["public", "host", "internal"]
Protocol = Literal["http", "https", "postgres", "amqp", "smtp", "tcp"]

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Queue = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=100)]
Number = Annotated[int, Field(ge=1, le=65535)]
HttpPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$")]
Uid = Annotated[int, Field(ge=100, le=65534)]
Folder = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")]
Mebibytes = Annotated[int, Field(ge=16, le=65536)]
Setting = str | int | bool | list[str]


class File(BaseModel):
    """A mapping that knows each of its keys, and takes no number for a word."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def image_name(reference: str) -> str:
    """`registry:5000/library/postgres:17@sha256:...` -> `postgres`."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]
