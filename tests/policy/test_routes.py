"""Who is asked for what: by path and method, the more particular first, and nobody for anything else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.policy.gateway import Gateway, running, token


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running() as found:
        yield found


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("POST", "/v1/users/login", "auth"),
        ("GET", "/v1/users/profile", "auth"),
        ("HEAD", "/v1/users/profile", "auth"),
        ("GET", "/v1/users?query=jan", "auth"),
        ("GET", "/v1/users/1234", "auth"),
        ("GET", "/v1/orders", "orders"),
        ("POST", "/v1/orders", "orders"),
        ("PUT", "/v1/orders/1234/status", "orders"),
        ("PUT", "/v1/1234/status", "orders"),
        ("PATCH", "/open/anything/below", "orders"),
    ],
)
def test_a_route_leads_to_its_service(gateway: Gateway, method: str, path: str, service: str) -> None:
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    answer = gateway.ask(path, method, body, token=token(roles=["user", "admin"]))
    assert answer.status == 200
    assert gateway.services[service].asked[-1] == f"{method} {path}"
    if method != "HEAD":
        assert (answer.json["instance"], answer.json["path"]) == (service, path)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/usersx", "/v2/users", "/openly", "/health/live", "/metrics/x"]
)
def test_what_has_no_route_is_404(gateway: Gateway, path: str) -> None:
    answer = gateway.ask(path, token=token())
    assert answer.status == 404
    assert answer.json == {"success": False, "error": {"code": "NOT_FOUND", "message": "Not found"}}


def test_a_method_that_no_route_is_for_is_405_and_told_of_the_others(gateway: Gateway) -> None:
    answer = gateway.ask("/v1/users/login", "PATCH")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert gateway.ask("/v1/orders/7", "PATCH").headers["allow"] == "GET, PUT, HEAD, DELETE"
    assert answer.json["error"]["code"] == "METHOD_NOT_ALLOWED"
