"""Whether a host lets its operator in: without that nothing else can be asked of it."""

from __future__ import annotations

import pytest

from hostwright.proof.wanted import ROLES, Machine, Unreachable

pytestmark = [getattr(pytest.mark, role) for role in ROLES]

AREA = "Reach"


@pytest.mark.place("outside")
def test_lets_us_in(machine: Machine) -> None:
    """the host lets its operator in over SSH, and become root"""
    try:
        assert machine.seen
    except Unreachable as error:
        pytest.fail(str(error), pytrace=False)
