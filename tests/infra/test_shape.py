"""The resources each driver asks for, and the one form of what they put out."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pulumi
import pytest
import yaml

from hostwright.hosts.record import HostRecord
from infra import cloud_init, program, topology
from infra.config import Settings
from tests.infra.conftest import PUBLIC, Mocks

Make = Callable[..., Settings]


def build(settings: Settings) -> list[dict[str, Any]]:
    """Run the settings' driver to its end; the host records."""
    found: list[dict[str, Any]] = []

    @pulumi.runtime.test
    def run() -> pulumi.Output[None]:
        driver = import_module(f"infra.drivers.{settings.driver}")
        return pulumi.Output.all(*driver.build(settings)).apply(found.extend)

    run()
    return found


def names(mocks: Mocks) -> list[tuple[str, str]]:
    return sorted(key for key in mocks.resources if key[0] != "Stack")


def test_container_resources(mocks: Mocks, settings: Make) -> None:
    build(settings("container"))
    assert names(mocks) == [
        ("Network", "hostwright-shop"),
        ("Node", "shop-1"),
        ("Ready", "shop-1"),
        ("Volume", "shop-1-docker"),
    ]
    network = mocks.resources["Network", "hostwright-shop"]
    assert (network["cidr"], network["cidr6"]) == ("10.92.0.0/24", "fd00:92::/64")
    assert len(network["bridge"]) <= 15
    node = mocks.resources["Node", "shop-1"]
    assert node["address"] == "10.92.0.11"
    assert node["address6"] == "fd00:92::11"
    assert (node["memory"], node["cpus"], node["volume"]) == (2048, 2, "shop-1-docker")
    assert node["mount"] == "/var/lib/docker"
    assert (node["network"], node["user"], node["publicKey"]) == ("hostwright-shop", "opensuse", PUBLIC)


def test_what_is_pickled_is_a_name(mocks: Mocks, settings: Make) -> None:
    """A later toolkit must find the provider: its code must not be in the state."""
    build(settings("container"))
    for kind in ("Network", "Volume", "Node", "Ready"):
        name = next(name for found, name in names(mocks) if found == kind)
        pickled = base64.b64decode(mocks.resources[kind, name]["__provider"])
        assert f"{kind}Provider".encode() in pickled
        assert b"hostwright.hosts.dynamic" in pickled
        assert len(pickled) < 100


def test_libvirt_with_a_network_of_its_own(mocks: Mocks, settings: Make) -> None:
    build(settings("libvirt"))
    assert names(mocks) == [
        ("Domain", "shop-1"),
        ("Network", "hostwright-shop"),
        ("Pool", "hostwright-shop"),
        ("Ready", "shop-1"),
        ("Reservation", "shop-1"),
        ("Volume", "base"),
        ("Volume", "shop-1"),
        ("Volume", "shop-1-cloud-init"),
        ("Volume", "shop-1-data"),
        ("libvirt", "libvirt"),
    ]
    network = mocks.resources["Network", "hostwright-shop"]
    assert network["mode"] == "nat"
    assert network["addresses"] == ["10.92.0.0/24", "fd00:92::/64"]
    assert network["domain"] == "shop.hostwright.internal"
    reservation = mocks.resources["Reservation", "shop-1"]
    assert reservation["address"] == "10.92.0.11"
    domain = mocks.resources["Domain", "shop-1"]
    assert domain["description"] == "hostwright:shop"
    (interface,) = domain["networkInterfaces"]
    assert interface["networkId"] == "hostwright-shop-id"
    assert interface["mac"].lower() == reservation["mac"] == topology.mac("shop-1")
    assert interface["waitForLease"] is False
    assert "addresses" not in interface
    assert [disk["volumeId"] for disk in domain["disks"]] == [
        "shop-1-id",
        "shop-1-data-id",
        "shop-1-cloud-init-id",
    ]


