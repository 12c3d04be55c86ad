"""What is no good request is a 4xx in the documented form, and what is only strange is kept as it came."""

from __future__ import annotations

from typing import Any

import pytest

from tests.environment import Account, heard, login, refused

pytestmark = pytest.mark.shows("integration/errors")

JSON = {"Content-Type": "application/json"}
NO_OBJECTS = {
    "nothing": b"",
    "half": b'{"email": "a@',
    "list": b"[]",
    "null": b"null",
    "text": b'"text"',
    "number": b"1e999",
    "not UTF-8": b'{"email": "\xff\xfe"}',
    "another encoding": '{"email": 1}'.encode("utf-16"),
    "deep": b"[" * 50_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "two": b"{}{}",
    "comment": b"/* */ {}",
    "form": b"email=a%40example.com&password=b",
}
ACCOUNT = {"email": "x@hostwright.invalid", "password": "zielony-rower7"}
ORDER = {
    "customer_name": "Jan",
    "customer_email": "jan@hostwright.invalid",
    "source": "website",
    "total_amount": 1,
}
REGISTRATION = ACCOUNT | {"language": "pl", "role": "customer"}
REPORT = {"type": "daily", "format": "csv", "period_start": "2026-01-01", "period_end": "2026-01-02"}
PREVIEW = {"template": "welcome", "language": "pl", "context": {"email": "x"}}
# Every path that takes a body: who may send it, and one whose fields must not be of another type.
WRITES: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("POST", "/api/auth/register"): ("admin", REGISTRATION),
    ("POST", "/auth/register"): ("admin", REGISTRATION),
    ("POST", "/api/auth/login"): ("customer", ACCOUNT),
    ("POST", "/auth/login"): ("customer", ACCOUNT),
    ("POST", "/api/auth/refresh"): ("customer", {"refresh_token": "x"}),
    ("POST", "/api/auth/password"): ("customer", {"old_password": "x", "new_password": "y"}),
    ("POST", "/api/auth/password/forgot"): ("customer", {"email": "x@hostwright.invalid"}),
    ("POST", "/api/auth/password/reset"): ("customer", {"token": "x", "new_password": "y"}),
    ("PUT", "/api/auth/users/2147483647/role"): ("admin", {"role": "customer"}),
    ("POST", "/api/orders"): ("customer", ORDER),
    ("PATCH", "/api/orders/2147483647/status"): ("employee", {"status": "confirmed"}),
    ("POST", "/api/reports/generate"): ("employee", REPORT),
    ("POST", "/api/mail/preview"): ("admin", PREVIEW),
}
OPTIONAL = ("format", "period_start", "period_end", "context")  # null is nothing


def needed(write: tuple[str, str], field: str) -> bool:
    """Whether the field must have a value; who registers somebody need not say a role."""
    return field not in OPTIONAL and not (field == "role" and write[1].endswith("/register"))


@pytest.fixture
def sender(request: pytest.FixtureRequest, write: tuple[str, str]) -> Account:
    found: Account = request.getfixturevalue(WRITES[write][0])
    return found


@pytest.mark.parametrize("write", WRITES, ids="-".join)
def test_what_is_no_json_object(sender, write: tuple[str, str]) -> None:
    for name, body in NO_OBJECTS.items():
        answer = sender.ask(*write, content=body, headers=JSON)
        assert refused(answer, 400)["fields"], name


@pytest.mark.parametrize("write", WRITES, ids="-".join)
def test_a_body_of_another_type(sender, write: tuple[str, str]) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x"):
        refused(sender.ask(*write, content=b"email=x", headers={"Content-Type": kind}), 400, 415)


@pytest.mark.shows("auth/validation")
@pytest.mark.parametrize("write", WRITES, ids="-".join)
def test_wrong_types_are_named(sender, write: tuple[str, str]) -> None:
    good = WRITES[write][1]
    for field in good:
        for wrong in ([], {"a": 1}, True, None, [good[field]]):
            if wrong is None and not needed(write, field):
                continue
            refused(sender.ask(*write, json=good | {field: wrong}), 400, fields=[field])
    for field in good:
        if field in ("language", "source") or not needed(write, field):
            continue
        missing = {name: value for name, value in good.items() if name != field}
        refused(sender.ask(*write, json=missing), 400, fields=[field])


