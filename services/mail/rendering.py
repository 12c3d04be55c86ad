"""Templates: one source a mail and language gives the subject, the HTML and the text, so that they agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, pass_context
from jinja2.runtime import Context

from mail import language as words
from mail.language import Language
from mail.settings import MailSettings

FOLDER = Path(__file__).parent / "templates"
LAYOUTS = {"html": "layout.html", "text": "layout.txt"}
PARTS = {"html": "parts.html", "text": "parts.txt"}

AUTOMATIC = {
    "pl": "Wiadomość wysłana automatycznie, prosimy na nią nie odpowiadać.",
    "en": "This message was sent automatically, please do not reply.",
}


class BadContext(Exception):
    """A template asks for what its context does not have."""


@dataclass(frozen=True, slots=True)
class Content:
    subject: str
    html: str
    text: str


class Templates:
    """Renders the templates of the folder, which are read once."""

    def __init__(self, settings: MailSettings) -> None:
        self._public_url = settings.public_url.rstrip("/")
        self._order_path = settings.order_path
        self._shop_name = settings.shop_name
        self._zone = ZoneInfo(settings.time_zone)
        self._html = self._environment("html", autoescape=True)
        self._text = self._environment("text", autoescape=False)

    def render(
        self, template: str, language: Language, context: Mapping[str, Any], now: datetime | None = None
    ) -> Content:
        """Raises `BadContext`. `now` is from when on the validity of links is told."""
        given = {
            **context,
            "language": language,
            "now": now or datetime.now(UTC),
            "zone": self._zone,
            "statuses": words.STATUSES[language],
            "sources": words.SOURCES[language],
            "automatic": AUTOMATIC[language],
            "shop_name": self._shop_name,
            "public_url": self._public_url,
        }
        name = f"{language}/{template}.j2"
        try:
            plain = self._text.get_template(name)
            within = plain.new_context({**given, "layout": LAYOUTS["text"]})
            subject = "".join(plain.blocks["subject"](within))
            text = plain.render(given, layout=LAYOUTS["text"])
            html = self._html.get_template(name).render(given, layout=LAYOUTS["html"])
        except (TemplateError, ValueError, TypeError, ArithmeticError) as error:
            raise BadContext(f"{type(error).__name__}: {error}") from error
        return Content(_flat(subject), html, re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")

    def _environment(self, kind: str, *, autoescape: bool) -> Environment:
        found = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=autoescape,  # noqa: S701  # off for the text alone
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        found.filters |= {
            "flat": _flat,
            "money": _in_language(words.money),
            "moment": _moment,
            "left": _left,
            "order_url": self._order_url,
        }
        parts = found.get_template(PARTS[kind]).module
        found.globals |= {name: getattr(parts, name) for name in ("p", "facts", "button")}
        return found

    def _order_url(self, order_id: int) -> str:
        return self._public_url + self._order_path.format(id=int(order_id))


def parsed(time: str) -> datetime:
    """From ISO 8601; UTC unless it says otherwise. Raises ValueError."""
    found = datetime.fromisoformat(time)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def examples(now: datetime | None = None) -> dict[str, dict[str, Any]]:
    """Template -> a context of it: what there is to send, and what a preview shows unless told."""
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    order = {"order_id": 17, "customer_name": "Jan Kowalski", "total_amount": 12345.5}
    return {
        "welcome": {"email": "jan@example.com"},
        "order_placed": {**order, "source": "website", "created_at": now.isoformat()},
        "status_changed": {**order, "status": "shipped", "old_status": "confirmed"},
        "password_reset": {
            "url": "https://shop.example.com/reset#token=example",
            "expires_at": (now + timedelta(hours=1)).isoformat(),
        },
    }


def _flat(text: object) -> str:
    """On one line: what a customer calls themselves must not look like a paragraph of ours."""
    return " ".join(str(text).replace(words.SPACE, "\0").split()).replace("\0", words.SPACE)


def _in_language(write: Callable[[Any, Language], str]) -> Callable[..., str]:
    return pass_context(lambda context, value: write(value, context["language"]))


@pass_context
def _moment(context: Context, time: str) -> str:
    return words.moment(parsed(time), context["language"], context["zone"])


@pass_context
def _left(context: Context, time: str) -> str:
    return words.duration((parsed(time) - context["now"]).total_seconds(), context["language"])
