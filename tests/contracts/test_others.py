"""The services' own descriptions kept at each port of the policy gateway: no 5xx, no status that they lack.

Their applications have no host here, and no limits: every request that is made up is heard.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from testing import openapi, patient

from tests.contracts import own
from tests.environment import Gateway

pytestmark = pytest.mark.slow  # thousands of requests
EXAMPLES = 100  # of each operation
MANY = 100_000  # requests in a minute
LOGINS = {"gatekeeper": "/v1/users/login", "starter": "/api/users/login"}
# Of an application: service, port, and what is left out, an admin's own address and the other port's paths.
ASKED = {
    "gatekeeper": [("auth", 8080, "/profile$"), ("orders", 8080, None)],
    "starter": [
        ("auth", 8080, "^/(health|register|login|users)"),
        ("orders", 8080, "^/(health|orders)"),
        ("auth", 8081, "^/api/"),
        ("orders", 8082, "^/api/"),
    ],
}


@pytest.mark.parametrize("application", ASKED)
def test_nothing_breaks_it(application: str) -> None:
    auth = dict.fromkeys(("login_attempts", "client_attempts", "client_registrations"), MANY)
    settings = {"gateway": {"RATE_LIMIT": MANY}, "auth": auth}
    with own.local(application, {"entry": MANY, "placing": MANY}, settings) as found:
        door = found.door
        for service, port, without in ASKED[application]:
            headers = Admin(door, LOGINS[application])
            asked = openapi.attack(
                service, f"http://{door.host}:{port}", headers,
                examples=EXAMPLES, contract=application, without=without,
            )  # fmt: skip
            answers = sum((each for each in asked.values()), start=Counter())
            assert answers[401] + answers[404] < answers.total() / 2, (service, port, answers)
            assert answers[400] > 0, (service, port, answers)


class Admin:
    """Headers for an operation; what ends sessions leaves the next one to a new login."""

    def __init__(self, door: Gateway, login: str) -> None:
        self._url = f"{door.url}{login}"
        self._who = {"email": door.admin_email, "password": door.admin_password}
        self._standing: dict[str, str] = {}

    def __call__(self, operation: Any) -> dict[str, str]:
        ends = operation.method.upper() == "DELETE" or operation.path.endswith(("/logout", "/password"))
        if ends or not self._standing:
            token = patient.post(self._url, json=self._who).raise_for_status().json()["data"]["token"]
            self._standing = {"Authorization": f"Bearer {token}"}
        found = dict(self._standing)
        if ends:
            self._standing = {}
        return found
