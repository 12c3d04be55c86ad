"""Passwords: what is good enough; argon2id off the event loop, and bcrypt for hashes of old."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

MIN_LENGTH = 6  # characters, as the warehouse documents
MAX_BYTES = 72  # more bcrypt does not see, and its hashes are still here
COMMON = frozenset(
    re.split(
        r"\s+",
        """123456a 123456q 1q2w3e 1q2w3e4r 1qaz2wsx a123456 abc123 abcd1234 admin1 admin123 asdf1234 iloveyou1
        letmein1 p@ssw0rd passw0rd password1 password12 password123 qazwsx123 qwe123 qwerty1 qwerty12
        qwerty123 test123 test1234 welcome1 welcome123 zaq12wsx""",
    )
)


def weakness(password: str, email: str = "", strict: bool = True) -> str | None:
    """What is wrong with a new password, or None. Not `strict`: its length is all that counts."""
    if len(password) < MIN_LENGTH:
        return f"must have at least {MIN_LENGTH} characters"
    if len(password.encode()) > MAX_BYTES:
        return f"must have at most {MAX_BYTES} bytes"
    if not strict:
        return None
    if not any(each.isalpha() for each in password) or all(each.isalpha() for each in password):
        return "must have letters and something else: digits, signs or spaces"
    if password.lower() in COMMON:
        return "is one of the most common passwords"
    if password.lower() in (email.lower(), email.lower().partition("@")[0]):
        return "must not be the e-mail address"
    return None


class Passwords:
    """Hashes and verifies in one thread of its own: off the event loop, and with the memory of one hash.

    A second one's 19 MiB, which the allocator keeps, would not leave the service enough of its container's.
    """

    def __init__(self) -> None:
        # What OWASP recommends for argon2id, memory in KiB.
        argon2 = Argon2Hasher(memory_cost=19 * 1024, time_cost=2, parallelism=1)
        self._hasher = PasswordHash((argon2, BcryptHasher()))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="password")
        # Compared with when there is no such account, so that the answer takes the same time.
        self._nobody = self._thread.submit(self._hasher.hash, "nobody has this password").result()

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._hasher.hash, password)

    async def verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        """(does it match, a new hash to store if this one is of old); `hashed=None` never matches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._verify, password, hashed)

    def _verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        fits = len(password.encode()) <= MAX_BYTES
        try:
            good, update = self._hasher.verify_and_update(password if fits else "", hashed or self._nobody)
        except UnknownHashError:
            return False, None
        return (good, update) if fits and hashed else (False, None)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
