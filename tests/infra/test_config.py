"""Every mistake in an environment's settings: what is wrong, where, what to do, before anything is made."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from hostwright import application
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts import containers, typed, virsh
from infra import config, hypervisor, preflight, topology
from infra import image as images
from infra.config import Settings

Make = Callable[..., Settings]
GIB = 2**30


def libvirt(values: Callable[..., dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return values("libvirt")["libvirt"] | changes


@pytest.mark.parametrize(
    ("changes", "message", "where"),
    [
        ({"driver": "vmware"}, "unknown driver 'vmware'", "hostwright:driver"),
        ({"driver": None}, "no driver is chosen", "hostwright:driver"),
        ({"topology": "galaxy"}, "unknown topology 'galaxy'", "hostwright:topology"),
        ({"components": "some"}, "components", "hostwright:components"),
        ({"components": ["Grafana 12"]}, "components.0", "hostwright:components"),
        ({"container": {}}, "container.image is missing", "hostwright:container.image"),
        ({"container": {"image": "x", "tag": "1"}}, "unknown key container.tag", "hostwright:container.tag"),
        ({"hosts": {"memory": 256}}, "256 MiB of memory is too small", "hostwright:hosts.memory"),
        ({"hosts": {"disk": 2}}, "2 GiB of disk is too small", "hostwright:hosts.disk"),
        ({"hosts": {"memory": "much"}}, "hosts.memory", "hostwright:hosts.memory"),
        ({"network": {"cidr": "10.92.0.1/24"}}, "network.cidr", "hostwright:network.cidr"),
        ({"network": {"cidr": "10.92.0.0/29"}}, "too small", "hostwright:network"),
        ({"network": {"mode": "bridge"}}, "name of the bridge", "hostwright:network"),
        ({"network": {"mode": "wifi"}}, "network.mode", "hostwright:network.mode"),
        ({"ssh": {"user": "Root User"}}, "ssh.user", "hostwright:ssh.user"),
        ({"ssh": {"privateKey": "/nowhere/key"}}, "/nowhere/key does not exist", "hostwright:ssh.privateKey"),
    ],
)
def test_mistakes(values: Any, changes: dict[str, Any], message: str, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        config.parse("shop", values("container") | changes)
    assert message in caught.value.what
    assert f"infra/Pulumi.shop.yaml: {where}" in caught.value.where
    assert caught.value.fix
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("given", "means"),
    [("all", ["all"]), (["prometheus", "grafana"], ["prometheus", "grafana"]), (None, []), ("", [])],
)
def test_components_are_a_list_or_all(values: Any, given: Any, means: list[str]) -> None:
    assert config.parse("shop", values("container", components=given)).components == means


def test_the_public_key_must_be_one(values: Any, key: Path) -> None:
    with pytest.raises(BadInput, match="no public key beside"):
        config.parse("shop", values("container", ssh={"privateKey": str(key)}))
    with pytest.raises(BadInput, match="one line"):
        config.parse("shop", values("container", ssh={"privateKey": str(key), "publicKey": "AAAA"}))


def test_the_environments_own_key_is_the_default(
    values: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(BadInput, match="id_ed25519 does not exist"):
        config.parse("shop", values("container", ssh={}))
    with pytest.raises(BadInput, match="id_ed25519 does not exist") as caught:
        config.parse("shop", values("container", ssh={"publicKey": "ssh-ed25519 AAAA theirs"}))
    assert "bring it from where the environment was made" in caught.value.fix
    assert "ssh-ed25519 AAAA theirs" in caught.value.fix
    own = tmp_path / "state/hostwright/shop/id_ed25519"
    own.parent.mkdir(parents=True)
    own.write_text("private")
    own.with_suffix(".pub").write_text("ssh-ed25519 AAAA own\n")
    parsed = config.parse("shop", values("container", ssh={}))
    assert (parsed.ssh.private_key, parsed.ssh.public_key) == (own, "ssh-ed25519 AAAA own")


def test_relative_paths_are_of_the_settings_folder(values: Any, image: Path) -> None:
    parsed = config.parse("shop", values("libvirt", libvirt=libvirt(values, image=image.name)), image.parent)
    assert parsed.libvirt is not None
    assert parsed.libvirt.image == str(image)


@pytest.mark.parametrize("given", ["id_ed25519", "~/id_ed25519"])
def test_everyone_means_the_same_key(
    values: Any, key: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """Pulumi's program, which runs in infra/, and the commands, which run anywhere."""
    monkeypatch.setenv("HOME", str(key.parent))
    project = key.parent / "project"
    (project / "infra").mkdir(parents=True)
    (project / "infra" / key.name).write_text("private\n")
    read = values("static", ssh={"privateKey": given, "publicKey": "ssh-ed25519 AAAA own"})
    parsed = config.parse("shop", read, project / "infra")
    assert Environment("shop", project, read).key == parsed.ssh.private_key


