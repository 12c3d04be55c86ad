"""What mails say, in both languages, and that nothing in them is fetched or believed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from kit import events
from mail import language as words
from mail.contracts.warehouse import PreviewIn
from mail.language import LANGUAGES, Language
from mail.rendering import FOLDER, BadContext, Templates, examples
from mail.sending import QUEUE
from mail.settings import MailSettings

NOW = datetime(2026, 11, 21, 12, 45, tzinfo=UTC)
EXAMPLES = examples(NOW)
EACH = [(template, each) for template in EXAMPLES for each in LANGUAGES]


@pytest.fixture
def templates(common: dict[str, object]) -> Templates:
    stores = ("database", "broker", "smtp")
    given = {f"{store}_{each}": "unused" for store in stores for each in ("host", "name", "user", "password")}
    own = {
        "service_name": "mail",
        "mail_from": "a@example.com",
        "smtp_user": None,
        "shop_name": "Śrubki & Co",
    }
    return Templates(MailSettings.model_validate({**common, **given, **own}))


class Page(HTMLParser):
    """Every attribute and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


SUBJECTS = {
    ("welcome", "pl"): "Witamy w sklepie Śrubki & Co",
    ("welcome", "en"): "Welcome to Śrubki & Co",
    ("order_placed", "pl"): "Zamówienie nr 17 przyjęte",
    ("order_placed", "en"): "Order no. 17 received",
    ("status_changed", "pl"): "Zamówienie nr 17: wysłane",
    ("status_changed", "en"): "Order no. 17: shipped",
    ("password_reset", "pl"): "Zmiana hasła w sklepie Śrubki & Co",
    ("password_reset", "en"): "Your password at Śrubki & Co",
}
SAID = {
    ("welcome", "pl"): ["Konto jest gotowe", "jan@example.com"],
    ("welcome", "en"): ["Your account is ready", "jan@example.com"],
    ("order_placed", "pl"): ["12 345,50 zł", "21 listopada 2026, 13:45", "sklep internetowy"],
    ("order_placed", "en"): ["PLN 12,345.50", "21 November 2026, 13:45", "website"],
    ("status_changed", "pl"): ["wysłane", "potwierdzone", "w drodze", "12 345,50 zł"],
    ("status_changed", "en"): ["shipped", "confirmed", "on its way", "PLN 12,345.50"],
    ("password_reset", "pl"): ["60 minut,", "21 listopada 2026, 14:45", "/reset#token=example"],
    ("password_reset", "en"): ["60 minutes,", "21 November 2026, 14:45", "/reset#token=example"],
}


@pytest.mark.parametrize(("name", "language"), EACH)
def test_each_mail(templates: Templates, name: str, language: Language) -> None:
    content = templates.render(name, language, EXAMPLES[name], NOW)
    page = Page(content.html)
    assert content.subject == SUBJECTS[name, language]
    for each in SAID[name, language]:
        assert each in content.text.replace(words.SPACE, " ")
        assert each in page.text.replace(words.SPACE, " ")
    assert ("html", {"lang": language}) in page.tags
    assert ("meta", {"name": "color-scheme", "content": "light dark"}) in page.tags
    assert "@media (prefers-color-scheme: dark)" in content.html
    assert not re.search(r"<[a-z]|&[a-z]+;|[ \t]\n(?<!-- \n)|\n{3}", content.text)


