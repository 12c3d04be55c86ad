"""Bad input as an operator meets it: `up` says what, where and what to do, ends with 2, has made nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from hostwright import toolchain
from tests.live import made_by, program

NAME = "test-refused"
TEST = "test:///default"  # libvirt's own hypervisor of one process, which makes nothing
GIB = 2**30
APP = Path(__file__).parents[2] / "services/apps/warehouse.yml"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return operator(tmp_path)


def operator(folder: Path) -> dict[str, str]:
    """One with a toolchain and a passphrase, and nothing else yet."""
    toolchain.ensure()
    return os.environ | {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PULUMI_CONFIG_PASSPHRASE": "of the tests only",
        "HOSTWRIGHT_ENVIRONMENT": "",
    }


def run(env: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("hostwright"), *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project whose environment could be up, and its operator's state."""
    folder = tmp_path_factory.mktemp("fresh")
    done = run(operator(folder), folder, "init", "shop", "--environment", NAME, "--driver", "container")
    assert done.returncode == 0, done.stderr
    configure(folder / "shop", network={"cidr": "10.98.0.0/24"})
    return folder


@pytest.fixture
def project(fresh: Path, tmp_path: Path) -> Path:
    """The project, for a test to change."""
    shutil.copytree(fresh, tmp_path, symlinks=True, dirs_exist_ok=True)
    (tmp_path / f"state/hostwright/{NAME}/project").unlink()  # as if it had been made here
    return tmp_path / "shop"


def configure(project: Path, **settings: Any) -> Path:
    """Set settings of the environment; its file."""
    path = project / f"infra/Pulumi.{NAME}.yaml"
    document = yaml.safe_load(path.read_text())
    document["config"] |= {f"hostwright:{name}": value for name, value in settings.items()}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def refused(env: dict[str, str], project: Path, what: str, where: str) -> None:
    """`up` is refused with one message that has all three parts, and neither state nor things are there."""
    settings = (project / f"infra/Pulumi.{NAME}.yaml").read_text()
    done = run(env, project, "up")
    assert done.returncode == 2, done.stdout + done.stderr
    message = done.stderr[done.stderr.index("error: ") :]
    first, second, third = message.splitlines()
    assert what in first
    assert second.startswith("  where: ")
    assert where in second
    assert third.startswith("  fix: ")
    assert "Traceback" not in done.stderr
    assert list(Path(env["XDG_STATE_HOME"]).rglob("stacks")) == [], "Pulumi was not asked"
    assert (project / f"infra/Pulumi.{NAME}.yaml").read_text() == settings
    assert made_by(NAME) == {"containers": [], "networks": [], "volumes": []}


def libvirt(tmp_path: Path, uri: str = TEST, disk: int = 5, sha256: str = "") -> dict[str, Any]:
    """Settings of the driver for an image that is the header of a disk (GiB)."""
    image = tmp_path / "leap.qcow2"
    image.write_bytes(b"QFI\xfb" + bytes(20) + (disk * GIB).to_bytes(8, "big") + bytes(480))
    digest = sha256 or hashlib.sha256(image.read_bytes()).hexdigest()
    settings = {"uri": uri, "image": str(image), "sha256": digest, "type": "qemu"}
    return {"driver": "libvirt", "libvirt": settings}


