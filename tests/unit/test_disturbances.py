"""How a cluster is disturbed: what excuses a request, and what a disturbance complains about."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from testing.process import free_port

from hostwright import application
from hostwright.proof.wanted import module_utils
from tests.faults import cluster
from tests.faults.faults import FAULTS, Kill, ways
from tests.faults.load import Attempt

kubeconfig = module_utils("microk8s").kubeconfig

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
    for way in (cluster.ScaleUp, cluster.Redeploy, cluster.GatewayLost, cluster.BadImage):
        assert not any(way(shop()).excuses(at(path)) for path in (ORDERS, SITE, MAILS))
    down = cluster.ScaleDown(shop())
    assert [down.excuses(at(path)) for path in (ORDERS, SITE, MAILS)] == [False, False, True]


def test_disturbances_come_in_an_order_in_which_one_follows_the_other() -> None:
    found = [(each.kind, each.name) for each in cluster.ways(shop(), ["power off", "scale up"])]
    off = [("power off", each) for each in ("a worker", "a server", "the first server")]
    assert found == [("scale up", "1 worker"), *off]
    assert cluster.ways(shop())[-1].kind == "upgrade"


def test_an_upgrade_excuses_who_needs_what_goes_with_its_node() -> None:
    """And who asks at the node whose turn it is; but nobody else, whichever node that is."""
    way = cluster.Upgrade(shop())
    way.node = SimpleNamespace(name="k1")
    stages = {100: {"k2"}, 110: {"k2", "orders-db"}, 300: {"k1"}}
    way.seen = [(float(moment), frozenset(gone)) for moment, gone in stages.items()]
    moments = (90, 105, 139, 141)
    assert [way.excuses(at(ORDERS, each)) for each in moments] == [False, True, True, False]
    assert not any(way.excuses(at(SITE, each)) for each in moments)
    assert [way.excuses(at(SITE, each)) for each in (290, 295, 329, 331)] == [False, True, True, False]
    assert way.excuses(at(MAILS, 900)), "there is one of it, and it moves"


def test_who_is_away() -> None:
    def node(name: str, ready: str, **spec: bool) -> dict[str, Any]:
        status = {"conditions": [{"type": "Ready", "status": ready}]}
        return {"kind": "Node", "metadata": {"name": name}, "spec": spec, "status": status}

    def store(name: str, ready: int) -> dict[str, Any]:
        metadata, status = {"name": name, "generation": 1}, {"observedGeneration": 1, "readyReplicas": ready}
        return {"kind": "StatefulSet", "metadata": metadata, "spec": {"replicas": 1}, "status": status}

    nodes = [node("k1", "True"), node("k2", "Unknown"), node("k3", "True", unschedulable=True)]
    assert cluster.away([*nodes, store("orders-db", 0), store("auth-db", 1)]) == {"k2", "k3", "orders-db"}


def test_while_the_node_that_is_asked_does_not_answer_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    over, answers = threading.Event(), iter([AssertionError("refused"), []])

    def items(_: str) -> list[Any]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        over.set()
        return answer

    way = cluster.Upgrade(shop())
    way.node = SimpleNamespace(name="k1")
    monkeypatch.setattr(way, "items", items)
    way._watch(over)
    assert [gone for _, gone in way.seen] == [{"k1"}, set()]


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


# As much of kubectl as tells where it has asked, and for what.
KUBECTL = """#!PYTHON
import json, os, socket, sys
config = json.load(open(os.environ["KUBECONFIG"]))
servers = {each["name"]: each["cluster"]["server"] for each in config["clusters"]}
server = servers[config["current-context"]]
host, port = server.removeprefix("https://").rsplit(":", 1)
with socket.create_connection((host, int(port)), 5) as connection:
    connection.sendall(" ".join(sys.argv[1:]).encode())
"""


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_the_api_is_written_to_by_kubectl_at_the_name_that_all_servers_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    """With the kubeconfig as it was fetched; of the servers the first are away."""
    addresses = [f"127.0.0.{number}" for number in (21, 22, 23)]
    with contextlib.ExitStack() as stack:
        port = free_port()  # none of those that connections begin at, on whichever address
        listening = [stack.enter_context(socket.create_server((each, port))) for each in addresses[broken:]]
        script = tmp_path / "kubernetes"
        script.write_text(KUBECTL.replace("PYTHON", sys.executable))
        script.chmod(0o755)
        monkeypatch.setattr(cluster, "program", lambda _: script)
        place = tmp_path / "hostwright/trial/kubeconfig"
        place.parent.mkdir(parents=True)
        told = {"cluster": {"certificate-authority-data": "CA"}}
        view = {"clusters": [told], "users": [{"user": {"token": "t"}}]}
        servers = dict(zip(("k1", "k2", "k3"), addresses, strict=True))
        fetched = kubeconfig(view, servers, "trial", f"{cluster.endpoint('trial')}:{port}")
        place.write_text(json.dumps(fetched))
        hosts = [{"name": name, "address": each, "groups": ["servers"]} for name, each in servers.items()]
        hosts.append({"name": "k4", "address": "127.0.0.24", "groups": ["workers"]})
        env = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
        live: Any = SimpleNamespace(name="trial", env=env, hosts=lambda: hosts)
        problem = cluster.Api(live)._once("faults=1")
        if broken == len(addresses):
            assert "Connection refused" in problem
            return
        assert problem == ""
        listening[0].settimeout(60)
        connection, _ = listening[0].accept()
        with connection:
            assert connection.recv(1000) == b"kubectl annotate --overwrite namespace default faults=1"
