"""The life of an order: the rule itself, and any walk through it asked of a running service."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orders.status import GOODS, Status
from orders.tests.conftest import Deployed, rows
from testing import patient

LIVES = [
    [Status.NEW, Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED],
    [Status.NEW, Status.CANCELLED],
    [Status.NEW, Status.CONFIRMED, Status.CANCELLED],
]


@pytest.mark.parametrize("life", LIVES)
def test_lives(life: list[Status]) -> None:
    for old, new in pairwise(life):
        assert GOODS.objection(old, new) is None
    assert GOODS.steps[life[-1]] == ()


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_every_other_step_has_an_objection(old: Status, new: Status) -> None:
    steps = {step for life in LIVES for step in pairwise(life)}
    why = GOODS.objection(old, new)
    assert (why is None) == ((old, new) in steps)
    if why is not None:
        assert old in why


@given(st.lists(st.sampled_from(Status), max_size=12))
def test_no_walk_is_longer_than_a_life(wanted: list[Status]) -> None:
    walked = [Status.NEW]
    for status in wanted:
        if GOODS.objection(walked[-1], status) is None:
            walked.append(status)
    assert any(life[: len(walked)] == walked for life in LIVES)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(wanted=st.lists(st.sampled_from(Status), min_size=1, max_size=8))
def test_a_service_follows_the_rule(deployed: Deployed, wanted: list[Status]) -> None:
    staff = deployed.admin
    order_id = deployed.place(staff)
    walked = [Status.NEW]
    for status in wanted:
        answer = deployed.change(staff, order_id, status)
        if GOODS.objection(walked[-1], status) is None:
            assert answer.status_code == 200
            walked.append(status)
        else:
            assert answer.status_code == 409
            assert answer.json() == {
                "error": GOODS.objection(walked[-1], status),
                "status": walked[-1],
                "allowed": list(GOODS.steps[walked[-1]]),
            }
    seen = patient.get(f"{deployed.orders.url}/api/orders/{order_id}", headers=staff.headers()).json()
    assert seen["status"] == walked[-1]
    query = "SELECT new_status FROM order_status_history WHERE order_id = %s ORDER BY id"
    kept = rows(deployed.settings, query, order_id)
    assert [each for (each,) in kept] == walked
