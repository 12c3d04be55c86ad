"""An operator brings a third party's service along as docs/bring-your-own.md says: it runs, and is proved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import yaml

import lab
from hostwright import application
from lab import images
from tests import environment
from tests.brought import IMAGE, bring
from tests.contracts import plain
from tests.contracts.plain import User
from tests.environment import Gateway
from tests.host import until
from tests.live import Live, make, temporary
from tests.monitoring.conftest import Observed

pytestmark = pytest.mark.slow  # an environment of its own, and a program that is built for it

NAME = "test-brought"
APPLICATION = "starter"
NETWORK = {"mode": "nat", "cidr": "10.105.0.0/24", "cidr6": "fd00:105::/64"}
BESIDE = ("miniflux", "prometheus")  # images that the mirror does not have for every environment


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The page's project, up and proven."""
    with temporary(make(tmp_path_factory.mktemp("brought"), NAME, NETWORK)) as live:
        bring(live.project)
        held = yaml.safe_load(live.variables.read_text())["app_compose_images"]
        own = {name: f"{lab.Mirror.registry}/{images.pushed(name)}" for name in BESIDE}
        live.configure(app_compose_images=held | own)
        live.set(application=APPLICATION, components=["prometheus"])
        live.hostwright("up")
        yield live


@pytest.fixture(scope="module")
def door(brought: Live) -> Gateway:
    return environment.gateway(brought, **environment.entrance(application.load(APPLICATION)))


@pytest.fixture(scope="module")
def nobody(door: Gateway) -> Iterator[httpx2.Client]:
    with plain.client(door) as found:
        yield found


@pytest.fixture(scope="module")
def reader(nobody: httpx2.Client) -> User:
    """A user of the application, of whom the service has not heard."""
    account = {"name": "John Doe", "email": environment.fresh_email(), "password": plain.PASSWORD}
    answer = nobody.post("/api/users/register", json=account)
    assert answer.status_code == 201, answer.text
    return plain.enter(nobody, "/api/users/login", account["email"])


def test_the_proof_asks_about_it(brought: Live) -> None:
    state = Path(brought.env["XDG_STATE_HOME"]) / "hostwright" / NAME
    rows = json.loads((state / "proof/proof.json").read_text())["rows"]
    assert {
        "miniflux runs and is healthy, and starts again by itself",
        "miniflux runs the image that was asked for, by its digest",
        "miniflux runs as its own user on a read-only root, without capabilities, within its memory",
        "miniflux of postgres is there for miniflux alone, and has its tables",
        "8080/http of miniflux answers those that share a network with it",
    } <= {row["what"] for row in rows if row["result"] == "holds"}


def test_a_second_up_leaves_it_alone(brought: Live) -> None:
    again = brought.hostwright("up")
    assert "1 up, 0 changes" in again.stdout + again.stderr
    assert "changed=0" in again.stdout + again.stderr


def test_it_is_routed_and_told_who_asks(nobody: httpx2.Client, reader: User) -> None:
    assert plain.code(nobody.get("/feeds/unread")) == (401, "UNAUTHORIZED")
    assert reader.ask("GET", "/feeds/version").text == IMAGE.rpartition(":")[2]
    entered = reader.ask("GET", "/feeds/unread", follow_redirects=True)
    assert (entered.status_code, entered.url.path) == (200, "/feeds/unread")
    assert reader.id in reader.ask("GET", "/feeds/settings").text, "whom the token names"
    assert plain.code(reader.ask("GET", "/feeds/metrics"))[0] == 404


def test_it_is_scraped(brought: Live) -> None:
    observed = Observed(brought)

    def up() -> list[str]:
        return [each["value"][1] for each in observed.query('up{service="miniflux"}')[0]]

    until(lambda: up() == ["1"], 120, "Prometheus has its figures")


def test_it_is_limited(door: Gateway, reader: User) -> None:
    with plain.client(door, patient=False) as hasty:
        who = replace(reader, http=hasty)
        answers = (who.ask("GET", "/feeds/version") for _ in range(300))
        refused = next((each for each in answers if each.status_code != 200), None)
        assert refused is not None
        assert plain.code(refused) == (429, "RATE_LIMIT_EXCEEDED")
        assert refused.headers["X-RateLimit-Limit"] == "30"
        assert who.ask("GET", "/api/users").status_code == 200, "other routes have a limit of their own"
