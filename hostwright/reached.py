"""An environment's application, spoken to as root on one of its hosts, over SSH as an operator would."""

from __future__ import annotations

import functools
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostwright import application, remote
from hostwright.application import Application
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.hosts.record import HostRecord
from hostwright.pulumi_process import pulumi_env

INSTANCE, NAME = "app.kubernetes.io/instance", "app.kubernetes.io/name"
MOST = 1000  # containers that are followed at once


@dataclass(frozen=True)
class Reached:
    """The application on one host, or on a server of a cluster."""

    environment: Environment
    application: Application
    hosts: Sequence[HostRecord]

    @property
    def candidates(self) -> Sequence[HostRecord]:
        """Whom one can ask: of a cluster its servers."""
        return [host for host in self.hosts if "servers" in host.groups] or self.hosts

    @functools.cached_property
    def host(self) -> HostRecord:
        """The one that is asked."""
        return self.candidates[0]

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """The hosts', as Ansible's inventory has them of the first."""
        program, inventory = Path(sys.executable).with_name("ansible-inventory"), self.environment.name
        done = subprocess.run(
            [program, "-i", f"inventories/{inventory}", "--host", self.candidates[0].name],
            cwd=self.environment.project,
            env=pulumi_env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Failure(done.stderr.strip()[-500:], where=f"inventories/{inventory}")
        return dict(answer(done.stdout, f"inventories/{inventory}"))

    def command(self, *words: str, host: HostRecord | None = None) -> list[str]:
        """What runs this as root there. A connection that is cut ends, and does not hang."""
        options = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=8")
        told = (word for each in options for word in ("-o", each))
        return [
            *remote.ssh(self.environment, host or self.host, *told),
            shlex.join(["sudo", "-n", *words]),
        ]

    def run(self, *words: str, text: str = "") -> str:
        """Its output. Raises Failure with its own words."""
        done = subprocess.run(self.command(*words), input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure((done.stderr or done.stdout).strip()[-500:] or words[0], where=self.host.name)
        return done.stdout

    def lines(self, *words: str) -> Iterator[str]:
        """Its output as it comes, line by line. Raises Failure with its own words when that ends badly."""
        with (
            tempfile.TemporaryFile("w+", errors="replace") as said,
            subprocess.Popen(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                errors="replace",
            ) as process,
        ):
            assert process.stdout is not None  # noqa: S101  (a pipe was asked for)
            try:
                for line in process.stdout:
                    yield line.rstrip("\n")
            except BaseException:  # whoever reads has had enough: else it would be waited for
                process.terminate()
                raise
            if process.wait() != 0:
                said.seek(0)
                raise Failure(said.read().strip()[-500:] or words[0], where=self.host.name)


class Cluster(Reached):
    """The application's namespace, by kubectl on the first server that answers."""

    @functools.cached_property
    def host(self) -> HostRecord:
        """The first whose API is ready. Raises Failure with what each says where none is."""
        if len(self.candidates) == 1:
            return self.candidates[0]  # what it is asked next will tell
        ready = self.kubectl("get", "--raw=/readyz", "--request-timeout=10s")
        told = []
        for host in self.candidates:
            asked = self.command(*ready, host=host)
            done = subprocess.run(
                asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.stdout.strip() == "ok":  # with success MicroK8s ends also where it stands still
                return host
            said = (done.stderr or done.stdout).strip().splitlines()
            told.append(f"{host.name}: {said[-1] if said else 'no answer'}")
        raise Failure(f"no server answers: {'; '.join(told)}", where=self.environment.name)

    @property
    def told(self) -> dict[str, str]:
        """What a play about the cluster is told, that it may run on this server."""
        return {"hostwright_server": self.host.name}

    @property
    def namespace(self) -> str:
        overlay = self.variables.get("app_kubernetes_overlay", "prod")
        return f"{self.application.name}-{overlay}"

    @property
    def client(self) -> tuple[str, ...]:
        """The command kubectl, for any namespace."""
        command = self.variables.get("app_kubernetes_kubectl", ("/snap/bin/microk8s", "kubectl"))
        # Root has no home in an `ssh` of this kind: a cache in the current folder is nobody's.
        return (*command, "--cache-dir=/root/.kube/cache")

    def kubectl(self, *words: str) -> tuple[str, ...]:
        return (*self.client, f"--namespace={self.namespace}", *words)

    def selector(self, part: str = "") -> str:
        """The option that chooses the application's objects, or those of a part of it."""
        return f"--selector={INSTANCE}={self.namespace}" + (f",{NAME}={part}" if part else "")

    def get(self, *words: str) -> list[dict[str, Any]]:
        """What `kubectl get` finds. Raises Failure where the API is away, whatever MicroK8s ends with."""
        told = self.run(*self.kubectl("get", *words, "--output=json"))
        found: list[dict[str, Any]] = answer(told, self.host.name)["items"]
        return found

    def items(self, kinds: str) -> list[dict[str, Any]]:
        """Objects of the application. Raises as `get`."""
        return self.get(kinds, self.selector())

    def logs(self, part: str = "", tail: int | None = None, follow: bool = False) -> tuple[str, ...]:
        """The command that prints what all pods, or those of a part, wrote: see loglines.POD.

        `tail`: last lines of each, by default all. With `follow` it goes on, of the pods that are there now.
        """
        last = -1 if tail is None else tail
        # Without --ignore-errors a pod that waits for its image keeps what all others wrote.
        options = ("--all-containers", "--prefix", "--timestamps", "--ignore-errors", f"--tail={last}")
        many = ("--follow", f"--max-log-requests={MOST}") if follow else ()
        return self.kubectl("logs", self.selector(part), *options, *many)

    def exec(self, workload: str, command: Sequence[str], terminal: bool = False) -> tuple[str, ...]:
        """The command that runs another in a pod of KIND/NAME, with its input handed through."""
        options = ("--stdin", *(["--tty"] if terminal else []))
        return self.kubectl("exec", *options, workload, "--", *command)

    def kinds(self) -> dict[str, str]:
        """Part of the application that is to last -> kind, `deployment` or `statefulset`."""
        return {
            each["metadata"]["name"]: each["kind"].lower()
            for each in self.items("deployments,statefulsets,daemonsets")
        }


def cluster(environment: Environment, hosts: Sequence[HostRecord]) -> Cluster:
    """The environment's, of which these are hosts."""
    app = application.load(environment.application, environment.project, environment.components)
    return Cluster(environment, app, hosts)


def answer(text: str, where: str) -> Any:
    """What a program says in JSON. Raises Failure for anything else."""
    try:
        return json.loads(text)
    except ValueError:
        raise Failure(f"no answer but {text.strip()[:300]!r}", where=where) from None
