"""The warehouse's contract: for admins, what became of each mail, and what mails look like."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from kit import events
from kit.authentication import Identity, require
from kit.database import Session
from kit.errors import Forbidden, Invalid, Unauthorized, Unavailable, responses
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mail import dead, maillog
from mail.dead import Gone, MailNotFound, NotFailed
from mail.language import LANGUAGES, Language
from mail.maillog import Filters
from mail.models import Status
from mail.rendering import BadContext, Templates, examples
from mail.sending import QUEUE


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _stored(text: str) -> str:
    if "\0" in text:
        raise ValueError("has control characters")
    return text


Time = Annotated[datetime, AfterValidator(_utc)]
Recipient = Annotated[str, Query(max_length=254), AfterValidator(_stored)]
MailId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Template = Literal["welcome", "order_placed", "status_changed", "password_reset"]
Admin = Annotated[Identity, Depends(require("admin"))]


class MailOut(BaseModel):
    """Times are UTC. Neither text nor links of a mail are kept."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    event_id: uuid.UUID = Field(description="also the local part of the mail's Message-ID")
    template: str
    recipient: str
    language: str
    status: Status
    attempts: int
    error: str | None
    created_at: datetime
    updated_at: datetime
    sent_at: datetime | None


class TemplateOut(BaseModel):
    name: str
    languages: list[Language]
    subjects: dict[str, str] = Field(description="Language -> subject of the example")
    example: dict[str, Any] = Field(description="A context, with every field there is")


class PreviewIn(BaseModel):
    template: Template
    language: Language = "pl"
    context: dict[str, Any] | None = Field(default=None, description="the template's example unless given")


class PreviewOut(BaseModel):
    subject: str
    html: str
    text: str


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    service: str


async def list_mails(
    _: Admin,
    session: Session,
    response: Response,
    status: Annotated[list[Status] | None, Query()] = None,
    template: Template | None = None,
    recipient: Recipient | None = None,
    created_from: Annotated[Time | None, Query(description="inclusive; UTC unless it says otherwise")] = None,
    created_to: Annotated[Time | None, Query(description="exclusive")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> list[MailOut]:
    filters = Filters(status or (), template, recipient, created_from, created_to)
    found, total = await maillog.page(session, filters, limit, offset)
    response.headers["X-Total-Count"] = str(total)
    return [MailOut.model_validate(each) for each in found]


async def list_templates(_: Admin, request: Request) -> list[TemplateOut]:
    templates: Templates = request.state.templates
    return [
        TemplateOut(
            name=name,
            languages=list(LANGUAGES),
            subjects={each: templates.render(name, each, example).subject for each in LANGUAGES},
            example=example,
        )
        for name, example in examples().items()
    ]


async def preview(_: Admin, request: Request, body: PreviewIn) -> PreviewOut:
    templates: Templates = request.state.templates
    context = examples()[body.template] if body.context is None else body.context
    wanted = {"template": body.template, "to": "preview@example.com", "language": body.language}
    try:
        events.check(QUEUE, {**wanted, "context": context})
        content = templates.render(body.template, body.language, context)
    except (BadContext, events.Misfit) as error:
        raise Invalid({"context": str(error)}) from error
    return PreviewOut(subject=content.subject, html=content.html, text=content.text)


async def retry(_: Admin, request: Request, session: Session, mail_id: MailId) -> MailOut:
    return MailOut.model_validate(await dead.retry(session, request.app.state.settings, mail_id))


async def health(request: Request) -> Health:
    return Health(service=request.app.state.settings.service_name)


ADMIN = (Unauthorized, Forbidden)
LIST: dict[str, Any] = {
    "headers": {"X-Total-Count": {"description": "Mails on all pages", "schema": {"type": "integer"}}}
}

router = APIRouter(tags=["mail"])
router.add_api_route("/api/mail", list_mails, responses={200: LIST, **responses(*ADMIN)})
router.add_api_route("/api/mail/templates", list_templates, responses=responses(*ADMIN))
router.add_api_route("/api/mail/preview", preview, methods=["POST"], responses=responses(*ADMIN))
router.add_api_route(
    "/api/mail/{mail_id}/retry",
    retry,
    methods=["POST"],
    status_code=202,
    responses=responses(*ADMIN, MailNotFound, NotFailed, Gone, Unavailable),
)
router.add_api_route("/health", health)
