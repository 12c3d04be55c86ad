"""An environment with everything that watches the application, up once for all that ask it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests import environment
from tests.conftest import OBSERVED, UP
from tests.host import Node
from tests.live import Live, make, temporary

NAME = "test-observed"
NETWORK = {"mode": "nat", "cidr": "10.88.0.0/24", "cidr6": "fd00:88::/64"}
# Looks often, so that a test need not wait; tells by mail, to the lab's own sink.
SETTINGS = {"prometheus": {"scrape_interval": "5s"}, "alertmanager": {"email": "ops@example.com"}}
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
INTERVAL = "1m"  # what Grafana would put for the rates of a dashboard

# Run on the host: the answers of the addresses that it is given, as JSON.
ASK = """
import base64, json, sys, urllib.error, urllib.request, zlib
def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return {"error": error.read().decode()}
urls = json.loads(zlib.decompress(base64.b64decode(sys.argv[1])))
print(json.dumps([ask(url) for url in urls]))
"""


class Observed:
    """The environment, its host, and what Prometheus there answers."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.node = Node(live.hosts()[0]["name"])

    def ask(self, *urls: str) -> list[Any]:
        """Answers in the order of the addresses, in one round trip."""
        packed = base64.b64encode(zlib.compress(json.dumps(urls).encode())).decode()
        found: list[Any] = json.loads(self.node.run("python3", "-c", ASK, packed))
        return found

    def query(self, *expressions: str) -> list[Any]:
        """What each expression has now: a list of series, or text that says what is wrong with it."""
        answers = self.ask(*(f"{PROMETHEUS}/query?{urlencode({'query': each})}" for each in expressions))
        return [each["data"]["result"] if "data" in each else str(each) for each in answers]

    def firing(self) -> set[tuple[str, str]]:
        """As the operator is told: alert, and what it is about."""
        told = json.loads(self.live.hostwright("status", "--json", check=False).stdout)
        return {(each["alert"], each["what"]) for each in told["alerts"]}


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Up, proven, and with an order placed."""
    folder = tmp_path_factory.mktemp("observed")
    with UP[OBSERVED] as stack:
        live = stack.enter_context(temporary(make(folder, NAME, NETWORK, components=True)))
        live.configure(app_compose_settings=SETTINGS)
        live.hostwright("up")
        place_order(live)
        yield Observed(live)


def place_order(live: Live) -> None:
    with environment.client(environment.gateway(live)) as http:
        customer = environment.register(http)
        names = {"customer_name": "Jan", "customer_email": customer.email, "source": "website"}
        answer = customer.ask("POST", "/api/orders", json=names | {"total_amount": 19.9})
        assert answer.status_code == 201, answer.text
