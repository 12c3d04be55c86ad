"""Names, addresses and MACs: the same settings give the same hosts, on every machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hostwright.errors import BadInput
from infra import topology
from infra.config import Settings

Make = Callable[..., Settings]


def test_hosts_are_where_the_settings_say(settings: Make) -> None:
    (host,) = topology.hosts(settings("container"))
    assert host == topology.hosts(settings("libvirt"))[0]
    assert (host.name, str(host.address), str(host.address6)) == ("shop-1", "10.92.0.11", "fd00:92::11")
    assert (host.memory, host.cpus, host.disk, host.groups) == (2048, 2, 12, ["single"])


def test_without_ipv6_there_is_none(settings: Make) -> None:
    (host,) = topology.hosts(settings("container", network={"cidr": "10.92.0.0/24"}))
    assert host.address6 is None


def test_macs_are_qemus_and_differ_by_name() -> None:
    assert topology.mac("shop-1") == topology.mac("shop-1") != topology.mac("shop-2")
    assert topology.mac("shop-1").startswith("52:54:00:")


def test_bridges_fit_the_kernel() -> None:
    assert len(topology.bridge("a-very-long-environment-name-of-all")) <= 15
    assert topology.bridge("a") != topology.bridge("b")


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
    topology.check_machines("single", ["a1"], ["192.0.2.1"], "here")
    with pytest.raises(BadInput, match=message) as caught:
        topology.check_machines("single", names, addresses, "here")
    assert (caught.value.where, caught.value.exit_status) == ("here", 2)
    assert caught.value.fix
