"""The stand-in for MicroK8s: nodes on loopback addresses that ask one another, and what they answer."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from lab.snaps.microk8s.standin import daemons, kubernetes, launch
from lab.snaps.microk8s.standin.commands import Microk8s
from lab.snaps.microk8s.standin.database import enough, give_roles
from lab.snaps.microk8s.standin.node import DAEMONS, Node

TOKEN = "t" * 32
SPAWN = multiprocessing.get_context("fork")


@dataclass
class Processes:
    """A node's daemons as processes of the test."""

    node: Node
    running: dict[str, BaseProcess] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        for name in names:
            if not self.active(name):
                self.running[name] = SPAWN.Process(target=daemons.run, args=(self.node, name), daemon=True)
                self.running[name].start()

    def stop(self, *names: str) -> None:
        for name in names:
            if process := self.running.pop(name, None):
                process.kill()
                process.join()

    def active(self, name: str) -> bool:
        return name in self.running and self.running[name].is_alive()


@dataclass
class Host:
    node: Node
    services: Processes
    capture: Callable[[], tuple[str, str]]

    def __call__(self, *words: str) -> tuple[int, str]:
        """Exit status and output of a command."""
        self.capture()
        status = Microk8s(self.node, self.services, pause=0.2).run(words)
        return status, "".join(self.capture())

    def json(self, *words: str) -> Any:
        status, said = self(*words)
        assert status == 0, said
        return json.loads(said)

    def nodes(self) -> dict[str, str]:
        """Name -> its Ready, as the API has it; nothing while that does not answer."""
        status, said = self("kubectl", "get", "nodes", "-o", "json")
        items = [] if status else json.loads(said)["items"]
        return {each["metadata"]["name"]: each["status"]["conditions"][0]["status"] for each in items}

    def off(self) -> None:
        self.services.stop(*DAEMONS)

    def on(self) -> None:
        self.services.start(*(each for each in DAEMONS if self.node.expects(each)))


Make = Callable[..., Host]


