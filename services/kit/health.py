"""Health: live never touches a dependency, ready does; `python -m kit.health URL` is the container's probe.

The probe runs every few seconds in every container, so at import this module takes nothing but `sys`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    Check = Callable[[], Awaitable[None]]
    Checks = Callable[[Request], Mapping[str, Check]]

CHECK_TIMEOUT = 2.0  # seconds, for each dependency


def routes(checks: Checks) -> list[BaseRoute]:
    """`/health/live` answers 200 while the process serves; `/health/ready` 200, or 503 naming what fails."""
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        found = await check_all(checks(request))
        good = all(each == "ok" for each in found.values())
        body = {"status": "ok" if good else "unavailable", "checks": found}
        return JSONResponse(body, status_code=200 if good else 503)

    return [Route("/health/live", live), Route("/health/ready", ready)]


async def check_all(checks: Mapping[str, Check]) -> dict[str, str]:
    """Runs all checks at once: name -> "ok", or the kind of failure (its text may hold secrets)."""
    import asyncio

    async def one(check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await check()
        except Exception as error:  # whatever it is, we are not ready
            return type(error).__name__
        return "ok"

    return dict(zip(checks, await asyncio.gather(*map(one, checks.values())), strict=True))


def probe(url: str, timeout: float = 3.0) -> int:
    """Exit status 0 if `url` (plain HTTP) answers 200, else 1 with the reason on stderr."""
    import socket

    place, _, path = url.removeprefix("http://").partition("/")
    host, _, port = place.rpartition(":") if ":" in place else (place, "", "80")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(f"GET /{path} HTTP/1.0\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
    except (OSError, ValueError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    if answer.split(b" ", 2)[1:2] == [b"200"]:
        return 0
    print(f"{url}: {answer[:200].decode(errors='replace').splitlines()[:1]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python -m kit.health http://HOST:PORT/PATH", file=sys.stderr)
        raise SystemExit(2)
    raise SystemExit(probe(sys.argv[1]))
