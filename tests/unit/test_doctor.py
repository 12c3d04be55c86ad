"""What doctor asks of a machine: each need, where it is met and where it is not."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from hostwright import doctor, toolchain
from hostwright.environments import Environment, load
from infra import preflight, topology

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFak5nkFdXYxk1kZmlxZm5DWkRaWnBBbXlqTWh4TnhX test"
NEEDS = [
    "ssh", "toolchain", "go", "passphrase", "default route", "memory", "disk",
    "docker engine", "loop devices", "libvirt", "kvm",
]  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without programs (but an `ip`), caches, settings, engine; the folder of its programs."""
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for variable in ("PULUMI_HOME", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    program(programs, "ip", "true")
    return programs


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., Environment]:
    """An environment with these settings, as it is read from its project."""
    folder = tmp_path / "shop/infra"
    folder.mkdir(parents=True)
    (folder / "key").touch()

    def make(**settings: Any) -> Environment:
        given = {
            "driver": "container",
            "ssh": {"privateKey": "key", "publicKey": PUBLIC},
            "container": {"image": "hostwright/node:leap16.0-lab"},
        } | settings
        config = {f"hostwright:{name}": value for name, value in given.items()}
        (folder / "Pulumi.shop.yaml").write_text(yaml.safe_dump({"config": config}))
        return load("shop", folder.parent)

    return make


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def need(name: str, of: Environment | None = None) -> doctor.Need:
    return next(each for each in doctor.examine(of) if each.name == name)


def test_the_needs() -> None:
    assert [each.name for each in doctor.examine()] == NEEDS


