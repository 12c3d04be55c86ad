#!/usr/bin/python
"""Bring a Compose project to what its folder says, and do nothing when it is there already."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose
short_description: Bring a Compose project to what its folder says
description:
  - Decides from what is seen, so that a run that was killed is taken up by the next. A project whose
    containers all have the configuration of the folder, run and are healthy, and whose jobs ended well,
    is left alone. What starts, or does not answer its health check for a moment, has the time to become
    well by itself. What still does not answer then is restarted.
  - Only one is at work on a project at a time, M(hostwright.hostwright.application_files) being one too. A
    second one waits until that has ended, for as long as I(timeout), and fails then and says which process
    is there.
  - Pulls the images that are missing, all at once, then starts and waits, also for what does not answer
    its health check for a moment. When that fails, the message has the last lines of each container that
    is not well.
  - Instances of a service with the label C(hostwright.balanced) that serve are made anew one after another,
    those of different services together. Each is first set aside, by a file of its name in the folder
    C(aside) of the gateway's, which the gateway looks for at each request, and is put back when it is
    healthy. For one that is alone the service of the profile C(spare) with the same label stands in. Their
    jobs run before, once. Not so where the database they need is made anew too, as then nobody can serve.
  - A service with the label C(hostwright.reload) is not made anew for a change of its files. Its health
    check prints the digest of the configuration it runs with; when that is not in the file C(digest) of
    the folder of its name, the command in the label C(hostwright.check) must succeed in it, and it is
    sent the signal C(hostwright.reload) names, again where it has not heard it while it started.
  - Containers that the folder no longer names are stopped last, when nobody is directed to them any more.
options:
  directory:
    description: The folder with compose.yaml.
    type: path
    required: true
  timeout:
    description: Seconds until everything must be well, and before that until nobody else is at work on it.
    type: int
    default: 180
  restart:
    description: Restart these services, or single instances, and do nothing else.
    type: list
    elements: str
    default: []
  jobs:
    description: Whether jobs run. Without them migrations stay as they are.
    type: bool
    default: true
  releases:
    description: The folder in which what runs well is kept as a release, unless none is given.
    type: path
  release:
    description: Number of the release whose files are in the folder, when it is one again.
    type: int
  keep:
    description: How many releases are kept.
    type: int
    default: 5
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
release:
  description: Number of the release that runs now, if it is another than before.
  returned: always
  type: int
"""

import itertools  # noqa: E402  (Ansible wants the documentation first)
import shlex  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NamedTuple  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils import releases  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils.alone import alone  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils.project import (  # noqa: E402
    SPARE,
    Project,
)

RELOAD, CHECK, BALANCED = "hostwright.reload", "hostwright.check", "hostwright.balanced"
GONE, OTHER, ASIDE, ASKED = "no longer wanted", "of another configuration", "set aside", "to be restarted"
STARTING, UNHEALTHY = "starting", "unhealthy"  # the engine's words
DONE, HEALTHY = "service_completed_successfully", "service_healthy"  # Compose's words
TAIL = "40"  # lines of the log of a container that is not well
SIDE_BY_SIDE = 3  # services that are rolled at once: each may have one more instance meanwhile
USUAL = 30.0  # seconds between health checks, and for each, where nothing is said of them
SIGNALS, HEARD = 4, 5.0  # times that a service is told to read its configuration, seconds in which it has
DRAIN = 1.0  # seconds in which a request that was given to an instance has reached it


