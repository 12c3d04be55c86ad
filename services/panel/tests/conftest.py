"""The whole shop with its real services, and people in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect
from testing import shop as shops
from testing.browser import PATIENCE, Visitor, chromium, visitor
from testing.postgres import Postgres
from testing.rabbitmq import RabbitMQ
from testing.shop import Shop

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def shop(
    common: dict[str, object],
    postgres: Postgres,
    template: Callable[[str], str],
    rabbitmq: RabbitMQ,
) -> Iterator[Shop]:
    with shops.running(
        ("orders", "mail", "notification", "analytics"), common, postgres, template, rabbitmq
    ) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module, and not longer: it would be in the way of tests with an event loop."""
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser, shop: Shop) -> Iterator[Callable[..., Visitor]]:
    """`visit(locale="pl")`: somebody with a browser, whose complaints are looked at in the end."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(visitor(browser, shop.url, **options))