@pytest.mark.parametrize(
    ("name", "detail", "fix"),
    [
        ("ssh", "not on PATH", "install the OpenSSH client"),
        ("toolchain", "missing: pulumi, language-python, libvirt", "hostwright toolchain"),
        ("go", "there is no Go on PATH (1.25.11 is needed)", "install Go 1.25.11 or newer"),
        ("passphrase", "XDG_CONFIG_HOME/hostwright/passphrase does not exist", "openssl rand -hex 24 > "),
        ("default route", "none", "ip route add default"),
        ("disk", "0 GiB free for /proc/hostwright", "set XDG_CACHE_HOME"),
        ("docker engine", "nowhere/docker.sock|No such file", "install and start Docker"),
        ("loop devices", "none takes a file", "modprobe loop"),
        ("libvirt", "virsh not on PATH", "install libvirt and its client"),
        ("kvm", "no QEMU|no /dev/kvm|closed to this user", "without it guests run under TCG"),
    ],
)
def test_a_need_that_is_not_met(
    bare: Path, monkeypatch: pytest.MonkeyPatch, name: str, detail: str, fix: str
) -> None:
    program(bare, "losetup", "echo 'losetup: cannot find an unused loop device' >&2; exit 1")
    if name == "disk":
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc")  # a file system that has no room, on any machine
    found = need(name)
    assert not found.usable
    assert any(part in found.detail for part in detail.split("|")), found.detail
    assert fix in found.fix


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("ssh", "/ssh: OpenSSH_"),
        ("toolchain", "at their pinned versions"),
        ("go", "is needed"),
        ("passphrase", "PULUMI_CONFIG_PASSPHRASE is set"),
        ("default route", "default via 192.0.2.1"),
        ("docker engine", " on "),
        ("loop devices", "took a file"),
        ("libvirt", "test:///default"),
    ],
)
def test_a_need_that_is_met(
    environment: Callable[..., Environment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    detail: str,
) -> None:
    """On a machine that the tests run on: but for the route, they need all of these themselves."""
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of the tests")
    if name == "default route":
        program(tmp_path, "ip", "echo default via 192.0.2.1 dev eth0")
        monkeypatch.setenv("PATH", str(tmp_path))
    found = need(name, environment(libvirt={"uri": "test:///default"}))
    assert found.present
    assert found.usable, found.detail
    assert detail in found.detail
    assert found.fix == ""


def test_a_device_that_took_a_file_is_let_go() -> None:
    device = need("loop devices").detail.split()[0]
    holds = subprocess.run(["losetup", "--list", "--noheadings", device], capture_output=True, text=True)
    assert tempfile.gettempdir() not in holds.stdout


@pytest.mark.parametrize(
    ("mode", "text", "detail"),
    [
        (0o644, "secret", "is readable by others"),
        (0o600, "", "is unreadable or empty"),
        (0o600, "secret", ""),
    ],
)
def test_a_passphrase_in_a_file(bare: Path, tmp_path: Path, mode: int, text: str, detail: str) -> None:
    path = tmp_path / "XDG_CONFIG_HOME/hostwright/passphrase"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    found = need("passphrase")
    assert found.present
    assert found.usable is (detail == "")
    assert found.detail == f"{path} {detail}".strip()
    assert found.fix == (f"chmod 600 {path}" if detail else "")


def test_what_is_there_and_does_not_run(bare: Path) -> None:
    program(bare, "ssh", "exit 1")
    found = need("ssh")
    assert (found.present, found.usable, found.detail) == (True, False, f"{bare}/ssh: does not run")
    for tool in toolchain.pins().values():
        tool.folder.mkdir(parents=True, exist_ok=True)
        for name in tool.programs:
            program(tool.folder, name, "exit 1")
        toolchain._stamp(tool.name, tool.key)
    found = need("toolchain")
    assert (found.present, found.usable) == (True, False)
    assert found.detail.endswith("toolchain/bin/pulumi does not run")
    assert found.fix.endswith("hostwright toolchain")


def test_an_old_go(bare: Path) -> None:
    program(bare, "go", "echo go1.19.8; echo")
    found = need("go")
    assert (found.present, found.usable, found.required) == (True, False, False)
    assert "Go 1.19.8" in found.detail


def test_the_lab_takes_from_both_folders(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one file system, the sum is asked."""
    free = 15 * doctor.GIB
    monkeypatch.setattr(preflight, "free", lambda _: (Path("/"), free))
    found = need("disk")
    assert not found.usable
    assert "hostwright and /var/lib/docker, the lab may take 20" in found.detail
    monkeypatch.setattr(
        preflight, "free", lambda folder: (Path("/proc" if "docker" in str(folder) else "/"), free)
    )
    found = need("disk")
    assert found.usable
    assert found.detail.count("the lab may take 10") == 2


@pytest.mark.parametrize(("available", "usable"), [(4096, True), (4095, False)])
def test_the_labs_memory(monkeypatch: pytest.MonkeyPatch, available: int, usable: bool) -> None:
    monkeypatch.setattr(preflight, "memory", lambda: (8192, available))
    assert need("memory").usable is usable


def test_every_host_is_counted(environment: Callable[..., Environment]) -> None:
    total, _ = preflight.memory()
    three = {"topology": "cluster", "hosts": {"memory": total // 3 - 1, "disk": 12}}
    assert need("memory", environment(**three)).usable
    three["hosts"]["memory"] += 2
    found = need("memory", environment(**three))
    assert not found.usable
    assert found.detail == f"the hosts ask for {3 * (total // 3 + 1)} MiB of memory, the machine has {total}"


def test_the_pool_is_looked_at(environment: Callable[..., Environment], tmp_path: Path) -> None:
    image = tmp_path / "leap.qcow2"
    image.touch()
    virtual = {"uri": "test:///default", "image": str(image), "sha256": "0" * 64, "pool": "/proc"}
    found = need("disk", environment(driver="libvirt", libvirt=virtual))
    assert not found.usable
    assert found.detail == "/proc has 0.0 GiB left, the hosts have still to write 4.0"


@pytest.mark.parametrize(
    ("device", "usable"),
    [
        ("virbr0", False),
        ("eth0", False),
        (topology.bridge("else", "container"), False),
        (topology.bridge("shop", "libvirt"), False),
        (topology.bridge("shop", "container"), True),
    ],
)
def test_networks_that_meet(
    bare: Path, environment: Callable[..., Environment], device: str, usable: bool
) -> None:
    """Its own bridge is the one that may have the network: not libvirt's default, nor another's of ours."""
    routes = json.dumps([{"dst": "192.168.122.0/24", "dev": device}])
    program(bare, "ip", f"[ \"$2\" = -6 ] || echo '{routes}'")
    found = need("networks", environment(network={"cidr": "192.168.122.0/25"}))
    assert found.usable is usable
    assert (f"in use here by {device}" in found.detail) is not usable


def test_machines_that_exist_take_nothing_here(environment: Callable[..., Environment]) -> None:
    made = environment(driver="static", static={"hosts": [{"name": "web1", "address": "192.0.2.10"}]})
    assert need("memory", made).detail.startswith("0 MiB asked for")
    assert need("disk", made).detail == "no host writes here"
    assert need("networks", made).detail == "the hosts have none of their own here"


def test_settings_that_cannot_be(environment: Callable[..., Environment]) -> None:
    needs = {each.name: each for each in doctor.examine(environment(driver="vmware"))}
    assert needs["settings"].detail == "unknown driver 'vmware' (infra/Pulumi.shop.yaml: hostwright:driver)"
    assert "libvirt, container, static" in needs["settings"].fix
    assert needs.keys().isdisjoint({"memory", "disk", "networks"})


@pytest.mark.parametrize("network", ["172.17.0.0/16", "10.89.252.0/24"])
def test_hosts_inside_of_what_is_inside_of_them(
    environment: Callable[..., Environment], network: str
) -> None:
    found = need("settings", environment(network={"cidr": network}))
    assert not found.usable
    assert f"the hosts' network {network} overlaps {network}, " in found.detail


@pytest.mark.parametrize(
    ("given", "uris"),
    [
        ({}, ["qemu:///system"]),
        ({"uri": "qemu+ssh://kvm1/system"}, ["qemu+ssh://kvm1/system"]),
        (
            {"uri": ["qemu+ssh://kvm1/system", "qemu+ssh://kvm2/system"]},
            ["qemu+ssh://kvm1/system", "qemu+ssh://kvm2/system"],
        ),
    ],
)
def test_every_hypervisor_is_asked(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], uris: list[str]
) -> None:
    """And each answers for itself: here kvm2 is away."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        away = "kvm2" in command[3]
        return subprocess.CompletedProcess(command, int(away), "", "no route to host" if away else "")

    monkeypatch.setattr(doctor.shutil, "which", lambda _: "/usr/bin/virsh")
    monkeypatch.setattr(doctor.subprocess, "run", run)
    monkeypatch.setattr(doctor.kvm, "usable", lambda: SimpleNamespace(usable=True, detail="works"))
    environment = Environment("shop", Path("/nowhere"), {"libvirt": given})
    found = [need for need in doctor._libvirt(environment, required=True) if need.name == "libvirt"]
    assert [need.detail for need in found] == [
        uri if "kvm2" not in uri else "virsh uri: no route to host" for uri in uris
    ]
    assert [need.usable for need in found] == ["kvm2" not in uri for uri in uris]


def test_a_uri_that_is_none_keeps_no_other_need_untold(bare: Path) -> None:
    program(bare, "virsh", "echo 'error: failed to connect to the hypervisor' >&2; exit 1")
    for given in (5, [5], {"a": "b"}):
        environment = Environment("shop", Path("/nowhere"), {"libvirt": {"uri": given}})
        needs = {each.name: each for each in doctor._libvirt(environment, required=True)}
        assert not needs["libvirt"].usable
        assert "kvm" in needs


def test_a_hypervisor_that_does_not_answer_keeps_no_other_need_untold(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.2)
    program(bare, "virsh", "exec /bin/sleep 60")
    environment = Environment("shop", Path("/nowhere"), {"libvirt": {"uri": "qemu+ssh://kvm1/system"}})
    needs = {each.name: each for each in doctor._libvirt(environment, required=True)}
    assert not needs["libvirt"].usable
    assert needs["libvirt"].detail == "the hypervisor does not answer: virsh uri did not end within 0 s"
    assert "kvm" in needs
