"""An environment in a project of its own, outside the checkout: for live tests, and for measuring."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker
import yaml
from docker.models.containers import Container

import lab
from hostwright import paths
from lab import inventory

SHOP = Path(__file__).with_name("shop.yml")
CLAIMS: dict[str, IO[str]] = {}
OWN = {
    "base_selinux": "disabled",
    "microk8s_apparmor": True,
    "docker_daemon": {"experimental": True},
}  # as in the lab: what its nodes lack


@dataclass(frozen=True)
class Live:
    """An environment in a project made by `hostwright init`, outside the checkout."""

    name: str
    project: Path
    env: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        return [program("hostwright"), *arguments]

    def hostwright(
        self, *arguments: str, check: bool = True, timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        return self.run("hostwright", *arguments, check=check, timeout=timeout)

    def run(
        self, name: str, *arguments: str, check: bool = True, timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run hostwright, or one of the tools beside it, as an operator would, in the project."""
        done = subprocess.run(
            [program(name), *arguments],
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{name} {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    @contextmanager
    def begun(self, phase: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
        """A run of hostwright, in a group of its own, that has come to a phase; and what it has said so far.

        Who asks for it ends it.
        """
        with subprocess.Popen(
            self.command(*arguments),
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if line.strip() == f"phase: {phase}":
                    break
            else:
                raise AssertionError(f"{arguments[0]} ended before {phase}:\n{''.join(said)}")
            # Its pipe is emptied meanwhile, so that it does not stop for that.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield process, said

    def deploy(self, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Bring the application to what the inventory says, as the last phase of `up` does."""
        playbook = ("-i", f"inventories/{self.name}", "hostwright.hostwright.deploy")
        return self.run("ansible-playbook", *playbook, check=check)

    def set(self, **settings: object) -> None:
        """Write settings over those of the environment's file."""
        path = self.project / "infra" / f"Pulumi.{self.name}.yaml"
        document = yaml.safe_load(path.read_text())
        document["config"] |= {f"hostwright:{key}": value for key, value in settings.items()}
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def configure(self, **variables: object) -> None:
        """Write variables of roles over those of the environment's inventory."""
        held = yaml.safe_load(self.variables.read_text()) or {}
        self.variables.write_text(yaml.safe_dump(held | variables))

    @property
    def variables(self) -> Path:
        return self.project / "inventories" / self.name / "group_vars/all/main.yml"

    def hosts(self) -> list[dict[str, Any]]:
        """Host records, from Ansible's inventory as any tool would see them."""
        answer = self.run("ansible-inventory", "-i", f"inventories/{self.name}", "--list")
        variables = json.loads(answer.stdout)["_meta"]["hostvars"]
        return [variables[host]["hostwright_host"] for host in sorted(variables)]


def program(name: str) -> str:
    """Of the environment of Python that runs the tests."""
    return str(Path(sys.executable).with_name(name))


def existing(name: str) -> Live:
    """One that is up, of the project in the current folder."""
    return Live(name, Path.cwd(), dict(os.environ))


# What a file has, and that this is all of it; before that a command whose output it is to have.
TELL = 'cat "$0"; printf %s END-OF-IT'
KEEP = f'"$@" > "$0" 2>&1; status=$?; {TELL}; exit $status'


def inside(container: Container, *command: str) -> tuple[int, str]:
    """Exit status and output of a command in a container of this machine.

    Under load the engine may lose what one that ends at once has said, and says nothing of that. So the
    output has an end, and is kept in the container's memory, which a read-only one has too, until it is here.
    """
    kept = f"/dev/shm/said-{secrets.token_hex(8)}"  # noqa: S108  (in the container)
    status, output = container.exec_run(["sh", "-c", KEEP, kept, *command])
    for _ in range(20):
        said, end, _ = output.decode(errors="replace").rpartition("END-OF-IT")
        if end:
            container.exec_run(["rm", kept])
            return status, said
        time.sleep(0.5)
        _, output = container.exec_run(["sh", "-c", TELL, kept])
    raise LookupError(f"the engine lost what {command} said: {output!r}")


def made_by(environment: str) -> dict[str, list[str]]:
    """Names of what the container engine has with the environment's mark."""
    return {kind: sorted(each.name for each in found) for kind, found in _marked(environment).items()}


def purge(environment: str) -> None:
    """Remove what a killed run of the tests may have left in the container engine, by its marks only."""
    found = _marked(environment)
    for container in found["containers"]:
        container.remove(force=True, v=True)
    for volume in found["volumes"]:
        volume.remove(force=True)
    for network in found["networks"]:
        network.remove()


def _marked(environment: str) -> dict[str, list[Any]]:
    engine = docker.from_env()
    mark = {"label": f"hostwright.environment={environment}"}
    return {
        "containers": engine.containers.list(all=True, filters=mark),
        "networks": engine.networks.list(filters=mark),
        "volumes": engine.volumes.list(filters=mark),
    }


@contextmanager
def temporary(live: Live) -> Iterator[Live]:
    """One that is in a folder of its own: nothing of it, and no folder, is left afterwards."""
    try:
        yield live
    finally:
        live.hostwright("down", "--data", "--yes", check=False)
        purge(live.name)
        shutil.rmtree(live.project.parent, ignore_errors=True)


def claim(name: str) -> None:
    """Wait until no other run on this machine has what goes by the name; it is ours until we end."""
    if name not in CLAIMS:
        path = paths.cache() / "tests" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        CLAIMS[name] = path.open("w")
        fcntl.flock(CLAIMS[name], fcntl.LOCK_EX)


def make(
    folder: Path,
    name: str,
    network: dict[str, str],
    components: bool = False,
    application: Path | None = None,
    servers: int = 0,
) -> Live:
    """A project with one environment on the container driver, drawing on this machine's mirror; not up.

    With `components`, all that the application has. `application`: a file, in place of the warehouse. With
    `servers` a cluster of as many.
    """
    mirror = lab.build(components=components, kubernetes=bool(servers))
    settings = {"network": network, "container": {"image": mirror.node_image}}
    chosen = ["--components=all"] if components else []
    topology = "cluster" if servers else "single"
    if servers:
        chosen.append(f"--servers={servers}")
    return project(
        folder, name, "container", *chosen,
        settings=settings, mirror=mirror, application=application, topology=topology,
    )  # fmt: skip


def cluster(beside: Live, name: str, network: dict[str, str]) -> Live:
    """A cluster of one server in the project of another environment; not up. It goes with the folder."""
    claim(name)
    purge(name)
    mirror = lab.build(kubernetes=True)
    given = beside.project.parent / "cluster.yml"
    given.write_text(yaml.safe_dump(inventory.variables(mirror, "cluster") | OWN))
    init = ["init", str(beside.project), f"--environment={name}", "--driver=container", "--topology=cluster"]
    beside.run("hostwright", *init, "--servers=1", f"--mirror={given}")
    live = Live(name, beside.project, beside.env | {"HOSTWRIGHT_ENVIRONMENT": name})
    live.set(network=network, container={"image": mirror.node_image})
    return live


def project(
    folder: Path,
    name: str,
    driver: str,
    *arguments: str,
    settings: dict[str, Any] | None = None,
    mirror: lab.Mirror | None = None,
    application: Path | None = None,
    topology: str = "single",
) -> Live:
    """What `hostwright init` makes of the arguments, with this machine's mirror and the settings; not up.

    The name is the process's until it ends: another that wants it, of any checkout, waits.
    """
    claim(name)
    purge(name)
    given = folder / "mirror.yml"
    given.write_text(yaml.safe_dump(inventory.variables(mirror or lab.build(), topology) | OWN))
    env = os.environ | {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PULUMI_CONFIG_PASSPHRASE": "of the tests only",
    }
    live = Live(name, folder / "project", env)
    init = [
        "init",
        str(live.project),
        f"--environment={name}",
        f"--driver={driver}",
        f"--topology={topology}",
        f"--mirror={given}",
        *arguments,
    ]
    subprocess.run(live.command(*init), env=env, check=True, stdin=subprocess.DEVNULL, cwd=folder)
    live.set(**settings or {})
    if application:
        own = live.project / "services/apps"
        own.mkdir(parents=True)
        shutil.copy(application, own)
        live.set(application=application.stem)
    return live
