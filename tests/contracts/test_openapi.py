"""The services' own descriptions, kept through the gateway too: no 5xx, and no status that they do not name.

Requests are made up, and some of them do something: they go to the tests' own environment alone. Left out is
what counts tries, as others of this address would be locked out; services/auth/tests asks it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from testing import openapi

from tests.environment import Account, Gateway

COUNTED = "/(register|login|password.*|logout)$"
# Who asks: those who can break least of what other tests made.
SERVICES = [
    ("auth", "customer", f"^/auth/|{COUNTED}|^/logout"),
    ("orders", "customer", "^/health$"),
    ("notification", "employee", "^/health$|^/webhooks/"),
    ("analytics", "employee", "^/health$"),
    ("mail", "admin", "^/health$"),
    ("mailsink", "admin", "^/health$"),
]


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> int:
    """Of each operation: few, unless the slow layer runs."""
    return 100 if request.config.getoption("--full", default=False) else 6


@pytest.fixture(scope="module")
def authority(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_text(gateway.ca)
    return path


@pytest.mark.parametrize(("service", "role", "without"), SERVICES)
def test_nothing_breaks_it(
    account,
    admin: Account,
    gateway: Gateway,
    authority: Path,
    service: str,
    role: str,
    without: str,
    examples: int,
) -> None:
    who = admin if role == "admin" else account(role)
    asked = openapi.attack(
        service, gateway.url, who.bearer, examples=examples, without=without, verify=str(authority)
    )
    answers = sum((each for each in asked.values()), start=Counter())
    assert answers.total() > answers[401] + answers[403]
    assert answers[400] > 0
