"""The gatekeeper's contract: the paths, envelopes, codes and texts of its original service of users.

Differences on purpose: who has an account always is a `user`, so roles are that, or that and `admin`; the
last admin stays one. Logging out is our own addition.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from kit.authentication import Current
from kit.database import Session
from kit.envelope import ENVELOPE, Listed, Success, responses
from kit.errors import Forbidden, Invalid, NotFound, ServiceError, TooManyRequests, Unauthorized
from kit.fields import PageNumber, PerPage, UuidPath
from pydantic import BaseModel, Field

from auth import accounts, ended
from auth.accounts import BadCredentials, EmailTaken, LastAdmin, Rules, WrongPassword
from auth.contracts import Contract
from auth.dependencies import Admin, UseCases, address, origin
from auth.fields import AnyPassword, Credentials, Email, LongPassword, Name
from auth.models import Role, User
from auth.settings import KeyPairSettings

Word = Literal["user", "admin"]
WORDS: dict[Role, list[Word]] = {"customer": ["user"], "employee": ["user"], "admin": ["user", "admin"]}


class EmailExists(ServiceError):
    """400, where others answer 409."""

    status = 400
    code = "EMAIL_EXISTS"
    text = "User with this email already exists"


class WrongOldPassword(Unauthorized):
    code = "INVALID_CREDENTIALS"
    text = "Old password is incorrect"


Text = Annotated[str, Query(max_length=254, pattern=r"^[^\x00]*$", description="in the address or the name")]


class Registration(BaseModel):
    email: Email
    password: LongPassword
    name: Name


class ProfileChange(BaseModel):
    name: Name | None = None
    email: Email | None = None


class PasswordChange(BaseModel):
    old_password: AnyPassword
    new_password: AnyPassword


class RolesChange(BaseModel):
    roles: Annotated[list[Word], Field(min_length=1, max_length=2)]


class UserOut(BaseModel):
    id: uuid.UUID
    email: str
    name: str
    roles: list[Word]
    created_at: datetime
    updated_at: datetime


class Message(BaseModel):
    message: str


class UserAndMessage(Message):
    user: UserOut


class LoggedIn(BaseModel):
    token: str
    user: UserOut
    expires_in: int = Field(description="seconds that the token lives")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105


class Deleted(Message):
    deletedUser: UserOut


async def register(body: Registration, request: Request, use: UseCases) -> Success[UserAndMessage]:
    try:
        user = await use.register(body.email, body.password, address(request), name=body.name)
    except EmailTaken as error:
        raise EmailExists from error
    return Success(data=UserAndMessage(message="User registered successfully", user=_shown(user)))


async def login(body: Credentials, request: Request, use: UseCases) -> Success[LoggedIn]:
    grant = await use.login(body.email, body.password, origin(request))
    return Success(data=LoggedIn(token=grant.access, user=_shown(grant.user), expires_in=grant.expires_in))


async def logout(identity: Current, use: UseCases) -> Success[Message]:
    await use.logout(identity)
    return Success(data=Message(message="Logged out successfully"))


async def profile(identity: Current, session: Session) -> Success[UserOut]:
    return Success(data=_shown(await accounts.get(session, identity.user_id)))


async def update_profile(
    identity: Current, body: ProfileChange, session: Session, use: UseCases
) -> Success[UserOut]:
    if body.name is None and body.email is None:
        raise Invalid({"body": "has neither name nor email"})
    user = await accounts.get(session, identity.user_id)
    try:
        return Success(data=_shown(await use.update(session, user, body.name, body.email)))
    except EmailTaken as error:
        raise EmailExists from error


async def change_password(
    identity: Current, body: PasswordChange, request: Request, use: UseCases
) -> Success[Message]:
    try:
        await use.change_password(identity, body.old_password, body.new_password, address(request))
    except WrongPassword as error:
        raise WrongOldPassword from error
    return Success(data=Message(message="Password changed successfully"))


async def users(
    _: Admin,
    session: Session,
    page: PageNumber = 1,
    per_page: PerPage = 10,
    query: Text = "",
    role: Word | None = None,
) -> Listed[UserOut]:
    return await _listed(session, query, role, page, per_page)


async def search(
    _: Admin,
    session: Session,
    page: PageNumber = 1,
    per_page: PerPage = 10,
    query: Text = "",
    q: Text = "",
) -> Listed[UserOut]:
    """By either name of the parameter."""
    if len(wanted := query or q) < 2:
        raise Invalid({"query": "must have at least 2 characters"})
    return await _listed(session, wanted, None, page, per_page)


async def user_by_id(_: Admin, user_id: UuidPath, session: Session) -> Success[UserOut]:
    return Success(data=_shown(await accounts.get(session, user_id)))


async def assign_roles(
    admin: Admin, user_id: UuidPath, body: RolesChange, session: Session, use: UseCases
) -> Success[UserAndMessage]:
    role: Role = "admin" if "admin" in body.roles else "customer"
    user = await use.assign(session, await accounts.get(session, user_id), role, admin)
    return Success(data=UserAndMessage(message="User roles updated successfully", user=_shown(user)))


async def delete_user(admin: Admin, user_id: UuidPath, session: Session, use: UseCases) -> Success[Deleted]:
    user = await accounts.get(session, user_id)
    shown = _shown(user)
    await use.remove(session, user, admin)
    return Success(data=Deleted(message="User deleted successfully", deletedUser=shown))


def claims(user: User) -> dict[str, Any]:
    return {"user_id": str(user.uid), "roles": _roles(user)}


def _shown(user: User) -> UserOut:
    return UserOut(
        id=user.uid,
        email=user.email,
        name=user.name,
        roles=_roles(user),
        created_at=user.created_at,
        updated_at=user.updated_at,
    )


def _roles(user: User) -> list[Word]:
    return next(words for role, words in WORDS.items() if role == user.role)


async def _listed(
    session: Session, query: str, role: Word | None, page: int, per_page: int
) -> Listed[UserOut]:
    """Everybody is a `user`, so that role leaves nobody out."""
    wanted: Role | None = "admin" if role == "admin" else None
    found, total = await accounts.page(session, query, wanted, per_page, (page - 1) * per_page)
    return Listed.of([_shown(each) for each in found], page, per_page, total)


people = APIRouter(tags=["users"], prefix="/v1/users")
people.add_api_route(
    "/register",
    register,
    methods=["POST"],
    status_code=201,
    responses=responses(EmailExists, TooManyRequests),
)
people.add_api_route("/login", login, methods=["POST"], responses=responses(BadCredentials, TooManyRequests))
people.add_api_route("/logout", logout, methods=["POST"], responses=responses(Unauthorized))
people.add_api_route("/profile", profile, responses=responses(Unauthorized, NotFound))
people.add_api_route("/profile", update_profile, methods=["PUT"], responses=responses(Unauthorized, NotFound))
for path in ("/password", "/profile/password"):
    people.add_api_route(
        path,
        change_password,
        methods=["PUT"],
        responses=responses(Unauthorized, NotFound, TooManyRequests),
    )
people.add_api_route("", users, responses=responses(Unauthorized, Forbidden))
people.add_api_route("/search", search, responses=responses(Unauthorized, Forbidden))
people.add_api_route("/{user_id}", user_by_id, responses=responses(Unauthorized, Forbidden, NotFound))
people.add_api_route(
    "/{user_id}/roles",
    assign_roles,
    methods=["PUT"],
    responses=responses(Unauthorized, Forbidden, NotFound, LastAdmin),
)
people.add_api_route(
    "/{user_id}",
    delete_user,
    methods=["DELETE"],
    responses=responses(Unauthorized, Forbidden, NotFound, LastAdmin),
)
router = APIRouter()
router.include_router(people)
router.include_router(ended.router)

CONTRACT = Contract(
    router,
    KeyPairSettings,
    Rules(told=lambda change, user: (), strict_passwords=False, believed=True),  # noqa: ARG005
    claims=claims,
    errors=ENVELOPE,
)
