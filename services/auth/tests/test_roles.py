"""Only an admin gives roles, and a role counts at once."""

from __future__ import annotations

import asyncio

import pytest
from auth.tests.conftest import Api


async def user_id(api: Api) -> int:
    return int((await api.get("/api/v1/profile")).json()["user"]["id"])


async def test_assigning_counts_at_once_for_the_same_token(api: Api) -> None:
    jan, admin = await api.user("jan@example.com"), await api.admin()
    path = f"/api/auth/users/{await user_id(jan)}/role"
    assert (await jan.get("/api/v1/validate")).headers["x-user-role"] == "customer"
    for role in ("employee", "admin", "customer"):
        answer = await admin.call("PUT", path, {"role": role})
        assert answer.status_code == 200
        assert answer.json()["message"] == "Role updated successfully"
        assert answer.json()["user"]["role"] == role
        assert (await jan.get("/api/v1/validate")).headers["x-user-role"] == role
        assert (await jan.get("/api/v1/validate-token")).json()["role"] == role
        assert (await jan.get("/api/auth/users")).status_code == (200 if role == "admin" else 403)
    user = (await jan.get("/api/v1/profile")).json()["user"]
    assert user["updated_at"] > user["created_at"]


@pytest.mark.parametrize("role", ["customer", "employee"])
async def test_nobody_else_may(api: Api, role: str) -> None:
    jan = await api.user("jan@example.com", role)
    for method, path, body in (
        ("PUT", f"/api/auth/users/{await user_id(jan)}/role", {"role": "admin"}),
        ("GET", "/api/auth/users", None),
    ):
        assert (await api.call(method, path, body)).status_code == 401
        refused = await jan.call(method, path, body)
        assert refused.status_code == 403
        assert refused.json() == {
            "error": "insufficient_permissions",
            "message": "You do not have permission to access this resource",
            "required_roles": ["admin"],
            "user_role": role,
        }
    assert (await jan.get("/api/v1/profile")).json()["user"]["role"] == role


async def test_a_header_is_no_role(api: Api) -> None:
    jan = await api.user("jan@example.com")
    forged = {"X-User-Role": "admin", "X-User-Id": str(await user_id(jan))}
    assert (await jan.get("/api/auth/users", **forged)).status_code == 403
    assert (await jan.get("/api/v1/validate", **forged)).headers["x-user-role"] == "customer"


async def test_bad_requests(api: Api) -> None:
    admin = await api.admin()
    for path in ("/api/auth/users/999999/role", f"/api/auth/users/{2**31 - 1}/role"):
        missing = await admin.call("PUT", path, {"role": "employee"})
        assert (missing.status_code, missing.json()) == (404, {"error": "User not found"})
    for number in ("0", "-1", str(2**63), "jan"):
        wrong = await admin.call("PUT", f"/api/auth/users/{number}/role", {"role": "employee"})
        assert set(wrong.json()["fields"]) == {"user_id"}
    bodies: list[object] = [{"role": "emperor"}, {"role": None}, {}, []]
    for body in bodies:
        assert (await admin.call("PUT", "/api/auth/users/1/role", body)).status_code == 400
    assert (await admin.get("/api/auth/users?limit=0")).status_code == 400
    assert (await admin.get(f"/api/auth/users?offset={2**63}")).status_code == 400


async def test_the_last_admin_stays(api: Api) -> None:
    admin = await api.admin()
    own = f"/api/auth/users/{await user_id(admin)}/role"
    refused = await admin.call("PUT", own, {"role": "customer"})
    assert (refused.status_code, refused.json()) == (409, {"error": "The last admin must stay one"})
    assert (await admin.call("PUT", own, {"role": "admin"})).status_code == 200


async def test_two_admins_who_demote_each_other(api: Api) -> None:
    first, second = await api.admin(), await api.user("ewa@example.com", role="admin")
    ids = [await user_id(each) for each in (first, second)]
    answers = await asyncio.gather(
        first.call("PUT", f"/api/auth/users/{ids[1]}/role", {"role": "customer"}),
        second.call("PUT", f"/api/auth/users/{ids[0]}/role", {"role": "customer"}),
    )
    assert sorted(each.status_code for each in answers)[0] == 200
    assert sorted(each.status_code for each in answers)[1] in (403, 409)
    roles = [(await each.get("/api/v1/validate")).headers["x-user-role"] for each in (first, second)]
    assert sorted(roles) == ["admin", "customer"]


async def test_list_in_pages(api: Api) -> None:
    for n in range(5):
        await api.register(f"u{n}@example.com")
    admin = await api.admin()
    everybody = (await admin.get("/api/auth/users")).json()
    assert everybody["total"] == len(everybody["users"]) == 6
    page = (await admin.get("/api/auth/users?limit=2&offset=3")).json()
    assert (page["users"], page["total"]) == (everybody["users"][3:5], 6)
