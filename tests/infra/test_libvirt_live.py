"""The libvirt driver for real, emulated where there is no KVM: whose a name is, a whole life of a guest."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

import lab
from hostwright import environments, scaffold, toolchain
from hostwright.environment import pulumi_env, toolchain_bin
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts import engine, ssh, virsh
from infra import hypervisor
from lab import libvirtd

NAME = "test-vm"
HOST = f"{NAME}-1"
COMMON = f"hostwright-{NAME}"
UP = (
    "import sys; from hostwright import environments; from hostwright.hosts import engine;"
    " engine.up(environments.load(sys.argv[1]))"
)
DOMAIN = "<domain type='qemu'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
NETWORK = "<network><name>{name}</name></network>"


@pytest.fixture(scope="module")
def uri() -> str:
    return libvirtd.ensure()


@pytest.fixture(scope="module")
def mirror() -> lab.Mirror:
    """The lab's, with its disk image; asked for before the tests have state of their own."""
    return lab.build(qcow2=True)


@pytest.fixture
def environment(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Environment]]:
    """An environment for an image and its digest, in a project and with state of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of the tests only")
    toolchain.ensure()
    project = tmp_path / "project"

    def make(image: Path, sha256: str) -> Environment:
        settings: dict[str, Any] = {
            "driver": "libvirt",
            "ssh": {"privateKey": str(scaffold.ensure_key(NAME))},
            "hosts": {"memory": 1536, "cpus": 2, "disk": 10, "data": 2},
            "network": {"cidr": "10.89.0.0/24", "cidr6": "fd00:89::/64"},
            "libvirt": {"uri": uri, "image": str(image), "sha256": sha256},
        }
        (project / "infra").mkdir(parents=True, exist_ok=True)
        (project / "infra/__main__.py").write_text(scaffold.PROGRAM)
        shutil.copy("infra/Pulumi.yaml", project / "infra/Pulumi.yaml")
        (project / f"infra/Pulumi.{NAME}.yaml").write_text(
            yaml.safe_dump({"config": {f"hostwright:{name}": value for name, value in settings.items()}})
        )
        return environments.load(NAME, project)

    yield make
    if project.exists():
        engine.destroy(environments.load(NAME, project), keep_data=False)


def exists(uri: str) -> set[str]:
    """What of the environment's names the hypervisor knows."""
    wanted = {"domain": HOST, "net": COMMON, "pool": COMMON}
    return {kind for kind, name in wanted.items() if name in virsh.names(uri, kind)}


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [pytest.param("domain", HOST, DOMAIN, id="domain"), pytest.param("net", COMMON, NETWORK, id="network")],
)
def test_a_strangers_name_stops_it_before_anything_is_made(
    uri: str, environment: Callable[..., Environment], tmp_path: Path, kind: str, name: str, text: str
) -> None:
    image = tmp_path / "image.qcow2"
    image.write_bytes(bytes(512))
    made = environment(image, "076a27c79e5ace2a3d47f9dd2e83e4ff6ea8872b3c2218f66c92b89b55f36560")
    document = tmp_path / "theirs.xml"
    document.write_text(text.format(name=name))
    define, undefine = {"domain": ("define", "undefine"), "net": ("net-define", "net-undefine")}[kind]
    with suppress(Failure):  # of a killed run of the tests
        virsh.run(uri, undefine, name)
    virsh.run(uri, define, str(document))
    try:
        with pytest.raises(BadInput, match=f"the libvirt {kind} {name} exists already") as caught:
            engine.up(made)
        assert caught.value.exit_status == 2
        engine.destroy(made, keep_data=False)
        assert exists(uri) == {kind}, "theirs is still there, and nothing of ours came"
    finally:
        virsh.run(uri, undefine, name)


@pytest.mark.slow
def test_the_life_of_a_guest(uri: str, mirror: lab.Mirror, environment: Callable[..., Environment]) -> None:
    made = environment(Path(mirror.qcow2), mirror.qcow2_sha256)
    killed_when(lambda: "domain" in exists(uri), made)

    outcome = engine.up(made)
    (host,) = outcome.hosts
    assert (host.name, host.address, host.address6) == (HOST, "10.89.0.11", "fd00:89::11")
    assert host.facts["driver"] == "libvirt"
    assert "fd00:89::11/64" in on_host(made, "ip", "-brief", "address")
    assert "/var/lib/docker" in on_host(made, "findmnt", "/dev/vdb")
    on_host(made, "sudo", "-n", "sh", "-c", "'echo kept > /var/lib/docker/kept; sync'")

    assert engine.up(made).changes == 0
    preview = subprocess.run(
        [toolchain_bin() / "pulumi", "preview", "--stack", NAME, "--non-interactive", "--expect-no-changes"],
        cwd=made.project / "infra",
        env=pulumi_env(),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert preview.returncode == 0, preview.stdout + preview.stderr

    virsh.run(uri, "destroy", HOST)
    engine.up(made)
    assert on_host(made, "uptime", "-p").startswith("up"), "it is started, and waited for"

    engine.destroy(made)
    assert exists(uri) == {"pool"}
    assert virsh.volumes(uri, COMMON) == [f"{HOST}{hypervisor.DATA}"]
    engine.up(made)
    assert on_host(made, "sudo", "-n", "cat", "/var/lib/docker/kept").strip() == "kept"
    engine.destroy(made, keep_data=False)
    assert exists(uri) == set()


def killed_when(come: Callable[[], bool], environment: Environment) -> None:
    """Start `up` and SIGKILL it with all its children as soon as that has come."""
    with subprocess.Popen(
        [sys.executable, "-c", UP, NAME],
        cwd=environment.project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 180
        while not come():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)


def on_host(environment: Environment, *command: str) -> str:
    """What a command says on the environment's host, over SSH as its operator."""
    (host,) = engine.outputs(environment)
    options = ssh.options(environment.state / "id_ed25519", environment.state / "known_hosts")
    return subprocess.run(
        ["ssh", *options, "-o", "BatchMode=yes", f"{host.user}@{host.address}", *command],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    ).stdout
