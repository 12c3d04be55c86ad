"""Users and orders as one writes them in two days, which ours are measured beside.

Flask, SQLAlchemy, pydantic and PyJWT, for sync workers of gunicorn. It answers the requests that are measured
and no others, and knows no sessions that end, no failed logins, no history and no idempotency keys.
`python plain_services.py` makes the tables.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from flask import Flask, Response, g, jsonify, request
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import ARRAY, JSON, Numeric, String, create_engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

PRIVATE, PUBLIC, AUDIENCE = (os.environ[name] for name in ("PRIVATE_KEY", "PUBLIC_KEY", "AUDIENCE"))
DAY = timedelta(hours=24)

# What ours cost, so that not two hashes are compared.
passwords = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
engine = create_engine(os.environ["DATABASE_URL"])
logging.basicConfig(format="%(message)s", level=logging.INFO)
log = logging.getLogger("services")
app = Flask(__name__)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(100))
    roles: Mapped[list[str]] = mapped_column(ARRAY(String), default=lambda: ["user"])
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    def shown(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "email": self.email,
            "name": self.name,
            "roles": self.roles,
            "created_at": self.created_at.isoformat() + "Z",
            "updated_at": self.updated_at.isoformat() + "Z",
        }


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(index=True)
    items: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(16), default="created")
    total_amount: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    def shown(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "user_id": str(self.user_id),
            "items": self.items,
            "status": self.status,
            "total_amount": float(self.total_amount),
            "created_at": self.created_at.isoformat() + "Z",
            "updated_at": self.updated_at.isoformat() + "Z",
        }


class Credentials(BaseModel):
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]
    password: Annotated[str, Field(min_length=6, max_length=72)]


class Registration(Credentials):
    name: Annotated[str, Field(min_length=2, max_length=100)]


class Item(BaseModel):
    product: Annotated[str, Field(min_length=1, max_length=200)]
    quantity: Annotated[int, Field(ge=1, le=10_000)]
    price: Annotated[Decimal, Field(gt=0, max_digits=10, decimal_places=2)]


class NewOrder(BaseModel):
    items: Annotated[list[Item], Field(min_length=1, max_length=100)]


class Page(BaseModel):
    page: Annotated[int, Field(ge=1)] = 1
    per_page: Annotated[int, Field(ge=1, le=100)] = 10


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@app.post("/v1/users/register")
def register() -> tuple[Response, int]:
    body = Registration.model_validate(request.get_json())
    user = User(email=body.email.lower(), name=body.name, password_hash=passwords.hash(body.password))
    with Session(engine) as session:
        session.add(user)
        try:
            session.commit()
        except IntegrityError as error:
            raise Refused(400, "EMAIL_EXISTS", "User with this email already exists") from error
        shown = user.shown()
    return success({"message": "User registered successfully", "user": shown}), 201


@app.post("/v1/users/login")
def login() -> Response:
    body = Credentials.model_validate(request.get_json())
    with Session(engine) as session:
        user = session.scalar(select(User).where(User.email == body.email.lower()))
    try:
        if user is None:
            raise VerifyMismatchError
        passwords.verify(user.password_hash, body.password)
    except VerifyMismatchError as error:
        raise Refused(401, "INVALID_CREDENTIALS", "Invalid email or password") from error
    now = datetime.now(UTC)
    claims = {
        "user_id": str(user.id),
        "email": user.email,
        "roles": user.roles,
        "role": "admin" if "admin" in user.roles else "customer",
        "typ": "access",
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + DAY,
    }
    token = jwt.encode(claims, PRIVATE, algorithm="RS256")
    expires = int(DAY.total_seconds())
    return success({"token": token, "user": user.shown(), "expires_in": expires, "token_type": "Bearer"})


@app.get("/v1/users/profile")
def profile() -> Response:
    with Session(engine) as session:
        user = session.get(User, caller())
    if user is None:
        raise Refused(404, "NOT_FOUND", "User not found")
    return success(user.shown())


@app.post("/v1/orders")
def create_order() -> tuple[Response, int]:
    owner = caller()
    body = NewOrder.model_validate(request.get_json())
    order = Order(
        user_id=owner,
        items=[each.model_dump(mode="json") | {"price": float(each.price)} for each in body.items],
        total_amount=sum((each.price * each.quantity for each in body.items), Decimal()),
    )
    with Session(engine) as session:
        session.add(order)
        session.commit()
        shown = order.shown()
    return success(shown), 201


@app.get("/v1/orders")
def list_orders() -> Response:
    mine = Order.user_id == caller()
    page = Page.model_validate(request.args.to_dict())
    newest = select(Order).where(mine).order_by(Order.created_at.desc())
    with Session(engine) as session:
        found = session.scalars(newest.limit(page.per_page).offset((page.page - 1) * page.per_page)).all()
        total = session.scalar(select(func.count()).select_from(Order).where(mine)) or 0
    pagination = page.model_dump() | {"total": total, "pages": -(-total // page.per_page)}
    return success([each.shown() for each in found], pagination=pagination)


def caller() -> uuid.UUID:
    """Whose token it is."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        claims = jwt.decode(token, PUBLIC, algorithms=["RS256"], audience=AUDIENCE)
    except jwt.PyJWTError as error:
        raise Refused(401, "UNAUTHORIZED", "Authentication required") from error
    if kind.lower() != "bearer" or claims.get("typ") != "access":
        raise Refused(401, "UNAUTHORIZED", "Authentication required")
    g.user_id = claims["user_id"]
    return uuid.UUID(claims["user_id"])


def success(data: Any, **more: Any) -> Response:
    return jsonify(success=True, data=data, **more)


@app.errorhandler(Refused)
def refused(error: Refused) -> tuple[Response, int]:
    return jsonify(success=False, error={"code": error.code, "message": str(error)}), error.status


@app.errorhandler(ValidationError)
def invalid(error: ValidationError) -> tuple[Response, int]:
    message = "; ".join(f"{each['loc']}: {each['msg']}" for each in error.errors())
    return jsonify(success=False, error={"code": "VALIDATION_ERROR", "message": message}), 400


@app.before_request
def begin() -> None:
    g.started = time.monotonic()


@app.after_request
def tell(answer: Response) -> Response:
    line = {
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "level": "INFO",
        "logger": log.name,
        "message": f"{request.method} {request.path} {answer.status_code}",
        "request_id": request.headers.get("X-Request-ID"),
        "user_id": g.get("user_id"),
        "method": request.method,
        "path": request.path,
        "milliseconds": round((time.monotonic() - g.started) * 1000, 1),
    }
    log.info(json.dumps(line))
    return answer


if __name__ == "__main__":
    Base.metadata.create_all(engine)
