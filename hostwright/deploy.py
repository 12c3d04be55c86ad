"""The long verbs: lab, up, plan, down. Each is a row of phases, and each phase is one tool's own command."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hostwright import (
    application,
    environments,
    former,
    members,
    paths,
    playbook,
    proof,
    scaffold,
    secrets,
    toolchain,
)
from hostwright.environments import Environment
from hostwright.errors import BadInput
from hostwright.hosts import engine, typed
from hostwright.progress import Phases

SITE = "playbooks/site.yml"
PLAYS = {"System": "system", "Runtime": "runtime", "Deploy": "deploy"}
LAB_NETWORKS = {
    ("single", "container"): {"mode": "nat", "cidr": "10.90.0.0/24", "cidr6": "fd00:90::/64"},
    ("single", "libvirt"): {"mode": "nat", "cidr": "10.91.0.0/24", "cidr6": "fd00:91::/64"},
    ("cluster", "container"): {"mode": "nat", "cidr": "10.100.0.0/24", "cidr6": "fd00:100::/64"},
    ("cluster", "libvirt"): {"mode": "nat", "cidr": "10.101.0.0/24", "cidr6": "fd00:101::/64"},
}


def unasked(names: Sequence[str]) -> None:
    """Nobody is there to say that these applications may be replaced. Raises BadInput."""
    raise BadInput(
        f"{', '.join(names)} runs there, and is to be replaced", fix="hostwright up asks whether it may be"
    )


def up(
    environment: Environment,
    verbose: bool = False,
    phases: Phases | None = None,
    replace: Callable[[Sequence[str]], None] = unasked,
    contracts: bool = False,
) -> None:
    """Hosts, system, runtime, deploy, proof. Running it again does what is left and changes nothing else.

    `replace` is told of applications that run there in the place of the environment's, and raises where they
    are to stay. With `contracts` the application's contract tests come last. Raises BadInput before anything
    is touched, Failure when a phase does not end well.
    """
    phases = phases or Phases()
    app = application.load(environment.application, environment.project, environment.components)
    typed.check_apart(environment, app)
    with phases.phase("toolchain", "Toolchain"):
        toolchain.ensure()
    secrets.check(environment, app)
    hosts = engine.outputs(environment)
    members.check(environment, hosts)
    if others := former.look(environment, hosts):
        replace(others)
    with phases.phase("hosts", "Hosts") as note:
        outcome = engine.up(environment, note)
        note.result = f"{len(outcome.hosts)} up, {outcome.changes} changes"
    _configure(environment, phases, verbose, former.variables(environment, others))
    _keep_authority(environment)
    prove(environment, phases, contracts)


def prove(environment: Environment, phases: Phases, contracts: bool = False) -> None:
    """The proof as the last phase; or the contract tests, if it holds and the application has some.

    Raises Failure when something does not hold.
    """
    with phases.phase("proof", "Proof") as note:
        result = proof.run(environment)
        note.result = f"{result.holds} of {result.total} hold"
    if contracts and result.ok and proof.contracted(environment):
        with phases.phase("contracts", "Contracts") as note:
            result = proof.extend(environment, result)
            note.result = f"{result.lines_hold} of {len(result.lines)} lines of the document hold here"
    phases.save(environment.state / "phases.json")
    phases.console.print(f"page: {result.page}")
    result.check()


def _configure(environment: Environment, phases: Phases, verbose: bool, variables: Mapping[str, Any]) -> None:
    """One ansible-playbook run shown as three phases: each play of the site is one."""
    with contextlib.ExitStack() as stack:
        current: dict[str, Any] = {}

        def turn(play: str) -> None:
            # One of a name is for each topology, and of the other no host is there.
            if current.get("play") == play:
                return
            stack.close()
            current["play"] = play
            name = PLAYS.get(play, "system")
            current["note"] = stack.enter_context(phases.phase(name, play))

        def show(task: str) -> None:
            if "note" in current and phases.console.is_terminal:
                current["note"](task)

        options = ["--extra-vars", json.dumps(variables)] if variables else []
        recap = playbook.run(
            environment.project, environment.name, SITE, options, on_play=turn, on_task=show, echo=verbose
        )
    phases.console.print(f"Ansible: ok={recap.ok} changed={recap.changed} ({recap.log})")


def _keep_authority(environment: Environment) -> None:
    """Leave whom to trust where browsers and curl can be pointed at it."""
    if certificates := secrets.trusted(secrets.read(environment)):
        (environment.state / "ca.pem").write_text(certificates)


def plan(environment: Environment) -> None:
    """What Pulumi and Ansible would change; neither changes anything. Raises BadInput as `up` does."""
    app = application.load(environment.application, environment.project, environment.components)
    typed.check_apart(environment, app)
    toolchain.ensure()
    hosts = engine.outputs(environment)
    members.check(environment, hosts)
    print(engine.preview(environment))
    if not hosts:
        print("hosts do not exist yet: nothing to ask Ansible")
        return
    recap = playbook.run(environment.project, environment.name, SITE, ["--check", "--diff"], echo=True)
    print(f"Ansible would change {recap.changed} things")


def down(environment: Environment, data: bool) -> None:
    """Remove hosts and networks; with `data` also volumes, and the secrets that open them.

    Machines that existed before are forgotten and keep what they hold; so the secrets that open it stay.
    """
    phases = Phases()
    toolchain.ensure()
    with phases.phase("down", "Hosts") as note:
        engine.destroy(environment, keep_data=not data, on_event=note)
    (environment.state / "known_hosts").unlink(missing_ok=True)
    if data and environment.driver == "static":
        phases.console.print("data stays on the machines, and here the secrets that open it")
    elif data:
        secrets.forget(environment.name, environment.project)
    if data or environment.driver == "static":
        environments.release(environment.name)


def lab(topology: str, driver: str, app: str, only_mirror: bool = False, observability: bool = False) -> None:
    """The mirror, an environment that draws on it, and `up` with the application's contract tests."""
    scaffold.check_choice("topology", topology, environments.TOPOLOGIES)
    scaffold.check_choice("driver", driver, ("container", "libvirt"))
    application.load(app)
    try:
        workshop = importlib.import_module("lab")
    except ModuleNotFoundError:
        raise BadInput(
            "the lab is built from a checkout", fix="clone the repository and run make lab there"
        ) from None
    phases = Phases()
    with phases.phase("toolchain", "Toolchain") as note:
        toolchain.ensure(note)
    with phases.phase("mirror", "Mirror") as note:
        workshop.ensure_requirements(note)
        mirror = workshop.build(
            note,
            qcow2=driver == "libvirt",
            kubernetes=topology == "cluster",
            components=observability,
        )
        workshop.serve()
        if driver == "libvirt":
            importlib.import_module("lab.libvirtd").ensure()
    if only_mirror:
        return
    environment = lab_environment(topology, driver, app, mirror, "all" if observability else "")
    # It was asked for by its name.
    up(environment, phases=phases, replace=lambda _: None, contracts=True)


