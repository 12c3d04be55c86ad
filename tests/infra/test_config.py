"""Every mistake in an environment's settings: what is wrong, where, what to do, before anything is made."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts import containers
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
        ({"network": {"cidr": "172.17.4.0/24"}}, "overlaps 172.17.0.0/16", "hostwright:network.cidr"),
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


def test_clusters_have_more_inside(settings: Make) -> None:
    """Pods and services of MicroK8s: the networks its documentation names."""
    made = settings("container", network={"cidr": "10.1.7.0/24"})
    with pytest.raises(BadInput, match=r"overlaps 10\.1\.0\.0/16"):
        config.check_networks("here", made, config.INNER_NETWORKS["cluster"])
    services = settings("container", network={"cidr": "10.152.0.0/16"})
    with pytest.raises(BadInput, match=r"overlaps 10\.152\.183\.0/24"):
        config.check_networks("here", services, config.INNER_NETWORKS["cluster"])
    assert IPv4Network("10.1.0.0/16") not in config.INNER_NETWORKS["single"]


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
    own = topology.bridge("shop")
    monkeypatch.setattr(preflight, "routes", lambda: [(own, ip_network("10.92.0.0/24"))])
    preflight.networks(settings("container"))


def test_routes_of_this_machine_are_seen() -> None:
    """Loopback and links aside, whatever `ip route` prints is a network."""
    for device, network in preflight.routes():
        assert device
        assert not network.is_multicast


def test_too_little_memory(settings: Make) -> None:
    made = settings("container", hosts={"memory": 4096})
    preflight.capacity(made, memory=5 * GIB)
    with pytest.raises(BadInput, match="ask for 4096 MiB of memory, the machine has 2048"):
        preflight.capacity(made, memory=2 * GIB)


def test_too_little_disk(settings: Make, values: Any) -> None:
    made = settings("libvirt")
    preflight.space(made, image_size=GIB, free=6 * GIB)
    with pytest.raises(BadInput, match=r"4\.5 GiB left, the hosts begin with 5\.0"):
        preflight.space(made, image_size=GIB, free=int(4.5 * GIB))


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
        ({"name": "b1", "address": "192.0.2.1"}, "two hosts with the address 192.0.2.1 port 22"),
        ({"name": "b1", "address": "192.0.2.1", "port": 2222}, "single has 1 host, 2 given"),
    ],
)
def test_static_hosts_must_differ_and_be_enough(settings: Make, second: dict[str, Any], message: str) -> None:
    made = settings("static", static={"hosts": [{"name": "a1", "address": "192.0.2.1"}, second]})
    with pytest.raises(BadInput, match=message) as caught:
        preflight.check(made)
    assert caught.value.where == "infra/Pulumi.shop.yaml: hostwright:static.hosts"


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
