"""E-mail addresses: what is taken for one is what a mail can be written to."""

from __future__ import annotations

import re
from email.headerregistry import Address

# No quotes, comments or groups: nobody we write to needs them, and each is a way to write to somebody else.
# U+FEFF is white space to schemas, though not to Python.
PART = r"""[^@\s\x00-\x1f\x7f\ufeff<>,;:"()\[\]\\]"""
ADDRESS = re.compile(f"{PART}{{1,64}}@{PART}+")


def recipient(text: str) -> Address:
    """Raises ValueError. A domain with letters of its own goes in its ASCII form."""
    try:
        if len(text) <= 254 and ADDRESS.fullmatch(text):
            local, _, domain = text.rpartition("@")
            return Address(username=local, domain=domain.encode("idna").decode())
    except UnicodeError:  # a domain with a part that is empty or too long
        pass
    raise ValueError("is not an e-mail address")
