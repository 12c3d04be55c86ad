"""How a cluster is disturbed: what excuses a request, and what a disturbance complains about."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import yaml

from hostwright import application
from tests.faults import cluster
from tests.faults.faults import FAULTS, Kill, ways
from tests.faults.load import Attempt

ORDERS, SITE, MAILS = "/api/orders?limit=5", "/", "/messages?limit=5"


def shop(live: Any = None) -> Any:
    return SimpleNamespace(live=live, node=None, application=application.load("warehouse"), people=None)


def at(path: str, moment: float = 0.0) -> Attempt:
    return Attempt(path, moment, "503")


def test_a_container_excuses_who_needs_it() -> None:
    way = Kill(shop(), "orders-db")
    assert [way.excuses(at(path)) for path in (ORDERS, SITE)] == [True, False]


def test_mails_may_leave_twice_where_they_are_sent_noted_or_taken() -> None:
    twice = {name for name in shop().application.services if not Kill(shop(), name).mails_once}
    assert twice == {"mail", "mailsink"}
    assert [Kill(shop(), name).mails_once for name in ("orders-db", "auth-db")] == [False, True]


def test_containers_fail_in_the_ways_that_they_can() -> None:
    found = [(each.name, each.kind) for each in ways(shop(), ["panel", "orders-db"], ["kill", "full disk"])]
    assert found == [("panel", "kill"), ("orders-db", "kill"), ("orders-db", "full disk")]
    assert {each.kind for each in ways(shop())} == {*FAULTS}


def test_an_outage_excuses_until_the_node_is_given_up() -> None:
    way = cluster.WorkerOff(shop())
    assert not way.excuses(at(SITE, 100)), "it has not begun"
    way.begun = 100
    moments = (90, 97, 100, 159, 161)
    assert [way.excuses(at(SITE, each)) for each in moments] == [False, True, True, True, False]
    way.stores = frozenset({"orders-db"})
    assert [way.excuses(at(path, 500)) for path in (ORDERS, MAILS, SITE)] == [True, True, False]
    assert not way.excuses(at(ORDERS, 90))


@pytest.mark.parametrize(
    ("way", "off", "asked"), [(cluster.ServerOff, "k3", "k1"), (cluster.FirstServerOff, "k1", "k2")]
)
def test_who_is_asked_while_a_server_is_off_is_another(
    monkeypatch: pytest.MonkeyPatch, way: type[cluster.Outage], off: str, asked: str
) -> None:
    """Also by those who are at the shop."""
    started: list[str] = []

    class Machine(SimpleNamespace):
        @property
        def container(self) -> Any:
            return SimpleNamespace(start=lambda: started.append(self.name))

    @dataclass(frozen=True)
    class People:
        gateway: str = "k1"

    @dataclass(frozen=True)
    class Trial:
        live: Any
        people: People
        application: Any = None
        node: Any = None

    hosts = [{"name": f"k{n}", "groups": ["servers"]} for n in (1, 2, 3)]
    monkeypatch.setattr(cluster, "Node", lambda name: Machine(name=name))
    monkeypatch.setattr(cluster.environment, "gateway", lambda _, name: name)
    monkeypatch.setattr(cluster.Disturbance, "items", lambda *_: [])
    trial = way(Trial(SimpleNamespace(hosts=lambda: hosts), People()))
    with trial.staged():
        assert (trial.machine.name, trial.node.name, trial.shop.people.gateway) == (off, asked, asked)
    assert started == [off]


def test_what_is_done_on_purpose_excuses_nothing_but_who_is_alone() -> None:
    for way in (cluster.ScaleUp, cluster.Redeploy, cluster.BadImage):
        assert not any(way(shop()).excuses(at(path)) for path in (ORDERS, SITE, MAILS))
    down = cluster.ScaleDown(shop())
    assert [down.excuses(at(path)) for path in (ORDERS, SITE, MAILS)] == [False, False, True]


def test_disturbances_come_in_an_order_in_which_one_follows_the_other() -> None:
    found = [(each.kind, each.name) for each in cluster.ways(shop(), ["power off", "scale up"])]
    off = [("power off", each) for each in ("a worker", "a server", "the first server")]
    assert found == [("scale up", "1 worker"), *off]
    assert cluster.ways(shop())[-1].kind == "upgrade"


class Upgraded:
    """An operator's machine whose cluster takes one minor, and refuses another."""

    def __init__(self, folder: Path, refuses: bool = True) -> None:
        self.variables = folder / "main.yml"
        self.refuses = refuses
        self.minor = 35

    def hostwright(self, *words: str, **_: Any) -> subprocess.CompletedProcess[str]:
        channel = yaml.safe_load(self.variables.with_name("upgrade.yml").read_text())["microk8s_channel"]
        wanted = int(channel.partition("/")[0].partition(".")[2])
        if self.refuses and wanted > self.minor + 1:
            return subprocess.CompletedProcess(words, 1, "", f"Upgrade to 1.{self.minor + 1} first")
        self.minor = wanted
        return subprocess.CompletedProcess(words, 0, "", "")


@pytest.mark.parametrize(("refuses", "said"), [(True, []), (False, ["to 1.37/stable: 0: "])])
def test_an_upgrade_takes_one_minor_and_complains_where_one_can_be_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: bool, said: list[str]
) -> None:
    live = Upgraded(tmp_path, refuses)
    way = cluster.Upgrade(shop(live))
    way.wanted = {"microk8s_channel": "1.36/stable", "microk8s_snaps": "https://mirror.invalid/1.36"}
    monkeypatch.setattr(way, "versions", lambda: {"k1": f"v1.{live.minor}.4"})
    way.begin()
    assert live.minor == 36
    assert way.complaints()[:1] == said


@pytest.mark.parametrize("broken", [(), ("192.0.2.1",), ("192.0.2.1", "192.0.2.2")])
def test_the_api_is_written_to_at_one_address_that_all_servers_answer_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...]
) -> None:
    asked: list[tuple[str, str, str]] = []

    class Transport(httpx2.BaseTransport):
        def __init__(self, address: str, _: Any) -> None:
            self.address = address

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            asked.append((self.address, request.method, str(request.url)))
            if self.address in broken:
                raise httpx2.ConnectTimeout("no answer")
            return httpx2.Response(200, json={})

    monkeypatch.setattr(cluster, "Named", Transport)
    monkeypatch.setattr(cluster.ssl, "create_default_context", lambda **_: None)
    authority = b64encode(b"authority").decode()
    server = {"server": "https://api.invalid:16443", "certificate-authority-data": authority}
    config = {"clusters": [{"cluster": server}], "users": [{"user": {"token": "t"}}]}
    place = tmp_path / "hostwright/trial/kubeconfig"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(config))
    hosts = [{"name": f"k{number}", "address": f"192.0.2.{number}"} for number in (1, 2, 3)]
    live: Any = SimpleNamespace(name="trial", env={"XDG_STATE_HOME": str(tmp_path)}, hosts=lambda: hosts)
    api = cluster.Api(live, ["k1", "k2"])
    problem = api._once()
    assert [address for address, *_ in asked] == ["192.0.2.1", "192.0.2.2"][: len(broken) + 1]
    assert {url.partition("?")[0] for *_, url in asked} == {f"https://api.invalid:16443{cluster.PLACE}"}
    assert problem == ("ConnectTimeout no answer" if len(broken) == 2 else "")