@pytest.mark.parametrize(
    ("settings", "what", "where"),
    [
        ({"application": "warehause"}, "unknown application 'warehause'", "services/apps"),
        ({"driver": "vmware"}, "unknown driver 'vmware'", "hostwright:driver"),
        ({"topology": "ring"}, "unknown topology 'ring'", "hostwright:topology"),
        ({"network": {"cidr": "172.17.4.0/24"}}, "overlaps 172.17.0.0/16", "hostwright:network.cidr"),
        ({"network": {"cidr": "10.89.0.0/16"}}, "overlaps 10.89.252.0/24", "hostwright:network.cidr"),
        ({"hosts": {"memory": 256}}, "256 MiB of memory is too small", "hostwright:hosts.memory"),
        ({"hosts": {"memory": 10**8}}, "100000000 MiB of memory, the machine has", "hostwright:hosts.memory"),
        ({"hosts": {"disk": 2}}, "2 GiB of disk is too small", "hostwright:hosts.disk"),
        (
            {"topology": "cluster", "cluster": {"servers": 2}},
            "2 servers are worse than 1",
            "hostwright:cluster.servers",
        ),
        (
            {"topology": "cluster", "cluster": {"podNetwork": "10.98.0.0/16"}},
            "the hosts' network 10.98.0.0/24 overlaps 10.98.0.0/16",
            "hostwright:network.cidr",
        ),
        (
            {"topology": "cluster", "cluster": {"workers": 300}},
            "10.98.0.0/24 ends before number 320",
            "hostwright:network.cidr",
        ),
        (
            {"ssh": {"privateKey": "/nowhere/key"}},
            "the SSH key /nowhere/key does not exist",
            "ssh.privateKey",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings(
    env: dict[str, str], project: Path, settings: dict[str, Any], what: str, where: str
) -> None:
    configure(project, **settings)
    refused(env, project, what, where)


def port_twice(app: dict[str, Any]) -> None:
    app["gateway"]["listeners"][3]["port"] = 8080


def route_to_nobody(app: dict[str, Any]) -> None:
    app["gateway"]["routes"][0]["service"] = "nobody"


def store_undeclared(app: dict[str, Any]) -> None:
    app["services"]["auth"]["database"] = "cache/auth_db"


@pytest.mark.parametrize(
    ("spoil", "what", "where"),
    [
        (port_twice, "port 8080 is taken twice", "gateway.listeners[3].port"),
        (route_to_nobody, "a route to unknown service 'nobody'", "gateway.routes[0].service"),
        (store_undeclared, "needs store 'cache'", "services.auth.database"),
    ],
)
def test_the_application(
    env: dict[str, str], project: Path, spoil: Callable[[dict[str, Any]], None], what: str, where: str
) -> None:
    app = yaml.safe_load(APP.read_text())
    spoil(app)
    (project / "services/apps").mkdir(parents=True)
    (project / "services/apps/warehouse.yml").write_text(yaml.safe_dump(app, sort_keys=False))
    refused(env, project, what, where)


def test_an_unreachable_hypervisor(env: dict[str, str], project: Path, tmp_path: Path) -> None:
    uri = "qemu+tcp://127.0.0.1:9/system"
    configure(project, **libvirt(tmp_path, uri))
    refused(env, project, "the hypervisor does not answer", uri)


def test_another_image_than_its_digest_says(env: dict[str, str], project: Path, tmp_path: Path) -> None:
    configure(project, **libvirt(tmp_path, sha256="0" * 64))
    refused(env, project, "is not the image it should be", "hostwright:libvirt.image")


def test_an_image_that_does_not_fit_its_disk(env: dict[str, str], project: Path, tmp_path: Path) -> None:
    configure(project, **libvirt(tmp_path, disk=15), hosts={"disk": 10})
    refused(env, project, "the image needs a disk of 15 GiB, hosts have 10", "hostwright:hosts.disk")


@pytest.mark.parametrize("there", [False, True], ids=["no pool yet", "a pool"])
def test_a_pool_without_room(env: dict[str, str], project: Path, tmp_path: Path, there: bool) -> None:
    """/proc is a file system that has no room, on any machine."""
    pool = Path("/proc")
    if there:
        pool = tmp_path / "pool"
        pool.mkdir()
        (pool / f"hostwright-{NAME}").symlink_to("/proc")
    settings = libvirt(tmp_path)
    settings["libvirt"]["pool"] = str(pool)
    configure(project, **settings, hosts={"memory": 1024, "disk": 10})
    refused(env, project, "has 0.0 GiB left, the hosts have still to write 4.0", "hostwright:libvirt.pool")


@pytest.fixture
def small_engine() -> Iterator[str]:
    """A Docker engine that keeps everything on a file system with hardly any room; its address.

    It has a network namespace of its own: an engine without a bridge takes away the one that it finds.
    """
    folder = Path(tempfile.mkdtemp(prefix="engine-"))  # a short name, as those of sockets must be
    address = f"unix://{folder}/docker.sock"
    (folder / "root").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder / "root"], check=True)
    command = [
        "unshare", "--net", "dockerd", f"--host={address}",
        f"--data-root={folder}/root", f"--exec-root={folder}/run",
        f"--pidfile={folder}/pid", f"--config-file={folder}/daemon.json", "--bridge=none",
        "--iptables=false", "--ip6tables=false", "--ip-forward=false",
    ]  # fmt: skip
    (folder / "daemon.json").write_text("{}")
    others = Path("/sys/class/net/docker0")
    was_there = others.exists()
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as engine:
        try:
            deadline = time.monotonic() + 60
            while not (folder / "docker.sock").exists():
                assert engine.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield address
        finally:
            engine.terminate()
    assert others.exists() == was_there, "the machine's own engine lost its bridge"
    subprocess.run(["umount", folder / "root"], check=True)
    shutil.rmtree(folder)


def test_an_engine_without_room(env: dict[str, str], project: Path, small_engine: str) -> None:
    env["DOCKER_HOST"] = small_engine
    refused(env, project, "has 0.1 GiB left, the hosts have still to write 2.0", "hostwright:driver")
    engine = docker.DockerClient(small_engine)
    assert engine.volumes.list() == []
    assert {network.name for network in engine.networks.list()} <= {"host", "none"}


def test_a_name_that_is_somebody_elses(env: dict[str, str], project: Path) -> None:
    theirs = docker.from_env().volumes.create(f"{NAME}-1-docker")
    try:
        refused(env, project, f"the volume {NAME}-1-docker exists already", f"volume inspect {NAME}-1-docker")
        theirs.reload()
    finally:
        theirs.remove()


def test_a_missing_passphrase(env: dict[str, str], project: Path) -> None:
    del env["PULUMI_CONFIG_PASSPHRASE"]
    env.pop("PULUMI_CONFIG_PASSPHRASE_FILE", None)
    refused(env, project, "no passphrase for the environment's secrets", "hostwright/passphrase")
