"""Passwords: what is good enough, and bcrypt off the event loop."""

from __future__ import annotations

import asyncio
import os
import re
from concurrent.futures import ThreadPoolExecutor

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.bcrypt import BcryptHasher

MIN_LENGTH = 6  # characters, as the warehouse documents
MAX_BYTES = 72  # more bcrypt does not see
COMMON = frozenset(
    re.split(
        r"\s+",
        """123456a 123456q 1q2w3e 1q2w3e4r 1qaz2wsx a123456 abc123 abcd1234 admin1 admin123 asdf1234 iloveyou1
        letmein1 p@ssw0rd passw0rd password1 password12 password123 qazwsx123 qwe123 qwerty1 qwerty12
        qwerty123 test123 test1234 welcome1 welcome123 zaq12wsx""",
    )
)


def weakness(password: str, email: str = "") -> str | None:
    """What is wrong with a new password, or None."""
    if len(password) < MIN_LENGTH:
        return f"must have at least {MIN_LENGTH} characters"
    if len(password.encode()) > MAX_BYTES:
        return f"must have at most {MAX_BYTES} bytes"
    if not any(each.isalpha() for each in password) or all(each.isalpha() for each in password):
        return "must have letters and something else: digits, signs or spaces"
    if password.lower() in COMMON:
        return "is one of the most common passwords"
    if password.lower() in (email.lower(), email.lower().partition("@")[0]):
        return "must not be the e-mail address"
    return None


class Passwords:
    """Hashes and verifies in threads of its own, one a core: bcrypt must not stop everything else."""

    def __init__(self, cost: int) -> None:
        self._hasher = PasswordHash((BcryptHasher(rounds=cost),))
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="bcrypt")
        # Compared with when there is no such account, so that the answer takes the same time.
        self._nobody = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        """(does it match, a new hash to store if the cost has changed); `hashed=None` never matches."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, password, hashed)

    def _verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        fits = len(password.encode()) <= MAX_BYTES
        try:
            good, update = self._hasher.verify_and_update(password if fits else "", hashed or self._nobody)
        except UnknownHashError:
            return False, None
        return (good, update) if fits and hashed else (False, None)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