def main() -> None:
    """Entry point of Ansible."""
    spec = {
        "directory": {"type": "path", "required": True},
        "timeout": {"type": "int", "default": 180},
        "restart": {"type": "list", "elements": "str", "default": []},
        "jobs": {"type": "bool", "default": True},
        "releases": {"type": "path"},
        "release": {"type": "int"},
        "keep": {"type": "int", "default": 5},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    folder = module.params["directory"]
    if module.check_mode and not (module.get_bin_path("docker") and Path(folder, "compose.yaml").exists()):
        reasons = {"compose.yaml": "not there yet"}
        module.exit_json(changed=True, reasons=reasons, reloaded=[], release=None)
    if not module.check_mode and Path(folder).is_dir():
        alone(module, folder, module.params["timeout"])
    project = Deployment(module, folder)
    if module.params["restart"]:
        reasons = project.asked(module.params["restart"])
    else:
        reasons = project.reasons() if module.check_mode else project.settled()
    stale = [] if module.params["restart"] else project.stale()
    if module.params["restart"] and not reasons:
        module.fail_json(msg="nothing of that name can be restarted: {}".format(*module.params["restart"]))
    if module.check_mode:
        module.exit_json(changed=bool(reasons or stale), reasons=reasons, reloaded=stale, release=None)
    kept = None
    if module.params["releases"] and not module.params["restart"]:
        kept = releases.Releases(module.params["releases"], module.params["keep"])
        kept.begin(releases.digest(Path(folder)), module.params["release"])
        project.kept = kept
    project.bring(reasons)
    release = kept and kept.end(Path(folder), releases.digest(Path(folder)), project.facts)
    module.exit_json(
        changed=bool(reasons or stale or release),
        reasons=reasons,
        reloaded=stale,
        release=release and release["release"],
    )


class Deployment(Project):
    """What is there of the project, against what its folder says."""

    def __init__(self, module: AnsibleModule, folder: str) -> None:
        super().__init__(module, folder)
        self.timeout = module.params["timeout"]
        self.kept: releases.Releases | None = None
        # "SERVICE HASH" a line; the engine's containers carry the same as a label.
        self.hashes = dict(line.split() for line in self.compose("config", "--hash", "*").splitlines())
        self.jobs = {name for name in self.hashes if self.services[name].get("restart") == "no"}
        if not module.params["jobs"]:
            self.hashes = {name: each for name, each in self.hashes.items() if name not in self.jobs}

    def reasons(self, seen: dict | None = None) -> dict:
        """Service -> why it is not as the folder says; empty when all is well. `seen`: see containers()."""
        seen = self.containers() if seen is None else seen
        aside = self._aside()
        found = {name: GONE for name in seen if name not in self.hashes and name not in self.jobs}
        for name, digest in self.hashes.items():
            reason = _reason(seen.get(name), digest, name in self.jobs)
            if reason or name in aside:
                found[name] = reason or ASIDE
        return found

    def settled(self, names: Iterable = ()) -> dict:
        """The reasons that are left when what may become well by itself had the time to.

        Not where anything else is wrong, as it may wait for that. `names`: how these run, and no others.
        """
        begun = time.monotonic()
        while True:
            seen = self.containers()
            reasons = self._states(names, seen) if names else self.reasons(seen)
            patience = [
                self.timeout if reason == STARTING else _asked_twice(seen[name])
                for name, reason in reasons.items()
                if reason in (STARTING, UNHEALTHY)
            ]
            if len(patience) < len(reasons) or time.monotonic() - begun > max(patience, default=0):
                return reasons
            time.sleep(1)

    def asked(self, names: list) -> dict:
        """Service -> why; the instances of the services asked for, and nothing else."""
        return {
            name: ASKED
            for name in self.hashes
            if name not in self.jobs and {name, self._label(name, BALANCED)} & {*names}
        }

    def stale(self) -> list:
        """Services that run with an older configuration than their folder's, and can read it again."""
        return [name for name in sorted(self.hashes) if self._label(name, RELOAD) and not self._fresh(name)]

    def bring(self, reasons: dict) -> None:
        """Make true what the folder says, or restart what is asked for."""
        rolls = rolling(self.services, reasons, self._serving())
        rolled = {name for each in rolls for name in each.instances}
        now = [name for name, reason in reasons.items() if reason not in (GONE, ASIDE) and name not in rolled]
        if ASKED in reasons.values():
            self.start(now, again=True)
            self.put_back(self._serving())
            self.roll(rolls, again=True)
            return
        if hung := [name for name in now if reasons[name] == UNHEALTHY]:
            # Compose starts what does not run; of what runs and does not answer it only says so.
            seen = self.containers()
            self.run(self.docker, "restart", *(seen[name]["Id"] for name in hung))
        if now or rolls:
            self.pull()
            self.up(now, rolls)
        for name in self.stale():
            self.reload(name)
        self.put_back(self._serving())
        self.roll(rolls)
        self.remove([name for name in self.containers() if name not in self.hashes and name not in self.jobs])

    def pull(self) -> None:
        """Fetch what is missing; what is here already is named by its content."""
        images = sorted({each["image"] for each in self.services.values()})
        code, _, _ = self.module.run_command(
            [self.docker, "image", "inspect", "--format", "{{.Id}}", *images]
        )
        if code != 0:
            self.compose("pull", "--quiet", "--policy", "missing")

    def up(self, names: list, rolls: list) -> None:
        """Everything but what is rolled, in Compose's own order; the jobs of what is rolled before that."""
        if not self.module.params["jobs"]:
            return self.start(names)
        others = [name for name in names if name not in self.jobs]
        theirs = {job for name in others for job in _needs(self.services[name], DONE)}
        if rolls or not others:
            # Compose makes those anew who wait for a job that it makes anew, whether they changed or not.
            self.work([name for name in names if name in self.jobs - theirs])
        if others:
            self._up(others if rolls else [])
        return None

    def work(self, jobs: list) -> None:
        """Run jobs to their end."""
        if not jobs:
            return
        self.compose("up", "--detach", *jobs)
        identities = [self.containers()[name]["Id"] for name in jobs]
        code, out, err = self.module.run_command(
            ["timeout", str(self.timeout), self.docker, "wait", *identities]
        )
        if code != 0 or {*out.split()} != {"0"}:
            self.fail(err.strip() or "migrations did not end well", jobs)

    def start(self, names: list, again: bool = False) -> None:
        """These alone as the folder says, or the same `again`; returns when they are healthy.

        Created by Compose and started by the engine: `up` would run their jobs, and with --no-deps it gives
        them another hash than the folder's.
        """
        if not names:
            return
        if again:
            self.compose("--profile", SPARE, "restart", "--no-deps", *names)
        else:
            self.compose("--profile", SPARE, "create", *names)
            seen = self.containers()
            self.run(self.docker, "start", *(seen[name]["Id"] for name in names))
        deadline = time.monotonic() + self.timeout
        while True:
            states = {*self._states(names, self.containers()).values()}
            if not states:
                return
            if UNHEALTHY in states or time.monotonic() > deadline:
                self.fail("not well: {}".format(", ".join(names)), names)
            time.sleep(0.5)

    def _up(self, names: list) -> None:
        code, out, err = self.module.run_command(
            [
                self.docker, "compose", "--project-directory", self.folder, "--progress", "plain",
                "up", "--detach", "--wait", "--wait-timeout", str(self.timeout), "--quiet-pull", *names,
            ]
        )  # fmt: skip
        # Compose gives up where one is unhealthy for a moment.
        if code != 0 and self.settled(names or self.hashes):
            self.fail("".join((err or out).strip().splitlines()[-1:]), names)

    def _states(self, names: Iterable, seen: dict) -> dict:
        """Service -> what is wrong with how it runs, of those with which something is."""
        found = {name: _state(seen.get(name), name in self.jobs) for name in names}
        return {name: state for name, state in found.items() if state}

    def fail(self, said: str, names: list) -> None:
        """End with what is wrong with these, or with anybody, and the last each of them wrote."""
        bad = {name: reason for name, reason in self.reasons().items() if reason not in (GONE, ASIDE)}
        if names:
            bad = self._states(names, self.containers()) or dict.fromkeys(names, "not well")
        logs = [f"--- {name}: {reason}\n{self._log(name)}" for name, reason in bad.items()]
        self.remove([name for name in names if self.services[name].get("profiles")], drain=0)
        if self.kept and self.kept.current:
            back = f"release {self.kept.current} ran well before: hostwright rollback {self.kept.current}"
            logs.append(f"--- {back}")
        self.module.fail_json(msg="\n".join([said, *logs]), reasons=bad)

    def roll(self, rolls: list, again: bool = False) -> None:
        """One instance of each service after another; nobody is directed to one that is not there."""
        for some in (rolls[at : at + SIDE_BY_SIDE] for at in range(0, len(rolls), SIDE_BY_SIDE)):
            spares = [each.spare for each in some if each.spare]
            self.start(spares)
            for names in waves(some):
                self.set_aside(names)
                self.start(names, again)
                self.put_back(names)
            self.remove(spares)

    def set_aside(self, names: list) -> None:
        """Direct nobody to them any more; returns when those who were have reached them."""
        folder = self._aside_folder()
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        for name in names:
            (folder / name).touch()
        time.sleep(DRAIN)

    def put_back(self, names: list) -> None:
        for name in {*names} & self._aside():
            (self._aside_folder() / name).unlink()

    def reload(self, service: str) -> None:
        """Signal the service once its files have passed its own check; returns when it runs with them."""
        if check := self._label(service, CHECK):
            self.compose("exec", "-T", service, *shlex.split(check))
        # HAProxy answers before its master hears signals, and drops those that come earlier.
        for _ in range(SIGNALS):
            self.compose("kill", "--signal", self._label(service, RELOAD), service)
            deadline = time.monotonic() + HEARD
            while time.monotonic() < deadline:
                if self._fresh(service):
                    return
                time.sleep(0.2)
        self.module.fail_json(msg=f"{service} did not take its configuration\n{self._log(service)}")

    def remove(self, services: list, drain: float = DRAIN) -> None:
        """Stop and remove what is no longer wanted, after a while for those who were directed to it."""
        found = [each for name, each in self.containers().items() if name in services]
        time.sleep(drain if found else 0)
        for each in found:
            self.run(self.docker, "stop", each["Id"])
            self.run(self.docker, "rm", "--volumes", each["Id"])

    def _serving(self) -> set:
        return {name for name, each in self.containers().items() if not _state(each, False)}

    def _aside(self) -> set:
        """Names of the instances that the gateway asks last."""
        folder = self._aside_folder()
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def _aside_folder(self) -> Path:
        gateway = next((name for name in self.services if self._label(name, RELOAD)), "gateway")
        return Path(self.folder, gateway, "aside")

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
        return _label(self.services[service], name)

    def _log(self, service: str) -> str:
        arguments = ("logs", "--no-color", "--no-log-prefix", "--tail", TAIL, service)
        return self.module.run_command(
            [self.docker, "compose", "--project-directory", self.folder, "--profile", SPARE, *arguments]
        )[1]


class Roll(NamedTuple):
    """Instances of a service to be made anew one after another, and who stands in when there is but one."""

    instances: list
    spare: str | None


def rolling(services: dict, reasons: dict, serving: set) -> list:
    """The rolls that requests can go on through: of what serves, behind a gateway, with its database.

    `services`: name -> its definition in the project. `reasons`: name -> what is wrong. `serving`: names.
    """
    gateways = {name for name, each in services.items() if _label(each, RELOAD)}
    if not gateways or not gateways <= serving:
        return []
    wrong = {name for name, reason in reasons.items() if reason not in (GONE, ASIDE)}
    found = []
    for service in dict.fromkeys(filter(None, (_label(each, BALANCED) for each in services.values()))):
        members = {name: each for name, each in services.items() if _label(each, BALANCED) == service}
        spares = [name for name, each in members.items() if each.get("profiles")]
        again = [
            name
            for name in members
            if reasons.get(name) in (OTHER, ASKED) and name in serving and name not in spares
        ]
        alone = len(members) - len(spares) == 1
        jobs = {job for each in members.values() for job in _needs(each, DONE)}
        databases = {
            store
            for each in (*members.values(), *(services[job] for job in jobs))
            for store in _needs(each, HEALTHY)
        }
        if again and not (alone and not spares) and not databases & wrong:
            found.append(Roll(again, spares[0] if alone else None))
    return found


def waves(rolls: list) -> list:
    """Which are made anew at the same time: the first of every service, then the second of every one, ..."""
    columns = itertools.zip_longest(*(each.instances for each in rolls))
    return [[name for name in column if name] for column in columns]


def _needs(definition: dict, condition: str) -> list:
    """What it depends on in that way."""
    needs = definition.get("depends_on") or {}
    return [name for name, each in needs.items() if each["condition"] == condition]


def _label(definition: dict, name: str) -> str:
    return (definition.get("labels") or {}).get(name, "")


def _reason(container: dict | None, digest: str, job: bool) -> str:
    """What is wrong with a container, in a few words, or nothing."""
    if container and container["Config"]["Labels"].get("com.docker.compose.config-hash") != digest:
        return OTHER
    return _state(container, job)


def _state(container: dict | None, job: bool) -> str:
    """What is wrong with how it runs."""
    if container is None:
        return "not there"
    state = container["State"]
    if job:
        if state["Status"] == "exited":
            return "" if state["ExitCode"] == 0 else f"ended with {state['ExitCode']}"
        return str(state["Status"])
    if state["Status"] != "running":
        return str(state["Status"])
    health = (state.get("Health") or {}).get("Status", "healthy")
    return "" if health == "healthy" else health


def _asked_twice(container: dict) -> float:
    """Seconds in which the engine asks twice more whether it is well."""
    check = container["Config"].get("Healthcheck") or {}
    # Nanoseconds, and left out where an image's own check says nothing of them.
    return 2 * sum(float(check.get(name, USUAL * 1e9)) / 1e9 for name in ("Interval", "Timeout"))


if __name__ == "__main__":
    main()
