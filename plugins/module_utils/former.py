"""Applications of ours that run on a host or a cluster where another one is meant to.

Modules ask by it; `hostwright up` sends it as it is to the host's own Python, and asks before it begins.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MARK = ".hostwright"  # in the folder of a project: the list of what we wrote there
COLUMNS = ("com.docker.compose.project", "com.docker.compose.project.working_dir")
FORMAT = "\t".join(f'{{{{.Label "{each}"}}}}' for each in COLUMNS)
CONTAINERS = ["docker", "ps", "--all", "--filter", f"label={COLUMNS[0]}", "--format", FORMAT]
WORKLOADS = [
    "get", "deployments,statefulsets,jobs", "--all-namespaces",
    "--selector", "app.kubernetes.io/managed-by=hostwright", "--output", "json",
]  # fmt: skip
APPLICATION = "app.kubernetes.io/part-of"


def projects(told: str, own: str) -> dict:
    """Other Compose projects of ours -> the application each is. `told`: what CONTAINERS prints."""
    rows = [line.split("\t") for line in told.splitlines()]
    return {name: name for name, folder in rows if name != own and Path(folder, MARK).is_file()}


def namespaces(told: str, own: str) -> dict:
    """Other namespaces with workloads of ours -> the application each is. `told`: what WORKLOADS prints."""
    every = [each["metadata"] for each in json.loads(told)["items"]]
    return {
        each["namespace"]: each["labels"].get(APPLICATION, each["namespace"])
        for each in every
        if each["namespace"] != own
    }


def look(ask: Any, own: str, kubectl: list) -> dict:
    """Project, or namespace where there is a `kubectl`, -> application; `own` is not among them.

    `ask`: command -> status, output, error. What cannot be asked yet, or now, runs nothing that we know of.
    """
    code, told, _ = ask([*kubectl, *WORKLOADS] if kubectl else CONTAINERS)
    if code != 0 or (kubectl and not told.startswith("{")):  # MicroK8s ends well with what is no answer
        return {}
    return namespaces(told, own) if kubectl else projects(told, own)


def _ask(command: list) -> tuple:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 127, "", ""
    return done.returncode, done.stdout, done.stderr


if __name__ == "__main__":
    print(json.dumps(look(_ask, sys.argv[1], sys.argv[2:])))
