"""What became of each mail, what mails look like, and the sink that keeps them where no relay is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.environment import heard, refused

pytestmark = pytest.mark.shows("picture/mail")

PATH = "/api/mail"
TEMPLATES = ("welcome", "order_placed", "status_changed", "password_reset")
MAIL = {
    "id", "event_id", "template", "recipient", "language", "status", "attempts", "error", "created_at",
    "updated_at", "sent_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def welcome(admin, account) -> dict[str, Any]:
    """The log of a new user's first mail, which was sent."""
    user = account(language="en")
    asked = {"recipient": user.email, "template": "welcome", "status": "sent"}
    (found,) = heard(lambda: admin.ask("GET", PATH, params=asked).json(), "the welcome mail")
    return found


def test_log(admin, welcome) -> None:
    assert welcome.keys() == MAIL
    assert (welcome["template"], welcome["language"], welcome["error"]) == ("welcome", "en", None)
    asked = {"recipient": welcome["recipient"], "created_from": welcome["created_at"]}
    page = admin.ask("GET", PATH, params=asked)
    assert page.json() == [welcome]
    assert page.headers["X-Total-Count"] == "1"
    assert admin.ask("GET", PATH, params={"created_to": welcome["created_at"], **asked}).json() == []
    assert admin.ask("GET", PATH, params={"recipient": welcome["recipient"], "offset": 1}).json() == []


@pytest.mark.parametrize(
    "query", ["status=lost", "template=none", "limit=0", "limit=1001", "offset=-1", "created_from=x"]
)
def test_no_such_page(admin, query: str) -> None:
    refused(admin.ask("GET", f"{PATH}?{query}"), 400, fields=[query.partition("=")[0]])


def test_templates(admin) -> None:
    found = {each["name"]: each for each in admin.ask("GET", f"{PATH}/templates").json()}
    assert sorted(found) == sorted(TEMPLATES)
    for each in found.values():
        assert each.keys() == {"name", "languages", "subjects", "example"}
        assert sorted(each["languages"]) == sorted(each["subjects"]) == ["en", "pl"]


@pytest.mark.parametrize("language", ["pl", "en"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_preview(admin, template: str, language: str) -> None:
    answer = admin.ask("POST", f"{PATH}/preview", json={"template": template, "language": language})
    found = answer.json()
    assert found.keys() == {"subject", "html", "text"}
    assert all(found.values())
    assert f'lang="{language}"' in found["html"]
    assert "<" not in found["text"]


def test_preview_of_ones_own(admin) -> None:
    context = {"email": "ola@hostwright.invalid"}
    body = {"template": "welcome", "language": "en", "context": context}
    assert "ola@hostwright.invalid" in admin.ask("POST", f"{PATH}/preview", json=body).json()["text"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"template": "none"}, "template"),
        ({"language": "de"}, "language"),
        ({"context": {}}, "context"),
        ({"context": {"email": 7}}, "context"),
        ({"context": "email"}, "context"),
    ],
)
def test_no_such_preview(admin, changes: dict[str, object], field: str) -> None:
    refused(admin.ask("POST", f"{PATH}/preview", json={"template": "welcome"} | changes), 400, fields=[field])


def test_retry_is_for_mails_that_failed(admin, welcome) -> None:
    refused(admin.ask("POST", f"{PATH}/{welcome['id']}/retry"), 409)
    refused(admin.ask("POST", f"{PATH}/9223372036854775807/retry"), 404)
    refused(admin.ask("POST", f"{PATH}/0/retry"), 400, fields=["mail_id"])


ADMINS = [
    ("GET", PATH),
    ("GET", f"{PATH}/templates"),
    ("POST", f"{PATH}/preview"),
    ("POST", f"{PATH}/1/retry"),
    ("GET", "/messages"),
    ("GET", "/messages/1"),
]


@pytest.mark.shows("auth/middleware", "auth/roles")
@pytest.mark.parametrize(("method", "path"), ADMINS)
def test_mails_are_for_admins(http, customer, employee, method: str, path: str) -> None:
    body = {"json": {"template": "welcome"}} if method == "POST" else {}
    refused(http.request(method, path, **body), 401)
    for who in (customer, employee):
        assert refused(who.ask(method, path, **body), 403)["required_roles"] == ["admin"]


def test_sink(admin, welcome, mails) -> None:
    """it shows a mail as it came: envelope, headers, text and HTML"""
    (full,) = mails(welcome["recipient"])
    assert full.keys() == {
        "id", "received_at", "sender", "recipients", "subject", "size", "headers", "text", "html", "raw",
    }  # fmt: skip
    assert full["recipients"] == [welcome["recipient"]]
    assert welcome["event_id"] in dict(full["headers"])["Message-ID"]
    assert welcome["recipient"] in full["text"]
    assert welcome["recipient"] in full["html"]
    refused(admin.ask("GET", "/messages/9223372036854775807"), 404)
    refused(admin.ask("GET", "/messages/0"), 400, fields=["message_id"])
    refused(admin.ask("GET", "/messages?limit=0"), 400, fields=["limit"])
