"""Guessing passwords: per account and client, per client, counted for all replicas together."""

from __future__ import annotations

import asyncio

import pytest
from auth.limits import network
from auth.tests.conftest import PASSWORD, PROXY, Api, Start

WRONG = "wrong-password-1"


async def wrong(api: Api, times: int, email: str = "jan@example.com", **headers: str) -> list[int]:
    return [(await api.login(email, WRONG, **headers)).status_code for _ in range(times)]


async def test_five_then_wait(start: Start) -> None:
    async with start() as api:
        await api.register("jan@example.com")
        await api.register("ewa@example.com")
        assert await wrong(api, 6) == [401] * 5 + [429]
        refused = await api.login("jan@example.com")
        assert refused.status_code == 429, "the right password must not tell that it is right"
        seconds = int(refused.headers["retry-after"])
        assert 0 < seconds <= 300
        assert refused.json() == {"error": "Too many login attempts", "retry_after": seconds}
        assert (await api.login("JAN@example.com")).status_code == 429
        assert (await api.login("ewa@example.com")).status_code == 200
    async with start() as replica:
        assert (await replica.login("jan@example.com")).status_code == 429
    async with start(peer="192.0.2.7") as elsewhere:
        assert (await elsewhere.login("jan@example.com")).status_code == 200


async def test_unknown_accounts_are_limited_too(api: Api) -> None:
    assert await wrong(api, 6, "nobody@example.com") == [401] * 5 + [429]


async def test_the_window_ends(start: Start) -> None:
    window = 120
    async with start(login_window=window) as api:
        await api.register("jan@example.com")
        assert await wrong(api, 6) == [401] * 5 + [429]
        refused = await api.login("jan@example.com")
        assert 1 <= int(refused.headers["retry-after"]) <= window
        begun = "UPDATE login_attempts SET started_at = started_at - make_interval(secs => %s)"
        await api.rows(begun, window)  # as if it had passed
        assert (await api.login("jan@example.com")).status_code == 200
        assert await wrong(api, 6) == [401] * 5 + [429], "and begins anew"


async def test_a_good_login_forgives(api: Api) -> None:
    await api.register("jan@example.com")
    for _ in range(3):
        assert await wrong(api, 4) == [401] * 4
        assert (await api.login("jan@example.com")).status_code == 200


async def test_all_at_once(api: Api) -> None:
    await api.register("jan@example.com")
    answers = await asyncio.gather(*(api.login("jan@example.com", WRONG) for _ in range(20)))
    assert sorted(each.status_code for each in answers) == [401] * 5 + [429] * 15


async def test_one_client_many_accounts(start: Start) -> None:
    async with start(client_attempts=8) as api:
        await api.register("jan@example.com")
        found = [(await api.login(f"u{n}@example.com", WRONG)).status_code for n in range(9)]
        assert found == [401] * 8 + [429]
        assert (await api.login("jan@example.com")).status_code == 429
    async with start(client_attempts=8, peer="192.0.2.7") as api:
        for _ in range(20):
            assert (await api.login("jan@example.com")).status_code == 200, "good logins are free"


async def test_forwarded_addresses_count_only_from_a_declared_proxy(start: Start) -> None:
    async with start(peer="192.0.2.1") as liar:
        await liar.register("jan@example.com")
        answers = [await wrong(liar, 1, **{"X-Forwarded-For": f"203.0.113.{n}"}) for n in range(6)]
        assert answers == [[401]] * 5 + [[429]]
    async with start(peer=PROXY) as proxied:
        for n in (1, 2):
            headers = {"X-Forwarded-For": f"203.0.113.{n}"}
            assert await wrong(proxied, 6, **headers) == [401] * 5 + [429]
        # What the client itself wrote stands to the left of what the proxy saw.
        headers = {"X-Forwarded-For": "198.51.100.9, 203.0.113.1"}
        assert await wrong(proxied, 1, **headers) == [429]


async def test_registrations_of_one_client(start: Start) -> None:
    async with start(client_registrations=3) as api:
        assert [(await api.register("jan@example.com")).status_code for _ in range(4)] == [201, 409, 409, 429]
        refused = await api.register("ewa@example.com")
        seconds = int(refused.headers["retry-after"])
        assert 0 < seconds <= 300
        assert refused.json() == {"error": "Too many registrations", "retry_after": seconds}
        assert (await api.login("jan@example.com")).status_code == 200, "counted apart"
        admin = await api.admin()
        assert (await admin.register("ewa@example.com", role="employee")).status_code == 201
        jan = await api.logged_in("jan@example.com")
        assert (await jan.register("adam@example.com")).status_code == 429
    async with start(client_registrations=3, peer="192.0.2.7") as elsewhere:
        assert (await elsewhere.register("adam@example.com")).status_code == 201


async def test_what_is_no_account_is_not_counted(start: Start) -> None:
    async with start(client_registrations=1) as api:
        for _ in range(3):
            assert (await api.register("jan@example.com", "short")).status_code == 400
        assert (await api.register("jan@example.com")).status_code == 201


async def test_resets_asked_for_by_one_client(start: Start) -> None:
    async with start(client_resets=2) as api:
        for n, expected in enumerate((202, 202, 429)):
            assert (await api.post("password/forgot", email=f"u{n}@example.com")).status_code == expected
    async with start(client_resets=2, peer="192.0.2.7") as elsewhere:
        assert (await elsewhere.post("password/forgot", email="u@example.com")).status_code == 202


async def test_a_new_password_that_is_refused_is_no_guess(api: Api) -> None:
    jan = await api.user("jan@example.com")
    for new in ["weak"] * 6 + [PASSWORD]:
        answer = await jan.post("password", old_password=PASSWORD, new_password=new)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["new_password"])
    good = {"old_password": PASSWORD, "new_password": "nowy-rower-8"}
    assert (await jan.post("password", **good)).status_code == 200


async def test_guessing_the_old_password_is_guessing(api: Api) -> None:
    """A stolen access token must not try passwords faster than a login does."""
    jan = await api.user("jan@example.com")
    change = {"old_password": WRONG, "new_password": "nowy-rower-8"}
    assert [(await jan.post("password", **change)).status_code for _ in range(6)] == [400] * 5 + [429]
    right = change | {"old_password": PASSWORD}
    assert (await jan.post("password", **right)).status_code == 429
    assert (await api.login("jan@example.com")).status_code == 429


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_network(address: str, expected: str) -> None:
    assert network(address) == expected
