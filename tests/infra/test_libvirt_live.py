"""The libvirt driver for real, emulated where there is no KVM: whose a name is, and two guests' lives.

The one comes to an application and its proof, the other to the runtime of a cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

import lab
from hostwright import environments, paths, proof, toolchain
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts import engine, ssh, typed, virsh
from hostwright.pulumi_process import pulumi_env, toolchain_bin
from infra import hypervisor
from lab import libvirtd
from tests.live import SHOP, Live, project

NAME = "test-vm"
HOST = f"{NAME}-1"
SERVER = f"{NAME}-server-1"
COMMON = f"hostwright-{NAME}"
SIZE = {"memory": 3072, "cpus": 2, "disk": 12, "data": 6}
CIDRS = {"mode": "nat", "cidr": "10.104.0.0/24", "cidr6": "fd00:104::/64"}
PATIENCE = 4 * 3600  # seconds: emulated, beside other tests
STRANGER = "6d1f4a52-8c5e-4b7e-9f0d-2a7c51e0b3d4"
DOMAIN = """
<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory>1024</memory>
<os><type>hvm</type></os></domain>
"""
NETWORK = "<network><name>{name}</name><uuid>{uuid}</uuid></network>"

Make = Callable[..., Live]


@pytest.fixture(scope="module")
def uri() -> str:
    return libvirtd.ensure()


@pytest.fixture(scope="module")
def mirror() -> lab.Mirror:
    """The lab's, with its disk image."""
    return lab.build(qcow2=True)


@pytest.fixture
def make(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """`make(image, sha256)`: an environment that is not up; its state is this process's too from then on."""

    def made(image: Path, sha256: str, *arguments: str, topology: str = "single") -> Live:
        disk = {"uri": uri, "image": str(image), "sha256": sha256}
        settings: dict[str, Any] = {"hosts": SIZE, "network": CIDRS, "libvirt": disk}
        live = project(
            tmp_path, NAME, "libvirt", *arguments, settings=settings, application=SHOP, topology=topology
        )
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "PULUMI_CONFIG_PASSPHRASE"):
            monkeypatch.setenv(name, live.env[name])
        toolchain.ensure()
        return live

    yield made
    if (tmp_path / "project").exists():
        engine.destroy(environments.load(NAME, tmp_path / "project"), keep_data=False)


def exists(uri: str) -> set[str]:
    """What of the environment's names the hypervisor knows."""
    wanted = {"domain": HOST, "net": COMMON, "pool": COMMON}
    return {kind for kind, name in wanted.items() if name in virsh.names(uri, kind)}


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [pytest.param("domain", HOST, DOMAIN, id="domain"), pytest.param("net", COMMON, NETWORK, id="network")],
)
def test_a_strangers_name_stops_it_before_anything_is_made(
    uri: str, make: Make, tmp_path: Path, kind: str, name: str, text: str
) -> None:
    image = tmp_path / "image.qcow2"
    image.write_bytes(bytes(512))
    live = make(image, "076a27c79e5ace2a3d47f9dd2e83e4ff6ea8872b3c2218f66c92b89b55f36560")
    made = environments.load(NAME, live.project)
    document = tmp_path / "theirs.xml"
    document.write_text(text.format(name=name, uuid=STRANGER))
    define, undefine = {"domain": ("define", "undefine"), "net": ("net-define", "net-undefine")}[kind]
    with suppress(Failure):  # of a killed run of the tests
        virsh.run(uri, undefine, STRANGER)
    virsh.run(uri, define, str(document))
    try:
        with pytest.raises(BadInput, match=f"the libvirt {kind} {name} exists already") as caught:
            engine.up(made)
        assert caught.value.exit_status == 2
        engine.destroy(made, keep_data=False)
        assert exists(uri) == {kind}, "theirs is still there, and nothing of ours came"
    finally:
        virsh.run(uri, undefine, STRANGER)