@pytest.mark.parametrize("write", WRITES, ids="-".join)
def test_too_much(sender, write: tuple[str, str]) -> None:
    """over a mebibyte the gateway refuses; below it a field that is too long is named"""
    refused(sender.ask(*write, content=b" " * (2 << 20), headers=JSON), 413)
    good = WRITES[write][1]
    texts = [name for name, value in good.items() if isinstance(value, str)]
    for field in texts:
        answer = sender.ask(*write, json=good | {field: "x" * 900_000})
        assert field in refused(answer, 400)["fields"], answer.text[:300]


# --- SQL and scripts, in every field that takes text ---

STRANGE = [
    "Robert'); DROP TABLE orders;--",
    "' OR '1'='1",
    '" UNION SELECT password_hash FROM users --',
    "1; SELECT pg_sleep(20)",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    "=HYPERLINK(\"http://evil.example\")",
    "../../../../etc/passwd",
    "$(id) `id` | id",
    "%s%n%d {0} {customer_name}",
    "Zażółć gęślą jaźń 🛒 \u202e\u0000".rstrip("\u0000"),
]  # fmt: skip


# What takes any text, and has tests of its own: names are kept, contexts shown, passwords hashed.
ANY = ("customer_name", "context", "password", "old_password", "new_password")
CHOSEN = [
    (write, field)
    for write, (_, good) in WRITES.items()
    for field, value in good.items()
    if isinstance(value, str) and field not in ANY
]


@pytest.mark.shows("auth/validation")
@pytest.mark.parametrize(
    ("write", "field"), CHOSEN, ids=lambda part: part if isinstance(part, str) else "-".join(part)
)
def test_a_strange_text_is_refused_and_named(sender, write: tuple[str, str], field: str) -> None:
    good = WRITES[write][1]
    for text in STRANGE:
        answer = sender.ask(*write, json=good | {field: text})
        if field == "refresh_token":
            refused(answer, 401)
        else:
            refused(answer, 400, fields=[field])


@pytest.mark.shows("auth/validation")
def test_a_strange_password_is_one_like_any_other(http, account) -> None:
    """it is kept as it came when somebody registers and when it is changed; together they are nobody's"""
    old, *others = (f"rower{text}" for text in STRANGE)  # none is without letters
    user, path = account(password=old), "/api/auth/password"
    for text in others:
        answer = user.ask("POST", path, json={"old_password": old, "new_password": text})
        assert answer.status_code == 200, f"{text}: {answer.text}"
        old = text
    assert login(http, user.email, old).id == user.id
    wrong = "\n".join(STRANGE)
    refused(user.ask("POST", path, json={"old_password": wrong, "new_password": "nowy-rower99"}), 400)
    for prefix in ("/api/auth", "/auth"):
        refused(http.post(f"{prefix}/login", json={"email": user.email, "password": wrong}), 401)


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_name_is_kept_as_it_is(customer, place, told, name: str) -> None:
    order = place(customer, customer_name=name)
    assert order["customer_name"] == name.strip()
    assert customer.ask("GET", f"/api/orders/{order['id']}").json() == order
    assert order in customer.ask("GET", "/api/orders", params={"query": name[:200]}).json()
    (notification,) = told(order)
    assert notification["customer_name"] == name.strip()
    assert name.strip() in notification["text"]


