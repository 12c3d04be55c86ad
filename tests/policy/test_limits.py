"""Limits as clients meet them: by user, else by address, each a window, and the truth about waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from hostwright.errors import BadInput
from tests.policy.gateway import Answer, Gateway, desk, running, token

LOGIN = "/v1/users/login"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running() as found:
        yield found


def headers(answer: Answer) -> tuple[int, int]:
    return int(answer.headers["x-ratelimit-limit"]), int(answer.headers["x-ratelimit-remaining"])


def test_ten_logins_and_then_the_truth(gateway: Gateway) -> None:
    began = time.time()
    answers = [gateway.ask(LOGIN, "POST", b"{}") for _ in range(10)]
    assert [answer.status for answer in answers] == [200] * 10
    assert [headers(answer) for answer in answers] == [(10, left) for left in range(9, -1, -1)]
    answer = gateway.ask("/v1/users/register", "POST", b"{}")  # the same limit
    ended = time.time()
    assert answer.status == 429
    wait = answer.json["error"]["retry_after"]
    message = "Too many requests. Please try again later."
    refusal = {"code": "RATE_LIMIT_EXCEEDED", "message": message, "retry_after": wait}
    assert answer.json == {"success": False, "error": refusal}
    assert answer.headers["retry-after"] == str(wait)
    assert headers(answer) == (10, 0)
    # One more is let in when the first of them is 60 s old, whenever this machine got to it.
    assert 60 - (ended - began) - 1 <= wait <= 61
    assert began + 59 <= int(answer.headers["x-ratelimit-reset"]) <= ended + 62
    # Refusals do not count, and nobody else pays.
    assert len([each for each in gateway.services["auth"].asked if each.startswith("POST")]) == 10
    assert gateway.ask(LOGIN, "POST", b"{}", client="127.0.0.7").status == 200
    assert gateway.ask("/v1/orders", token=token()).status == 200


def test_a_user_is_counted_wherever_they_are_and_alone() -> None:
    document = desk()
    document["gateway"]["policy"]["limits"]["creation"]["requests"] = 3
    with running(document) as gateway:
        jan, ewa = token(), token(user_id="other")
        places = ("127.0.0.1", "127.0.0.7", "127.0.0.8", "127.0.0.1")
        found = [gateway.ask("/v1/orders", "POST", b"{}", token=jan, client=place).status for place in places]
        assert found == [200, 200, 200, 429]
        again = token(iat=int(time.time()) - 5)  # another token of the same user
        assert gateway.ask("/v1/orders", "POST", b"{}", token=again).status == 429
        assert gateway.ask("/v1/orders", "POST", b"{}", token=ewa).status == 200
        assert gateway.ask("/v1/orders", "GET", token=jan).status == 200


def test_who_is_nobody_is_counted_by_address_before_being_refused() -> None:
    document = desk()
    document["gateway"]["policy"]["limits"]["default"]["requests"] = 2
    with running(document) as gateway:
        profile = "/v1/users/profile"
        assert [gateway.ask(profile, token="x").status for _ in range(3)] == [401, 401, 429]
        assert gateway.ask("/nowhere").status == 429
        assert gateway.ask(profile, token=token()).status == 200
        assert [gateway.ask("/health").status for _ in range(5)] == [200] * 5


def test_a_window_slides() -> None:
    document = desk()
    document["gateway"]["policy"]["limits"]["entry"] = {"requests": 2, "seconds": 2}
    with running(document) as gateway:
        assert [gateway.ask(LOGIN, "POST", b"{}").status for _ in range(2)] == [200, 200]
        time.sleep(2.1)
        assert gateway.ask(LOGIN, "POST", b"{}").status == 200


def test_a_client_is_whom_a_declared_proxy_names_and_nobody_else() -> None:
    document = desk()
    document["gateway"]["policy"]["limits"]["entry"]["requests"] = 1
    with running(document, trusted_proxies=("127.0.0.9/32", "127.0.0.10/32")) as gateway:

        def login(client: str, forwarded: str) -> int:
            return gateway.ask(LOGIN, "POST", b"{}", client=client, X_Forwarded_For=forwarded).status

        assert login("127.0.0.9", "192.0.2.1") == 200
        assert login("127.0.0.9", "192.0.2.2") == 200
        assert login("127.0.0.9", "192.0.2.1") == 429
        # What the client made up stands before what the proxy knows; a chain of proxies is followed.
        assert login("127.0.0.9", "192.0.2.77, 192.0.2.1") == 429
        assert login("127.0.0.9", "192.0.2.1, 127.0.0.10") == 429
        # A stranger is who he is, whatever he says.
        assert login("127.0.0.11", "192.0.2.3") == 200
        assert login("127.0.0.11", "192.0.2.4") == 429


def test_an_environment_overrides_requests_a_minute() -> None:
    with running(settings={"gateway": {"RATE_LIMIT": "7"}}) as gateway:
        assert headers(gateway.ask("/v1/orders", token=token())) == (7, 6)
        assert headers(gateway.ask(LOGIN, "POST", b"{}")) == (10, 9)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "", "100001", True])
def test_a_wrong_one_is_told(value: str) -> None:
    gateway = Gateway(settings={"gateway": {"RATE_LIMIT": value}})
    with pytest.raises(BadInput, match="RATE_LIMIT"):
        gateway.write()
    gateway.stop()


def test_the_gateway_has_no_other_setting() -> None:
    gateway = Gateway(settings={"gateway": {"PORT": 1}})
    with pytest.raises(BadInput, match="no setting 'PORT'"):
        gateway.write()
    gateway.stop()
