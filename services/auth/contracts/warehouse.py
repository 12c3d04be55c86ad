"""The warehouse's contract: the paths, answers and texts of its original auth service.

Differences on purpose: a taken e-mail is 409 (was 500), `role` counts in a registration only when an admin
sends it, and passwords need more than letters. Sessions, refresh tokens and new passwords are our own
addition, under /api/auth/ alone.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from kit.authentication import Current, Identity, bearer, identify
from kit.database import Session
from kit.errors import Forbidden, Invalid, NotFound, TooManyRequests, Unauthorized, responses
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from auth import accounts, mails, sessions
from auth.accounts import BadCredentials, EmailTaken, LastAdmin, Rules
from auth.contracts import Contract
from auth.dependencies import Admin, UseCases, address, origin
from auth.fields import AnyPassword, Credentials, Email
from auth.models import ROLES, Language, Role
from auth.passwords import weakness
from auth.resets import Resets
from auth.sessions import Grant, Grants, Sessions
from auth.settings import WarehouseSettings

UserId = Annotated[int, Path(ge=1, le=2**31 - 1)]
Token = Annotated[str, Field(min_length=1, max_length=256)]


class Registration(BaseModel):
    email: Email
    password: str = Field(examples=["zielony-rower7"])
    role: Any = Field(
        default=None, description="admin, employee or customer; ignored unless an admin sends it"
    )
    language: Language = Field(default="pl", description="of mails")

    @field_validator("password")
    @classmethod
    def _strong(cls, password: str, info: ValidationInfo) -> str:
        if problem := weakness(password, info.data.get("email", "")):
            raise ValueError(problem)
        return password


class Refresh(BaseModel):
    refresh_token: Token


class PasswordChange(BaseModel):
    old_password: AnyPassword
    new_password: AnyPassword


class Forgotten(BaseModel):
    email: Email


class PasswordReset(BaseModel):
    token: Token
    new_password: AnyPassword


class RoleChange(BaseModel):
    role: Role


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    role: Role
    created_at: datetime
    updated_at: datetime


class Message(BaseModel):
    message: str


class Registered(Message):
    user_id: int


class LoggedIn(BaseModel):
    token: str
    user: UserOut
    refresh_token: str = Field(description="good for one refresh, which gives the next")
    expires_in: int = Field(description="seconds that the token lives")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105


class SessionOut(BaseModel):
    id: uuid.UUID
    client: str = Field(description="the address it was begun from")
    user_agent: str
    created_at: datetime
    expires_at: datetime
    refreshed_at: datetime | None = Field(description="when it last got new tokens")
    current: bool = Field(description="the one that asks")


class SessionsOut(BaseModel):
    sessions: list[SessionOut]


class Ended(Message):
    ended: int = Field(description="how many sessions")


class Profile(BaseModel):
    user: UserOut


class Assigned(Message):
    user: UserOut


class Users(BaseModel):
    users: list[UserOut]
    total: int


class Valid(BaseModel):
    valid: Literal[True] = True
    user_id: int
    email: str
    role: str
    claims: dict[str, Any]


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    service: str


async def _resets(request: Request) -> Resets:
    found: Resets = request.state.resets
    return found


UseResets = Annotated[Resets, Depends(_resets)]


async def register(body: Registration, request: Request, use: UseCases) -> Registered:
    by_admin = await _by_admin(request)
    role: Role = _wanted_role(body.role) if by_admin and body.role is not None else "customer"
    who = None if by_admin else address(request)
    user = await use.register(body.email, body.password, who, role=role, language=body.language)
    return Registered(message="User registered successfully", user_id=user.id)


async def login(body: Credentials, request: Request, use: UseCases) -> LoggedIn:
    return _logged_in(await use.login(body.email, body.password, origin(request)))


async def refresh(body: Refresh, request: Request) -> LoggedIn:
    grants: Grants = request.state.grants
    return _logged_in(await grants.refresh(body.refresh_token))


async def logout(identity: Current, use: UseCases) -> Message:
    await use.logout(identity)
    return Message(message="Logged out successfully")


async def change_password(
    identity: Current, body: PasswordChange, request: Request, use: UseCases
) -> Message:
    await use.change_password(identity, body.old_password, body.new_password, address(request))
    return Message(message="Password changed successfully")


async def forgot_password(body: Forgotten, request: Request, use: UseResets) -> Message:
    await use.forgot(body.email, address(request))
    return Message(message="If there is such an account, a link is on its way")


async def reset_password(body: PasswordReset, request: Request, use: UseResets) -> Message:
    await use.reset(body.token, body.new_password, address(request))
    return Message(message="Password changed successfully")


async def own_sessions(identity: Current, session: Session) -> SessionsOut:
    return await _listed(session, identity.user_id, identity)


async def end_other_sessions(identity: Current, session: Session) -> Ended:
    count = await sessions.end_all(session, identity.user_id, keep=identity.session)
    return Ended(message="Other sessions ended", ended=count)


async def end_session(identity: Current, session_id: uuid.UUID, session: Session) -> Message:
    if not await sessions.end(session, identity.user_id, session_id):
        raise NotFound("Session not found")
    return Message(message="Session ended")


async def sessions_of_user(admin: Admin, user_id: UserId, session: Session) -> SessionsOut:
    await accounts.get(session, user_id)
    return await _listed(session, user_id, admin)


async def end_sessions_of_user(_: Admin, user_id: UserId, session: Session) -> Ended:
    await accounts.get(session, user_id)
    return Ended(message="Sessions ended", ended=await sessions.end_all(session, user_id))


async def profile(identity: Current, session: Session) -> Profile:
    return Profile(user=UserOut.model_validate(await accounts.get(session, identity.user_id)))


async def validate(request: Request) -> Response:
    """For nginx `auth_request`: an empty 200 that says in headers who it is, or 401."""
    identity = await identify(request)
    return Response(
        headers={
            "X-User-Id": str(identity.user_id),
            "X-User-Email": identity.email,
            "X-User-Role": identity.role,
            "Cache-Control": "no-store",
        }
    )


async def validate_token(request: Request) -> Valid:
    standing: Sessions = request.state.sessions
    identity, claims = await standing.look(bearer(request))
    return Valid(user_id=identity.user_id, email=identity.email, role=identity.role, claims=claims.raw)


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


async def users(
    _: Admin,
    session: Session,
    response: Response,
    query: Annotated[str, Query(max_length=254, pattern=r"^[^\x00]*$", description="in the address")] = "",
    role: Role | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Users:
    found, total = await accounts.page(session, query, role, limit, offset)
    response.headers["X-Total-Count"] = str(total)
    return Users(users=[UserOut.model_validate(each) for each in found], total=total)


async def assign_role(
    admin: Admin, user_id: UserId, body: RoleChange, session: Session, use: UseCases
) -> Assigned:
    user = await use.assign(session, await accounts.get(session, user_id), body.role, admin)
    return Assigned(message="Role updated successfully", user=UserOut.model_validate(user))


def _logged_in(grant: Grant) -> LoggedIn:
    return LoggedIn(
        token=grant.access,
        user=UserOut.model_validate(grant.user),
        refresh_token=grant.refresh,
        expires_in=grant.expires_in,
    )


async def _listed(session: Session, user_id: int, by: Identity) -> SessionsOut:
    return SessionsOut(
        sessions=[
            SessionOut(
                id=each.id,
                client=each.client,
                user_agent=each.user_agent,
                created_at=each.created_at,
                expires_at=each.expires_at,
                refreshed_at=each.refreshed_at,
                current=str(each.id) == by.session,
            )
            for each in await sessions.listed(session, user_id)
        ]
    )


async def _by_admin(request: Request) -> bool:
    """A registration needs no token, so one that is no good makes it nobody's."""
    if "authorization" not in request.headers:
        return False
    try:
        return (await identify(request)).has("admin")
    except Unauthorized:
        return False


