"""Windows and breakers of policy.lua against models of them: HAProxy's own Lua, time as it is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.policy.gateway import Gateway, desk

Play = Callable[[list[str]], list[list[str]]]
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """Cases -> what policy.lua answers to each step of each."""
    with player() as found:
        yield found


@contextmanager
def player(document: Mapping[str, Any] | None = None, **environment: Any) -> Iterator[Play]:
    gateway = Gateway(document, **environment)
    gateway.write()
    own = (gateway.folder / "gateway" / "policy.lua").read_text()
    script = gateway.folder / "model.lua"
    script.write_text(own + Path(__file__).with_name("model.lua").read_text())
    config = gateway.folder / "model.cfg"
    most = gateway.application.gateway.memory // 2
    config.write_text(f"global\n    tune.lua.maxmem {most}\n    lua-load {script}\n")
    cases = gateway.folder / "cases"

    def played(given: list[str]) -> list[list[str]]:
        cases.write_text("\n".join(given) + "\n")
        found = subprocess.run(
            ["haproxy", "-c", "-q", "-f", config],
            capture_output=True,
            text=True,
            env={**os.environ, "CASES": str(cases)},
        )
        lines = [line.split() for line in found.stdout.splitlines()]
        assert len(lines) == len(given), found.stdout + found.stderr
        return lines

    try:
        yield played
    finally:
        gateway.stop()


# --- Windows ---

spans = st.integers(1, 5000)
steps = st.one_of(st.just(0), st.just(1), st.integers(0, 50), st.integers(0, 6000))


def model(limit: int, span: int, times: list[int]) -> list[str]:
    """A request is let in where fewer than `limit` were in the `span` ms up to it."""
    admitted: list[int] = []
    said = []
    for now in times:
        inside = [each for each in admitted if each > now - span]
        good = len(inside) < limit
        if good:
            admitted.append(now)
            inside.append(now)
        said.append(f"{str(good).lower()}:{limit - len(inside)}:{inside[0] + span - now}")
    return said


def moments(waits: list[int]) -> list[int]:
    at, found = 1_000_000, []
    for wait in waits:
        at += wait
        found.append(at)
    return found


@SLOW
@given(
    cases=st.lists(st.tuples(st.integers(1, 8), spans, st.lists(steps, max_size=60)), min_size=1, max_size=8)
)
def test_a_window_lets_in_what_the_model_does(play: Play, cases: list[tuple[int, int, list[int]]]) -> None:
    given = [f"window {limit} {span} {' '.join(map(str, moments(waits)))}" for limit, span, waits in cases]
    wanted = [model(limit, span, moments(waits)) for limit, span, waits in cases]
    assert play(given) == wanted


@SLOW
@given(limit=st.integers(1, 5), span=spans, waits=st.lists(steps, min_size=1, max_size=40))
def test_who_waits_as_told_is_let_in_and_no_earlier(
    play: Play, limit: int, span: int, waits: list[int]
) -> None:
    times = moments(waits)
    (first,) = play([f"window {limit} {span} {' '.join(map(str, times))}"])
    admitted, _, wait = first[-1].split(":")
    if admitted == "true":
        return
    before, after = times[-1] + int(wait) - 1, times[-1] + int(wait)
    both = play([f"window {limit} {span} {' '.join(map(str, [*times, each]))}" for each in (before, after)])
    assert [line[-1].split(":")[0] for line in both] == ["false", "true"]


def test_a_window_takes_memory_for_what_counts_in_it(play: Play) -> None:
    """KiB after so many requests, one at a time and all at once."""
    spaced, burst = play(["memory 10000 60000 60000 100 9900", "memory 10000 60000 0 10000 1 100"])
    assert spaced[0] == spaced[1]
    assert int(spaced[1]) <= 2
    assert 150 <= int(burst[0]) <= 1000, "10 000 times"
    assert int(burst[2]) <= 10, "and a hundred, once they went"


def test_clients_that_are_known_grow_no_further_than_memory_does() -> None:
    """Forty are known and then ask for all they may; some twenty have room: the others share a window."""
    document = desk()
    document["gateway"]["memory"] = 16
    with player(document, settings={"gateway": {"RATE_LIMIT": "10000"}}) as play:
        ((admitted, most, later),) = play(["crowd 40 10000"])
    assert 150_000 <= int(admitted) <= 300_000
    assert int(most) <= 8192, "KiB, of which Lua has no more"
    assert later == "true"


# --- Breakers ---

OPEN, PERIOD, SLOT = 10_000, 30_000, 3_000


class Model:
    """The states as the documentation has them."""

    def __init__(self) -> None:
        self.state, self.epoch, self.since = "closed", 1, 0
        self.seen: list[tuple[int, bool]] = []
        self.successes, self.trial = 0, -1

    def become(self, state: str, now: int) -> None:
        self.state, self.since, self.epoch = state, now, self.epoch + 1
        self.seen, self.successes, self.trial = [], 0, -1

    def ask(self, now: int) -> str:
        if self.state == "open" and now - self.since >= OPEN:
            self.become("half_open", now)
        if self.state == "open" or (
            self.state == "half_open" and self.trial >= 0 and now - self.trial < 35_000
        ):
            return f"-:{self.state}"
        if self.state == "half_open":
            self.trial = now
        return f"{self.epoch}:{self.state}"

    def report(self, epoch: int, failed: bool, now: int) -> str:
        if epoch == self.epoch:
            self.seen = [each for each in self.seen if each[0] // SLOT > now // SLOT - PERIOD // SLOT]
            self.seen.append((now, failed))
            failures = sum(each for _, each in self.seen)
            if self.state == "half_open":
                self.trial, self.successes = -1, self.successes + 1
                if failed:
                    self.become("open", now)
                elif self.successes == 2:
                    self.become("closed", now)
            elif failed and len(self.seen) >= 5 and 2 * failures >= len(self.seen):
                self.become("open", now)
        return f"{self.epoch}:{self.state}"


actions = st.lists(
    st.tuples(
        st.sampled_from(["ask", "report"]),
        st.one_of(st.integers(0, 300), st.integers(0, 15_000)),
        st.booleans(),
        st.integers(-1, 0),
    ),
    max_size=60,
)


@SLOW
@given(cases=st.lists(actions, min_size=1, max_size=6))
def test_a_breaker_is_where_the_model_is(play: Play, cases: list[list[tuple[str, int, bool, int]]]) -> None:
    given, wanted = [], []
    for case in cases:
        breaker, at, words, said = Model(), 1_000_000, ["breaker"], []
        for verb, wait, failed, late in case:
            at += wait
            epoch = breaker.epoch + late
            said.append(breaker.ask(at) if verb == "ask" else breaker.report(epoch, failed, at))
            words.append(f"{verb}:{at}:{epoch}:{str(failed).lower()}")
        given.append(" ".join(words))
        wanted.append(said)
    assert play(given) == wanted


def test_the_way_of_a_breaker(play: Play) -> None:
    """Four failures do nothing; a fifth opens; after 10 s one may try at a time; two successes close."""
    fail = [f"report:{at}:1:true" for at in range(5)]
    way = [
        *fail[:4], "ask:4:0:false", fail[4], "ask:10003:0:false", "ask:10004:0:false", "ask:10005:0:false",
        "report:10006:3:false", "ask:10007:0:false", "report:10008:3:false", "ask:10009:0:false",
    ]  # fmt: skip
    (said,) = play([" ".join(["breaker", *way])])
    assert said == [
        *["1:closed"] * 5, "2:open", "-:open", "3:half_open", "-:half_open",
        "3:half_open", "3:half_open", "4:closed", "4:closed",
    ]  # fmt: skip
