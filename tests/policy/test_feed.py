"""Ended sessions: a feed of the service that gives out tokens, followed within two seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from testing.process import until

from tests.policy.gateway import PATIENCE, Gateway, desk, token

PATH = "/internal/revoked"
PROFILE = "/v1/users/profile"


class Feed:
    """Of a service that numbers what it has told."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, int]] = []
        self.broken = ""
        self.asked = 0
        self.seconds = 0.0  # that an answer takes

    def end(self, session: str, seconds: int = 600) -> None:
        self.ended.append((session, int(time.time()) + seconds))

    def __call__(self, path: str) -> str:
        self.asked += 1
        time.sleep(self.seconds)
        since = int(parse_qs(urlsplit(path).query)["since"][0])
        lines = [str(len(self.ended)), *(f"{session} {until_}" for session, until_ in self.ended[since:])]
        return self.broken or "\n".join(lines) + "\n"


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def gateway(feed: Feed) -> Iterator[Gateway]:
    document = desk()
    document["gateway"]["policy"]["tokens"]["revoked"] = PATH
    document["gateway"]["policy"]["limits"]["default"]["requests"] = 1000
    found = Gateway(document)
    try:
        found.serve("auth").special[PATH] = feed
        found.start("orders")
        yield found
    finally:
        found.stop()


def status(gateway: Gateway, session: str = "s-1") -> int:
    return gateway.ask(PROFILE, token=token(sid=session)).status


def test_an_ended_session_is_refused_and_no_other(gateway: Gateway, feed: Feed) -> None:
    assert (status(gateway), status(gateway, "s-2")) == (200, 200)
    feed.end("s-1")
    until(lambda: status(gateway) == 401, PATIENCE)
    assert status(gateway, "s-2") == 200
    feed.end("s-2")
    until(lambda: status(gateway, "s-2") == 401, PATIENCE)
    assert status(gateway) == 401
    assert "GET /internal/revoked?since=1" in gateway.services["auth"].asked


def test_a_session_ends_with_the_next_answer_of_the_feed(gateway: Gateway, feed: Feed) -> None:
    assert status(gateway) == 200
    feed.end("s-1")
    asked = feed.asked
    # Of two that are asked for from here on, the first is taken in before the second.
    until(lambda: feed.asked >= asked + 2, PATIENCE)
    assert status(gateway) == 401


def test_the_feed_is_asked_and_answered_within_two_seconds(gateway: Gateway) -> None:
    """No clock shows that on a busy machine: what is rendered does, two longest answers and the rest."""
    text = (gateway.folder / "gateway" / "policy.lua").read_text()
    (rest,) = re.findall(r"core\.msleep\(feed\.at == 0 and \d+ or (\d+)\)", text)
    (most,) = re.findall(r"FEED \.\. feed\.cursor, timeout = (\d+)", text)
    assert int(most) + int(rest) + int(most) < 2000


def test_a_token_without_a_session_is_none(gateway: Gateway) -> None:
    assert gateway.ask(PROFILE, token=token(sid=None)).status == 401


def test_nobody_outside_reads_the_feed(gateway: Gateway) -> None:
    assert gateway.ask(PATH).status == 404


def test_what_is_no_feed_changes_nothing_and_is_told(gateway: Gateway, feed: Feed) -> None:
    feed.end("s-1")
    until(lambda: status(gateway) == 401, PATIENCE)
    feed.broken = "<html>s-2 9999999999</html>\n"
    until(lambda: gateway.ask("/health").json["data"]["sessions"]["status"] == "degraded", PATIENCE)
    assert (status(gateway), status(gateway, "s-2")) == (401, 200)
    feed.broken = ""
    until(lambda: gateway.ask("/health").json["data"]["sessions"]["status"] == "healthy", PATIENCE)


def test_a_feed_that_is_being_asked_is_not_away(gateway: Gateway, feed: Feed) -> None:
    feed.seconds = 0.3

    def said() -> set[str]:
        """Of /health, while the feed is asked three times."""
        asked, found = feed.asked, set()
        while feed.asked < asked + 3:
            found.add(gateway.ask("/health").json["data"]["sessions"]["status"])
        return found

    until(lambda: said() == {"healthy"}, PATIENCE)


def test_after_a_reload_nobody_slips_in(gateway: Gateway, feed: Feed) -> None:
    feed.end("s-1")
    until(lambda: status(gateway) == 401, PATIENCE)
    gateway.write(settings={"gateway": {"RATE_LIMIT": 999}})
    gateway.reload()
    assert {status(gateway) for _ in range(10)} == {401}
    assert status(gateway, "s-2") == 200


def test_who_does_not_know_what_ended_lets_nobody_in(feed: Feed) -> None:
    document = desk()
    document["gateway"]["policy"]["tokens"]["revoked"] = PATH
    gateway = Gateway(document)
    try:
        auth = gateway.serve("auth")
        feed.broken = "not yet\n"
        auth.special[PATH] = feed
        gateway.start("orders")
        answer = gateway.ask(PROFILE, token=token())
        assert (answer.status, answer.json["error"]["service"]) == (503, "auth")
        assert gateway.ask("/open").status == 200
        feed.broken = ""
        until(lambda: status(gateway) == 200, PATIENCE)
    finally:
        gateway.stop()