def _wanted_role(wanted: object) -> Role:
    if wanted not in ROLES:
        raise Invalid({"role": f"must be one of {', '.join(ROLES)}"})
    return wanted


ACCOUNT = ("/api/auth", "/auth")
SECURED: dict[str, Any] = {"security": [{"HTTPBearer": []}]}

router = APIRouter(tags=["auth"])
for prefix in (
    "/api/v1",
    *ACCOUNT,
):  # first: routes are tried in order, and this one is asked for every request
    router.add_api_route(
        f"{prefix}/validate",
        validate,
        response_class=Response,
        responses=responses(Unauthorized),
        openapi_extra=SECURED,
    )
for prefix in ACCOUNT:
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
for path in (*(f"{prefix}/logout" for prefix in ACCOUNT), "/logout"):
    router.add_api_route(path, logout, methods=["POST"], responses=responses(Unauthorized))
for prefix in (*ACCOUNT, "/api/v1"):
    router.add_api_route(f"{prefix}/profile", profile, responses=responses(Unauthorized, NotFound))
    router.add_api_route(
        f"{prefix}/validate-token", validate_token, responses=responses(Unauthorized), openapi_extra=SECURED
    )
router.add_api_route("/api/v1/health", health)
for path, post, errors, status in (
    ("refresh", refresh, (Unauthorized,), 200),
    ("password", change_password, (Unauthorized, NotFound, TooManyRequests), 200),
    ("password/forgot", forgot_password, (TooManyRequests,), 202),
    ("password/reset", reset_password, (), 200),
):
    router.add_api_route(
        f"/api/auth/{path}", post, methods=["POST"], status_code=status, responses=responses(*errors)
    )
router.add_api_route("/api/auth/sessions", own_sessions, responses=responses(Unauthorized))
router.add_api_route(
    "/api/auth/sessions", end_other_sessions, methods=["DELETE"], responses=responses(Unauthorized)
)
router.add_api_route(
    "/api/auth/sessions/{session_id}",
    end_session,
    methods=["DELETE"],
    responses=responses(Unauthorized, NotFound),
)
router.add_api_route(
    "/api/auth/users",
    users,
    responses={
        **responses(Unauthorized, Forbidden),
        200: {
            "headers": {"X-Total-Count": {"description": "Users on all pages", "schema": {"type": "integer"}}}
        },
    },
)
for method, sessions_of in (("GET", sessions_of_user), ("DELETE", end_sessions_of_user)):
    router.add_api_route(
        "/api/auth/users/{user_id}/sessions",
        sessions_of,
        methods=[method],
        responses=responses(Unauthorized, Forbidden, NotFound),
    )
router.add_api_route(
    "/api/auth/users/{user_id}/role",
    assign_role,
    methods=["PUT"],
    responses=responses(Unauthorized, Forbidden, NotFound, LastAdmin),
)

CONTRACT = Contract(router, WarehouseSettings, Rules(told=mails.told), queues=(mails.QUEUE,))