def test_disks_of_a_pool_that_is_gone_are_no_new_hosts(uri: str, make: Make, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"], check=True)
    live = make(image, hashlib.sha256(image.read_bytes()).hexdigest())
    made = environments.load(NAME, live.project)
    folder = left_behind(made, f"{HOST}.qcow2", f"{HOST}{hypervisor.DATA}")
    with pytest.raises(BadInput, match=f"the data of an earlier {HOST} is still there") as caught:
        engine.up(made)
    engine.destroy(made)
    assert [path.name for path in folder.iterdir()] == [f"{HOST}{hypervisor.DATA}"], "data stays until told"
    with pytest.raises(BadInput, match="is still there"):
        engine.up(made)
    virsh.run(uri, *caught.value.fix.partition(f"virsh -c {uri} ")[2].split())
    engine.destroy(made)
    assert exists(uri) == set()
    assert not folder.exists()


@pytest.mark.slow
def test_the_life_of_a_guest(uri: str, mirror: lab.Mirror, make: Make) -> None:
    live = make(mirror.qcow2, mirror.qcow2_sha256)
    made = environments.load(NAME, live.project)
    left_behind(made, f"{HOST}.qcow2")
    killed_when(lambda: "domain" in exists(uri), live)

    first = live.hostwright("up", timeout=PATIENCE)
    assert "1 up" in first.stdout + first.stderr
    (host,) = live.hosts()
    assert (host["name"], host["address"], host["address6"]) == (HOST, "10.104.0.11", "fd00:104::11")
    assert host["facts"]["driver"] == "libvirt"
    assert "fd00:104::11/64" in on_host(made, "ip", "-brief", "address")
    assert "/var/lib/docker" in on_host(made, "findmnt", "/dev/vdb")
    proved = json.loads((made.state / "proof/proof.json").read_text())
    assert proved["ok"]
    assert proved["environment"]["driver"] == "libvirt"
    assert "orders runs and is healthy, and starts again by itself" in [row["what"] for row in proved["rows"]]

    again = live.hostwright("up", timeout=PATIENCE)
    assert "1 up, 0 changes" in again.stdout + again.stderr
    assert "changed=0" in again.stdout + again.stderr
    on_host(made, "sudo", "-n", "sh", "-c", "'echo kept > /var/lib/docker/kept; sync'")
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


@pytest.mark.slow
def test_a_snap_comes_up_on_a_guest(mirror: lab.Mirror, make: Make) -> None:
    """snapd and the sideloaded MicroK8s, under a kernel of their own, by the site's plays but the last."""
    live = make(mirror.qcow2, mirror.qcow2_sha256, "--servers=1", topology="cluster")
    # In front of the state machine: nothing is deployed here.
    live.configure(microk8s_snaps=f"{mirror.url}/snaps/{{{{ microk8s_channel | split('/') | first }}}}")
    plays = yaml.safe_load((paths.toolkit() / "playbooks/site.yml").read_text())
    before = [play for play in plays if play["name"] != "Deploy"]
    assert len(before) == len(plays) - 1
    (live.project / "playbooks/runtime.yml").write_text(yaml.safe_dump(before))
    run = ("ansible-playbook", "-i", f"inventories/{NAME}", "playbooks/runtime.yml")
    made = environments.load(NAME, live.project)

    engine.up(made)
    live.run(*run, timeout=PATIENCE)
    rows = [line.split() for line in on_host(made, "sudo", "-n", "snap", "list").splitlines()[1:]]
    assert [name for name, *_ in rows] == ["core22", "microk8s", "snapd"]
    _, version, _, tracking, _, notes = rows[1]
    assert version.startswith("v1.35.")
    assert (tracking, notes) == ("-", "classic,held"), "from a file, and refreshed by nobody"
    assert ready(made) == {SERVER: "True"}
    assert "changed=0" in live.run(*run, timeout=PATIENCE).stdout
    proof.run(made, "microk8s", quiet=True).check()


def left_behind(environment: Environment, *names: str) -> Path:
    """Files of these names in the folder of the environment's pool, which is not there."""
    folder = Path(hypervisor.pool_path(typed.settings(environment)))
    folder.mkdir(mode=0o711, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(bytes(512))
    return folder


def ready(environment: Environment) -> dict[str, str]:
    """Node -> what the API says of its being Ready."""
    listed = on_host(environment, "sudo", "-n", "/snap/bin/microk8s", "kubectl", "get", "nodes", "-o", "json")
    return {
        node["metadata"]["name"]: each["status"]
        for node in json.loads(listed)["items"]
        for each in node["status"]["conditions"]
        if each["type"] == "Ready"
    }


def killed_when(come: Callable[[], bool], live: Live) -> None:
    """Start `up` and SIGKILL it with all its children as soon as that has come."""
    with live.begun("hosts", "up") as (process, said):
        deadline = time.monotonic() + 180
        while not come():
            assert process.poll() is None, f"it ended before it could be killed: {''.join(said)}"
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
