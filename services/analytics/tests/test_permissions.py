"""Who may do what: staff read and generate, an admin deletes, customers and strangers do nothing."""

from __future__ import annotations

import pytest
from analytics.tests.conftest import BOSS, JAN, STAFF, Api, rows
from kit.tokens import Issuer
from testing.keys import Keys

PATHS = [
    ("GET", "/api/reports/stats", 200),
    ("GET", "/api/reports/series", 200),
    ("GET", "/api/reports", 200),
    ("GET", "/api/reports/{id}", 200),
    ("GET", "/api/reports/{id}/download", 200),
    ("GET", "/api/reports/{id}/chart.svg", 200),
    ("POST", "/api/reports/generate", 201),
    ("DELETE", "/api/reports/{id}", 204),
]
DAILY = {"type": "daily"}


@pytest.mark.parametrize(("method", "path", "good"), PATHS)
async def test_roles(staff: Api, method: str, path: str, good: int) -> None:
    report = await staff.generate(format="txt")
    path = path.format(id=report["id"])
    employee = 403 if method == "DELETE" else good
    for who, wanted in ((JAN, 403), (STAFF, employee), (BOSS, good)):
        answer = await staff.as_user(who).call(method, path, DAILY if method == "POST" else None)
        assert answer.status_code == wanted, answer.text
        if wanted == 403:
            assert answer.json() == {
                "error": "insufficient_permissions",
                "message": "You do not have permission to access this resource",
                "required_roles": ["admin"] if method == "DELETE" else ["admin", "employee"],
                "user_role": "customer" if who == JAN else "employee",
            }


async def test_nobody(staff: Api, api: Api, keys: Keys) -> None:
    report = await staff.generate(format="txt")
    old = Issuer(keys.private, "warehouse", lifetime=-60)
    expired = old.issue(user_id=BOSS, email="boss@example.com", role="admin", session="s")
    refused: list[tuple[dict[str, str], str]] = [
        ({}, "Authentication required"),
        ({"Authorization": "Bearer nonsense"}, "Invalid or expired token"),
        ({"Authorization": f"Bearer {expired}"}, "Invalid or expired token"),
        ({"X-User-Id": str(BOSS), "X-User-Role": "admin"}, "Authentication required"),
    ]
    for method, path, _ in PATHS:
        for headers, error in refused:
            answer = await api.call(method, path.format(id=report["id"]), None, **headers)
            assert (answer.status_code, answer.json()) == (401, {"error": error})
    assert rows(staff.database, "SELECT count(*) FROM reports") == [(1,)]
