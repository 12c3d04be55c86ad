"""Hosts that the settings ask for no more: what `up` and `plan` refuse, before they touch anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostwright import deploy, environments, former, members, reached, scaffold, toolchain
from hostwright.environments import Environment
from hostwright.errors import BadInput
from hostwright.hosts import engine, stack
from hostwright.hosts.record import HostRecord
from hostwright.reached import Cluster

Make = Callable[..., Environment]


class Reached(AssertionError):
    """Pulumi would be at work."""


def records(name: str, servers: int, workers: int) -> list[HostRecord]:
    return [
        HostRecord(name=name.format(group, number), address="192.0.2.1", groups=["cluster", f"{group}s"])
        for group, count in {"server": servers, "worker": workers}.items()
        for number in range(1, count + 1)
    ]


HOSTS = records("prod-{}-{}", 3, 2)


class Here(Cluster):
    """What would run on a server runs on this machine, and lists these nodes."""

    lists: list[str] = []  # noqa: RUF012  (of one test)
    asked = 0

    @property
    def host(self) -> HostRecord:  # type: ignore[override]
        return self.candidates[0]

    def command(self, *words: str, host: HostRecord | None = None) -> list[str]:  # noqa: ARG002
        assert words[-3:] == ("get", "nodes", "--output=json")
        type(self).asked += 1
        said = json.dumps({"items": [{"metadata": {"name": name}} for name in self.lists]})
        return ["echo", said] if self.lists else ["sh", "-c", "echo command not found >&2; exit 1"]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """An environment with these hosts in its stack, of which the cluster lists some, and other settings."""
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))

    def make(known: list[HostRecord], nodes: list[str], *hosts: str, **settings: Any) -> Environment:
        driver = "static" if hosts else "container"
        (tmp_path / "shop/infra/Pulumi.prod.yaml").unlink(missing_ok=True)
        scaffold.create(tmp_path / "shop", "prod", driver, "cluster", "warehouse", hosts, **settings)
        environment = environments.load("prod", tmp_path / "shop")
        found = Here(environment, reached.cluster(environment, known).application, known)
        found.__dict__["variables"] = {"app_kubernetes_kubectl": ["kubectl"]}
        monkeypatch.setattr(Here, "lists", nodes)
        monkeypatch.setattr(Here, "asked", 0)
        monkeypatch.setattr(reached, "cluster", lambda *_: found)
        monkeypatch.setattr(engine, "outputs", lambda _: known)
        return environment

    return make


@pytest.mark.parametrize("verb", [deploy.up, deploy.plan])
def test_no_server_goes_and_pulumi_is_not_asked(
    made: Make, monkeypatch: pytest.MonkeyPatch, verb: Callable[[Environment], None]
) -> None:
    def at_work(*_: object) -> None:
        raise Reached

    monkeypatch.setattr(toolchain, "ensure", lambda *_: None)
    monkeypatch.setattr(engine, "_check", at_work)
    monkeypatch.setattr(former, "look", lambda *_: [])
    environment = made(HOSTS, [], servers=1, workers=2)
    with pytest.raises(BadInput, match="prod-server-2, prod-server-3 would go too") as refused:
        verb(environment)
    assert refused.value.where == "infra/Pulumi.prod.yaml: hostwright:cluster.servers"
    assert "hostwright down" in refused.value.fix
    assert Here.asked == 0
    with pytest.raises(Reached):
        verb(made(HOSTS, [], servers=3, workers=2))


def test_a_worker_that_is_a_node_does_not_go(made: Make) -> None:
    environment = made(HOSTS, [host.name for host in HOSTS], servers=3, workers=0)
    with pytest.raises(BadInput, match="prod-worker-1, prod-worker-2 would be removed") as refused:
        members.check(environment, HOSTS)
    assert refused.value.where == "infra/Pulumi.prod.yaml: hostwright:cluster.workers"
    assert "hostwright scale --workers 0" in refused.value.fix


def test_what_has_left_goes_as_after_scale_and_the_cluster_is_asked_only_then(made: Make) -> None:
    """However far `scale` came: both left, or one; the settings are as they were, or as they will be."""
    names = [host.name for host in HOSTS]
    members.check(made(HOSTS, names[:3], servers=3, workers=0), HOSTS)
    members.check(made(HOSTS, names[:4], servers=3, workers=1), HOSTS)
    assert Here.asked == 1
    members.check(made(HOSTS, names[:3], servers=3, workers=2), HOSTS)
    members.check(made(HOSTS, names, servers=3, workers=3), HOSTS)
    members.check(made([], names, servers=1), [])
    assert Here.asked == 0


def test_a_cluster_that_does_not_answer_has_a_way_out(made: Make) -> None:
    environment = made(HOSTS, [], servers=3, workers=1)
    with pytest.raises(
        BadInput, match=r"prod-worker-2 would go, and nobody says .*: command not found"
    ) as refused:
        members.check(environment, HOSTS)
    assert "hostwright down, and up" in refused.value.fix


def test_machines_that_are_listed_no_more_are_looked_at_alike(made: Make) -> None:
    known = records("{}{}", 3, 1)
    listed = [f"{host.name}=192.0.2.{number}" for number, host in enumerate(known, 1)]
    nodes = [host.name for host in known]
    with pytest.raises(BadInput, match="worker1 is listed no more, and is a node") as refused:
        members.check(made(known, nodes, *listed[:3], servers=3), known)
    assert refused.value.fix == (
        "ansible-playbook -i inventories/prod hostwright.hostwright.leave "
        """-e '{"microk8s_leaving": ["worker1"]}'"""
    )
    members.check(made(known, nodes[:3], *listed[:3], servers=3), known)


def test_of_machines_no_fewer_serve_and_one_in_anothers_place_is_told_how(made: Make) -> None:
    known = records("{}{}", 3, 0)
    nodes = [host.name for host in known]
    with pytest.raises(BadInput, match="server2, server3 would go too") as refused:
        members.check(made(known, nodes, "server1=192.0.2.1", servers=1), known)
    assert refused.value.where == "infra/Pulumi.prod.yaml: hostwright:static.hosts"
    machines = ("server1=192.0.2.1", "server2=192.0.2.2", "server4=192.0.2.4")
    with pytest.raises(BadInput, match="server3 is listed no more, and is a node") as refused:
        members.check(made(known, nodes, *machines, servers=3), known)
    assert "microk8s remove-node server3 --force" in refused.value.fix
    members.check(made(known, nodes[:2], *machines, servers=3), known)


def test_servers_of_another_driver_do_not_go_for_as_many(made: Make) -> None:
    known = records("k-{}-{}", 1, 0)
    with pytest.raises(BadInput, match="k-server-1 would go too"):
        members.check(made(known, ["k-server-1"], servers=1), known)


def test_another_topology_is_none_of_its_business(made: Make) -> None:
    single = [HostRecord(name="prod-1", address="192.0.2.1", groups=["single"])]
    members.check(made(single, [], servers=1), single)
    assert Here.asked == 0


def test_a_stack_that_is_gone_has_no_hosts(
    made: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a state that is not in files here, or of which only a copy is left, Pulumi alone knows that."""
    toolchain.ensure()
    environment = made([], [], servers=1)
    backend = tmp_path / "backend"
    monkeypatch.setenv("PULUMI_BACKEND_URL", backend.as_uri())
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of the tests only")
    (backend / ".pulumi/stacks/hostwright").mkdir(parents=True)
    (backend / ".pulumi/stacks/hostwright/prod.json.bak").write_text("{}")
    assert stack.known(environment)
    assert stack.outputs(environment) == {}
