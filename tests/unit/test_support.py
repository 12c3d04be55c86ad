"""What goes into a support bundle is searched for secrets, in every form in which one might be there."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from hostwright.support import cleaner

PASSWORD = "aB3/x+9=zQ$7 kL"
LABEL = "PRIVATE KEY-----\n"
KEY = f"-----BEGIN {LABEL}MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\nkkPq0Q==\n-----END {LABEL}"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "form",
    [
        PASSWORD,
        quote(PASSWORD, safe=""),
        json.dumps({"value": PASSWORD}),
        base64.b64encode(PASSWORD.encode()).decode(),
        *(base64.b64encode(f"{'x' * n}{PASSWORD}{'y' * n}".encode()).decode() for n in range(1, 4)),
    ],
)
def test_a_secret_goes_in_every_form(form: str) -> None:
    cleaned = cleaner({"rabbitmq_password": PASSWORD})(f"before {form} after")
    assert "[secret rabbitmq_password]" in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    assert PASSWORD not in cleaned


def test_a_key_goes_whole_and_by_the_line() -> None:
    clean = cleaner({"token_private_key": KEY})
    for text in (KEY, KEY.splitlines()[1], json.dumps(KEY), KEY.replace("\n", "\n    ")):
        assert "MIGHAgEA" not in clean(f"log: {text}")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (f"Cookie: session={TOKEN}; a=b", "Cookie: session=[token]; a=b"),
        ('"Authorization": "Bearer abc.def"', '"Authorization": "Bearer [credential]"'),
        ("https://me:pass@mirror.example/rpm", "https://me:[password]@mirror.example/rpm"),
        ('{"mirror_password": "abc", "port": "1"}', '{"mirror_password": "[removed]", "port": "1"}'),
        (KEY.strip(), "[key]"),
        ("POST /api/orders 201", "POST /api/orders 201"),
    ],
)
def test_what_looks_like_a_credential_goes_too(text: str, cleaned: str) -> None:
    assert cleaner({})(text) == cleaned