def test_libvirt_on_a_bridge(mocks: Mocks, settings: Make) -> None:
    network = {"mode": "bridge", "bridge": "br0", "cidr": "192.168.7.0/24", "gateway": "192.168.7.1"}
    made = settings("libvirt", network=network)
    build(made)
    kinds = {kind for kind, _ in names(mocks)}
    assert not kinds & {"Network", "Reservation"}
    (interface,) = mocks.resources["Domain", "shop-1"]["networkInterfaces"]
    assert interface["bridge"] == "br0"
    _, network_config = cloud_init.documents(made, topology.hosts(made)[0])
    ethernet = yaml.safe_load(network_config)["ethernets"]["eth0"]
    assert ethernet["dhcp4"] is False
    assert ethernet["addresses"] == ["192.168.7.11/24"]
    assert ethernet["routes"] == [{"to": "0.0.0.0/0", "via": "192.168.7.1"}]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("qemu", {"type": "qemu", "machine": "q35"}), ("kvm", {"type": "kvm"})],
)
def test_libvirt_processors(mocks: Mocks, settings: Make, kind: str, expected: dict[str, str]) -> None:
    libvirt = settings("libvirt").libvirt
    assert libvirt is not None
    build(settings("libvirt", libvirt=json.loads(libvirt.model_dump_json()) | {"type": kind}))
    domain = mocks.resources["Domain", "shop-1"]
    assert {key: domain.get(key) for key in ("type", "machine") if domain.get(key)} == expected
    if kind == "kvm":
        assert domain["cpu"] == {"mode": "host-passthrough"}
        assert "xml" not in domain
    else:
        assert "cx16" in domain["xml"]["xslt"]


def test_cloud_init_data_is_named_by_its_content(settings: Make, values: Any) -> None:
    made = settings("libvirt")
    first = cloud_init.image(made, topology.hosts(made)[0])
    assert first.read_bytes()[0x8001:0x8006] == b"CD001"
    assert cloud_init.image(made, topology.hosts(made)[0]) == first
    ssh = values("libvirt")["ssh"]
    other = settings("libvirt", ssh=ssh | {"publicKey": PUBLIC + "2"})
    assert cloud_init.image(other, topology.hosts(other)[0]) != first


def test_cloud_init_user(settings: Make) -> None:
    made = settings("libvirt")
    user_data, network_config = cloud_init.documents(made, topology.hosts(made)[0])
    (user,) = yaml.safe_load(user_data)["users"]
    assert user["name"] == "opensuse"
    assert user["ssh_authorized_keys"] == [PUBLIC]
    assert user["lock_passwd"] is True
    ethernet = yaml.safe_load(network_config)["ethernets"]["eth0"]
    assert ethernet["dhcp4"] is True
    assert ethernet["addresses"] == ["fd00:92::11/64"]


def test_static_makes_nothing_but_looks(mocks: Mocks, settings: Make) -> None:
    (record,) = build(settings("static"))
    assert names(mocks) == [("Ready", "web1")]
    ready = mocks.resources["Ready", "web1"]
    assert ready["fresh"] is False, "a key remembered of a machine that is not ours must not be forgotten"
    assert (record["name"], record["address"], record["groups"]) == ("web1", "192.0.2.10", ["single"])


def test_records_are_the_same_from_every_driver(mocks: Mocks, settings: Make) -> None:
    static = {"hosts": [{"name": "shop-1", "address": "10.92.0.11", "address6": "fd00:92::11"}]}
    records = [build(settings(driver, static=static))[0] for driver in ("container", "libvirt", "static")]
    drivers = [record["facts"]["driver"] for record in records]
    assert drivers == ["container", "libvirt", "static"]
    emulated = mocks.resources["Domain", "shop-1"]["type"] == "qemu"
    assert records[1]["facts"]["emulated"] is emulated
    bare = [HostRecord.model_validate(record).model_dump(exclude={"facts"}) for record in records]
    assert bare[0] == bare[1] == bare[2]
    assert bare[0]["groups"] == ["single"]


@pytest.mark.parametrize(
    ("topology", "host", "runtime"),
    [("single", "shop-1", "docker"), ("cluster", "shop-worker-1", "microk8s")],
)
@pytest.mark.parametrize("keep", [True, False])
def test_data_volumes_are_protected(
    mocks: Mocks,
    settings: Make,
    monkeypatch: pytest.MonkeyPatch,
    keep: bool,
    topology: str,
    host: str,
    runtime: str,
) -> None:
    more = {"topology": topology} | ({"cluster": {"workers": 1}} if topology == "cluster" else {})
    protected: dict[str, bool | None] = {}
    remember = pulumi.CustomResource.__init__

    def init(
        self: Any, t: str, name: str, props: Any = None, opts: Any = None, *rest: Any, **more: Any
    ) -> None:
        protected[name] = opts.protect if opts else None
        remember(self, t, name, props, opts, *rest, **more)

    monkeypatch.setattr(pulumi.CustomResource, "__init__", init)
    build(settings("container", keepData=keep, **more))
    build(settings("libvirt", keepData=keep, **more))
    assert protected[f"{host}-{runtime}"] is keep
    assert protected[f"{host}-data"] is keep
    assert not protected["base"]


