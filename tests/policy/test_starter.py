"""The starter's ports of services: each documented path leads there, and who asks is the service's affair."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from hostwright import paths
from tests.policy.gateway import Gateway, running, token

FILE = paths.toolkit() / "services" / "apps" / "starter.yml"
USERS, ORDERS = 8081, 8082
DIRECT = [
    (USERS, "GET", "/health", "auth"),
    (USERS, "POST", "/register", "auth"),
    (USERS, "POST", "/login", "auth"),
    (USERS, "GET", "/users", "auth"),
    (USERS, "GET", "/users/7", "auth"),
    (ORDERS, "GET", "/health", "orders"),
    (ORDERS, "GET", "/orders", "orders"),
    (ORDERS, "POST", "/orders", "orders"),
    (ORDERS, "GET", "/orders/7", "orders"),
]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running(yaml.safe_load(FILE.read_text())) as found:
        yield found


@pytest.mark.parametrize(("port", "method", "path", "service"), DIRECT)
def test_a_direct_path_leads_to_its_service(
    gateway: Gateway, port: int, method: str, path: str, service: str
) -> None:
    body = b"{}" if method == "POST" else None
    answer = gateway.ask(path, method, body, port=port, token=token(), X_User_Id="root", X_User_Role="admin")
    assert answer.status == 200
    assert (answer.json["instance"], answer.json["path"]) == (service, path)
    assert answer.seen["authorization"].startswith("Bearer "), "for the service to look at"
    assert not {"x-user-id", "x-user-role"} & answer.seen.keys()


@pytest.mark.parametrize("port", [USERS, ORDERS])
def test_what_is_for_the_application_alone_is_not_there(gateway: Gateway, port: int) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/metrics/"):
        assert gateway.ask(path, port=port).status == 404, path


def test_the_gateways_paths_keep_their_rules_there(gateway: Gateway) -> None:
    assert gateway.ask("/api/users", port=USERS).status == 401
    assert gateway.ask("/api/orders", port=ORDERS, token="x").status == 401
    assert gateway.ask("/api/users", port=USERS, token=token(aud="starter")).json["instance"] == "auth"


def test_its_document_is_longer_than_a_buffer(gateway: Gateway) -> None:
    answer = gateway.ask("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert len(answer.text) > 16384
    assert "/api/orders/{order_id}" in answer.json["paths"]
