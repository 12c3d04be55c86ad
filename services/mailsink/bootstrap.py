"""Puts the service together from its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

import kit.app
from fastapi import FastAPI
from kit.authentication import Authenticator, Local
from kit.tokens import Verifier

from mailsink.settings import SinkSettings
from mailsink.sink import Memory, Sink


class State(TypedDict):
    authenticator: Authenticator
    memory: Memory
    sink: Sink


def create(settings: SinkSettings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with Sink(settings).running() as sink:
            authenticator = Local(Verifier(settings.token_public_key, settings.application))
            yield State(authenticator=authenticator, memory=sink.memory, sink=sink)

    return kit.app.create(
        settings,
        title="Mail sink",
        routers=[kit.app.contract("mailsink", settings.contract).router],
        lifespan=lifespan,
        ready=lambda state: {"smtp": state.sink.listens},
    )
