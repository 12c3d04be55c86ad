"""In which language a customer is written to: as the browser asked when the order was placed."""

from __future__ import annotations

import re
from enum import StrEnum


class Language(StrEnum):
    POLISH = "pl"
    ENGLISH = "en"


RANGE = re.compile(r"([a-z]{1,8}|\*)(?:-[a-z0-9]{1,8})*(?:\s*;\s*q=([01](?:\.\d{0,3})?))?", re.IGNORECASE)


def preferred(accepted: str | None) -> Language:
    """Of an `Accept-Language` header (RFC 9110, 12.5.4); Polish where it wants nothing that we speak."""
    wanted: dict[Language, float] = {}
    for each in (accepted or "").split(","):
        if found := RANGE.fullmatch(each.strip()):
            name, weight = found[1].lower(), float(found[2] or 1)
            language = Language.POLISH if name == "*" else next((it for it in Language if it == name), None)
            if language and weight:
                wanted.setdefault(language, weight)
    return max(wanted, key=lambda each: wanted[each], default=Language.POLISH)