def lab_environment(topology: str, driver: str, app: str, mirror: Any, components: str = "") -> Environment:
    """Write the settings of lab-TOPOLOGY for this machine's mirror; its secrets and workers stay."""
    name = f"lab-{topology}"
    project = paths.toolkit()
    scaffold.ensure_passphrase()
    key = scaffold.ensure_key(name)
    path = _settings_of_lab(project, name)
    document = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    old = document.get("config") or {}
    cluster = old.get("hostwright:cluster", {"servers": 3, "workers": 0})
    settings: dict[str, Any] = {
        "application": app,
        **({"components": components} if components else {}),
        "topology": topology,
        "driver": driver,
        "ssh": {
            "user": "opensuse",
            "privateKey": str(key),
            "publicKey": key.with_suffix(".pub").read_text().strip(),
        },
        **({"cluster": cluster} if topology == "cluster" else {}),
        "hosts": {"memory": 4096, "cpus": 2, "disk": 20},
        "network": LAB_NETWORKS[topology, driver],
    }
    if driver == "libvirt":
        settings["libvirt"] = {
            "uri": "qemu:///system",
            "image": str(mirror.qcow2),
            "sha256": mirror.qcow2_sha256,
            "type": "auto",
        }
    else:
        settings["container"] = {"image": mirror.node_image}
    document["config"] = {key: value for key, value in old.items() if key.startswith("hostwright:secret")} | {
        f"hostwright:{key}": value for key, value in settings.items()
    }
    text = yaml.safe_dump(document, sort_keys=False, width=1000)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    importlib.import_module("lab.inventory").write(name, mirror, topology)
    return environments.load(name, project)


def _settings_of_lab(project: Path, name: str) -> Path:
    """The lab's settings live beside its state, where its secrets and what they open last equally long.

    The checkout has a link to them, so that another checkout finds the same lab.
    """
    path = paths.state(name) / "settings.yaml"
    link = project / "infra" / f"Pulumi.{name}.yaml"
    if link.exists() and not link.is_symlink():
        link.replace(path)
    if not link.is_symlink() or link.readlink() != path:
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    return path