@pytest.mark.parametrize(
    ("changes", "message", "where"),
    [
        ({"cluster": {"servers": 2}}, "2 servers are worse than 1", "cluster.servers"),
        ({"cluster": {"servers": 0}}, "a cluster has 1 or 3 servers, not 0", "cluster.servers"),
        ({"cluster": {"servers": 5}}, "a cluster has 1 or 3 servers, not 5", "cluster.servers"),
        ({"cluster": {"servers": "some"}}, "cluster.servers: Input should be a valid", "cluster.servers"),
        ({"cluster": {"workers": -1}}, "cluster.workers", "cluster.workers"),
        ({"cluster": {"nodes": 3}}, "unknown key cluster.nodes", "cluster.nodes"),
        ({"cluster": {"sizes": {"masters": {}}}}, "unknown key cluster.sizes.masters", "cluster.sizes"),
        (
            {"network": {"cidr": "10.1.7.0/24"}},
            "the hosts' network 10.1.7.0/24 overlaps 10.1.0.0/16",
            "network.cidr",
        ),
        ({"network": {"cidr": "10.152.0.0/16"}}, "overlaps 10.152.183.0/24", "network.cidr"),
        (
            {"cluster": {"podNetwork": "10.92.0.0/18"}},
            "the hosts' network 10.92.0.0/24 overlaps 10.92.0.0/18",
            "network.cidr",
        ),
        (
            {"cluster": {"serviceNetwork": "10.1.128.0/20"}},
            "the pods' network 10.1.0.0/16 overlaps the services' network 10.1.128.0/20",
            "cluster.podNetwork",
        ),
        ({"cluster": {"podNetwork": "10.1.0.1/16"}}, "cluster.podNetwork", "cluster.podNetwork"),
        ({"cluster": {"serviceNetwork": "10.64.0.0/11"}}, "from /12 to /28", "cluster.serviceNetwork"),
        ({"cluster": {"serviceNetwork": "10.64.0.0/29"}}, "from /12 to /28", "cluster.serviceNetwork"),
        (
            {"cluster": {"podNetwork": "10.2.0.0/24", "workers": 2}},
            "10.2.0.0/24 has blocks of addresses for 4 hosts, not 5",
            "cluster.podNetwork",
        ),
        ({"hosts": {"memory": 1536}}, "a server with 1536 MiB of memory is too small", "hosts.memory"),
        (
            {"cluster": {"workers": 1, "sizes": {"workers": {"memory": 512}}}},
            "a worker with 512 MiB of memory is too small: 1024 MiB at least",
            "cluster.sizes.workers.memory",
        ),
        (
            {"cluster": {"sizes": {"servers": {"disk": 8}}}},
            "a server with 8 GiB of disk is too small: 12 GiB at least",
            "cluster.sizes.servers.disk",
        ),
    ],
)
def test_mistakes_in_a_cluster(values: Any, changes: dict[str, Any], message: str, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        config.parse("shop", values("container", topology="cluster") | changes)
    assert message in caught.value.what
    assert f"infra/Pulumi.shop.yaml: hostwright:{where}" in caught.value.where
    assert caught.value.fix


def test_networks_inside_a_cluster_can_be_others(settings: Make) -> None:
    network = {"cidr": "10.1.7.0/24"}
    cluster = {"podNetwork": "10.64.0.0/16", "serviceNetwork": "10.65.0.0/24"}
    made = settings("container", topology="cluster", network=network, cluster=cluster).cluster
    assert made
    assert (str(made.pod_network), str(made.service_network)) == ("10.64.0.0/16", "10.65.0.0/24")


def test_a_single_host_has_no_pods_in_the_way(settings: Make) -> None:
    assert str(settings("container", network={"cidr": "10.1.7.0/24"}).network.cidr) == "10.1.7.0/24"


def check_apart(values: Any, folder: Path, told: dict[str, str], driver: str, **changes: Any) -> None:
    """The check, with these texts as files of the inventory's group_vars/all."""
    inventory = folder / "inventories/shop/group_vars/all"
    inventory.mkdir(parents=True)
    for name, text in told.items():
        (inventory / name).write_text(text)
    made = Environment("shop", folder, values(driver, **changes))
    typed.check_apart(made, application.load(made.application))


def machine(**addresses: str) -> dict[str, Any]:
    return {"static": {"hosts": [{"name": "web1", "address": "192.0.2.10"} | addresses]}}


IN = "in inventories/shop/group_vars/all/main.yml"
# Settings by which hosts are inside of what is inside of them: that network, the key, and what moves it.
INSIDE = [
    ("container", {"network": {"cidr": "172.17.4.0/24"}}, "172.17.0.0/16", "network.cidr", "docker_daemon"),
    (
        "container",
        {"network": {"cidr": "10.89.252.0/24"}},
        "10.89.252.0/24",
        "network.cidr",
        "app_compose_network",
    ),
    (
        "libvirt",
        {"network": {"cidr": "10.89.0.0/16"}},
        "10.89.252.0/24",
        "network.cidr",
        "app_compose_network",
    ),
    (
        "container",
        {"network": {"cidr6": "fd00:89:fc::/64"}},
        "fd00:89:fc::/64",
        "network.cidr6",
        "app_compose_network6",
    ),
    ("static", machine(address="172.17.0.10"), "172.17.0.0/16", "static.hosts.0.address", "docker_daemon"),
    (
        "static",
        machine(address="10.89.252.10"),
        "10.89.252.0/24",
        "static.hosts.0.address",
        "app_compose_network",
    ),
    (
        "static",
        machine(address6="fd00:89:fc::10"),
        "fd00:89:fc::/64",
        "static.hosts.0.address6",
        "app_compose_network6",
    ),
    (
        "static",
        machine(address6="fd00:172:17::10"),
        "fd00:172:17::/56",
        "static.hosts.0.address6",
        "docker_daemon",
    ),
]


@pytest.mark.parametrize(("driver", "changes", "network", "where", "setting"), INSIDE)
def test_hosts_are_apart_from_what_is_inside_of_them(
    values: Any, tmp_path: Path, driver: str, changes: dict[str, Any], network: str, where: str, setting: str
) -> None:
    with pytest.raises(BadInput) as caught:
        check_apart(values, tmp_path, {}, driver, **changes)
    assert f" {network}, " in caught.value.what
    assert caught.value.where == f"infra/Pulumi.shop.yaml: hostwright:{where}"
    assert f"{setting}{'.default-address-pools' * (setting == 'docker_daemon')} {IN}" in caught.value.fix


@pytest.mark.parametrize(("driver", "changes"), [case[:2] for case in INSIDE])
def test_what_is_inside_can_be_elsewhere(
    values: Any, tmp_path: Path, driver: str, changes: dict[str, Any]
) -> None:
    """As the inventory says, in any of its files; what is in them for Ansible alone is in nobody's way."""
    pools = "default-address-pools: [{base: 10.71.0.0/16, size: 24}, {base: 'fd00:71::/56', size: 64}]"
    told = {
        "main.yml": f"docker_daemon: {{{pools}}}\nbase_users: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n",
        "other.yml": "app_compose_network: 10.70.0.0/24\napp_compose_network6: 'fd00:70::/64'\n",
    }
    check_apart(values, tmp_path, told, driver, **changes)


@pytest.mark.parametrize(
    ("told", "cidr", "refused"),
    [
        ("10.92.0.0/24", "10.92.0.0/24", True),
        ("null", "10.89.252.0/24", True),
        ('"{{ theirs }}"', "10.89.252.0/24", False),
        ("10.92.0.1/24", "10.92.0.0/24", False),
    ],
)
def test_where_the_inventory_has_the_application(
    values: Any, tmp_path: Path, told: str, cidr: str, refused: bool
) -> None:
    """What cannot be read here is left to the role."""
    with pytest.raises(BadInput, match=f"overlaps {cidr}, ") if refused else nullcontext():
        check_apart(
            values,
            tmp_path,
            {"main.yml": f"app_compose_network: {told}\n"},
            "container",
            network={"cidr": cidr},
        )


def test_docker_may_have_no_range(values: Any, tmp_path: Path) -> None:
    docker = "docker_daemon: {default-address-pools: null}\n"
    check_apart(values, tmp_path, {"main.yml": docker}, "static", **machine(address="172.17.0.10"))


def test_an_inventory_that_is_not_yaml(values: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the inventory's file is not YAML") as caught:
        check_apart(values, tmp_path, {"main.yml": "app_compose_network: [\n"}, "container")
    assert "group_vars/all/main.yml" in caught.value.where


def test_hosts_of_a_cluster_may_be_where_docker_would_be(values: Any, tmp_path: Path) -> None:
    check_apart(values, tmp_path, {}, "container", topology="cluster", network={"cidr": "172.17.4.0/24"})


def test_a_cluster_must_be_meant(values: Any) -> None:
    with pytest.raises(BadInput, match="describe a cluster, the topology is single") as caught:
        config.parse("shop", values("container", cluster={"workers": 2}))
    assert caught.value.where.endswith("hostwright:cluster")


def test_workers_that_need_little(settings: Make) -> None:
    """Their least is not the servers'."""
    sizes = {"servers": {"memory": 2048}}
    made = settings("container", topology="cluster", hosts={"memory": 1024}, cluster={"sizes": sizes})
    assert (made.size("servers").memory, made.size("workers").memory) == (2048, 1024)


@pytest.mark.parametrize("name", ["Web1", "web_1", "-web", "web-", "w", "web.example", "w" * 64])
def test_names_that_no_host_can_have(values: Any, name: str) -> None:
    with pytest.raises(BadInput) as caught:
        config.parse("shop", values("static", static={"hosts": [{"name": name, "address": "192.0.2.1"}]}))
    assert f"unfit name '{name}': lower-case letters, digits and hyphens" in caught.value.what
    assert caught.value.where == "infra/Pulumi.shop.yaml: hostwright:static.hosts.0.name"


@pytest.mark.parametrize("environment", ["Shop", "shop_1"])
def test_an_environments_name_becomes_a_hosts(values: Any, environment: str) -> None:
    with pytest.raises(BadInput, match=f"unfit name '{environment}'") as caught:
        config.parse(environment, values("container"))
    assert caught.value.where == f"infra/Pulumi.{environment}.yaml"
    assert "rename the file" in caught.value.fix


def test_names_are_claimed_before_anything_is_made(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed: dict[str, list[str]] = {}
    monkeypatch.setattr(containers, "claim", lambda _, **names: claimed.update(names))
    monkeypatch.setattr(preflight, "routes", list)
    monkeypatch.setattr(preflight, "space", lambda _: "")
    preflight.check(settings("container", topology="cluster", cluster={"servers": 1, "workers": 1}))
    assert claimed == {
        "containers": ["shop-server-1", "shop-worker-1"],
        "volumes": ["shop-server-1-microk8s", "shop-worker-1-microk8s"],
        "networks": ["hostwright-shop"],
    }


HYPERVISORS = ["qemu+ssh://kvm1/system", "qemu+ssh://kvm2/system"]
BRIDGE = {"mode": "bridge", "bridge": "br0", "cidr": "192.168.7.0/24"}


def test_several_hypervisors_need_a_network_that_they_share(settings: Make, values: Any) -> None:
    several = libvirt(values, uri=HYPERVISORS)
    with pytest.raises(BadInput, match="2 hypervisors, and a network that is inside one of them") as caught:
        settings("libvirt", topology="cluster", libvirt=several)
    assert caught.value.where.endswith("hostwright:network.mode")
    assert "mode: bridge" in caught.value.fix
    made = settings("libvirt", topology="cluster", libvirt=several, network=BRIDGE).libvirt
    assert made
    assert made.uris == HYPERVISORS


@pytest.mark.parametrize(
    ("uris", "message"),
    [
        (["qemu:///system", "qemu:///session"], "the hypervisor of this machine is there twice"),
        (["qemu+ssh://kvm1/system", "qemu+ssh://root@kvm1/system"], "the hypervisor kvm1 is there twice"),
        (["qemu+ssh://kvm1:22/system", "qemu+tcp://kvm1:22/system"], "the hypervisor kvm1:22 is there twice"),
        ([], "at least 1 item"),
    ],
)
def test_hypervisors_differ(values: Any, uris: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        config.parse("shop", values("libvirt", libvirt=libvirt(values, uri=uris), network=BRIDGE))
    assert caught.value.where.endswith("hostwright:libvirt.uri")


def test_a_strangers_domain_matters_where_a_host_is_to_be(
    settings: Make, values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = HYPERVISORS
    asked: list[tuple[str, str]] = []
    taken = {first: {"shop-server-2"}, second: set()}

    def names(uri: str, kind: str) -> set[str]:
        asked.append((uri, kind))
        return taken[uri] if kind == "domain" else set()

    monkeypatch.setattr(virsh, "names", names)
    monkeypatch.setattr(hypervisor, "is_ours", lambda *_: False)
    made = settings("libvirt", topology="cluster", network=BRIDGE, libvirt=libvirt(values, uri=HYPERVISORS))
    hypervisor.claim(made)
    assert sorted(asked) == [(uri, kind) for uri in HYPERVISORS for kind in ("domain", "pool")]
    taken[second] = {"shop-server-2"}
    with pytest.raises(BadInput, match="the libvirt domain shop-server-2 exists already") as caught:
        hypervisor.claim(made)
    assert caught.value.where == second


def test_a_killed_runs_domains_go_and_no_others(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the settings do not name any more, too; not what the state knows, nor a stranger's."""
    done: list[tuple[str, ...]] = []
    domains = {"shop-server-1", "shop-worker-4", "shop-9", "shopping-1"}
    monkeypatch.setattr(virsh, "names", lambda _, kind: domains if kind == "domain" else set())
    monkeypatch.setattr(virsh, "run", lambda _, *words: done.append(words))
    monkeypatch.setattr(hypervisor, "is_ours", lambda _settings, _uri, _kind, name: name != "shop-9")
    made = settings("libvirt", topology="cluster")
    removed = hypervisor.sweep(made, "qemu:///system", {("domain", "shop-server-1")}, set(), data=False)
    assert removed == ["domain shop-worker-4"]
    assert done == [("destroy", "shop-worker-4"), ("undefine", "shop-worker-4", "--nvram")]


def test_only_hosts_of_this_machine_need_its_memory(
    settings: Make, values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = ["qemu:///system", "qemu+ssh://kvm2/system"]
    made = settings(
        "libvirt",
        topology="cluster",
        network=BRIDGE,
        libvirt=libvirt(values, uri=uris),
        cluster={"workers": 2},
    )
    monkeypatch.setattr(virsh, "running", lambda uri, _: set() if uri == uris[0] else {"shop-server-1"})
    monkeypatch.setattr(preflight, "memory", lambda: (3 * 2048, 3 * 2048))  # servers 1 and 3, worker 2
    preflight.capacity(made)
    monkeypatch.setattr(preflight, "memory", lambda: (3 * 2048 - 1, 3 * 2048 - 1))
    with pytest.raises(BadInput, match="ask for 6144 MiB"):
        preflight.capacity(made)


def test_an_image_that_does_not_fit_a_group(
    settings: Make, values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypervisor, "claim", lambda _: None)
    monkeypatch.setattr(images, "virtual_size", lambda _: 15 * GIB)
    one = libvirt(values, uri="qemu+ssh://kvm1/system")
    common = {"topology": "cluster", "libvirt": one, "hosts": {"disk": 20}}
    preflight.check(settings("libvirt", **common))
    with pytest.raises(BadInput, match="needs a disk of 15 GiB, workers have 12") as caught:
        preflight.check(settings("libvirt", cluster={"sizes": {"workers": {"disk": 12}}}, **common))
    assert caught.value.where.endswith("hostwright:cluster.sizes.workers.disk")


def test_kept_data_is_in_the_way(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt's provider would take it for the new host's, with all that it holds."""
    made = settings("libvirt", topology="cluster", cluster={"workers": 1})
    kept = "shop-worker-1-data.qcow2"
    monkeypatch.setattr(virsh, "volumes", lambda *_: [kept, "shop-server-1-data.qcow2"])
    known = {("volume", f"shop-server-{number}-data.qcow2") for number in (1, 2, 3)}
    hypervisor.check_data(made, "qemu:///system", known | {("volume", kept)})
    with pytest.raises(BadInput, match="the data of an earlier shop-worker-1 is still there") as caught:
        hypervisor.check_data(made, "qemu:///system", known)
    assert f"vol-delete {kept} --pool hostwright-shop" in caught.value.fix


@pytest.mark.parametrize(
    ("taken", "setting"), [("10.92.0.0/16", "cidr"), ("10.92.0.128/25", "cidr"), ("fd00:92::/48", "cidr6")]
)
def test_networks_of_this_machine(
    settings: Make, monkeypatch: pytest.MonkeyPatch, taken: str, setting: str
) -> None:
    made = settings("container")
    network: IPv4Network | IPv6Network = ip_network(taken)
    monkeypatch.setattr(preflight, "routes", lambda: [("eth7", network)])
    with pytest.raises(BadInput, match=f"overlaps {taken}, in use here by eth7") as caught:
        preflight.networks(made)
    assert caught.value.where.endswith(f"hostwright:network.{setting}")


def test_its_own_bridge_is_no_overlap(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    own = topology.bridge("shop", "container")
    monkeypatch.setattr(preflight, "routes", lambda: [(own, ip_network("10.92.0.0/24"))])
    preflight.networks(settings("container"))


def test_routes_of_this_machine_are_seen() -> None:
    """Loopback and links aside, whatever `ip route` prints is a network."""
    for device, network in preflight.routes():
        assert device
        assert not network.is_multicast


def test_too_little_memory(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = settings("container", hosts={"memory": 4096})
    monkeypatch.setattr(preflight, "memory", lambda: (5120, 100))
    assert preflight.capacity(made) == "4096 MiB asked for, 100 of 5120 available"
    monkeypatch.setattr(preflight, "memory", lambda: (2048, 2048))
    with pytest.raises(BadInput, match="ask for 4096 MiB of memory, the machine has 2048"):
        preflight.capacity(made)


def test_guests_that_run_have_their_memory(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = settings("libvirt", topology="cluster")
    monkeypatch.setattr(preflight, "memory", lambda: (16384, 4096))
    monkeypatch.setattr(virsh, "running", lambda *_: {"shop-server-2", "somebody-elses"})
    preflight.capacity(made)
    monkeypatch.setattr(virsh, "running", lambda *_: set())
    with pytest.raises(BadInput, match=r"do not run yet ask for 6144 MiB of memory, .* 16384 there are 4096"):
        preflight.capacity(made)


def left(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    monkeypatch.setattr(preflight, "free", lambda folder: (folder, int(gib * GIB)))


def test_too_little_disk(
    settings: Make, values: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the pool is there already; what is written in it is not counted again, nor a guest."""
    monkeypatch.setattr(virsh, "names", lambda *_: {"somebody-elses"})
    made = settings("libvirt", libvirt=libvirt(values, pool=str(tmp_path)))
    pool = tmp_path / "hostwright-shop"
    for there in (False, True):
        left(monkeypatch, 4.1)
        preflight.space(made)
        left(monkeypatch, 3.9)
        with pytest.raises(BadInput, match=f"{pool} has 3.9 GiB left, the hosts have still to write 4.0\n"):
            preflight.space(made)
        if not there:
            pool.mkdir()
    for name in ("shop-1.qcow2", "shop-1-data.qcow2"):
        with (pool / name).open("wb") as volume:
            os.posix_fallocate(volume.fileno(), 0, GIB // 4)
    assert preflight.space(made).endswith("3.5 still to be written")
    monkeypatch.setattr(virsh, "names", lambda *_: {"shop-1"})
    left(monkeypatch, 0.1)
    assert preflight.space(made).endswith("0.0 still to be written")


def test_an_image_takes_room_until_it_is_in_the_pool(
    settings: Make, values: Any, tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with image.open("ab") as grown:
        os.posix_fallocate(grown.fileno(), 0, GIB // 2)
    digest = "a" * 64
    made = settings("libvirt", libvirt=libvirt(values, pool=str(tmp_path), sha256=digest))
    monkeypatch.setattr(virsh, "names", lambda *_: set())
    left(monkeypatch, 5)
    assert preflight.space(made).endswith("4.5 still to be written")
    (tmp_path / "hostwright-shop").mkdir()
    image.rename(tmp_path / f"hostwright-shop/base-{digest[:16]}.qcow2")
    assert preflight.space(made).endswith("4.0 still to be written")


def test_containers_write_where_their_engine_keeps_everything(
    settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settings("container", topology="cluster")
    there: set[str] = set()
    monkeypatch.setattr(containers, "folder", lambda: Path("/engine"))
    monkeypatch.setattr(containers, "volume_exists", lambda name: name in there)
    left(monkeypatch, 5)
    with pytest.raises(BadInput, match=r" /engine has 5\.0 GiB left, .* write 6\.0\n") as bad:
        preflight.space(made)
    assert "data-root" in bad.value.fix
    there.add("shop-server-2-microk8s")
    assert preflight.space(made) == "5.0 GiB left in /engine, 4.0 still to be written"
    monkeypatch.setattr(containers, "folder", lambda: None)
    left(monkeypatch, 0)
    assert preflight.space(made) == "the engine is another machine's"


def test_where_the_engine_keeps_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = containers.folder()
    assert folder
    assert folder.is_dir()


def test_wrong_digest(values: Any, image: Path) -> None:
    digest = "0" * 64
    made = config.parse("shop", values("libvirt", libvirt=libvirt(values, sha256=digest)))
    assert made.libvirt is not None
    found = hashlib.sha256(image.read_bytes()).hexdigest()
    with pytest.raises(BadInput, match=f"its SHA-256 digest is {found}, not {digest}"):
        images.verified(made.libvirt.image, made.libvirt.sha256, "here")
    assert images.verified(str(image), found, "here") == image


def test_a_digest_is_asked_for(values: Any) -> None:
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        config.parse("shop", values("libvirt", libvirt=libvirt(values, sha256="")))


def test_a_changed_image_is_noticed(image: Path) -> None:
    found = hashlib.sha256(image.read_bytes()).hexdigest()
    images.verified(str(image), found, "here")
    image.write_bytes(image.read_bytes() + b"more")
    with pytest.raises(BadInput, match="is not the image it should be"):
        images.verified(str(image), found, "here")


def test_unreachable_hypervisor(values: Any) -> None:
    uri = "qemu+tcp://127.0.0.1:9/system"
    made = config.parse("shop", values("libvirt", libvirt=libvirt(values, uri=uri)))
    with pytest.raises(BadInput, match="the hypervisor does not answer") as caught:
        hypervisor.claim(made)
    assert uri in caught.value.where


SAYS = """[ "$LC_ALL" = C ] || { echo "błąd: nie można połączyć się z hiperwizorem" >&2; exit 1; }
"""


@pytest.mark.parametrize(
    ("script", "patience", "why"),
    [
        ("exec sleep 60\n", 1, "virsh list did not end within 1 s"),
        (
            f"{SAYS}echo 'error: failed to connect to the hypervisor' >&2\n"
            "echo 'error: Cannot recv data: Host key verification failed.' >&2; exit 1\n",
            60,
            "Cannot recv data: Host key verification failed.",
        ),
    ],
    ids=["silent", "Polish"],
)
def test_a_hypervisor_that_is_away_is_the_settings_fault(
    values: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, patience: float, why: str
) -> None:
    """Whichever way: to packets that are dropped there is no answer, and an error is in people's language."""
    uri = "qemu+ssh://root@kvm1/system"
    made = config.parse("shop", values("libvirt", libvirt=libvirt(values, uri=uri)))
    speaking(tmp_path, monkeypatch, script)
    monkeypatch.setitem(virsh.run.__kwdefaults__, "timeout", patience)
    with pytest.raises(BadInput) as caught:
        hypervisor.claim(made)
    assert caught.value.what == f"the hypervisor does not answer: {why}"
    assert caught.value.where == f"hostwright:libvirt.uri: {uri}"
    assert "qemu+ssh: check host, key" in caught.value.fix
    assert caught.value.exit_status == 2


def test_what_does_not_run_need_not_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = "error: Requested operation is not valid: domain is not running"
    speaking(tmp_path, monkeypatch, f"{SAYS}echo '{refusal}' >&2; exit 1\n")
    hypervisor._stop("qemu:///system", "destroy", "shop-1")
    speaking(tmp_path, monkeypatch, "echo 'error: access denied' >&2; exit 1\n")
    with pytest.raises(Failure, match="virsh destroy shop-1: error: access denied"):
        hypervisor._stop("qemu:///system", "destroy", "shop-1")


def speaking(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A virsh of our own, for somebody who reads Polish."""
    program = folder / "virsh"
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("LC_ALL", "LANG"):
        monkeypatch.setenv(name, "pl_PL.UTF-8")


@pytest.mark.parametrize(
    ("static", "message", "where"),
    [
        ({}, "static.hosts is missing", "hosts"),
        ({"hosts": []}, "static.hosts: List should have at least 1 item", "hosts"),
        ({"hosts": [{"name": "a1"}]}, "static.hosts.0.address is missing", "hosts.0.address"),
        (
            {"hosts": [{"name": "a1", "address": "192.0.2.256"}]},
            "static.hosts.0.address: value is not a valid IPv4 or IPv6 address",
            "hosts.0.address",
        ),
        (
            {"hosts": [{"name": "a1", "address": "192.0.2.1", "user": "-oProxyCommand=true"}]},
            "static.hosts.0.user",
            "hosts.0.user",
        ),
    ],
)
def test_static_hosts_are_checked_one_by_one(
    values: Any, static: dict[str, Any], message: str, where: str
) -> None:
    with pytest.raises(BadInput) as caught:
        config.parse("shop", values("static", static=static))
    assert caught.value.what.startswith(message)
    assert caught.value.where == f"infra/Pulumi.shop.yaml: hostwright:static.{where}"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"name": "a1", "address": "192.0.2.2"}, "two hosts with the name a1"),
        ({"name": "b1", "address": "192.0.2.1", "port": 2222}, "two hosts with the address 192.0.2.1"),
        ({"name": "b1", "address": "192.0.2.2"}, "single has 1 host, 2 given"),
    ],
)
def test_static_hosts_must_differ_and_be_enough(settings: Make, second: dict[str, Any], message: str) -> None:
    made = settings("static", static={"hosts": [{"name": "a1", "address": "192.0.2.1"}, second]})
    with pytest.raises(BadInput, match=message) as caught:
        preflight.check(made)
    assert caught.value.where == "infra/Pulumi.shop.yaml: hostwright:static.hosts"


THREE = [{"name": f"k{number}", "address": f"192.0.2.{number}", "group": "servers"} for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        (THREE[:2], "2 servers are worse than 1"),
        ([*THREE, {"name": "w1", "address": "192.0.2.4"}], "w1 has no group"),
        ([*THREE, {"name": "w1", "address": "192.0.2.4", "group": "masters"}], "hosts.3.group: Input should"),
        (
            [*THREE, {"name": "w1", "address": "192.0.2.1", "port": 2222, "group": "workers"}],
            "two hosts with the address 192.0.2.1",
        ),
        ([*THREE[:2], THREE[0]], "two hosts with the name k1"),
        (
            [
                {"name": "s1", "address": "192.0.2.1", "address6": "fd00::1", "group": "servers"},
                {"name": "w1", "address": "192.0.2.2", "address6": "fd00::1", "group": "workers"},
            ],
            "two hosts with the address fd00::1",
        ),
        (
            [{"name": "s1", "address": "10.1.2.3", "group": "servers"}],
            "the address 10.1.2.3 of s1 is in 10.1.0.0/16, used inside the hosts",
        ),
    ],
)
def test_machines_of_a_cluster(settings: Make, hosts: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        preflight.check(settings("static", topology="cluster", static={"hosts": hosts}))
    assert "infra/Pulumi.shop.yaml: hostwright:static.hosts" in caught.value.where


def test_machines_that_exist_are_counted_once(settings: Make) -> None:
    made = {"topology": "cluster", "static": {"hosts": THREE}}
    assert settings("static", **made).counts == {"servers": 3, "workers": 0}
    assert settings("static", cluster={"podNetwork": "10.2.0.0/16"}, **made).counts["servers"] == 3
    with pytest.raises(BadInput, match="workers are counted twice") as caught:
        settings("static", cluster={"workers": 1}, **made)
    assert caught.value.where.endswith("hostwright:cluster.workers")


def test_a_machine_that_does_not_answer(
    settings: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is made: its name, its address and what can be done."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    made = settings("static", static={"hosts": [{"name": "a1", "address": "127.0.0.1", "port": port}]})
    with pytest.raises(BadInput, match=r"a1 \(127\.0\.0\.1\) does not answer: .* refused") as caught:
        preflight.check(made)
    assert caught.value.where == "infra/Pulumi.shop.yaml: hostwright:static.hosts"
    assert f"reach its port {port}" in caught.value.fix


def test_an_engine_that_is_not_there(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(Failure, match="the Docker engine does not answer"):
        containers.connect()
