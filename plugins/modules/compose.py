#!/usr/bin/python
"""Bring a Compose project to what its folder says, and do nothing when it is there already."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose
short_description: Bring a Compose project to what its folder says
description:
  - Decides from what is seen, so that a run that was killed is taken up by the next. A project whose
    containers all have the configuration of the folder, run and are healthy, and whose jobs ended well,
    is left alone.
  - Pulls the images that are missing, all at once, then starts and waits. When that fails, the message
    has the last lines of each container that is not well.
  - A service with the label C(hostwright.reload) is not made anew for a change of its files. Its health
    check prints the digest of the configuration it runs with; when that is not in the file C(digest) of
    the folder of its name, the command in the label C(hostwright.check) must succeed in it, and it is
    sent the signal C(hostwright.reload) names.
  - Containers that the folder no longer names are stopped last, when nobody is directed to them any more.
options:
  directory:
    description: The folder with compose.yaml.
    type: path
    required: true
  timeout:
    description: Seconds until everything must be well.
    type: int
    default: 180
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: [hostwright maintainers (@hostwright)]
"""

EXAMPLES = r"""
- name: Run the application
  hostwright.hostwright.compose:
    directory: /etc/hostwright/warehouse
"""

RETURN = r"""
reasons:
  description: Service to what was not as the folder says.
  returned: always
  type: dict
reloaded:
  description: Services that were told to read their configuration again.
  returned: always
  type: list
  elements: str
"""

import json  # noqa: E402  (Ansible wants the documentation first)
import shlex  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

RELOAD, CHECK = "hostwright.reload", "hostwright.check"
TAIL = "40"  # lines of the log of a container that is not well


