"""Calls from service to service over HTTP: bounded in time, tried again where that is safe, and signed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import stamina

from kit import context
from kit.errors import Unavailable
from kit.settings import ServiceTokenSettings, Settings
from kit.tokens import ServiceTokens

CONNECT_TIMEOUT = 1.0  # seconds
JITTER = 0.5  # seconds by which a wait is longer by chance, at most: callers must not come back together
LONGEST_WAIT = 5.0  # seconds between two tries; who is told to wait longer is told so by us
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # twice is as good as once
AWAY = frozenset({429, 502, 503, 504})  # a later try may find it there


class ServiceClient:
    """A client of one other service, to which calls are signed where the settings have the key for it.

    What is tried again: a request that never reached it, and, if it is idempotent by its method or by an
    `Idempotency-Key`, one without an answer or with one of `AWAY`. Any other answer is the caller's to judge.
    """

    def __init__(self, settings: Settings, http: httpx2.AsyncClient, attempts: int, patience: float) -> None:
        self._name = settings.service_name
        self._tokens = None
        if isinstance(settings, ServiceTokenSettings):
            self._tokens = ServiceTokens(settings.service_key.get_secret_value(), settings.application)
        self._http = http
        self._attempts = attempts
        self._patience = patience

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        base_url: str,
        *,
        timeout: float = 3.0,
        attempts: int = 4,
        patience: float = 10.0,
    ) -> AsyncIterator[ServiceClient]:
        """`timeout` of one try, `patience` for all of them, in seconds."""
        async with httpx2.AsyncClient(
            base_url=base_url,
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            trust_env=False,
        ) as http:
            yield cls(settings, http, attempts, patience)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.request("GET", path, **more)

    async def post(self, path: str, **more: Any) -> httpx2.Response:
        return await self.request("POST", path, **more)

    async def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """The answer, of whatever status but `AWAY`; raises `Unavailable` when there is none to be had.

        `more` as httpx2 takes it: params, json, content. A caller's own `Authorization` stays.
        """
        own = headers or {}
        idempotent = method.upper() in SAFE or any(name.lower() == "idempotency-key" for name in own)
        try:
            async for attempt in stamina.retry_context(
                on=lambda error: _again(error, idempotent),
                attempts=self._attempts,
                timeout=self._patience,
                wait_max=LONGEST_WAIT,
                wait_jitter=JITTER,
            ):
                with attempt:
                    return await self._once(method, path, own, more)
        except _Away as error:
            raise Unavailable(headers=_retry_after(error.answer)) from error
        except httpx2.TransportError as error:
            raise Unavailable from error
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, own: dict[str, str], more: dict[str, Any]
    ) -> httpx2.Response:
        with context.span(f"{method} {self._http.base_url.host}"):
            token = {"Authorization": f"Bearer {self._tokens.issue(self._name)}"} if self._tokens else {}
            headers = httpx2.Headers(token | context.outgoing())
            headers.update(own)
            answer = await self._http.request(method, path, headers=headers, **more)
        if answer.status_code in AWAY:
            raise _Away(answer)
        return answer


class _Away(Exception):
    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(f"{answer.request.url} answered {answer.status_code}")
        self.answer = answer


def _again(error: Exception, idempotent: bool) -> bool | float:
    """Whether to try again, or after how many seconds."""
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):
        return True
    if isinstance(error, httpx2.TransportError):
        return idempotent
    if not isinstance(error, _Away) or not idempotent:
        return False
    wait = wait_of(error.answer)
    return True if wait is None else wait <= LONGEST_WAIT and wait


def wait_of(answer: httpx2.Response) -> float | None:
    """Seconds that `Retry-After` asks for, which may be a number or a date; None without a readable one."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _retry_after(answer: httpx2.Response) -> dict[str, str]:
    found = answer.headers.get("retry-after")
    return {"Retry-After": found} if found else {}