def test_a_strange_name_does_nothing_in_a_mail(account, place, mails) -> None:
    buyer = account()
    name = f"{STRANGE[4]} {STRANGE[5]} {STRANGE[6]}"
    order = place(buyer, {"Accept-Language": "en"}, customer_name=name)
    (mail,) = heard(lambda: mails(buyer.email, f"no. {order['id']}"), "the mail about the order")
    assert name in mail["text"]
    assert "{{7*7}}${7*7}" in mail["html"], "nothing was counted"
    assert "<script" not in mail["html"]
    assert "<img" not in mail["html"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in mail["html"]


def test_a_strange_name_does_nothing_in_a_preview(admin) -> None:
    body = {"template": "welcome", "language": "en", "context": {"email": STRANGE[4]}}
    found = admin.ask("POST", "/api/mail/preview", json=body).json()
    assert "<script" not in found["html"]
    assert STRANGE[4] in found["text"]


@pytest.mark.parametrize(
    "email",
    [
        "o'brien@hostwright.invalid",
        "a+b@hostwright.invalid",
        "x$(id)@hostwright.invalid",
        "-- @hostwright.invalid",
        "<b>@hostwright.invalid",
    ],
)
def test_a_strange_address_is_kept_or_refused(customer, admin, email: str) -> None:
    answer = customer.ask("POST", "/api/orders", json=ORDER | {"customer_email": email})
    if answer.status_code == 201:
        assert answer.json()["customer_email"] == email
        assert customer.ask("GET", "/api/orders", params={"customer_email": email}).json()
    else:
        refused(answer, 400, fields=["customer_email"])


@pytest.mark.parametrize("text", STRANGE)
def test_a_strange_query_finds_nothing(customer, employee, admin, text: str) -> None:
    found = customer.ask("GET", "/api/orders", params={"query": f"{text} nobody"})
    assert (found.status_code, found.json()) == (200, [])
    assert admin.ask("GET", "/api/auth/users", params={"query": text}).json() == {"users": [], "total": 0}
    assert admin.ask("GET", "/api/mail", params={"recipient": text}).json() == []
    assert admin.ask("GET", "/messages", params={"recipient": text}).json() == []
    for who, path, field in (
        (customer, "/api/orders", "sort"),
        (customer, "/api/orders", "status"),
        (customer, "/api/orders", "source"),
        (customer, "/api/orders", "limit"),
        (customer, "/api/orders", "created_from"),
        (customer, "/api/orders", "customer_email"),
        (employee, "/api/notifications", "after"),
        (employee, "/api/notifications", "language"),
        (employee, "/api/reports/stats", "start"),
        (employee, "/api/reports/series", "interval"),
        (employee, "/api/reports/1/download", "format"),
        (admin, "/api/mail", "template"),
        (admin, "/api/auth/users", "role"),
    ):
        refused(who.ask("GET", path, params={field: text}), 400, fields=[field])


@pytest.mark.parametrize(
    ("who", "path"),
    [
        ("customer", "/api/orders/{}"),
        ("customer", "/api/orders/{}/history"),
        ("employee", "/api/notifications/{}"),
        ("employee", "/api/reports/{}"),
        ("employee", "/api/reports/{}/chart.svg"),
        ("admin", "/api/auth/users/{}/sessions"),
        ("admin", "/messages/{}"),
    ],
)
def test_a_strange_number(request: pytest.FixtureRequest, who: str, path: str) -> None:
    asking: Account = request.getfixturevalue(who)
    for number in (
        "1%20OR%201=1",
        "1;--",
        "-1",
        "0",
        "1e3",
        "0x1",
        "١",
        "9" * 40,
        "null",
        "%00",
        "%27",
    ):
        refused(asking.ask("GET", path.format(number)), 400, 404)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside"])
def test_a_strange_key(customer, key: str) -> None:
    answer = customer.ask("POST", "/api/orders", json=ORDER, headers={"Idempotency-Key": key})
    refused(answer, 400, fields=["Idempotency-Key"])


def test_strange_headers_are_not_believed(customer, place) -> None:
    for value in STRANGE[:8]:
        order = place(customer, {"Accept-Language": value, "User-Agent": value, "X-Request-ID": value})
        assert order["customer_name"] == "Jan Kowalski"


@pytest.mark.shows("auth/validation")
@pytest.mark.parametrize(
    "email", ["admin'--@hostwright.invalid", "' or 1=1;@hostwright.invalid", "{$ne: null}@hostwright.invalid"]
)
def test_nobody_logs_in_by_sql(http, email: str) -> None:
    refused(http.post("/api/auth/login", json={"email": email, "password": "' OR '1'='1"}), 400, 401)


# --- Another customer's ---


@pytest.mark.shows("auth/roles")
def test_another_customers_order(customer, other, place) -> None:
    """it is not there, whatever is asked of it"""
    order = place(customer)
    path = f"/api/orders/{order['id']}"
    missing = refused(other.ask("GET", "/api/orders/2147483647"), 404)
    for method, ask, body in (
        ("GET", path, None),
        ("GET", f"{path}/", None),
        ("GET", f"{path}/history", None),
        ("PATCH", f"{path}/status", {"status": "cancelled"}),
        ("PATCH", f"{path}/status", {"status": "confirmed"}),
    ):
        assert refused(
            other.ask(method, ask, json=body), 403 if body and body["status"] == "confirmed" else 404
        )
    assert refused(other.ask("GET", path), 404) == missing, "which orders there are is not told"
    assert other.ask("GET", "/api/orders", params={"customer_email": customer.email}).json() == []
    assert customer.ask("GET", path).json() == order
