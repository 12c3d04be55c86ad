"""Asking auth about a token: a real HTTP server in its place that fails, and then recovers."""

from __future__ import annotations

import pytest
from kit.authentication import Identity
from kit.errors import Unavailable
from kit.live import LiveSettings
from kit.remote import Remote
from kit.tests.test_calls import Server, Step, answer, hang_up, serving
from kit.tokens import InvalidToken, Issuer, Verifier
from testing.keys import Keys

KNOWN = answer(200, X_User_Role="admin")


async def ask(server: Server, keys: Keys, issuer: Issuer) -> Identity:
    settings = LiveSettings.model_validate(
        {
            "service_name": "orders",
            "application": "warehouse",
            "token_public_key": keys.public,
            "auth_url": f"{server.url}/",
            "auth_timeout": 30,
        }
    )
    token = issuer.issue(user_id=7, email="jan@example.com", role="customer", session="s")
    async with Remote.open(settings, Verifier(keys.public, "warehouse")) as remote:
        identity = await remote(token)
    assert {each.path for each in server.asked} == {"/api/v1/validate"}
    assert {each.headers["Authorization"] for each in server.asked} == {f"Bearer {token}"}
    return identity


@pytest.mark.parametrize("fault", [hang_up, answer(502), answer(503)])
async def test_auth_is_asked_again_and_says_which_role_it_is_now(
    keys: Keys, issuer: Issuer, fault: Step
) -> None:
    with serving(fault, KNOWN) as server:
        found = await ask(server, keys, issuer)
    assert (found.user_id, found.role) == (7, "admin")
    assert len(server.asked) == 2


@pytest.mark.parametrize(("status", "error"), [(401, InvalidToken), (404, Unavailable), (500, Unavailable)])
async def test_what_auth_says_once_is_not_asked_again(
    keys: Keys, issuer: Issuer, status: int, error: type[Exception]
) -> None:
    with serving(answer(status), KNOWN) as server, pytest.raises(error):
        await ask(server, keys, issuer)
    assert len(server.asked) == 1
