"""The static driver for real: a machine that exists already comes up, and is left as it is when forgotten."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

import lab
from hostwright.hosts import containers, ssh
from infra import topology
from tests.live import SHOP, Live, inside, project, purge

pytestmark = pytest.mark.slow  # a host and its application from nothing, for one driver more

NAME = "test-static"
ADDRESS, ADDRESS6 = "10.97.0.11", "fd00:97::11"
NOBODY = "10.97.0.99"
USER, PORT = "ops", 2222
# The machine is not the environment's: it carries a mark of the tests' own, by which a killed run is cleaned.
THEIRS = f"{NAME}-theirs"
NETWORK = {
    "environment": THEIRS,
    "name": f"hostwright-{THEIRS}",
    "bridge": topology.bridge(THEIRS, "container"),
    "cidr": "10.97.0.0/24",
    "cidr6": "fd00:97::/64",
}
VOLUME = {"environment": THEIRS, "name": f"{THEIRS}-docker", "host": THEIRS}


@dataclass(frozen=True)
class Machine:
    """A machine that somebody installed, and the key with which its people log in."""

    key: Path

    @property
    def container(self) -> Container:
        return containers.connect().containers.get(THEIRS)

    def run(self, *command: str) -> str:
        """What a command says on it, as root."""
        code, output = inside(self.container, *command)
        assert code == 0, output
        return output

    def identity(self) -> tuple[str, str, str]:
        """What changes when it is made anew, started anew, or its containers are."""
        state = self.container.attrs["State"]["StartedAt"]
        return str(self.container.id), state, self.run("docker", "ps", "--all", "--quiet", "--no-trunc")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A project for the machine, which has not heard of it."""
    folder = tmp_path_factory.mktemp("static")
    yield project(folder, NAME, "static", f"--host=web1={ADDRESS}", f"--user={USER}", application=SHOP)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def machine(environment: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine, made without Pulumi; it lets in its own people only."""
    key = tmp_path_factory.mktemp("theirs") / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    purge(THEIRS)
    try:
        containers.create_network(NETWORK)
        containers.create_volume(VOLUME)
        containers.create_node(
            {
                "environment": THEIRS,
                "name": THEIRS,
                "image": lab.build().node_image,
                "network": NETWORK["name"],
                "address": ADDRESS,
                "address6": ADDRESS6,
                "mac": topology.mac(THEIRS),
                "mount": topology.LAYOUTS["single"].data,
                "volume": VOLUME["name"],
                "memory": 2048,
                "cpus": 2,
                "user": USER,
                "publicKey": key.with_suffix(".pub").read_text().strip(),
            }
        )
        made = Machine(key)
        made.run(
            "sh", "-c", f"echo Port {PORT} > /etc/ssh/sshd_config.d/00-port.conf && systemctl restart sshd"
        )
        yield made
    finally:
        purge(THEIRS)


def host(**changes: object) -> dict[str, Any]:
    """The section `static` with the one machine."""
    known = {"name": "web1", "address": ADDRESS, "address6": ADDRESS6, "port": PORT, "user": USER}
    return {"hosts": [known | changes]}


def refused(live: Live) -> tuple[str, str]:
    """What `up` says is wrong, and how to mend it; it stops before it has touched anything."""
    done = live.hostwright("up", check=False, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "phase: system" not in done.stdout + done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert f"infra/Pulumi.{NAME}.yaml: hostwright:static.hosts" in done.stderr
    found = re.search(r"error: (.+)\n  where: .+\n  fix: (.+)\n", done.stderr)
    assert found, done.stderr
    return found[1], found[2]


def test_a_machine_that_does_not_answer_is_named(environment: Live, machine: Machine) -> None:
    environment.set(static=host(address=NOBODY))
    what, fix = refused(environment)
    assert f"web1 ({NOBODY}) does not answer" in what
    assert f"reach its port {PORT}" in fix


def test_a_key_that_is_not_accepted_is_put_there_as_told(environment: Live, machine: Machine) -> None:
    environment.set(static=host())
    what, fix = refused(environment)
    assert f"web1 ({ADDRESS}) does not let {USER} in" in what
    assert "Permission denied" in what
    program, *arguments = shlex.split(fix)
    own = [
        f"-oIdentityFile={machine.key}",
        f"-oUserKnownHostsFile={machine.key}.known_hosts",
        "-oStrictHostKeyChecking=accept-new",
    ]
    # ssh-copy-id works in ~/.ssh, which those have who have logged in somewhere before.
    home = machine.key.parent / "home"
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    done = subprocess.run(
        [program, *own, *arguments],
        env=os.environ | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_user_that_cannot_become_root_is_named(environment: Live, machine: Machine) -> None:
    rule = "/etc/sudoers.d/90-hostwright"
    machine.run("mv", rule, "/root/rule")
    what, fix = refused(environment)
    assert f"web1 ({ADDRESS}) does not let {USER} become root" in what
    assert f"{USER} ALL=(ALL) NOPASSWD: ALL" in fix
    machine.run("mv", "/root/rule", rule)


def test_up_and_up_again(environment: Live, machine: Machine) -> None:
    first = environment.hostwright("up")
    assert "1 up" in first.stdout + first.stderr
    (record,) = environment.hosts()
    assert (record["name"], record["address"], record["port"]) == ("web1", ADDRESS, PORT)
    assert record["user"] == USER
    assert record["facts"] == {"driver": "static"}
    before = machine.identity()
    again = environment.hostwright("up")
    assert "1 up, 0 changes" in again.stdout + again.stderr
    assert "changed=0" in again.stdout + again.stderr
    assert machine.identity() == before
    proof = Path(environment.env["XDG_STATE_HOME"]) / "hostwright" / NAME / "proof" / "proof.json"
    assert json.loads(proof.read_text())["ok"]
    zone = machine.run("cat", "/etc/firewalld/zones/hostwright.xml")
    assert f'port="{PORT}"' in zone
    assert 'port="22"' not in zone


def test_day_to_day_commands(environment: Live, machine: Machine) -> None:
    rows = json.loads(environment.hostwright("status", "--json").stdout)["services"]
    assert {row["host"] for row in rows} == {"web1"}
    assert {"gateway", "orders"} <= {row["service"] for row in rows}
    assert environment.hostwright("ssh", "--", "id", "-un").stdout.strip() == USER
    assert environment.hostwright("ssh", "--", "sudo", "-n", "id", "-un").stdout.strip() == "root"


def test_a_machine_with_another_host_key_is_not_trusted(environment: Live, machine: Machine) -> None:
    known = Path(environment.env["XDG_STATE_HOME"]) / "hostwright" / NAME / "known_hosts"
    trusted = known.read_text()
    other = machine.key.with_suffix(".pub").read_text().split()[:2]
    entry = ssh.entry(ADDRESS, PORT)
    known.write_text(f"{entry} {' '.join(other)}\n")
    done = environment.hostwright("up", check=False, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"web1 ({ADDRESS}) has another host key than before" in done.stderr
    assert f"ssh-keygen -R '{entry}' -f {known}" in done.stderr
    known.write_text(trusted)


def test_down_forgets_the_machine_and_leaves_it_as_it_is(environment: Live, machine: Machine) -> None:
    before = machine.identity()
    assert before[2].split(), "the application runs there"
    settings = environment.project / "infra" / f"Pulumi.{NAME}.yaml"
    written = settings.read_text()
    environment.hostwright("down", "--yes")
    assert machine.identity() == before
    status = environment.hostwright("status", check=False)
    assert status.returncode == 1
    assert "nothing runs" in status.stderr
    assert "hostwright up" in status.stderr
    # Its databases stay, whatever is asked, and so do the secrets that open them.
    said = environment.hostwright("down", "--data", "--yes")
    assert "data stays on the machines" in said.stdout + said.stderr
    assert machine.identity() == before
    assert "hostwright:secrets:" in written
    assert settings.read_text() == written
