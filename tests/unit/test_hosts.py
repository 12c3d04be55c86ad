"""What the hosts' runner makes of locks, of Pulumi's messages, and of a missing passphrase."""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts import recovery, stack
from hostwright.hosts.dynamic import ReadyProvider

HOME = pwd.getpwuid(os.getuid()).pw_dir
SHOP = Environment("shop", Path("/nowhere"), {"driver": "container"})

PROGRAM = """Diagnostics:
  pulumi:pulumi:Stack (hostwright-shop):
    error: unknown driver 'vmware'
      where: infra/Pulumi.shop.yaml: hostwright:driver
      fix: give one of: libvirt, container, static

    error: an unhandled error occurred: program exited with non-zero exit code: 1
"""
PROVIDER = """error: update failed
Diagnostics:
  pulumi-python:dynamic:Ready (shop-1):
    error: Exception calling application: error: shop-1 (10.0.0.1) does not let me in: refused
      where: ssh me@10.0.0.1 true
      fix: look at the host's console
"""


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the environment's locks."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    folder = tmp_path / ".pulumi/locks/organization/hostwright/shop"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///mnt/s", "/mnt/s"),
        ("file:///mnt/s?no_tmp_dir=true&create_dir=1", "/mnt/s"),
        ("file:///mnt/a%20folder", "/mnt/a folder"),
        ("file:///mnt/a folder", "/mnt/a folder"),
        ("file://./state", "/nowhere/infra/state"),
        ("file://../state?no_tmp_dir=true", "/nowhere/infra/../state"),
        ("file://~", HOME),
        ("file://~/state", f"{HOME}/state"),
        ("s3://bucket?region=eu", None),
        ("https://api.pulumi.com", None),
    ],
)
def test_the_folder_of_the_state(monkeypatch: pytest.MonkeyPatch, url: str, folder: str | None) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    monkeypatch.setenv("HOME", "/elsewhere")
    assert stack.backend(SHOP) == (folder and Path(folder))


def lock(folder: Path, pid: int, host: str = "") -> Path:
    """A lock as Pulumi leaves it: beside it lies what is said of any file of its."""
    path = folder / f"{pid}.json"
    path.with_name(f"{pid}.json.attrs").write_text('{"user.content_type": "application/json"}')
    text = {"pid": pid, "username": "op", "hostname": host or socket.gethostname(), "timestamp": "today"}
    path.write_text(json.dumps(text))
    return path


def test_a_dead_process_lock_is_removed(locks: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    path = lock(locks, dead.pid)
    said: list[str] = []
    recovery.unlock(SHOP, said.append)
    assert not path.exists()
    assert said == [
        f"removed the lock of process {dead.pid} of op@{socket.gethostname()}, since today, which is dead"
    ]


def test_a_number_taken_by_another_program_is_dead_too(locks: Path) -> None:
    path = lock(locks, os.getpid())
    recovery.unlock(SHOP, lambda _: None)
    assert not path.exists()


def test_a_lock_that_was_never_whole_is_removed(locks: Path) -> None:
    path = locks / "4711.json.189a0b1c2d3e4f50.tmp"
    path.write_text('{"pid": 47')
    old = time.time() - recovery.UNFINISHED
    os.utime(path, (old, old))
    said: list[str] = []
    recovery.unlock(SHOP, said.append)
    assert not path.exists()
    assert said == [f"removed the lock of one that was writing {path.name}, which is dead"]


def test_a_lock_that_is_being_written_is_waited_for(locks: Path) -> None:
    path = locks / "4711.json.189a0b1c2d3e4f50.tmp"
    path.touch()
    os.utime(path, (time.time() + 60, time.time() + 60))  # it stays young however long this takes
    with pytest.raises(Failure, match="one that was writing"):
        recovery.unlock(SHOP, lambda _: None, patience=0.6)
    assert path.exists()


def test_a_lock_of_another_machine_is_not_ours_to_judge(locks: Path) -> None:
    path = lock(locks, 4711, "elsewhere")
    said: list[str] = []
    with pytest.raises(Failure, match="process 4711 of op@elsewhere") as caught:
        recovery.unlock(SHOP, said.append, patience=0.6)
    assert path.exists()
    assert "pulumi cancel --yes --stack shop" in caught.value.fix
    assert len(said) == 1


def test_a_living_run_is_waited_for(locks: Path, tmp_path: Path) -> None:
    program = tmp_path / "pulumi"
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE) as living:
        while Path(f"/proc/{living.pid}/comm").read_text() != "pulumi\n":
            time.sleep(0.01)
        path = lock(locks, living.pid)
        said: list[str] = []

        def say(remark: str) -> None:
            said.append(remark)
            assert living.stdin
            living.stdin.close()  # it ends while it is waited for

        recovery.unlock(SHOP, say, patience=60)
        assert living.wait(60) == 0
    assert not path.exists()
    assert [remark.split()[0] for remark in said] == ["waiting", "removed"]


