"""The warehouse's contract: the paths, answers and texts of its original auth service.

Differences on purpose: a taken e-mail is 409 (was 500), `role` counts in a registration only when an admin
sends it, and passwords need more than letters.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from kit import client
from kit.authentication import Current, Identity, bearer, identify, require
from kit.database import Session
from kit.errors import Forbidden, Invalid, NotFound, TooManyRequests, Unauthorized, responses
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from auth import accounts
from auth.accounts import Accounts, BadCredentials, EmailTaken, LastAdmin
from auth.models import ROLES, Role
from auth.passwords import weakness
from auth.sessions import Sessions

Email = Annotated[str, AfterValidator(accounts.normalised), Field(examples=["jan@example.com"])]
UserId = Annotated[int, Path(ge=1, le=2**31 - 1)]


class Registration(BaseModel):
    email: Email
    password: str = Field(examples=["zielony-rower7"])
    role: Any = Field(
        default=None, description="admin, employee or customer; ignored unless an admin sends it"
    )

    @field_validator("password")
    @classmethod
    def _strong(cls, password: str, info: ValidationInfo) -> str:
        if problem := weakness(password, info.data.get("email", "")):
            raise ValueError(problem)
        return password


class Credentials(BaseModel):
    email: Email
    password: str = Field(min_length=1, max_length=1024)


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


async def _accounts(request: Request) -> Accounts:
    found: Accounts = request.state.accounts
    return found


UseCases = Annotated[Accounts, Depends(_accounts)]
Admin = Annotated[Identity, Depends(require("admin"))]


async def register(body: Registration, request: Request, use: UseCases) -> Registered:
    role: Role = await _wanted_role(request, body.role)
    user_id = await use.register(body.email, body.password, role)
    return Registered(message="User registered successfully", user_id=user_id)


async def login(body: Credentials, request: Request, use: UseCases) -> LoggedIn:
    token, user = await use.login(
        body.email,
        body.password,
        client.address(request, request.app.state.settings.trusted_proxies),
        request.headers.get("user-agent", ""),
    )
    return LoggedIn(token=token, user=UserOut.model_validate(user))


async def logout(identity: Current, use: UseCases) -> Message:
    await use.logout(identity)
    return Message(message="Logged out successfully")


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
    sessions: Sessions = request.state.sessions
    identity, claims = await sessions.look(bearer(request))
    return Valid(user_id=identity.user_id, email=identity.email, role=identity.role, claims=claims.raw)


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


async def users(
    _: Admin,
    session: Session,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Users:
    found, total = await accounts.page(session, limit, offset)
    return Users(users=[UserOut.model_validate(each) for each in found], total=total)


async def assign_role(admin: Admin, user_id: UserId, body: RoleChange, session: Session) -> Assigned:
    user = await accounts.assign(session, user_id, body.role, admin)
    return Assigned(message="Role updated successfully", user=UserOut.model_validate(user))


async def _wanted_role(request: Request, wanted: object) -> Role:
    """Only an admin chooses; a wish of anybody else, with whatever token, is a customer."""
    if wanted is None or "authorization" not in request.headers:
        return "customer"
    try:
        asking = await identify(request)
    except Unauthorized:
        return "customer"
    if not asking.has("admin"):
        return "customer"
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
        f"{prefix}/register", register, methods=["POST"], status_code=201, responses=responses(EmailTaken)
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
router.add_api_route("/api/auth/users", users, responses=responses(Unauthorized, Forbidden))
router.add_api_route(
    "/api/auth/users/{user_id}/role",
    assign_role,
    methods=["PUT"],
    responses=responses(Unauthorized, Forbidden, NotFound, LastAdmin),
)
