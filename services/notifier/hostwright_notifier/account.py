"""Who we are for the server: logged in once, then a refresh token in a file of the user's own."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

TIMEOUT = 15.0  # seconds for an answer
STAFF = ("admin", "employee")
SAVING = threading.Lock()


class Refused(Exception):
    """Nothing will be better by trying again: a person must do something."""


@dataclass
class Account:
    """The file's content. `last_id` is the last notification shown; None before the first connection."""

    url: str
    ca: str | None
    email: str
    refresh_token: str
    last_id: int | None = None

    @classmethod
    def load(cls) -> Account:
        """Raises `Refused` where nobody has logged in."""
        try:
            return cls(**json.loads(_file().read_text()))
        except FileNotFoundError:
            raise Refused("nobody is logged in; run: hostwright-notifier login URL") from None
        except (ValueError, TypeError):
            raise Refused(f"{_file()} is damaged; run: hostwright-notifier login URL") from None

    def save(self) -> None:
        """As a whole or not at all, readable by the user alone."""
        new = _file().with_suffix(".new")
        with SAVING, os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
            new.replace(_file())

    @staticmethod
    def forget() -> None:
        _file().unlink(missing_ok=True)

    def tls(self) -> ssl.SSLContext | None:
        """What the server's certificate is checked against; None without TLS."""
        if not self.url.startswith("https:"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"{self.ca} is not a file of certificates: {error}") from None

    def http(self) -> httpx2.Client:
        """Cheap to make, so made where it is needed; the agent asks a few times a day."""
        return httpx2.Client(base_url=self.url, verify=self.tls() or False, timeout=TIMEOUT)

    def refresh(self) -> str:
        """A new access token. The refresh token changes with each use: it is saved before it is needed."""
        with self.http() as http:
            answer = http.post("/api/auth/refresh", json={"refresh_token": self.refresh_token})
        if answer.status_code in (400, 401, 403):
            given = ["--ca", self.ca] if self.ca else []
            again = shlex.join(["hostwright-notifier", "login", *given, self.url])
            raise Refused(f"the session has ended; run: {again}")
        found = answer.raise_for_status().json()
        self.refresh_token = str(found["refresh_token"])
        self.save()
        return str(found["token"])

    def newest(self, token: str) -> int:
        """The id of the last notification there is: what was before our first connection is not told."""
        with self.http() as http:
            headers = {"Authorization": f"Bearer {token}"}
            answer = http.get("/api/notifications", params={"limit": 1}, headers=headers)
        if answer.status_code == 403:
            raise Refused(f"{self.email} is neither employee nor admin: only they are told of orders")
        found = answer.raise_for_status().json()
        self.last_id = int(found[0]["id"]) if found else 0
        self.save()
        return self.last_id


def login(url: str, ca: str | None, email: str, password: str) -> Account:
    """Logs in and keeps the account. Raises `Refused`, or `httpx2.HTTPError` without the server."""
    account = Account(_checked(url), str(Path(ca).resolve()) if ca else None, email, "")
    with account.http() as http:
        answer = http.post("/api/auth/login", json={"email": email, "password": password})
        if answer.status_code in (400, 401, 429):
            raise Refused(_error(answer))
        found = answer.raise_for_status().json()
        if found["user"]["role"] not in STAFF:
            headers = {"Authorization": f"Bearer {found['token']}"}
            http.post("/api/auth/logout", headers=headers)
            raise Refused(f"{email} is neither employee nor admin: only they are told of orders")
    account.refresh_token = str(found["refresh_token"])
    account.save()
    return account


def logout() -> None:
    """Ends the session, here whatever the server says."""
    account = Account.load()
    try:
        token = account.refresh()
        with account.http() as http:
            http.post("/api/auth/logout", headers={"Authorization": f"Bearer {token}"}).raise_for_status()
    finally:
        account.forget()


@contextmanager
def alone() -> Iterator[None]:
    """Raises `Refused` where the agent runs already: two would use up each other's refresh token."""
    with (_file().parent / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("the agent is running already; stop it first") from None
        yield


def _file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    directory = Path(state) / "hostwright-notifier"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory / "account.json"


def _checked(url: str) -> str:
    """Without a path. Passwords go over TLS, or to this very machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"{url} is no address; give one like https://shop.example")
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise Refused(f"{url} would show the password to the network; use https")
    return f"{parts.scheme}://{parts.netloc}"


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _error(answer: httpx2.Response) -> str:
    """The server's own words."""
    try:
        found: dict[str, Any] = answer.json()
        return str(found["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
