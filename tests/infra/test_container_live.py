"""The container driver for real: up, up again, drift, a kill, a stranger, down with and without the data."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import docker
import pytest
import yaml
from docker.errors import NotFound
from docker.models.containers import Container

import lab
from hostwright import environments, scaffold, toolchain
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts import engine, recovery, ssh
from hostwright.pulumi_process import pulumi_env, toolchain_bin
from tests.live import claim, made_by, program, purge

NAME = "test-infra"
NODE = f"{NAME}-1"
UP = (
    "import sys; from hostwright import environments; from hostwright.hosts import engine;"
    " engine.up(environments.load(sys.argv[1]))"
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment in a project and with state of its own; its hosts are not made yet."""
    folder = tmp_path_factory.mktemp("infra")
    image = lab.build().node_image
    claim(NAME)
    purge(NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("PULUMI_CONFIG_PASSPHRASE", "of the tests only")
        toolchain.ensure()
        key = scaffold.ensure_key(NAME)
        project = folder / "project"
        settings = {
            "driver": "container",
            "ssh": {"privateKey": str(key)},
            "hosts": {"memory": 1024, "cpus": 1, "disk": 8},
            "network": {"cidr": "10.92.0.0/24", "cidr6": "fd00:92::/64"},
            "container": {"image": image},
        }
        (project / "infra").mkdir(parents=True)
        (project / "infra/__main__.py").write_text(scaffold.PROGRAM)
        shutil.copy("infra/Pulumi.yaml", project / "infra/Pulumi.yaml")
        (project / f"infra/Pulumi.{NAME}.yaml").write_text(
            yaml.safe_dump({"config": {f"hostwright:{name}": value for name, value in settings.items()}})
        )
        inventory = project / f"inventories/{NAME}/pulumi.yml"
        inventory.parent.mkdir(parents=True)
        inventory.write_text(f"plugin: hostwright.hostwright.pulumi\nenvironment: {NAME}\n")
        try:
            yield environments.load(NAME, project)
        finally:
            engine.destroy(environments.load(NAME, project), keep_data=False)
            purge(NAME)


def node() -> Container:
    return docker.from_env().containers.get(NODE)


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


def test_up_makes_a_host_that_answers(environment: Environment) -> None:
    said: list[str] = []
    outcome = engine.up(environment, said.append)
    (host,) = outcome.hosts
    assert (host.name, host.address, host.address6) == (NODE, "10.92.0.11", "fd00:92::11")
    assert (host.user, host.groups, host.facts["driver"]) == ("opensuse", ["single"], "container")
    assert outcome.changes >= 4
    assert f"making node {NODE}" in said
    assert on_host(environment, "sudo", "-n", "systemctl", "is-system-running").strip() == "running"
    addresses = on_host(environment, "ip", "-brief", "address", "show", "dev", "eth0")
    assert "10.92.0.11/24" in addresses
    assert "fd00:92::11/64" in addresses
    assert node().attrs["HostConfig"]["Memory"] == 1024 * 2**20
    assert node().attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_a_second_up_changes_nothing(environment: Environment) -> None:
    before, said = node().id, list[str]()
    assert engine.up(environment, said.append).changes == 0, said
    assert node().id == before
    assert "unchanged" in engine.preview(environment)


def test_plain_pulumi_sees_no_change_either(environment: Environment) -> None:
    done = subprocess.run(
        [toolchain_bin() / "pulumi", "preview", "--stack", NAME, "--non-interactive", "--expect-no-changes"],
        cwd=environment.project / "infra",
        env=pulumi_env(),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_inventory(environment: Environment) -> None:
    done = subprocess.run(
        [program("ansible-inventory"), "-i", environment.project / f"inventories/{NAME}", "--list"],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    document = json.loads(done.stdout)
    variables = document["_meta"]["hostvars"][NODE]
    assert document["single"]["hosts"] == [NODE]
    assert variables["ansible_host"] == "10.92.0.11"
    assert variables["ansible_ssh_private_key_file"] == str(environment.state / "id_ed25519")
    assert variables["hostwright_host"] == engine.outputs(environment)[0].model_dump()
    assert variables["hostwright_environment"]["driver"] == "container"


def test_a_stopped_host_is_started(environment: Environment) -> None:
    """With all that was written on it, as a machine has."""
    on_host(environment, "sudo", "-n", "sh", "-c", "'echo 192.0.2.1 kept >> /etc/hosts'")
    before = node().id
    node().stop(timeout=30)
    assert engine.up(environment).changes > 0
    assert (node().id, node().status) == (before, "running")
    names = on_host(environment, "cat", "/etc/hosts").split()
    assert "kept" in names
    assert NODE in names


def test_a_removed_host_is_made_again_with_its_data(environment: Environment) -> None:
    on_host(environment, "sudo", "-n", "sh", "-c", "'echo kept > /var/lib/docker/kept'")
    before = node().id
    node().remove(force=True)
    assert engine.up(environment).changes > 0
    assert node().id != before
    assert on_host(environment, "sudo", "-n", "cat", "/var/lib/docker/kept").strip() == "kept"
    assert engine.up(environment).changes == 0


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["network", "container", "running"])
def test_a_killed_up_is_taken_up(environment: Environment, moment: str) -> None:
    engine.destroy(environment, keep_data=False)
    with subprocess.Popen(
        [sys.executable, "-c", UP, NAME],
        cwd=environment.project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not _come(moment):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    engine.up(environment)
    assert made_by(NAME) == {
        "containers": [NODE],
        "networks": [f"hostwright-{NAME}"],
        "volumes": [f"{NODE}-docker"],
    }
    assert on_host(environment, "echo", "here").strip() == "here"
    assert engine.up(environment).changes == 0


def _come(moment: str) -> bool:
    if moment == "network":
        return bool(made_by(NAME)["networks"])
    try:
        return moment == "container" or node().status == "running" if node() else False
    except NotFound:
        return False


def test_a_strangers_container_stops_it_before_anything_is_made(environment: Environment) -> None:
    engine.destroy(environment, keep_data=False)
    daemon = docker.from_env()
    image = str(environment.settings["container"]["image"])
    theirs = daemon.containers.create(image, ["sleep", "60"], name=NODE)
    try:
        with pytest.raises(BadInput, match=f"the container {NODE} exists already") as caught:
            engine.up(environment)
        assert caught.value.exit_status == 2
        assert made_by(NAME) == {"containers": [], "networks": [], "volumes": []}
        engine.destroy(environment, keep_data=False)
        theirs.reload()
    finally:
        theirs.remove(force=True)


def test_a_node_that_ends_as_it_starts_says_so(environment: Environment) -> None:
    """And goes once there is an image that can be one."""
    image = environment.settings["container"]["image"]
    ends = f"FROM {image}\nENTRYPOINT echo no systemd here; exit 3\n"
    settings = environment.project / f"infra/Pulumi.{NAME}.yaml"
    held = settings.read_text()
    wrong, _ = docker.from_env().images.build(fileobj=io.BytesIO(ends.encode()), tag=f"{NAME}:wrong", rm=True)
    settings.write_text(held.replace(image, f"{NAME}:wrong"))
    try:
        with pytest.raises(Failure, match=f"{NODE} ended as it started: no systemd here"):
            engine.up(environments.load(NAME, environment.project))
    finally:
        settings.write_text(held)
    engine.up(environment)
    assert node().attrs["Config"]["Image"] == image
    docker.from_env().images.remove(wrong.id, force=True)


@pytest.mark.slow
def test_data_outlives_its_host_until_told_otherwise(environment: Environment) -> None:
    engine.up(environment)
    on_host(environment, "sudo", "-n", "sh", "-c", "'echo kept > /var/lib/docker/kept'")
    engine.destroy(environment)
    assert made_by(NAME) == {"containers": [], "networks": [], "volumes": [f"{NODE}-docker"]}
    assert engine.outputs(environment) == []
    engine.up(environment)
    assert on_host(environment, "sudo", "-n", "cat", "/var/lib/docker/kept").strip() == "kept"
    engine.destroy(environment, keep_data=False)
    assert made_by(NAME) == {"containers": [], "networks": [], "volumes": []}


@pytest.mark.slow
def test_data_that_a_former_driver_left_goes_when_told(environment: Environment) -> None:
    """While its host still runs: the driver was changed, and nothing has been made with the new one yet."""
    engine.up(environment)
    elsewhere = replace(environment, settings={**environment.settings, "driver": "static"})
    said: list[str] = []
    recovery.take_up(elsewhere, engine._stack(elsewhere), said.append)
    assert any(f"{NODE}-docker" in line for line in said), said
    engine.destroy(environment, keep_data=False)
    assert made_by(NAME) == {"containers": [], "networks": [], "volumes": []}