def test_an_error_of_the_program_is_bad_input() -> None:
    error = stack.explain(SHOP, PROGRAM)
    assert isinstance(error, BadInput)
    assert (error.what, error.where) == (
        "unknown driver 'vmware'",
        "infra/Pulumi.shop.yaml: hostwright:driver",
    )
    assert error.fix == "give one of: libvirt, container, static"


def test_an_error_of_a_provider_is_a_failure() -> None:
    error = stack.explain(SHOP, PROVIDER)
    assert isinstance(error, Failure)
    assert error.what == "shop-1 (10.0.0.1) does not let me in: refused"
    assert error.fix == "look at the host's console"


def test_what_pulumi_says_itself_is_passed_on() -> None:
    error = stack.explain(SHOP, "Diagnostics:\n  libvirt:index:\n    error: no space left\n")
    assert isinstance(error, Failure)
    assert error.what == "error: no space left"
    assert "shop" in error.where


def test_a_missing_passphrase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    with pytest.raises(BadInput, match="no passphrase") as caught:
        stack.check_passphrase()
    assert caught.value.where == str(tmp_path / "passphrase")
    (tmp_path / "passphrase").write_text("here\n")
    stack.check_passphrase()


def test_a_wrong_passphrase() -> None:
    error = stack.explain(SHOP, "error: getting secrets manager: passphrase: incorrect passphrase")
    assert isinstance(error, BadInput)
    assert "not the one the secrets were encrypted with" in error.what


def test_a_lock_of_another_run() -> None:
    """As Pulumi tells of it."""
    error = stack.explain(SHOP, "error: the stack is currently locked by 1 lock(s). Either wait for")
    assert isinstance(error, Failure)
    assert (error.what, error.fix) == ("another run holds the lock", "wait for it, or: hostwright up again")


def test_a_host_that_has_gone_silent_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        host = {"address": "127.0.0.1", "port": taken.getsockname()[1], "user": "me", "machine": "one"}
        host |= {"privateKey": str(tmp_path / "key"), "knownHosts": str(tmp_path / "known_hosts")}
        provider = ReadyProvider()
        found = provider.read("me@127.0.0.1", {**host, "answers": True})
        assert (found.id, found.outs["answers"]) == ("me@127.0.0.1", False), "it is still there"
        assert provider.diff("me@127.0.0.1", found.outs, host).changes
    assert not provider.diff("me@127.0.0.1", {**host, "answers": True}, host).changes
    assert not provider.diff("me@127.0.0.1", host, host).changes, "as an older toolkit left it"


def resource(kind: str, name: str, protect: bool = False, needs: list[str] | None = None) -> dict[str, Any]:
    urn = f"urn:pulumi:shop::hostwright::{kind}::{name}"
    made: dict[str, Any] = {"urn": urn, "type": kind, "outputs": {"name": name}, "dependencies": needs or []}
    return made | ({"protect": True} if protect else {})


def test_data_of_a_former_driver_is_left() -> None:
    """The engine would refuse to let a protected volume go; so it leaves the state and stays where it is."""
    volume = resource("pulumi-python:dynamic/container:Volume", "shop-1-docker", protect=True)
    node = resource("pulumi-python:dynamic/container:Node", "shop-1", needs=[volume["urn"]])
    state = {"resources": [volume, node]}
    assert recovery._leave_data("container", {"shop-1-docker"}, state) == []
    assert len(state["resources"]) == 2
    assert recovery._leave_data("libvirt", {"shop-1-data.qcow2"}, state) == ["shop-1-docker"]
    (left,) = state["resources"]
    assert (left["urn"], left["dependencies"]) == (node["urn"], [])


def test_a_libvirt_volume_keeps_its_pool() -> None:
    pool = resource("libvirt:index/pool:Pool", "hostwright-shop")
    data = resource("libvirt:index/volume:Volume", "shop-1-data.qcow2", protect=True, needs=[pool["urn"]])
    base = resource("libvirt:index/volume:Volume", "base.qcow2", needs=[pool["urn"]])
    state = {"resources": [pool, data, base]}
    assert recovery._leave_data("container", {"shop-1-docker"}, state) == ["shop-1-data.qcow2"]
    assert [each["outputs"]["name"] for each in state["resources"]] == ["base.qcow2"]


def test_data_of_a_host_that_goes_is_left() -> None:
    """Only its own: another host's stays protected, and the pool that has both stays in the state."""
    pool = resource("libvirt:index/pool:Pool", "hostwright-shop")
    stays = resource("libvirt:index/volume:Volume", "shop-worker-1-data.qcow2", True, [pool["urn"]])
    goes = resource("libvirt:index/volume:Volume", "shop-worker-2-data.qcow2", True, [pool["urn"]])
    domain = resource("libvirt:index/domain:Domain", "shop-worker-2", needs=[goes["urn"]])
    state = {"resources": [pool, stays, goes, domain]}
    assert recovery._leave_data("libvirt", {"shop-worker-1-data.qcow2"}, state) == [
        "shop-worker-2-data.qcow2"
    ]
    assert state["resources"] == [pool, stays, domain | {"dependencies": []}]