UNITS = {
    "container": [("Node", "{}"), ("Ready", "{}"), ("Volume", "{}-microk8s")],
    "libvirt": [
        ("Domain", "{}"),
        ("Ready", "{}"),
        ("Reservation", "{}"),
        ("Volume", "{}"),
        ("Volume", "{}-cloud-init"),
        ("Volume", "{}-data"),
    ],
    "static": [("Ready", "{}")],
}
BRIDGE = {"mode": "bridge", "bridge": "br0", "cidr": "192.168.7.0/24", "gateway": "192.168.7.1"}
HYPERVISORS = ["qemu+ssh://kvm1/system", "qemu+ssh://kvm2/system", "qemu+ssh://kvm3/system"]


def cluster(settings: Make, driver: str, servers: int, workers: int, **changes: Any) -> Settings:
    """A cluster of environment `shop`, whichever way the driver's settings say it."""
    given: dict[str, Any] = {"topology": "cluster", "cluster": {"servers": servers, "workers": workers}}
    if driver == "static":
        groups = [("server", number) for number in range(1, servers + 1)]
        groups += [("worker", number) for number in range(1, workers + 1)]
        hosts = [
            {"name": f"shop-{noun}-{number}", "address": f"192.0.2.{place}", "group": f"{noun}s"}
            for place, (noun, number) in enumerate(groups, start=1)
        ]
        given = {"topology": "cluster", "static": {"hosts": hosts}}
    return settings(driver, **given | changes)


def resources(mocks: Mocks, settings: Settings) -> dict[tuple[str, str], dict[str, Any]]:
    """All that the settings' driver asks for, by kind and name, with every property."""
    mocks.resources.clear()
    build(settings)
    return {key: value for key, value in mocks.resources.items() if key[0] != "Stack"}


@pytest.mark.parametrize("driver", ["container", "libvirt", "static"])
def test_one_more_worker_changes_only_that_one(mocks: Mocks, settings: Make, driver: str) -> None:
    few = resources(mocks, cluster(settings, driver, 3, 1))
    more = resources(mocks, cluster(settings, driver, 3, 2))
    assert {key: more.get(key) for key in few} == few, "what was there stays as it was"
    added = sorted(more.keys() - few.keys())
    assert added == [(kind, name.format("shop-worker-2")) for kind, name in UNITS[driver]]


@pytest.mark.parametrize("driver", ["container", "libvirt"])
def test_more_servers_leave_the_others_as_they_are(mocks: Mocks, settings: Make, driver: str) -> None:
    few = resources(mocks, cluster(settings, driver, 1, 2))
    more = resources(mocks, cluster(settings, driver, 3, 2))
    assert {key: more.get(key) for key in few} == few
    names = [name.format(f"shop-server-{number}") for number in (2, 3) for _, name in UNITS[driver]]
    assert sorted(name for _, name in more.keys() - few.keys()) == sorted(names)


@pytest.mark.parametrize("driver", ["container", "libvirt", "static"])
def test_records_of_a_cluster(mocks: Mocks, settings: Make, driver: str) -> None:
    records = build(cluster(settings, driver, 1, 1))
    assert [HostRecord.model_validate(record).name for record in records] == [
        "shop-server-1",
        "shop-worker-1",
    ]
    assert [record["groups"] for record in records] == [["cluster", "servers"], ["cluster", "workers"]]


def test_data_of_a_cluster_is_where_microk8s_has_it(mocks: Mocks, settings: Make) -> None:
    build(cluster(settings, "container", 1, 0))
    assert mocks.resources["Node", "shop-server-1"]["mount"] == "/var/snap/microk8s/common"
    made = cluster(settings, "libvirt", 1, 0)
    user_data, _ = cloud_init.documents(made, topology.hosts(made)[0])
    ((_, mount, *_),) = yaml.safe_load(user_data)["mounts"]
    assert mount == "/var/snap/microk8s/common"