@pytest.mark.parametrize(("name", "language"), EACH)
def test_nothing_is_fetched(templates: Templates, name: str, language: Language) -> None:
    content = templates.render(name, language, EXAMPLES[name], NOW)
    page = Page(content.html)
    assert not {"img", "link", "script", "iframe", "object", "embed", "video"} & {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags if {"src", "srcset", "background", "style"} & set(attrs)]
    assert not re.search(r"url\(|@import", content.html)
    assert all(
        str(attrs["href"]).startswith("https://shop.example.com") for tag, attrs in page.tags if tag == "a"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_is_only_a_name(templates: Templates, language: Language) -> None:
    called = '<script>alert(1)</script> "Jan"\r\n\r\nBcc: all@example.com {{ 7 * 7 }}'
    context = EXAMPLES["order_placed"] | {"customer_name": called}
    content = templates.render("order_placed", language, context, NOW)
    assert "<script" not in content.html
    assert "&lt;script&gt;" in content.html
    assert '<script>alert(1)</script> "Jan" Bcc: all@example.com {{ 7 * 7 }}' in content.text
    assert not re.search("^Bcc", content.text, re.MULTILINE)


@pytest.mark.parametrize("status", words.STATUSES["pl"])
def test_every_status_has_its_sentence(templates: Templates, status: str) -> None:
    context = EXAMPLES["status_changed"] | {"status": status, "old_status": "new"}
    texts = {each: templates.render("status_changed", each, context, NOW).text for each in LANGUAGES}
    assert words.STATUSES["pl"][status] in texts["pl"]
    assert words.STATUSES["en"][status] in texts["en"]
    assert texts["pl"] != texts["en"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("order_placed", {"source": "post"}),
        ("order_placed", {"created_at": "yesterday"}),
        ("order_placed", {"total_amount": "much"}),
        ("status_changed", {"status": "lost"}),
        ("status_changed", {"order_id": "x"}),
        ("password_reset", {"expires_at": None}),
    ],
)
def test_what_cannot_be_said(templates: Templates, name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(BadContext):
        templates.render(name, "pl", EXAMPLES[name] | changes, NOW)


def test_a_missing_field_is_no_empty_place(templates: Templates) -> None:
    with pytest.raises(BadContext, match="email"):
        templates.render("welcome", "pl", {}, NOW)


def test_all_that_can_be_asked_for_is_there() -> None:
    for template, context in EXAMPLES.items():
        events.check(QUEUE, {"template": template, "to": "a@b.pl", "language": "pl", "context": context})
        for each in LANGUAGES:
            assert (FOLDER / each / f"{template}.j2").is_file()
    assert PreviewIn.model_json_schema()["properties"]["template"]["enum"] == list(EXAMPLES)


@pytest.mark.parametrize(
    ("amount", "polish", "english"),
    [
        (0, "0,00 zł", "PLN 0.00"),
        (299.9, "299,90 zł", "PLN 299.90"),
        (1234.5, "1234,50 zł", "PLN 1,234.50"),
        (12345.675, "12 345,68 zł", "PLN 12,345.68"),
        ("9999999999.99", "9 999 999 999,99 zł", "PLN 9,999,999,999.99"),
    ],
)
def test_money(amount: object, polish: str, english: str) -> None:
    assert words.money(amount, "pl").replace(words.SPACE, " ") == polish
    assert words.money(amount, "en").replace(words.SPACE, " ") == english


@pytest.mark.parametrize(
    ("seconds", "polish", "english"),
    [
        (20, "1 minutę", "1 minute"),
        (120, "2 minuty", "2 minutes"),
        (5 * 60, "5 minut", "5 minutes"),
        (12 * 60, "12 minut", "12 minutes"),
        (22 * 60, "22 minuty", "22 minutes"),
        (112 * 60, "112 minut", "112 minutes"),
        (2 * 3600, "2 godziny", "2 hours"),
        (5 * 3600, "5 godzin", "5 hours"),
        (21 * 3600, "21 godzin", "21 hours"),
        (24 * 3600 - 1, "24 godziny", "24 hours"),
    ],
)
def test_durations(seconds: float, polish: str, english: str) -> None:
    assert words.duration(seconds, "pl").replace(words.SPACE, " ") == polish
    assert words.duration(seconds, "en").replace(words.SPACE, " ") == english


def test_an_hour_is_one() -> None:
    assert words.counted(1, "hour", "pl").replace(words.SPACE, " ") == "1 godzinę"
    assert words.counted(1, "hour", "en").replace(words.SPACE, " ") == "1 hour"


def test_moments() -> None:
    summer = datetime(2026, 7, 31, 22, 30, tzinfo=UTC)
    assert (
        words.moment(summer, "pl", ZoneInfo("Europe/Warsaw")).replace(words.SPACE, " ")
        == "1 sierpnia 2026, 00:30"
    )
    assert words.moment(summer, "en", ZoneInfo("UTC")).replace(words.SPACE, " ") == "31 July 2026, 22:30"