def test_data_that_is_not_kept_goes_with_its_host() -> None:
    volume = resource("pulumi-python:dynamic/container:Volume", "shop-worker-2-microk8s")
    state = {"resources": [volume]}
    assert recovery._leave_data("container", set(), state) == []
    assert state["resources"] == [volume]


HYPERVISORS = ["qemu+ssh://kvm1/system", "qemu+ssh://kvm2/system"]


@pytest.fixture
def two() -> dict[str, Any]:
    """A state with a provider for each of two hypervisors."""
    providers = [
        resource("pulumi:providers:libvirt", uri) | {"id": "1", "inputs": {"uri": uri}} for uri in HYPERVISORS
    ]
    return {"resources": providers}


def on(state: dict[str, Any], number: int, kind: str, name: str) -> dict[str, Any]:
    """A resource on one of the hypervisors."""
    return resource(kind, name) | {"provider": f"{state['resources'][number]['urn']}::1"}


def test_each_hypervisor_has_its_own_of_a_name(two: dict[str, Any]) -> None:
    """A volume that the state has on one is an orphan on another."""
    base = on(two, 0, "libvirt:index/volume:Volume", "base.qcow2")
    begun = on(two, 0, "libvirt:index/volume:Volume", "") | {"inputs": {"name": "new.qcow2"}}
    node = resource("pulumi-python:dynamic/container:Node", "shop-1")
    two["resources"] += [base, node]
    two["pending_operations"] = [{"resource": begun, "type": "creating"}]

    def things(uri: str) -> tuple[bool, bool, bool]:
        known, pending = recovery._things(two, uri)
        wanted = [("volume", "base.qcow2") in known, ("volume", "new.qcow2") in pending]
        return wanted[0], wanted[1], ("node", "shop-1") in known

    assert [things(uri) for uri in HYPERVISORS] == [(True, True, True), (False, False, True)]
    assert things("") == (True, True, True)


def cluster(folder: Path, driver: str, section: dict[str, Any], **more: Any) -> Environment:
    """An environment with a server and a worker."""
    key = folder / "key"
    key.write_text("private")
    settings: dict[str, Any] = {
        "driver": driver,
        "topology": "cluster",
        "ssh": {"privateKey": str(key), "publicKey": "ssh-ed25519 AAAA own"},
        driver: section,
    }
    if driver != "static":
        settings["cluster"] = {"servers": 1, "workers": 1}
    return Environment("shop", folder, settings | more)


IMAGE = {"image": "i", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("uris", "refused"),
    [
        (HYPERVISORS, False),
        (["qemu+ssh://root@kvm1/system?keyfile=/k", HYPERVISORS[1]], False),
        (HYPERVISORS[::-1], True),
        (HYPERVISORS[:1], True),
        ([*HYPERVISORS, "qemu:///system"], True),
    ],
)
def test_a_host_does_not_move(tmp_path: Path, two: dict[str, Any], uris: list[str], refused: bool) -> None:
    """It would be made anew elsewhere, and its data stay behind."""
    two["resources"] += [
        on(two, 0, "libvirt:index/domain:Domain", "shop-server-1"),
        on(two, 1, "libvirt:index/domain:Domain", "shop-worker-1"),
        on(two, 1, "libvirt:index/domain:Domain", "shop-worker-9"),  # which goes
    ]
    network = {"mode": "bridge", "bridge": "br0", "cidr": "192.168.7.0/24"}
    made = cluster(tmp_path, "libvirt", IMAGE | {"uri": uris}, network=network)
    settings = recovery.typed.settings(made)
    if not refused:
        recovery._check_moves(settings, two)
        return
    with pytest.raises(BadInput, match=r"shop-\w+-1 is on .* and by the settings it belongs on") as caught:
        recovery._check_moves(settings, two)
    assert caught.value.where == "infra/Pulumi.shop.yaml: hostwright:libvirt.uri"


@pytest.mark.parametrize(
    ("driver", "section", "names"),
    [
        ("container", {"image": "node"}, {"shop-server-1-microk8s", "shop-worker-1-microk8s"}),
        ("libvirt", IMAGE, {"shop-server-1-data.qcow2", "shop-worker-1-data.qcow2"}),
        ("static", {}, set()),
    ],
)
def test_which_data_hosts_need(tmp_path: Path, driver: str, section: dict[str, Any], names: set[str]) -> None:
    assert recovery.data_volumes(cluster(tmp_path, driver, section)) == names
