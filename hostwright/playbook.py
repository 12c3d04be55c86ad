"""Run ansible-playbook as an operator would: its whole output in a log, its progress on the screen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostwright import paths
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.pulumi_process import pulumi_env

PLAY = re.compile(r"^PLAY \[(?P<name>[^\]]*)\]")
TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?P<name>[^\]]*)\]")
RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s+unreachable=\d+\s+failed=\d+"
)
TROUBLE = re.compile(r"^(fatal|failed|\[ERROR\]|ERROR!?)")
# Ansible that nobody reads any more would wait for a task's result for ever: it ends with who runs it.
TIED = ("setpriv", "--pdeathsig", "TERM")


@dataclass(frozen=True)
class Recap:
    """Tasks over all hosts: how many ran, how many changed something, and where the whole output is."""

    ok: int
    changed: int
    log: Path


def run(
    project: Path,
    environment: str,
    playbook: str,
    options: Sequence[str] = (),
    on_play: Callable[[str], None] = lambda _: None,
    on_task: Callable[[str], None] = lambda _: None,
    echo: bool = False,
) -> Recap:
    """Run one playbook, a file or one of a collection, against inventories/ENVIRONMENT of the project.

    Raises Failure with the failed task's own words when Ansible does not end well.
    """
    program = Path(sys.executable).parent / "ansible-playbook"
    name = Path(playbook).name.removesuffix(".yml").rpartition(".")[2]  # of a file, or of a collection
    log = paths.state(environment) / "log" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [*TIED, str(program), "-i", f"inventories/{environment}", playbook, *options]
    env = pulumi_env() | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "PYTHONUNBUFFERED": "1"}
    ok = changed = 0
    trouble: list[str] = []
    task = ""
    with (
        log.open("w", buffering=1) as record,  # whole also where this run is killed
        subprocess.Popen(
            command,
            cwd=project,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101  (a pipe was asked for)
        for line in process.stdout:
            record.write(line)
            if echo:
                sys.stdout.write(line)
            if match := PLAY.match(line):
                on_play(match["name"])
            elif match := TASK.match(line):
                task = match["name"].removeprefix("hostwright.hostwright.")
                on_task(task)
            elif match := RECAP.match(line):
                ok += int(match["ok"])
                changed += int(match["changed"])
            elif TROUBLE.match(line) or (trouble and line.startswith(" ") and len(trouble) < 40):
                trouble.append(line.rstrip())
    if process.returncode != 0:
        raise Failure(
            f"{name}.yml failed at: {task or 'start'}\n" + "\n".join(f"    {line}" for line in trouble[:40]),
            where=str(log),
            fix="mend what the task says and run the same command again; what is done is not done twice",
        )
    return Recap(ok, changed, log)


def play(
    environment: Environment,
    name: str,
    variables: Mapping[str, Any],
    on_task: Callable[[str], None] = lambda _: None,
) -> Recap:
    """Run a playbook of the toolkit's collection, by its name, with these variables. Raises as `run`."""
    options = ["--extra-vars", json.dumps(dict(variables))]
    playbook = f"hostwright.hostwright.{name}"
    return run(environment.project, environment.name, playbook, options, on_task=on_task)
