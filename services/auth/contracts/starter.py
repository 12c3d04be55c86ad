"""The starter's contract: users below /api/users through the gateway, and directly on the service's own port.

Its document leaves bodies open: they are in an envelope, as the gatekeeper's are. Everybody who is logged in
sees all users, as it says; changing one is for that user and for admins.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from kit.authentication import Current
from kit.database import Session
from kit.envelope import ENVELOPE, Listed, Success, responses
from kit.errors import Forbidden, Invalid, NotFound, TooManyRequests, Unauthorized
from kit.fields import PageNumber, PerPage, UuidPath
from pydantic import BaseModel, Field

from auth import accounts, events
from auth.accounts import BadCredentials, EmailTaken, Rules
from auth.contracts import Contract
from auth.dependencies import UseCases, address, origin
from auth.fields import Credentials, Email, LongPassword, Name
from auth.models import User
from auth.settings import StarterSettings


class Registration(BaseModel):
    name: Name
    email: Email
    password: LongPassword


class UserChange(BaseModel):
    name: Name | None = None
    email: Email | None = None


class UserOut(BaseModel):
    id: uuid.UUID
    name: str
    email: str
    created_at: datetime
    updated_at: datetime


class LoggedIn(BaseModel):
    token: str
    user: UserOut
    expires_in: int = Field(description="seconds that the token lives")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105


class Health(BaseModel):
    status: Literal["healthy"] = "healthy"
    service: str


async def register(body: Registration, request: Request, use: UseCases) -> Success[UserOut]:
    user = await use.register(body.email, body.password, address(request), name=body.name)
    return Success(data=_shown(user))


async def login(body: Credentials, request: Request, use: UseCases) -> Success[LoggedIn]:
    grant = await use.login(body.email, body.password, origin(request))
    return Success(data=LoggedIn(token=grant.access, user=_shown(grant.user), expires_in=grant.expires_in))


async def users(
    _: Current, session: Session, page: PageNumber = 1, per_page: PerPage = 100
) -> Listed[UserOut]:
    found, total = await accounts.page(session, "", None, per_page, (page - 1) * per_page)
    return Listed.of([_shown(each) for each in found], page, per_page, total)


async def user_by_id(_: Current, user_id: UuidPath, session: Session) -> Success[UserOut]:
    return Success(data=_shown(await accounts.get(session, user_id)))


async def update_user(
    identity: Current, user_id: UuidPath, body: UserChange, session: Session, use: UseCases
) -> Success[UserOut]:
    if identity.uid != user_id and not identity.has("admin"):
        raise Forbidden(("admin",), identity.role)
    if body.name is None and body.email is None:
        raise Invalid({"body": "has neither name nor email"})
    user = await accounts.get(session, user_id)
    return Success(data=_shown(await use.update(session, user, body.name, body.email)))


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


def claims(user: User) -> dict[str, Any]:
    return {"user_id": str(user.uid)}


def _shown(user: User) -> UserOut:
    return UserOut(
        id=user.uid,
        name=user.name,
        email=user.email,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )


router = APIRouter(tags=["users"])
for prefix, listed in (("/api/users", "/api/users"), ("", "/users")):
    router.add_api_route(
        f"{prefix}/register",
        register,
        methods=["POST"],
        status_code=201,
        responses=responses(EmailTaken, TooManyRequests),
    )
    router.add_api_route(
        f"{prefix}/login", login, methods=["POST"], responses=responses(BadCredentials, TooManyRequests)
    )
    router.add_api_route(listed, users, responses=responses(Unauthorized))
    router.add_api_route(f"{listed}/{{user_id}}", user_by_id, responses=responses(Unauthorized, NotFound))
router.add_api_route(
    "/api/users/{user_id}",
    update_user,
    methods=["PUT"],
    responses=responses(Unauthorized, Forbidden, NotFound, EmailTaken),
)
router.add_api_route("/health", health)

CONTRACT = Contract(
    router,
    StarterSettings,
    Rules(told=events.told, strict_passwords=False, believed=True),
    queues=(events.USERS,),
    topics=(events.USERS,),
    claims=claims,
    errors=ENVELOPE,
)