@pytest.fixture
def host(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Makes the host of a number: installed, alone, and Ready."""
    made: list[Host] = []
    names = {f"node-{number}": f"127.0.7.{number}" for number in (1, 2, 3)}
    monkeypatch.setattr(daemons, "_addresses", lambda name: {names[name]})

    def make(number: int, minor: int = 35, **config: Any) -> Host:
        root = tmp_path / str(number)
        (root / "snap/meta").mkdir(parents=True)
        (root / "snap/meta/snap.yaml").write_text(json.dumps({"version": f"v1.{minor}.0"}))
        address = f"127.0.7.{number}"
        node = Node(
            root / "snap", root / "data", root / "common", f"node-{number}", address, address, address
        )
        node.install(launch.load(json.dumps({"version": "0.1.0", **config})))
        each = Host(node, Processes(node), lambda: tuple(capfd.readouterr()))  # type: ignore[arg-type, return-value]
        made.append(each)
        each.on()
        assert each("status", "--wait-ready", "--timeout", "60")[0] == 0
        return each

    yield make
    for each in made:
        each.off()


def eventually(see: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not see():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def joined(server: Host, other: Host, *options: str) -> None:
    (url,) = server.json("add-node", "--format", "json")["urls"]
    status, said = other("join", url, *options)
    assert (status, "Successfully joined" in said) == (0, True), said
    eventually(lambda: server.nodes().get(other.node.name) == "True")


def test_a_fresh_node_is_a_cluster_of_its_own(host: Make) -> None:
    node = host(1, addons=[{"name": "dns"}, {"name": "ingress"}])
    eventually(lambda: node.nodes() == {"node-1": "True"})
    status, said = node("status", "--format", "yaml")
    assert (status, "address: 127.0.0.1:19001" in said) == (0, True)
    assert node("status", "--addon", "dns") == (0, "enabled\n")
    assert node("status", "--addon", "rbac") == (0, "disabled\n")
    assert node("kubectl", "get", "daemonsets", "-A", "-o", "json")[1].count('"name": "traefik"') == 1


def test_three_servers_form_a_cluster_that_survives_the_loss_of_any_one(host: Make) -> None:
    first, second, third = host(1), host(2), host(3)
    joined(first, second)
    assert first("status", "--format", "yaml")[1].count("role: voter") == 1
    joined(first, third)
    eventually(lambda: third("status", "--format", "yaml")[1].count("role: voter") == 3)
    first.off()
    eventually(lambda: second.nodes() == {"node-1": "Unknown", "node-2": "True", "node-3": "True"})
    assert third("kubectl", "cordon", "node-3")[0] == 0
    second.off()
    status, said = third("kubectl", "get", "nodes")
    assert (status, "no available dqlite leader" in said) == (1, True)
    second.on()
    first.on()
    eventually(lambda: set(first.nodes().values()) == {"True"})
    assert "SchedulingDisabled" in first("kubectl", "get", "nodes")[1]


def test_a_worker_says_so_and_succeeds_with_whatever_it_cannot_do(host: Make) -> None:
    server, worker = host(1), host(2)
    object.__setattr__(worker.node, "here", "127.0.0.1")  # what the API's certificate names
    worker.node.write(kubernetes.CNI, "of the network that it had alone")
    joined(server, worker, "--worker")
    assert worker.node.worker
    assert not (worker.node.data / kubernetes.CNI).exists(), "its next pod would be in that one"
    for command in (["status"], ["status", "--wait-ready"], ["config"], ["kubectl", "get", "nodes"]):
        status, said = worker(*command)
        assert (status, "acting as a node in a cluster" in said) == (0, True), command
    assert worker("add-node")[0] == 1
    eventually(lambda: server.nodes() == {"node-1": "True", "node-2": "True"})
    assert worker("leave")[0] == 0
    assert server.nodes().keys() == {"node-1", "node-2"}, "who leaves is still listed"
    assert server("remove-node", "node-2")[0] == 0
    eventually(lambda: server.nodes() == {"node-1": "True"})


def test_a_token_is_spent_by_a_join_that_fails(host: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server, other = host(1), host(2)
    server.off()
    monkeypatch.setattr(daemons, "_addresses", lambda _: {"192.0.2.9"})
    server.on()
    assert server("status", "--wait-ready", "--timeout", "60")[0] == 0
    (url,) = server.json("add-node", "--format", "json")["urls"]
    assert other("join", url) == (
        6,
        "Contacting cluster at 127.0.7.1\nConnection failed. The hostname (node-2) of the joining node does "
        'not resolve to the IP "127.0.7.2". Refusing join (400).\n',
    )
    assert other.node.has("join-in-progress")
    assert other("join", url)[1].endswith("Connection failed. Invalid token (500).\n")


def test_tokens_that_last(host: Make) -> None:
    server, other = host(1, persistentClusterToken=TOKEN), host(2)
    lasting = server.json("add-node", "--token", "l" * 32, "--token-ttl", "60", "--format", "json")["token"]
    peer = lasting.rpartition("/")[2]
    for token in (TOKEN, "l" * 32):
        assert daemons.token_is_good(server.node, token)
        assert daemons.token_is_good(server.node, token)
    assert not daemons.token_is_good(server.node, "x" * 32)
    status, said = other("join", f"127.0.7.1:25000/{TOKEN}/{'0' * 12}")
    assert (status, "Could not verify the identity of 127.0.7.1" in said) == (4, True)
    assert other("join", f"127.0.7.9:25000/{TOKEN}/{peer}")[0] == 1
    assert server("add-node", "--token", "short")[0] == 1
    assert other("join", f"127.0.7.1:25000/{TOKEN}/{peer}")[0] == 0


def test_a_join_that_is_cut_off_leaves_a_node_that_cannot_join(host: Make) -> None:
    server, other = host(1), host(2)
    token = ("--token", TOKEN, "--token-ttl", "60")
    (url,) = server.json("add-node", *token, "--format", "json")["urls"]

    class Gone(Exception):
        pass

    def die(*_: str) -> None:
        raise Gone

    start, other.services.start = other.services.start, die  # type: ignore[method-assign]
    with pytest.raises(Gone):
        other("join", url)
    other.services.start = start  # type: ignore[method-assign]
    assert other.node.has("join-in-progress")
    assert other("status", "--wait-ready", "--timeout", "1")[0] == 1
    # Its database starts with the host, and becomes a member of which the API knows no node.
    other.services.start("k8s-dqlite")
    eventually(lambda: "127.0.7.2" in server("status", "--format", "yaml")[1])
    status, said = other("join", url)
    assert (status, "already known to dqlite (504)" in said) == (6, True)
    assert server("remove-node", "127.0.7.2", "--force")[0] == 1
    assert "127.0.7.2" not in server("status", "--format", "yaml")[1], "removed, whatever it exits with"


def test_who_is_registered_is_removed_by_force_only(host: Make) -> None:
    server, other = host(1), host(2)
    joined(server, other)
    status, said = server("remove-node", "node-2")
    assert (status, "is registered with dqlite" in said) == (1, True)
    other.off()
    assert server("remove-node", "node-2", "--force")[0] == 0
    eventually(lambda: server.nodes() == {"node-1": "True"})
    assert server("remove-node", "node-9")[0] == 1


def test_addons(host: Make) -> None:
    node = host(1, minor=34)
    assert node("enable", "ingress")[0] == 0
    assert "nginx-ingress-microk8s-controller" in node("kubectl", "get", "daemonsets", "-A", "-o", "json")[1]
    assert node("enable", "ingress", "--default-ssl-certificate=a/b") == (
        0,
        "Addon core/ingress is already enabled\n",
    )
    assert node("enable", "nothing")[0] == 1
    assert node("enable", "community/nothing") == (0, "Addon community/nothing not found\n")
    assert node("disable", "ingress")[0] == 0
    assert node("status", "--addon", "ingress") == (0, "disabled\n")


def test_a_deployment_is_what_it_was_patched_to_until_its_addon_goes(host: Make) -> None:
    node = host(1, addons=[{"name": "dns"}])

    def spec(name: str) -> dict[str, Any]:
        items = node.json("kubectl", "get", "deployments", "-A", "-o", "json")["items"]
        found: dict[str, Any] = next(each["spec"] for each in items if each["metadata"]["name"] == name)
        return found

    patch = ("patch", "deployment", "coredns")
    rule = {"spec": {"replicas": 2, "template": {"spec": {"affinity": {"a": {"b": 1}}}}}}
    assert node("kubectl", "--namespace=kube-system", *patch, f"--patch={json.dumps(rule)}") == (
        0,
        "deployment.apps/coredns patched\n",
    )
    assert node("kubectl", "-n", "kube-system", *patch, '--patch={"spec": {"replicas": 3}}')[0] == 0
    assert spec("coredns")["replicas"] == 3
    assert spec("coredns")["template"]["spec"]["affinity"] == {"a": {"b": 1}}
    assert spec("calico-kube-controllers")["replicas"] == 1
    status, said = node("kubectl", *patch, '--patch={"spec": {"replicas": 3}}')
    assert (status, 'deployments.apps "coredns" not found' in said) == (1, True), "of another namespace"
    for verb in ("disable", "enable"):
        assert node(verb, "dns")[0] == 0
    assert spec("coredns")["replicas"] == 1


def test_stopping_starting_and_what_inspect_finds(host: Make) -> None:
    node = host(1)
    assert node("inspect")[0] == 0
    node.services.stop("kubelite")
    status, said = node("inspect")
    report = Path(said.rpartition("Report tarball is at ")[2].strip())
    assert (status, report.is_file()) == (1, True)
    assert node("status") == (
        1,
        "microk8s is not running. Use microk8s inspect for a deeper inspection.\n",
    )
    node("stop")
    assert node("status") == (0, "microk8s is not running, try microk8s start\n")
    node("start")
    assert node("status", "--wait-ready", "--timeout", "60")[0] == 0


def test_certificates(host: Make) -> None:
    node = host(1)
    assert node("refresh-certs")[0] == 3
    assert "server certificate will expire in 364 days" in node("refresh-certs", "-c")[1], "and some hours"
    before = node.node.read("certs/server.crt")
    assert node("refresh-certs", "-e", "server.crt")[0] == 0
    assert node.node.read("certs/server.crt") != before


def test_what_the_stand_in_does_not_have_is_refused(host: Make) -> None:
    node = host(1)
    assert node("dashboard-proxy")[0] == 1
    assert node("kubectl", "apply", "-f", "-")[0] == 1
    assert node("kubectl", "get", "nodes", "node-9")[0] == 1
    assert node.json("kubectl", "get", "persistentvolumes", "-o", "json")["items"] == []
    kept = node.json("kubectl", "get", "persistentvolumes,namespaces", "-o", "json")["items"]
    assert {each["kind"] for each in kept} == {"Namespace"}
    assert "kube-system" in [each["metadata"]["name"] for each in kept]


@pytest.mark.parametrize(
    "text",
    ["no json", "[]", "{}", '{"version": "0.1.0", "persistentClusterToken": "short"}'],
)
def test_a_launch_configuration_that_is_not_good_fails_the_installation(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (whose own words are json's)
        launch.load(text)


def test_three_vote_and_more_than_half_of_them_are_enough() -> None:
    document: dict[str, Any] = {
        "members": [{"address": str(number), "role": "standby"} for number in range(5)]
    }
    give_roles(document)
    assert [each["role"] for each in document["members"]] == ["voter"] * 3 + ["standby"] * 2
    assert enough(document, ["0", "2"])
    assert not enough(document, ["0", "3", "4"])
