"""The schemas: what each queue takes, and that every mistake in a body is found and no value is told."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from kit import events

NOTIFICATION: dict[str, Any] = {
    "order_id": 1,
    "customer_name": "Żaneta",
    "status": "new",
    "total_amount": 299.99,
    "timestamp": "2026-01-02T03:04:05.678901Z",
}
ANALYTICS: dict[str, Any] = {
    "order_id": 1,
    "source": "zrodlo_dwa",
    "status": "confirmed",
    "old_status": "new",
    "total_amount": 0,
    "created_at": "2026-01-02T03:04:05Z",
    "changed_at": "2026-01-02T03:04:05+01:00",
}
CONTEXTS: dict[str, dict[str, Any]] = {
    "welcome": {"email": "jan@example.com"},
    "order_placed": {
        "order_id": 1,
        "customer_name": "Jan",
        "total_amount": 1.5,
        "source": "website",
        "created_at": "2026-01-02T03:04:05Z",
    },
    "status_changed": {
        "order_id": 1,
        "customer_name": "Jan",
        "status": "shipped",
        "old_status": "confirmed",
        "total_amount": 1.5,
    },
    "password_reset": {"url": "https://shop.example.com/#x", "expires_at": "2026-01-02T03:04:05Z"},
}
MAILS = [
    {"template": template, "to": "jan@example.com", "language": "pl", "context": found}
    for template, found in CONTEXTS.items()
]
GOOD = [
    ("order_notifications", NOTIFICATION),
    ("webhook:notification", NOTIFICATION),
    ("order_analytics", ANALYTICS),
    *(("mail.send", mail) for mail in MAILS),
]


@pytest.mark.parametrize(("queue", "body"), GOOD)
def test_a_good_body_fits_and_each_field_matters(queue: str, body: dict[str, Any]) -> None:
    events.check(queue, body)
    for name in body:
        for wrong in (without(body, name), body | {name: ["x"]}):
            with pytest.raises(events.Misfit, match=queue):
                events.check(queue, wrong)
    with pytest.raises(events.Misfit):
        events.check(queue, body | {"more": 1})


@pytest.mark.parametrize("mail", MAILS, ids=list(CONTEXTS))
def test_each_field_of_a_mail_matters(mail: dict[str, Any]) -> None:
    for name in mail["context"]:
        for wrong in (without(mail["context"], name), mail["context"] | {name: ["x"]}):
            with pytest.raises(events.Misfit):
                events.check("mail.send", mail | {"context": wrong})
    with pytest.raises(events.Misfit):
        events.check("mail.send", mail | {"context": mail["context"] | {"more": 1}})


@pytest.mark.parametrize(
    ("queue", "body", "changes"),
    [
        ("order_notifications", NOTIFICATION, {"order_id": 0}),
        ("order_notifications", NOTIFICATION, {"status": "lost"}),
        ("order_notifications", NOTIFICATION, {"total_amount": -1}),
        ("order_notifications", NOTIFICATION, {"timestamp": "yesterday"}),
        ("order_analytics", ANALYTICS, {"source": "post"}),
        ("order_analytics", ANALYTICS, {"old_status": "lost"}),
        ("mail.send", MAILS[0], {"to": "nobody"}),
        ("mail.send", MAILS[0], {"language": "de"}),
        ("mail.send", MAILS[0], {"template": "order_placed"}),
        ("mail.send", MAILS[0], {"template": "invoice"}),
    ],
)
def test_a_wrong_value(queue: str, body: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(events.Misfit):
        events.check(queue, body | changes)


def test_an_order_just_placed_has_no_old_status() -> None:
    events.check("order_analytics", ANALYTICS | {"old_status": None})


def test_an_error_names_the_field_and_no_value() -> None:
    with pytest.raises(events.Misfit) as error:
        events.check("order_notifications", NOTIFICATION | {"status": "a secret"})
    assert str(error.value) == "order_notifications: status: breaks properties/status/enum"


def test_a_queue_without_a_schema_takes_everything() -> None:
    events.check("somebody_elses", {"any": "thing"})
    events.check("../events/mail.send", {"any": "thing"})


def test_the_schemas_are_schemas_and_close_every_object() -> None:
    for path in sorted(Path(events.__file__).parent.glob("*.json")):
        schema = orjson.loads(path.read_bytes())
        jsonschema_rs.meta.validate(schema)
        broken = deepcopy(schema) | {"type": "nonsense"}
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.meta.validate(broken)


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in body.items() if each != name}