def several(settings: Make, values: Any, workers: int) -> Settings:
    """Three servers and some workers on three hypervisors."""
    libvirt = values("libvirt")["libvirt"] | {"uri": HYPERVISORS}
    return cluster(settings, "libvirt", 3, workers, libvirt=libvirt, network=BRIDGE)


def test_several_hypervisors_share_the_hosts(mocks: Mocks, settings: Make, values: Any) -> None:
    records = build(several(settings, values, 2))
    assert {record["name"]: record["facts"]["uri"] for record in records} == {
        "shop-server-1": HYPERVISORS[0],
        "shop-server-2": HYPERVISORS[1],
        "shop-server-3": HYPERVISORS[2],
        "shop-worker-1": HYPERVISORS[2],
        "shop-worker-2": HYPERVISORS[1],
    }
    common = {name for kind, name in names(mocks) if kind in ("Pool", "libvirt") or name.startswith("base")}
    assert common == {
        f"{name}{suffix}"
        for name in ("libvirt", "hostwright-shop", "base")
        for suffix in ("", "@kvm2", "@kvm3")
    }
    assert mocks.resources["libvirt", "libvirt@kvm2"]["uri"] == HYPERVISORS[1]
    assert {mocks.resources["Pool", name]["name"] for kind, name in names(mocks) if kind == "Pool"} == {
        "hostwright-shop"
    }


def test_each_hosts_resources_are_on_its_hypervisor(
    mocks: Mocks, settings: Make, values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers: dict[tuple[str, str], str] = {}
    remember = pulumi.CustomResource.__init__

    def init(
        self: Any, t: str, name: str, props: Any = None, opts: Any = None, *rest: Any, **more: Any
    ) -> None:
        remember(self, t, name, props, opts, *rest, **more)
        if t.startswith("libvirt:"):
            providers[t.rpartition(":")[2], name] = opts.provider._name

    monkeypatch.setattr(pulumi.CustomResource, "__init__", init)
    build(several(settings, values, 2))
    expected = {
        "shop-server-1": "libvirt",
        "shop-server-2": "libvirt@kvm2",
        "shop-worker-1": "libvirt@kvm3",
        "shop-worker-2": "libvirt@kvm2",
    }
    for host, provider in expected.items():
        found = {used for (_, name), used in providers.items() if name.startswith(host)}
        assert found == {provider}


def test_one_more_worker_on_several_hypervisors(mocks: Mocks, settings: Make, values: Any) -> None:
    few = resources(mocks, several(settings, values, 0))
    more = resources(mocks, several(settings, values, 1))
    assert {key: more.get(key) for key in few} == few
    assert {name for _, name in more.keys() - few.keys()} == {
        f"shop-worker-1{part}" for part in ("", "-cloud-init", "-data")
    }


@pytest.mark.parametrize("driver", ["container", "libvirt", "static"])
def test_a_hundred_hosts(mocks: Mocks, settings: Make, driver: str) -> None:
    assert len(build(cluster(settings, driver, 3, 97))) == 100
    own = [key for key in names(mocks) if key[1].startswith(("shop-server-", "shop-worker-"))]
    assert len(own) == 100 * len(UNITS[driver])
    assert ("Ready", "shop-worker-97") in own


@pytest.mark.parametrize(
    ("driver", "changes"),
    [
        ("container", {"topology": "single"}),
        ("container", {"topology": "cluster", "cluster": {"podNetwork": "10.2.0.0/16"}}),
    ],
)
def test_the_environments_record(
    mocks: Mocks, settings: Make, monkeypatch: pytest.MonkeyPatch, driver: str, changes: dict[str, Any]
) -> None:
    """A cluster's says which networks are inside it; a single host's says what it always said."""
    put_out: dict[str, Any] = {}
    monkeypatch.setattr(program.config, "load", lambda _: settings(driver, **changes))
    monkeypatch.setattr(program.preflight, "check", lambda _: None)
    monkeypatch.setattr(pulumi, "export", put_out.__setitem__)
    program.run()
    record = put_out["environment"]
    common = {"name": "shop", "driver": driver, "application": "warehouse", "components": []}
    networks = {"pod_network": "10.2.0.0/16", "service_network": "10.152.183.0/24"}
    single = changes["topology"] == "single"
    assert record == common | {"topology": changes["topology"]} | ({} if single else networks)
