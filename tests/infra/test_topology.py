"""Names, addresses and MACs: the same settings give the same hosts, on every machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hostwright.errors import BadInput
from hostwright.hosts.record import GROUPS
from infra import config, topology
from infra.config import Settings

Make = Callable[..., Settings]
CLUSTER = {"topology": "cluster", "network": {"cidr": "10.92.0.0/24", "cidr6": "fd00:92::/64"}}


def test_hosts_are_where_the_settings_say(settings: Make) -> None:
    (host,) = topology.hosts(settings("container"))
    assert host == topology.hosts(settings("libvirt"))[0]
    assert (host.name, str(host.address), str(host.address6)) == ("shop-1", "10.92.0.11", "fd00:92::11")
    assert (host.memory, host.cpus, host.disk, host.groups) == (2048, 2, 12, ["single"])


def test_a_single_host_stays_what_it_was(settings: Make) -> None:
    """Environments that exist are found again by these."""
    (host,) = topology.hosts(settings("container"))
    assert (host.mac, host.group, host.number) == ("52:54:00:79:32:6c", "single", 1)
    assert (host.layout.runtime, host.layout.data) == ("docker", "/var/lib/docker")


def test_hosts_of_a_cluster(settings: Make) -> None:
    made = topology.hosts(settings("container", cluster={"workers": 2}, **CLUSTER))
    assert [(host.name, str(host.address), str(host.address6), host.groups) for host in made] == [
        ("shop-server-1", "10.92.0.11", "fd00:92::11", ["cluster", "servers"]),
        ("shop-server-2", "10.92.0.12", "fd00:92::12", ["cluster", "servers"]),
        ("shop-server-3", "10.92.0.13", "fd00:92::13", ["cluster", "servers"]),
        ("shop-worker-1", "10.92.0.21", "fd00:92::21", ["cluster", "workers"]),
        ("shop-worker-2", "10.92.0.22", "fd00:92::22", ["cluster", "workers"]),
    ]
    assert {host.layout.data for host in made} == {"/var/snap/microk8s/common"}


def test_a_cluster_has_three_servers_and_no_worker_unless_told_otherwise(settings: Make) -> None:
    made = topology.hosts(settings("libvirt", **CLUSTER))
    assert [host.name for host in made] == ["shop-server-1", "shop-server-2", "shop-server-3"]


def test_the_inventory_knows_every_group(settings: Make) -> None:
    for given in ({"topology": "single"}, CLUSTER | {"cluster": {"workers": 1}}):
        made = settings("container", **given)
        assert {group for host in topology.hosts(made) for group in host.groups} == {*GROUPS[made.topology]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"servers": 1, "workers": 1}, {"servers": 1, "workers": 2}),
        ({"servers": 1, "workers": 7}, {"servers": 3, "workers": 7}),
        ({"servers": 3, "workers": 0}, {"servers": 3, "workers": 40}),
    ],
)
def test_more_hosts_leave_those_there_as_they_are(
    settings: Make, before: dict[str, int], after: dict[str, int]
) -> None:
    few = {host.name: host for host in topology.hosts(settings("container", cluster=before, **CLUSTER))}
    many = {host.name: host for host in topology.hosts(settings("container", cluster=after, **CLUSTER))}
    assert len(many) > len(few)
    assert few == {name: many[name] for name in few}


def test_a_group_has_a_size_of_its_own(settings: Make) -> None:
    sizes = {"workers": {"memory": 8192, "data": 100}}
    server, worker = topology.hosts(
        settings("container", cluster={"servers": 1, "workers": 1, "sizes": sizes}, **CLUSTER)
    )
    assert (server.memory, server.cpus, server.disk, server.data) == (2048, 2, 12, 8)
    assert (worker.memory, worker.cpus, worker.disk, worker.data) == (8192, 2, 12, 100)


@pytest.mark.parametrize(
    ("network", "workers", "message"),
    [
        ({"cidr": "10.92.0.0/24"}, 235, "10.92.0.0/24 ends before number 255, which is shop-worker-235's"),
        ({"cidr": "10.92.0.0/28"}, 1, "10.92.0.0/28 ends before number 21, which is shop-worker-1's"),
        (
            {"cidr": "10.92.0.0/16", "cidr6": "fd00:92::/120"},
            80,
            "fd00:92::/120 ends before number 100, which is shop-worker-80's",
        ),
    ],
)
def test_more_hosts_than_addresses(
    settings: Make, network: dict[str, str], workers: int, message: str
) -> None:
    def made(count: int) -> list[topology.HostSpec]:
        cluster = {"workers": count}
        return topology.hosts(settings("container", topology="cluster", network=network, cluster=cluster))

    assert len(made(workers - 1)) == 3 + workers - 1
    with pytest.raises(BadInput, match=message) as caught:
        made(workers)
    key = "cidr6" if "120" in message else "cidr"
    assert caught.value.where == f"infra/Pulumi.shop.yaml: hostwright:network.{key}"
    assert caught.value.fix


def test_a_gateway_is_no_host(settings: Make) -> None:
    def made(gateway: str) -> list[topology.HostSpec]:
        network = {"mode": "bridge", "bridge": "br0", "cidr": "192.168.7.0/24", "gateway": gateway}
        return topology.hosts(settings("libvirt", topology="cluster", network=network))

    assert made("192.168.7.254")
    with pytest.raises(BadInput, match=r"shop-server-2 would have the gateway's address 192\.168\.7\.12"):
        made("192.168.7.12")


def test_hardware_addresses_that_meet(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "mac", lambda name: "52:54:00:00:00:0" + name[-1])
    with pytest.raises(BadInput, match="shop-server-1 and shop-worker-1 would have one hardware address"):
        topology.hosts(settings("container", cluster={"workers": 1}, **CLUSTER))


def test_a_host_name_has_an_end(values: Any) -> None:
    def made(length: int) -> list[topology.HostSpec]:
        return topology.hosts(config.parse("e" * length, values("container", **CLUSTER)))

    assert len(made(54)[0].name) == 63
    with pytest.raises(BadInput, match="has 64 characters, and 63 at most"):
        made(55)


def test_without_ipv6_there_is_none(settings: Make) -> None:
    (host,) = topology.hosts(settings("container", network={"cidr": "10.92.0.0/24"}))
    assert host.address6 is None


def test_macs_are_qemus_and_differ_by_name() -> None:
    assert topology.mac("shop-1") == topology.mac("shop-1") != topology.mac("shop-2")
    assert topology.mac("shop-1").startswith("52:54:00:")


def test_bridges_fit_the_kernel() -> None:
    assert len(topology.bridge("a-very-long-environment-name-of-all", "libvirt")) <= 15
    assert topology.bridge("a", "libvirt") != topology.bridge("b", "libvirt")


def test_a_driver_can_take_over_from_another() -> None:
    """Both have their bridge then: the new hosts are made before the old ones go."""
    assert topology.bridge("a", "container") != topology.bridge("a", "libvirt")


@pytest.mark.parametrize(
    ("names", "addresses", "message"),
    [
        (["a1", "b1"], ["192.0.2.1", "192.0.2.2"], "single has 1 host, 2 given"),
        (["a1", "a1"], ["192.0.2.1", "192.0.2.2"], "two hosts with the name a1"),
        (["a1", "b1"], ["192.0.2.1", "192.0.2.1"], "two hosts with the address 192.0.2.1"),
    ],
)
def test_machines_must_differ_and_be_as_many_as_the_topology_takes(
    names: list[str], addresses: list[str], message: str
) -> None:
    topology.check_machines("single", [None], ["a1"], ["192.0.2.1"], "here")
    with pytest.raises(BadInput, match=message) as caught:
        topology.check_machines("single", [None] * len(names), names, addresses, "here")
    assert (caught.value.where, caught.value.exit_status) == ("here", 2)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("groups", "message", "fix"),
    [
        (["servers", None], "b1 has no group", "group: workers"),
        (["servers", "servers"], "2 servers are worse than 1", "1 server, or 3"),
        (["workers", "workers"], "1 or 3 servers, not 0", "3 servers"),
    ],
)
def test_machines_of_a_cluster_say_their_group(groups: list[str | None], message: str, fix: str) -> None:
    names, addresses = ["a1", "b1"], ["192.0.2.1", "192.0.2.2"]
    topology.check_machines("cluster", ["servers", "workers"], names, addresses, "here")
    with pytest.raises(BadInput, match=message) as caught:
        topology.check_machines("cluster", groups, names, addresses, "here")
    assert fix in caught.value.fix


def test_a_single_machine_has_no_group() -> None:
    with pytest.raises(BadInput, match="a1 is one of the workers, the topology is single"):
        topology.check_machines("single", ["workers"], ["a1"], ["192.0.2.1"], "here")