def main() -> None:
    """Entry point of Ansible."""
    spec = {"directory": {"type": "path", "required": True}, "timeout": {"type": "int", "default": 180}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    folder = module.params["directory"]
    if module.check_mode and not (module.get_bin_path("docker") and Path(folder, "compose.yaml").exists()):
        module.exit_json(changed=True, reasons={"compose.yaml": "not there yet"}, reloaded=[])
    project = Project(module, folder)
    reasons = project.reasons()
    stale = project.stale()
    if module.check_mode:
        module.exit_json(changed=bool(reasons or stale), reasons=reasons, reloaded=stale)
    if any(reason != GONE for reason in reasons.values()):
        project.pull()
        project.up(module.params["timeout"])
        stale = project.stale()
    for service in stale:
        project.reload(service)
    project.remove([service for service, reason in reasons.items() if reason == GONE])
    module.exit_json(changed=bool(reasons or stale), reasons=reasons, reloaded=stale)


GONE = "no longer wanted"


class Project:
    """A Compose project: what its folder says, what the engine has."""

    def __init__(self, module: AnsibleModule, folder: str) -> None:
        self.module = module
        self.folder = folder
        self.docker = module.get_bin_path("docker", required=True)
        self.wanted: dict = json.loads(self.compose("config", "--format", "json"))
        # "SERVICE HASH" a line; the engine's containers carry the same as a label.
        self.hashes = dict(line.split() for line in self.compose("config", "--hash", "*").splitlines())

    def compose(self, *arguments: str) -> str:
        return self.run(self.docker, "compose", "--project-directory", self.folder, *arguments)

    def run(self, *command: str) -> str:
        code, out, err = self.module.run_command([*command])
        if code != 0:
            self.module.fail_json(msg=(err or out).strip(), cmd=" ".join(command), rc=code)
        return out

    def containers(self) -> dict:
        """Service -> what the engine says of its container."""
        label = "label=com.docker.compose.project={}".format(self.wanted["name"])
        found = self.run(self.docker, "ps", "--all", "--quiet", "--filter", label).split()
        if not found:
            return {}
        told = json.loads(self.run(self.docker, "inspect", "--type", "container", *found))
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in told}

    def reasons(self) -> dict:
        """Service -> why it is not as the folder says; empty when all is well."""
        seen = self.containers()
        found = {service: GONE for service in seen if service not in self.hashes}
        for service, digest in self.hashes.items():
            if reason := _reason(seen.get(service), digest, self._is_job(service)):
                found[service] = reason
        return found

    def stale(self) -> list:
        """Services that run with an older configuration than their folder's, and can read it again."""
        return [
            name
            for name in sorted(self.wanted["services"])
            if self._label(name, RELOAD) and not self._fresh(name)
        ]

    def pull(self) -> None:
        """Fetch what is missing; what is here already is named by its content."""
        images = sorted({service["image"] for service in self.wanted["services"].values()})
        code, _, _ = self.module.run_command(
            [self.docker, "image", "inspect", "--format", "{{.Id}}", *images]
        )
        if code != 0:
            self.compose("pull", "--quiet", "--policy", "missing")

    def up(self, timeout: int) -> None:
        code, out, err = self.module.run_command(
            [
                self.docker, "compose", "--project-directory", self.folder, "--progress", "plain",
                "up", "--detach", "--wait", "--wait-timeout", str(timeout), "--quiet-pull",
            ]
        )  # fmt: skip
        if code != 0:
            bad = {name: reason for name, reason in self.reasons().items() if reason != GONE}
            last = (err or out).strip().splitlines()[-1:]
            logs = [f"--- {name}: {reason}\n{self._log(name)}" for name, reason in bad.items()]
            self.module.fail_json(msg="\n".join([*last, *logs]), reasons=bad, rc=code)

    def reload(self, service: str) -> None:
        """Signal the service once its files have passed its own check; returns when it runs with them."""
        if check := self._label(service, CHECK):
            self.compose("exec", "-T", service, *shlex.split(check))
        self.compose("kill", "--signal", self._label(service, RELOAD), service)
        deadline = time.monotonic() + 15
        while not self._fresh(service):
            if time.monotonic() > deadline:
                self.module.fail_json(msg=f"{service} did not take its configuration\n{self._log(service)}")
            time.sleep(0.2)

    def remove(self, services: list) -> None:
        seen = self.containers()
        for service in services:
            if service in seen:
                self.run(self.docker, "stop", seen[service]["Id"])
                self.run(self.docker, "rm", "--volumes", seen[service]["Id"])

    def _fresh(self, service: str) -> bool:
        """Whether the health check answers with the folder's digest. One that does not run will read it."""
        container = self.containers().get(service)
        if container is None or container["State"]["Status"] != "running":
            return True
        digest = Path(self.folder, service, "digest").read_text(encoding="utf-8").strip()
        test = container["Config"]["Healthcheck"]["Test"][1:]
        _, out, _ = self.module.run_command([self.docker, "exec", container["Id"], *test])
        return digest in out

    def _label(self, service: str, name: str) -> str:
        return (self.wanted["services"][service].get("labels") or {}).get(name, "")

    def _is_job(self, service: str) -> bool:
        return self.wanted["services"][service].get("restart") == "no"

    def _log(self, service: str) -> str:
        arguments = ("logs", "--no-color", "--no-log-prefix", "--tail", TAIL, service)
        return self.module.run_command(
            [self.docker, "compose", "--project-directory", self.folder, *arguments]
        )[1]


def _reason(container: dict | None, digest: str, job: bool) -> str:
    """What is wrong with a container, in a few words, or nothing."""
    if container is None:
        return "not there"
    if container["Config"]["Labels"].get("com.docker.compose.config-hash") != digest:
        return "of another configuration"
    state = container["State"]
    if job:
        if state["Status"] == "exited":
            return "" if state["ExitCode"] == 0 else "ended with {}".format(state["ExitCode"])
        return str(state["Status"])
    if state["Status"] != "running":
        return str(state["Status"])
    health = (state.get("Health") or {}).get("Status", "healthy")
    return "" if health == "healthy" else health


if __name__ == "__main__":
    main()
