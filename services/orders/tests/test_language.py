"""In which language a customer is written to."""

from __future__ import annotations

import pytest
from orders.language import preferred
from orders.tests.conftest import JAN, ORDER, STAFF, Api, rows

ACCEPTED = [
    (None, "pl"),
    ("", "pl"),
    ("pl", "pl"),
    ("en", "en"),
    ("EN-us", "en"),
    ("pl-PL,pl;q=0.9,en-US;q=0.8,en;q=0.7", "pl"),
    ("en-GB,en;q=0.9,pl;q=0.8", "en"),
    ("pl;q=0.5, en;q=0.8", "en"),
    ("en;q=0.8,pl;q=0.8", "en"),
    ("de,fr;q=0.9", "pl"),
    ("de,en;q=0.1", "en"),
    ("en;q=0", "pl"),
    ("en;q=0.000", "pl"),
    ("*", "pl"),
    ("en;q=0.5,*", "pl"),
    ("de, *;q=0.1, en ; q=0.5", "en"),
    ("english", "pl"),
    ("en;q=high,pl;q=0.1", "pl"),
    ("en-" * 9000, "pl"),
    (";;,,=", "pl"),
]


@pytest.mark.parametrize(("accepted", "language"), ACCEPTED)
def test_preferred(accepted: str | None, language: str) -> None:
    assert preferred(accepted) == language


async def test_it_is_kept_with_the_order(api: Api) -> None:
    """A clerk's browser that moves the order along changes nothing."""
    jan = api.as_user(JAN)
    for accepted, language in (("en-GB,pl;q=0.5", "en"), ("pl", "pl"), ("xx", "pl")):
        answer = await jan.call("POST", "/api/orders", ORDER, **{"Accept-Language": accepted})
        assert "language" not in answer.json()
        order_id = answer.json()["id"]
        path = f"/api/orders/{order_id}/status"
        changed = await api.as_user(STAFF).call(
            "PATCH", path, {"status": "confirmed"}, **{"Accept-Language": "de"}
        )
        assert changed.status_code == 200
        assert rows(api.database, "SELECT language FROM orders WHERE id = %s", order_id) == [(language,)]
        mails = "SELECT payload->>'language' FROM outbox WHERE queue = 'mail.send' AND aggregateid = %s"
        assert rows(api.database, mails, str(order_id)) == [(language,)] * 2
