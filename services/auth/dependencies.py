"""What routes of every contract ask for: the use cases, an admin, and where a request comes from."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from kit import client
from kit.authentication import Identity, require
from starlette.requests import Request

from auth.accounts import Accounts
from auth.sessions import Origin


async def _accounts(request: Request) -> Accounts:
    found: Accounts = request.state.accounts
    return found


UseCases = Annotated[Accounts, Depends(_accounts)]
Admin = Annotated[Identity, Depends(require("admin"))]


def address(request: Request) -> str:
    return client.address(request, request.app.state.settings.trusted_proxies)


def origin(request: Request) -> Origin:
    return Origin(address(request), request.headers.get("user-agent", ""))
