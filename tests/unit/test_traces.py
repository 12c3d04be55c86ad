"""What a round of faults calls lost, and what it calls done twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.faults.load import Order
from tests.faults.rounds import Row, Traces, table

ORDER = Order("jan@example.com", 7, id=3, confirmed=True)
KEPT = {"id": 3, "status": "confirmed", "total_amount": 7.0}
WHOLE = Traces(
    orders={ORDER.email: [KEPT]},
    notified=Counter({(3, "new"): 1, (3, "confirmed"): 1}),
    mails=Counter({(ORDER.email, "order_placed"): 1, (ORDER.email, "status_changed"): 1}),
    received=Counter({(ORDER.email, "a"): 1, (ORDER.email, "b"): 1}),
    counted=1,
    amount=7.0,
)
ROW = Row("orders", "kill", 9, 0, 0, 4.2, 30, 0, 2)


def test_all_is_there_once() -> None:
    assert (WHOLE.missing([ORDER]), WHOLE.repeated()) == ([], [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"orders": {}, "counted": 0, "amount": 0.0}, "the order is missing"),
        ({"orders": {ORDER.email: [KEPT | {"status": "new"}]}}, "the order is missing"),
        ({"notified": Counter({(3, "new"): 1})}, "the notification of its status is missing"),
        ({"mails": Counter({(ORDER.email, "status_changed"): 1})}, "its mail is missing"),
        ({"counted": 0}, "analytics counted 0 of 1 orders"),
        ({"amount": 8.0}, "another amount: 8.0"),
    ],
)
def test_what_is_missing_is_lost(changes: dict[str, object], said: str) -> None:
    lost = replace(WHOLE, **changes).missing([ORDER])  # type: ignore[arg-type]
    assert len(lost) == 1
    assert said in lost[0]


def test_an_order_that_nobody_confirmed_has_less_to_show() -> None:
    traces = replace(
        WHOLE,
        orders={ORDER.email: [KEPT | {"status": "new"}]},
        notified=Counter({(3, "new"): 1}),
        mails=Counter({(ORDER.email, "order_placed"): 1}),
    )
    assert traces.missing([replace(ORDER, confirmed=False)]) == []
    assert WHOLE.missing([replace(ORDER, confirmed=False)]) == [], "it was confirmed, and the answer was lost"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"orders": {ORDER.email: [KEPT, KEPT]}, "counted": 2}, "2 orders"),
        ({"notified": WHOLE.notified + Counter({(3, "new"): 1})}, "notified 2 times"),
        ({"mails": WHOLE.mails + Counter({(ORDER.email, "order_placed"): 1})}, "mailed 2 times"),
        ({"received": Counter({(ORDER.email, "a"): 3})}, "received 3 times"),
        ({"counted": 2}, "analytics counted 2 of 1 orders"),
    ],
)
def test_what_is_there_again_was_done_twice(changes: dict[str, object], said: str) -> None:
    twice = replace(WHOLE, **changes).repeated()  # type: ignore[arg-type]
    assert len(twice) == 1
    assert said in twice[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"lost": 1},
        {"twice": 1},
        {"errors": 1},
        {"recovery": 30.1},
        {"recovery": None},
        {"accepted": 0},
        {"complaints": ("no",)},
    ],
)
def test_a_row_is_good_or_not(changes: dict[str, object]) -> None:
    assert ROW.good
    assert not replace(ROW, **changes).good  # type: ignore[arg-type]


def test_the_table() -> None:
    head, line = table([ROW]).splitlines()
    assert head.split()[:6] == ["what", "fault", "accepted", "lost", "twice", "back"]
    assert line.split() == ["orders", "kill", "9", "0", "0", "4.2", "s", "0", "of", "30", "2"]
