"""Tokens: one algorithm, and everything that ours say; services hear who asks from the gateway alone."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.policy.gateway import SECRET, Gateway, claims, desk, running, token

PROFILE = "/v1/users/profile"
AGO, AHEAD = timedelta(seconds=-1), timedelta(hours=1)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    document = desk()
    document["gateway"]["policy"]["limits"]["default"]["requests"] = 1000  # all are one client here
    with running(document) as found:
        yield found


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def test_who_asks_is_told_to_the_service(gateway: Gateway) -> None:
    seen = gateway.ask(PROFILE, token=token(roles=["user", "admin"])).seen
    assert (seen["x-user-id"], seen["x-user-email"]) == ("3f1c", "jan@example.com")
    assert seen["x-user-roles"] == "user,admin"
    # One role as a word, and a number of seven digits, are kept as they are.
    seen = gateway.ask(PROFILE, token=token(user_id=1234567, roles="user")).seen
    assert (seen["x-user-id"], seen["x-user-roles"]) == ("1234567", "user")


def test_a_token_serves_twice(gateway: Gateway) -> None:
    good = token()
    assert [gateway.ask(PROFILE, token=good).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": AGO},
        {"exp": None},
        {"exp": "9999999999"},
        {"iat": AHEAD},
        {"iat": None},
        {"nbf": AHEAD},
        {"nbf": "soon"},
        {"typ": "refresh"},
        {"typ": None},
        {"aud": "warehouse"},
        {"aud": ["warehouse", "shop"]},
        {"aud": None},
        {"user_id": None},
        {"user_id": ""},
        {"user_id": "7\r\nX-Admin: yes"},
        {"user_id": {"a": 1}},
    ],
    ids=lambda each: next(iter(each)),
)
def test_a_signed_token_that_is_not_one_of_ours_is_refused(
    gateway: Gateway, changed: dict[str, object]
) -> None:
    # From now, not from when tests were collected, which may be hours ago.
    now = time.time()
    changed = {k: int(now + v.total_seconds()) if isinstance(v, timedelta) else v for k, v in changed.items()}
    answer = gateway.ask(PROFILE, token=token(**changed))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json["error"]["code"] == "UNAUTHORIZED"


def test_an_audience_may_be_one_of_several(gateway: Gateway) -> None:
    assert gateway.ask(PROFILE, token=token(aud=["shop", "desk"])).status == 200


def test_a_forged_token_is_refused(gateway: Gateway) -> None:
    good = token()
    head, body, signature = good.split(".")
    admin = part(claims(roles=["admin"]))
    for forged in (
        f"{head}.{admin}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        f"{part({'alg': 'none'})}.{body}.{signature}",
        jwt.encode(claims(), SECRET + "!", algorithm="HS256"),
        jwt.encode(claims(), SECRET, algorithm="HS512"),
        jwt.encode(claims(), SECRET, algorithm="HS256", headers={"crit": ["b64"]}),
        "", "x", "a.b.c", good + ".x", "." * 3,
    ):  # fmt: skip
        assert gateway.ask(PROFILE, token=forged).status == 401, forged


def test_no_other_scheme_is_a_token(gateway: Gateway) -> None:
    for header in ("", token(), f"Basic {token()}", "Bearer", f"Token {token()}"):
        assert gateway.ask(PROFILE, Authorization=header).status == 401, header


def test_two_tokens_are_none(gateway: Gateway) -> None:
    text = f"GET {PROFILE} HTTP/1.1\r\nHost: x\r\n" + f"Authorization: Bearer {token()}\r\n" * 2 + "\r\n"
    assert gateway.raw(text.encode()).startswith(b"HTTP/1.1 400 ")


def test_a_token_ends_to_the_second(gateway: Gateway) -> None:
    for seconds in (2, 4, 8, 16):  # the shortest may be over on a busy machine before it is looked at
        ends = int(time.time()) + seconds
        brief = token(exp=ends)
        if gateway.ask(PROFILE, token=brief).status == 200:
            break
    else:
        pytest.fail("it is never let in")
    time.sleep(max(0.0, ends + 0.1 - time.time()))
    assert gateway.ask(PROFILE, token=brief).status == 401


def test_a_role_opens_what_it_is_for(gateway: Gateway) -> None:
    assert gateway.ask("/v1/users", token=token(roles=["user", "admin"])).status == 200
    for roles in (["user"], [], "user", "not-admin", "admin2", ["not admin"], None):
        answer = gateway.ask("/v1/users", token=token(roles=roles))
        assert (answer.status, answer.json["error"]["code"]) == (403, "FORBIDDEN"), roles
    assert gateway.ask("/v1/orders/7", "DELETE", token=token()).status == 403
    assert gateway.ask("/v1/orders/7", "GET", token=token()).status == 200


def test_what_a_client_says_of_itself_is_dropped(gateway: Gateway) -> None:
    for path, asked in (("/open", None), (PROFILE, token())):
        text = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-User-Id: root\r\n"
            "x-user-roles: admin\r\nX_User_Id: root\r\nX-User-Anything: x\r\n"
            "X-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n"
            "Forwarded: for=192.0.2.1\r\nX-HTTP-Method-Override: DELETE\r\n"
            + (f"Authorization: Bearer {asked}\r\n" if asked else "")
            + "\r\n"
        )
        answer = gateway.raw(text.encode())
        seen = {
            name.lower(): value for name, value in json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]
        }
        assert "root" not in seen.values()
        assert (
            not {"x_user_id", "x-user-anything", "x-real-ip", "forwarded", "x-http-method-override"}
            & seen.keys()
        )
        assert seen["x-forwarded-for"] == "127.0.0.1"
        assert seen.get("x-user-id") == ("3f1c" if asked else None)
        assert seen.get("x-user-roles") == ("user" if asked else None)


def test_a_key_checks_what_is_signed_with_its_other_half_alone() -> None:
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    pem, wrong = (
        each.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for each in (key, other)
    )
    document = desk()
    document["gateway"]["policy"]["tokens"]["algorithm"] = "RS256"
    gateway = Gateway(document)
    gateway.secrets = {"token_public_key": public}
    try:
        gateway.start()
        assert gateway.ask(PROFILE, token=jwt.encode(claims(), pem, algorithm="RS256")).status == 200
        assert gateway.ask(PROFILE, token=jwt.encode(claims(), wrong, algorithm="RS256")).status == 401
        assert gateway.ask(PROFILE, token=jwt.encode(claims(), pem, algorithm="RS512")).status == 401
        assert gateway.ask(PROFILE, token=jwt.encode(claims(), pem, algorithm="PS256")).status == 401
        # The public key is no secret: who signs with it as if it were is nobody.
        signed = jwt.PyJWS().encode(json.dumps(claims()).encode(), b"-" * 32, algorithm="HS256")
        head, body, _ = signed.split(".")
        digest = jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), public.encode())
        forged = f"{head}.{body}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
        assert gateway.ask(PROFILE, token=forged).status == 401
    finally:
        gateway.stop()
