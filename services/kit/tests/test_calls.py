"""Calls to another service: a real HTTP server that fails in every way, and then recovers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from kit import context
from kit.calls import JITTER, ServiceClient, wait_of
from kit.errors import Unavailable
from kit.settings import ServiceTokenSettings
from kit.tokens import ServiceTokens
from opentelemetry.sdk.trace import TracerProvider
from stamina.instrumentation import set_on_retry_hooks
from testing.process import free_port

SETTINGS = ServiceTokenSettings.model_validate(
    {"service_name": "notification", "application": "warehouse", "service_key": "k" * 32}
)
Step = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each request as the next of its steps says, the last of them for ever."""

    def __init__(self, steps: Sequence[Step], port: int) -> None:
        self.asked: list[BaseHTTPRequestHandler] = []
        self.moments: list[float] = []
        self.done = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.moments.append(time.monotonic())
                server.asked.append(self)
                steps[min(len(server.asked), len(steps)) - 1](self)

            do_POST = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                """The test's output is not its log."""

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.done.set()
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving(*steps: Step, port: int = 0) -> Iterator[Server]:
    server = Server(steps, port)
    try:
        yield server
    finally:
        server.stop()


def answer(status: int, **headers: str) -> Step:
    def step(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()

    return step


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def hang(request: BaseHTTPRequestHandler) -> None:
    time.sleep(2)
    request.close_connection = True


async def ask(server: Server, method: str = "GET", **more: Any) -> httpx2.Response:
    patient = {"timeout": 30.0, "patience": 60.0}
    options = patient | {name: more.pop(name) for name in ("timeout", "attempts", "patience") if name in more}
    async with ServiceClient.open(SETTINGS, server.url, **options) as client:
        return await client.request(method, "/thing", **more)


async def test_what_is_asked() -> None:
    with serving(answer(200)) as server, context.bound({"X-Request-ID": "request-12345"}):
        assert (await ask(server, params={"a": "b"})).status_code == 200
        async with ServiceClient.open(SETTINGS, server.url, timeout=30) as client:
            await client.get("/orders/1", headers={"authorization": "Bearer a person's"})
            await client.post("/orders", json={})
    first, second, third = server.asked
    assert (first.path, second.path, third.command) == ("/thing?a=b", "/orders/1", "POST")
    token = first.headers["Authorization"].removeprefix("Bearer ")
    assert ServiceTokens("k" * 32, "warehouse").verify(token) == "notification"
    assert first.headers["X-Request-ID"] == "request-12345"
    assert second.headers.get_all("Authorization") == ["Bearer a person's"]


async def test_the_trace_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = TracerProvider().get_tracer("test")
    monkeypatch.setattr(context, "tracer", tracer)
    with serving(answer(200)) as server, tracer.start_as_current_span("request") as span:
        await ask(server)
    found = span.get_span_context()
    assert server.asked[0].headers["traceparent"].split("-")[1] == f"{found.trace_id:032x}"
    assert server.asked[0].headers["traceparent"].split("-")[2] != f"{found.span_id:016x}"


@pytest.mark.parametrize("fault", [answer(429), answer(502), answer(503), answer(504), hang_up])
async def test_an_idempotent_request_is_tried_again(fault: Step) -> None:
    with serving(fault, fault, answer(200)) as server:
        assert (await ask(server)).status_code == 200
    assert len(server.asked) == 3


async def test_one_without_an_answer_is_tried_again() -> None:
    with serving(hang, hang, answer(200)) as server:
        assert (await ask(server, timeout=0.5, attempts=20)).status_code == 200
    assert len(server.asked) >= 3, "more where the answer was late itself"


async def test_waits_grow_and_no_two_callers_wait_alike() -> None:
    """or all whom a service left would come back to it in one moment"""
    waits: dict[int, list[float]] = defaultdict(list)
    set_on_retry_hooks([lambda details: waits[details.retry_num].append(details.wait_for)])
    try:
        with serving(answer(503)) as server:
            asked = (ask(server, attempts=3) for _ in range(5))
            found = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in found} == {Unavailable}
    finally:
        set_on_retry_hooks(None)
    for number, least in ((1, 0.1), (2, 0.2)):
        assert len({*waits[number]}) == 5
        assert all(least <= wait <= least + JITTER for wait in waits[number])


async def test_retries_end() -> None:
    with serving(answer(503)) as server:
        with pytest.raises(Unavailable):
            await ask(server, attempts=3)
        assert len(server.asked) == 3
        with pytest.raises(Unavailable):
            await ask(server, attempts=100, patience=1)
        assert 3 < len(server.asked) < 3 + 100


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 409, 500])
async def test_other_answers_are_the_callers_to_judge(status: int) -> None:
    with serving(answer(status), answer(200)) as server:
        assert (await ask(server)).status_code == status
    assert len(server.asked) == 1


@pytest.mark.parametrize("fault", [answer(503), hang_up])
async def test_what_may_have_been_done_is_not_done_again(fault: Step) -> None:
    with serving(fault, answer(200)) as server, pytest.raises(Unavailable):
        await ask(server, "POST", json={})
    assert len(server.asked) == 1


@pytest.mark.parametrize("fault", [answer(503), hang_up])
async def test_unless_a_key_makes_it_safe(fault: Step) -> None:
    with serving(fault, answer(200)) as server:
        found = await ask(server, "POST", json={}, headers={"Idempotency-Key": "once"})
        assert found.status_code == 200
    assert len(server.asked) == 2


async def test_what_never_arrived_is_sent_again_whatever_it_is() -> None:
    port = free_port()
    started: list[Server] = []

    def start() -> None:
        started.append(Server([answer(201)], port))

    timer = threading.Timer(0.5, start)
    timer.start()
    try:
        async with ServiceClient.open(
            SETTINGS, f"http://127.0.0.1:{port}", timeout=30, attempts=100, patience=60
        ) as client:
            assert (await client.post("/thing", json={})).status_code == 201
        assert len(started[0].asked) == 1
    finally:
        timer.join()
        started[0].stop()


async def test_nobody_is_there() -> None:
    async with ServiceClient.open(SETTINGS, f"http://127.0.0.1:{free_port()}", attempts=2) as client:
        with pytest.raises(Unavailable):
            await client.get("/thing")


async def test_who_asks_for_time_gets_it() -> None:
    with serving(answer(503, Retry_After="1"), answer(429, Retry_After="0"), answer(200)) as server:
        assert (await ask(server)).status_code == 200
    first, second, _ = server.moments
    assert second - first >= 1


async def test_who_asks_for_too_much_time_is_not_waited_for() -> None:
    with (
        serving(answer(503, Retry_After="3600"), answer(200)) as server,
        pytest.raises(Unavailable) as error,
    ):
        await ask(server)
    assert len(server.asked) == 1
    assert error.value.headers == {"Retry-After": "3600"}


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        (lambda: "7", 7, 7),
        (lambda: formatdate(time.time() + 600, usegmt=True), 1, 600),
        (lambda: formatdate(time.time() - 600, usegmt=True), 0, 0),
    ],
    ids=["seconds", "a moment to come", "a moment gone by"],
)
def test_times_to_wait(text: Callable[[], str], least: float, most: float) -> None:
    found = wait_of(httpx2.Response(503, headers={"Retry-After": text()}))
    assert found is not None
    assert least <= found <= most


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "٣"])
def test_times_to_wait_that_are_none(text: str) -> None:
    assert wait_of(httpx2.Response(503, headers=[(b"Retry-After", text.encode())])) is None
