"""Hosts of an environment: Pulumi's Automation API over infra/, as the command runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pulumi import automation
from pulumi.automation.events import EngineEvent

from hostwright import pulumi_process, toolchain
from hostwright.environments import Environment, claim
from hostwright.hosts import recovery, typed
from hostwright.hosts import stack as stacks
from hostwright.hosts.record import HostRecord

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What `up` ended with: the hosts, and how many resources it created, changed or removed."""

    hosts: list[HostRecord]
    changes: int


def up(environment: Environment, on_event: Say | None = None) -> Outcome:
    """Make the hosts what the settings say, and wait until each answers; a second time nothing changes.

    `on_event` is told what is being made. A run that was killed is taken up where it stopped.
    Raises BadInput before anything is touched, Failure when it does not end well.
    """
    _check(environment)
    stack = _stack(environment, on_event or _silent)
    with _explained(environment):
        recovery.take_up(environment, stack, on_event or _silent)
        result = stack.up(on_event=_told(on_event), refresh=True, color="never")
    changes = result.summary.resource_changes or {}
    return Outcome(
        hosts=_records(result.outputs), changes=sum(n for kind, n in changes.items() if kind != "same")
    )


def preview(environment: Environment) -> str:
    """What `up` would change, as Pulumi prints it."""
    _check(environment)
    stack = _stack(environment)
    with _explained(environment):
        return stack.preview(diff=True, color="never").stdout


def outputs(environment: Environment) -> list[HostRecord]:
    """The hosts as the last `up` left them; none when there was none."""
    return [HostRecord.model_validate(record) for record in stacks.outputs(environment).get("hosts", [])]


def destroy(environment: Environment, keep_data: bool = True, on_event: Say | None = None) -> None:
    """Remove what `up` made. Data volumes stay, and a later `up` takes them again, unless told otherwise."""
    stack = _stack(environment, on_event or _silent)
    with _explained(environment):
        drop = frozenset({"hosts"} if keep_data else {"hosts", "data"})
        recovery.take_up(environment, stack, on_event or _silent, drop)
        if not keep_data:
            _unprotect(stack)
        stack.destroy(on_event=_told(on_event), refresh=True, exclude_protected=keep_data, color="never")
        if not keep_data:
            recovery.sweep_data(environment, on_event or _silent)
        _forget_outputs(stack)


def _check(environment: Environment) -> None:
    """Look at the settings, and at the machine for what they ask of it. Raises BadInput."""
    settings = typed.settings(environment)
    from infra import preflight

    preflight.check(settings)


def _stack(environment: Environment, unlocked: Say | None = None) -> automation.Stack:
    """The environment's Pulumi stack, made when it is new. Raises BadInput when the settings are no good.

    `unlocked` is told of locks that went first; without it they stay. Making a stack takes the lock, so a
    killed one's is in the way here already. Raises Failure when a living run holds it.
    """
    stacks.check_passphrase()
    claim(environment.name, environment.project)
    env = pulumi_process.pulumi_env()
    if backend := stacks.backend(environment):
        backend.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = automation.PulumiCommand(str(toolchain.ensure().parent), skip_version_check=True)
    options = automation.LocalWorkspaceOptions(env_vars=env, pulumi_command=command)
    if unlocked:
        recovery.unlock(environment, unlocked)
    with _explained(environment):
        return automation.create_or_select_stack(
            environment.name, work_dir=str(environment.project / "infra"), opts=options
        )


def _records(outputs: Any) -> list[HostRecord]:
    if "hosts" not in outputs:
        return []
    return [HostRecord.model_validate(record) for record in outputs["hosts"].value]


def _unprotect(stack: automation.Stack) -> None:
    """Let everything in the state be removed, as `pulumi state unprotect --all` does."""
    state = stack.export_stack()
    for resource in (state.deployment or {}).get("resources", []):
        resource.pop("protect", None)
    stack.import_stack(state)


def _forget_outputs(stack: automation.Stack) -> None:
    """Pulumi lets outputs stand while anything is left, and data volumes are: but no host is."""
    state = stack.export_stack()
    for resource in (state.deployment or {}).get("resources", []):
        if resource["type"] == "pulumi:pulumi:Stack":
            resource["outputs"] = {}
    stack.import_stack(state)


def _silent(_: str) -> None:
    """Nobody listens."""


def _told(say: Say | None) -> Callable[[EngineEvent], None] | None:
    """Turn the engine's events into a line a resource, and pass its warnings on."""
    if say is None:
        return None
    words = {"create": "making", "update": "changing", "delete": "removing", "replace": "replacing"}

    def tell(event: EngineEvent) -> None:
        remark = event.diagnostic_event
        if remark is not None and remark.severity == "warning" and not remark.ephemeral:
            say(re.sub(r"<\{%\w+%\}>", "", remark.message).strip())
        if event.resource_pre_event is not None:
            step = event.resource_pre_event.metadata
            word = words.get(str(getattr(step.op, "value", step.op)).removesuffix("-replaced"), "")
            kind = step.type.rsplit(":", 1)[-1]
            if word and not step.type.startswith("pulumi:"):
                say(f"{word} {kind.lower()} {step.urn.rsplit('::', 1)[-1]}")

    return tell


@contextmanager
def _explained(environment: Environment) -> Iterator[None]:
    """Turn Pulumi's long failures into the message that the program or the provider gave."""
    try:
        yield
    except automation.CommandError as error:
        raise stacks.explain(environment, str(error)) from None
