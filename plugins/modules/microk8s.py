#!/usr/bin/python
"""Bring a host's MicroK8s to what is wanted of it, one step of a cluster's way at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: microk8s
short_description: Bring a host's MicroK8s to what is wanted of it
description:
  - Decides from what the API and the files of MicroK8s say, never from exit codes or from words in an output,
    as both mislead. Every command and every wait has an end; where one is reached, C(microk8s inspect) is
    run and the message names its report.
  - A join that was cut off is known by a mark of our own and by MicroK8s' own lock. Such a node is no member
    and holds nothing, so that its snap is removed and installed again before it joins. A data volume that is
    mounted where the snap keeps its data is emptied with it, and stays.
options:
  state:
    description:
      - V(present) installs the snap of the channel, holds its refreshes, and sees what is there. An API that
        does not come up in time is told of in C(seen), as others may know what to make of that.
      - V(answering) waits until the API of this server answers.
      - V(planned) decides from what all hosts saw who leads, who has to join, and what has to go before.
      - V(admitted), on the leader, forgets O(gone) and lets O(token) join for an hour.
      - V(joined) joins the node to the leader, after installing it anew where O(again) says so.
      - V(ready), on the leader, waits until O(nodes) are Ready and addons answer; missing ones are enabled.
        Where there are several nodes the cluster's DNS is on two of them.
      - V(renewed), on a server, has certificates made anew that end within O(days), and waits until its node
        is Ready and, of three O(servers), each votes.
      - V(exported), on the leader, gives a kubeconfig with a context for each of O(servers).
      - V(drained) and V(uncordoned), on the leader, empty O(node) and let pods return to it, when it is Ready
        and, of three O(servers), each votes.
      - V(upgraded) brings the snap to the channel.
      - V(leaving), on a server, sees which nodes O(nodes) are, and refuses those that have a volume's only
        copy. V(left) has a worker leave the cluster; V(forgotten), on a server, removes O(gone) from it.
    type: str
    choices:
      - present
      - answering
      - planned
      - admitted
      - joined
      - ready
      - renewed
      - exported
      - drained
      - upgraded
      - uncordoned
      - leaving
      - left
      - forgotten
    default: present
  channel:
    description: TRACK/RISK, as C(1.35/stable).
    type: str
  snaps:
    description:
      - A folder of the host or a URL that has C(snapd), C(core22) and C(microk8s), each as C(.snap) and
        C(.assert).
      - Without it snaps come from their store.
    type: str
  upgrade:
    description: Whether the next minor of Kubernetes is welcome, and a newer revision of the same.
    type: bool
    default: false
  hosts:
    description: For V(planned), what V(present) saw on each host.
    type: list
    elements: dict
    default: []
  gone:
    description: Names of nodes, and addresses that the database alone knows.
    type: list
    elements: str
    default: []
  token:
    description: The cluster's token, 32 characters or more.
    type: str
  leader:
    description: Name of the node that leads.
    type: str
  address:
    description: For V(present) the node's own address, for V(joined) the leader's.
    type: str
  peer:
    description: The beginning of its certificate's fingerprint.
    type: str
  host:
    description: What the inventory calls the host.
    type: str
  worker:
    description: Whether the node is to be a worker.
    type: bool
    default: false
  again:
    description: Whether its snap has to be removed and installed again first.
    type: bool
    default: false
  node:
    description: The node to empty, or to fill again.
    type: str
  nodes:
    description: Names of all nodes there must be; for V(leaving), of the hosts that are to go.
    type: list
    elements: str
    default: []
  addresses:
    description: For V(leaving), name of each host to its address.
    type: dict
    default: {}
  servers:
    description: Name of each server to its address.
    type: dict
    default: {}
  days:
    description: For V(renewed), how long before its end a certificate is made anew.
    type: int
    default: 30
  addons:
    description: Addons there must be, each a C(name) with C(args).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      args:
        description: What it is enabled with. Those of an enabled one cannot be changed.
        type: list
        elements: str
        default: []
  environment:
    description: How contexts of the kubeconfig are called.
    type: str
    default: microk8s
  endpoint:
    description: HOST or HOST:PORT that stands before all servers.
    type: str
    default: ""
  timeout:
    description: Seconds that a wait may take.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: [hostwright maintainers (@hostwright)]
"""

EXAMPLES = r"""
- name: Install MicroK8s, and see what is there
  hostwright.hostwright.microk8s:
    channel: 1.35/stable
  register: __microk8s_node
"""

RETURN = r"""
seen:
  description: What is there (V(present)).
  returned: when state is present
  type: dict
plan:
  description:
    - C(leader), C(joining), C(gone) and C(upgrading) (V(planned)), nodes by their names. Beside them
      C(hosts), node to what the inventory calls it, C(addresses), and C(servers), server to address.
  returned: when state is planned
  type: dict
leaving:
  description: Of each host C(host), its C(node), if one is listed, and whether that is C(ready) (V(leaving)).
  returned: when state is leaving
  type: list
  elements: dict
peer:
  description: The beginning of the leader's fingerprint (V(admitted)).
  returned: when state is admitted
  type: str
renewed:
  description: Certificates that were made anew (V(renewed)).
  returned: when state is renewed
  type: list
  elements: str
kubeconfig:
  description: For operators (V(exported)); with it one is administrator.
  returned: when state is exported
  type: str
report:
  description: What C(microk8s inspect) wrote, where something failed.
  returned: failure
  type: str
"""

import functools  # noqa: E402  (Ansible wants the documentation first)
import json  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import socket  # noqa: E402
import ssl  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.urls import fetch_file  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils import microk8s as decide  # noqa: E402

MICROK8S = "/snap/bin/microk8s"
COMMON, LOCKS = Path("/var/snap/microk8s/common"), Path("/var/snap/microk8s/current/var/lock")
CERTS = Path("/var/snap/microk8s/current/certs")
# Good for a year; all others are for ten, and MicroK8s makes none of those alone.
YEARLY = ("server.crt", "front-proxy-client.crt")
OURS = Path("/var/lib/hostwright")
JOINING, UPGRADING = OURS / "microk8s-joining", OURS / "microk8s-upgrading"
ASIDE = OURS / "microk8s-common"  # where a data volume is mounted while the snap is removed
# A snap needs the ones before it.
ORDER = ("snapd", "core22", "microk8s")
ASK = 60  # seconds that a question may take
INSTALL = 1800  # seconds for what is downloaded or unpacked
ADMIT = 3600  # seconds for which the token is good for joining


def main() -> None:
    """Entry point of Ansible."""
    addon = {
        "name": {"type": "str", "required": True},
        "args": {"type": "list", "elements": "str", "default": []},
    }
    states = (
        "present",
        "answering",
        "planned",
        "admitted",
        "joined",
        "ready",
        "renewed",
        "exported",
        "drained",
        "upgraded",
        "uncordoned",
        "leaving",
        "left",
        "forgotten",
    )
    spec = {
        "state": {"type": "str", "choices": [*states], "default": "present"},
        "channel": {"type": "str"},
        "snaps": {"type": "str"},
        "upgrade": {"type": "bool", "default": False},
        "hosts": {"type": "list", "elements": "dict", "default": []},
        "gone": {"type": "list", "elements": "str", "default": []},
        "token": {"type": "str", "no_log": True},
        "leader": {"type": "str"},
        "address": {"type": "str"},
        "peer": {"type": "str"},
        "host": {"type": "str"},
        "worker": {"type": "bool", "default": False},
        "again": {"type": "bool", "default": False},
        "node": {"type": "str"},
        "nodes": {"type": "list", "elements": "str", "default": []},
        "addresses": {"type": "dict", "default": {}},
        "servers": {"type": "dict", "default": {}},
        "days": {"type": "int", "default": 30},
        "addons": {"type": "list", "elements": "dict", "default": [], "options": addon},
        "environment": {"type": "str", "default": "microk8s"},
        "endpoint": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 600},
    }
    needs = [
        ("state", "present", ["channel", "host", "address"]),
        ("state", "planned", ["hosts"]),
        ("state", "admitted", ["token"]),
        ("state", "joined", ["channel", "leader", "address", "peer", "token"]),
        ("state", "ready", ["channel", "nodes", "servers"]),
        ("state", "exported", ["servers"]),
        ("state", "drained", ["node"]),
        ("state", "upgraded", ["channel"]),
        ("state", "uncordoned", ["node"]),
        ("state", "leaving", ["nodes"]),
        ("state", "forgotten", ["gone"]),
    ]
    module = AnsibleModule(argument_spec=spec, required_if=needs, supports_check_mode=True)
    host = Host(module)
    try:
        module.exit_json(**getattr(host, module.params["state"])())
    except decide.Unfit as error:
        module.fail_json(msg=str(error))


class Host:
    """The MicroK8s of this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.given: dict[str, Any] = module.params
        self.name = socket.gethostname().lower()
        self.end = time.monotonic() + module.params["timeout"]

    # --- states ---

    def present(self) -> dict[str, Any]:
        changed, installed = False, self._installed()
        channel, offline = self.given["channel"], bool(self.given["snaps"])
        try:
            asked = functools.partial(self._offered, channel)
            step = decide.step(installed, channel, self.given["upgrade"], offline, asked)
        except decide.Unfit as error:
            raise decide.Unfit(f"{self.name} {error}") from None
        if step and step.verb == "install":
            if self.module.check_mode:
                return {"changed": True, "seen": self._nothing()}
            self._install()
            changed, installed = True, self._installed()
        elif step and not self.module.check_mode:
            self._mark(UPGRADING)
        if installed and "held" not in installed["notes"].split(","):
            changed = True
            if not self.module.check_mode:
                self._snap("refresh", "--hold=forever", "microk8s")
        if (LOCKS / "stopped.lock").exists():
            changed = True
            if not self.module.check_mode:
                self._microk8s("start", timeout=self._left())
        report = ""
        if not self._joining() and not self._worker() and not self._wait_here():
            report = self._inspect()
        upgrading = bool(step and step.verb == "refresh") or UPGRADING.exists()
        seen = self._see() | {"upgrading": upgrading, "report": report}
        return {"changed": changed or upgrading, "seen": seen}

    def answering(self) -> dict[str, Any]:
        if not self.module.check_mode:
            self._require_here()
        return {"changed": False}

    def planned(self) -> dict[str, Any]:
        hosts = {each["name"]: each for each in self.given["hosts"]}
        if len(hosts) < len(self.given["hosts"]):
            raise decide.Unfit(
                "two hosts have one name (hostname): Kubernetes knows nodes by it. Give each its own"
            )
        others = {
            "hosts": {name: each["host"] for name, each in hosts.items()},
            "addresses": {name: each["address"] for name, each in hosts.items()},
            "servers": {name: each["address"] for name, each in hosts.items() if each["group"] == "servers"},
        }
        try:
            return {"changed": False, "plan": decide.plan(hosts) | others}
        except decide.Unfit as error:
            reports = [f"{each['report']} on {name}" for name, each in hosts.items() if each["report"]]
            where = f". Reports of `microk8s inspect`: {', '.join(reports)}" if reports else ""
            raise decide.Unfit(f"{error}{where}") from None

    def admitted(self) -> dict[str, Any]:
        if self.module.check_mode:
            return {"changed": True, "peer": ""}
        self._forget()
        lasting = ("--token", self.given["token"], "--token-ttl", str(ADMIT))
        code, out, err = self._microk8s("add-node", *lasting, "--format", "json")
        try:
            peer = json.loads(out)["token"].rpartition("/")[2]
        except (ValueError, KeyError):
            self._fail(f"the token cannot be added: {_last(out, err)} (exit status {code})")
        return {"changed": True, "peer": peer}

    def joined(self) -> dict[str, Any]:
        if self.module.check_mode:
            return {"changed": True}
        if self.given["again"]:
            self._remove()
            self._install()
            self._snap("refresh", "--hold=forever", "microk8s")
        self._require_here()
        self._mark(JOINING)
        url = f"{self.given['address']}:25000/{self.given['token']}/{self.given['peer']}"
        kind = ["--worker"] if self.given["worker"] else []
        code, out, err = self._microk8s("join", url, *kind, timeout=self._left())
        said = _last(out, err).replace(self.given["token"], "TOKEN")
        member = self._worker if self.given["worker"] else self._member
        # What it says of itself is not believed, in either direction; but after a refusal nothing more comes.
        if not (member() if code else self._until(member)) or (LOCKS / "join-in-progress").exists():
            self._fail(f"{self.name} has not joined {self.given['leader']}: {said} (exit status {code})")
        JOINING.unlink()
        return {"changed": True}

    def ready(self) -> dict[str, Any]:
        if self.module.check_mode and not self._installed():
            return {"changed": True}
        minor, names = decide.minor(self.given["channel"]), self.given["nodes"]
        servers = self.given["servers"]
        if not self.module.check_mode:
            self._wait_for(lambda: decide.unready(self._nodes() or {}, names, minor))
            self._wait_for(lambda: decide.too_few_voters(self._members(), len(servers)))
        wanted = [each["name"] for each in self.given["addons"]]
        changed = self._enable(minor)
        changed = self._spread() or changed
        if not self.module.check_mode:
            self._wait_for(lambda: decide.unavailable(self._workloads(), decide.workloads(minor, wanted)))
        return {"changed": changed}

    def renewed(self) -> dict[str, Any]:
        if not self._installed():  # in a first check
            return {"changed": True, "renewed": []}
        limit = time.time() + self.given["days"] * 86400
        names = [name for name in YEARLY if (CERTS / name).exists() and self._end(name) < limit]
        if names and not self.module.check_mode:
            for name in names:
                self._renew(name)
            self._require_here()
            self._wait_for(lambda: decide.away(self._nodes() or {}, [self.name]))
            self._wait_for(lambda: decide.too_few_voters(self._members(), len(self.given["servers"])))
        return {"changed": bool(names), "renewed": names}

    def _renew(self, name: str) -> None:
        before = self._end(name)
        code, out, err = self._microk8s("refresh-certs", "-e", name, timeout=self._left())
        if self._end(name) <= before:
            self._fail(f"{name} on {self.name} is not made anew: {_last(out, err)} (exit status {code})")

    def _end(self, name: str) -> float:
        """Of a certificate, in seconds since 1970."""
        code, out, err = self._run("openssl", "x509", "-noout", "-enddate", "-in", str(CERTS / name))
        if code:
            self._fail(f"{CERTS / name} on {self.name} cannot be read: {_last(out, err)}")
        return float(ssl.cert_time_to_seconds(out.partition("=")[2].strip()))

    def exported(self) -> dict[str, Any]:
        if self.module.check_mode and not self._installed():
            return {"changed": False, "kubeconfig": ""}
        view = json.loads(self._asked("kubectl", "config", "view", "--raw", "-o", "json"))
        named = (self.given["servers"], self.given["environment"], self.given["endpoint"])
        return {"changed": False, "kubeconfig": json.dumps(decide.kubeconfig(view, *named), indent=2) + "\n"}

    def drained(self) -> dict[str, Any]:
        if not self.module.check_mode:
            limit = ("--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={self._left()}s")
            # It ends by itself, and then says what it waited for.
            code, out, err = self._microk8s(
                "kubectl", "drain", self.given["node"], *limit, timeout=self._left() + ASK
            )
            if code:
                self._fail(f"{self.given['node']} cannot be emptied: {_last(out, err)}")
        return {"changed": True}

    def uncordoned(self) -> dict[str, Any]:
        node, servers = self.given["node"], len(self.given["servers"])
        if not self.module.check_mode:
            self._wait_for(lambda: decide.away(self._nodes() or {}, [node]))
            self._wait_for(lambda: decide.too_few_voters(self._members(), servers))
        listed = self._nodes() or {}
        if not listed.get(node, {}).get("cordoned", True):
            return {"changed": False}
        if not self.module.check_mode:
            self._asked("kubectl", "uncordon", self.given["node"])
        return {"changed": True}

    def upgraded(self) -> dict[str, Any]:
        before = self._installed()
        if before is None or self.module.check_mode:
            return {"changed": True}
        if self.given["snaps"]:
            self._from_files(["microk8s"])
        else:
            self._snap("refresh", f"--channel={self.given['channel']}", "microk8s")
        now = self._installed()
        if now is None or decide.minor(now["version"]) != decide.minor(self.given["channel"]):
            self._fail(
                f"{self.name} runs {(now or before)['version']} after the refresh to {self.given['channel']}"
            )
        return {"changed": now != before}

    def leaving(self) -> dict[str, Any]:
        listed = self._nodes()
        if listed is None:
            self._fail(f"the API on {self.name} does not answer")
        hosts = {name: self.given["addresses"].get(name, "") for name in self.given["nodes"]}
        volumes = json.loads(self._asked("kubectl", "get", "persistentvolumes", "-o", "json"))["items"]
        return {"changed": False, "leaving": decide.leaving(hosts, listed, self._members(), volumes)}

    def left(self) -> dict[str, Any]:
        if not self._worker():
            return {"changed": False}
        if not self.module.check_mode:
            code, out, err = self._microk8s("leave", timeout=self._left())
            if self._worker():
                # It is going: what is wrong with it must not keep it.
                said = f"{_last(out, err)} (exit status {code})"
                self.module.warn(f"{self.name} is removed although it does not leave by itself: {said}")
        return {"changed": True}

    def forgotten(self) -> dict[str, Any]:
        if not self.module.check_mode:
            self._forget()
        return {"changed": bool(self.given["gone"])}

    def _forget(self) -> None:
        """Remove what is gone from cluster and database, and look whether it then is: exit codes mislead."""
        for each in self.given["gone"]:
            self._microk8s("remove-node", each, "--force")
        listed = [*(self._nodes() or {}), *(address.rpartition(":")[0] for address in self._members())]
        if left := [each for each in self.given["gone"] if each in listed]:
            self._fail(f"{', '.join(left)} cannot be removed from the cluster")

    # --- what is there ---

    def _see(self) -> dict[str, Any]:
        installed = self._installed()
        nodes = None if self._worker() else self._nodes()
        return self._nothing() | {
            "version": installed["version"] if installed else "",
            "worker": self._worker(),
            "joining": self._joining(),
            "nodes": nodes,
            "members": {} if self._worker() else self._members(),
            "used": nodes is not None and len(nodes) == 1 and self._used(),
        }

    def _nothing(self) -> dict[str, Any]:
        """A host before its first installation is as one that is alone."""
        alone = {"address": "", "ready": True, "version": self.given["channel"], "cordoned": False}
        return {
            "name": self.name,
            "host": self.given["host"],
            "group": "workers" if self.given["worker"] else "servers",
            "address": self.given["address"],
            "version": "",
            "worker": False,
            "joining": False,
            "upgrading": False,
            "report": "",
            "nodes": {self.name: alone},
            "members": {},
            "used": False,
        }

    def _worker(self) -> bool:
        return (LOCKS / "clustered.lock").exists()

    def _joining(self) -> bool:
        return JOINING.exists() or (LOCKS / "join-in-progress").exists()

    def _member(self) -> bool:
        """Whether this node's own API lists it together with the leader, and finds it Ready."""
        listed = self._nodes() or {}
        return self.given["leader"] in listed and bool(listed.get(self.name, {}).get("ready"))

    def _nodes(self) -> dict[str, Any] | None:
        code, out, _ = self._microk8s("kubectl", "get", "nodes", "-o", "json")
        return None if code else decide.nodes(out)

    def _status(self) -> dict[str, Any] | None:
        return decide.status(self._microk8s("status", "--format", "yaml")[1])

    def _members(self) -> dict[str, str]:
        members: dict[str, str] = (self._status() or {}).get("members", {})
        return members

    def _used(self) -> bool:
        return decide.used(self._asked("kubectl", "get", "persistentvolumes,namespaces", "-o", "json"))

    def _workloads(self) -> str:
        return self._asked("kubectl", "get", "deployments,daemonsets", "-A", "-o", "json")

    def _installed(self) -> dict[str, str] | None:
        program = self.module.get_bin_path("snap", opt_dirs=["/usr/bin"])
        if program is None:
            if self.module.check_mode:
                return None
            self.module.fail_json(msg="there is no snap on this host: snapd must be installed before")
        return decide.snaps(self._run(program, "list")[1]).get("microk8s")

    # --- the snap ---

    def _install(self) -> None:
        self._mount_again()
        if self.given["snaps"]:
            there = decide.snaps(self._run("snap", "list")[1])
            self._from_files([name for name in ORDER if name not in there])
        else:
            self._snap("wait", "system", "seed.loaded")
            self._snap("install", "microk8s", "--classic", f"--channel={self.given['channel']}")

    def _offered(self, channel: str) -> str:
        """The revision that the channel has, or the folder of files."""
        if self.given["snaps"]:
            return decide.asserted(Path(self._file("microk8s.assert")).read_text())
        code, out, err = self._run("snap", "info", "microk8s")
        if code:
            raise decide.Unfit(f"cannot ask what {channel} has: {_last(out, err)}")
        return decide.offered(out, channel)

    def _from_files(self, names: list[str]) -> None:
        for name in names:
            assertion, file = (self._file(f"{name}.{kind}") for kind in ("assert", "snap"))
            self._snap("ack", assertion)
            self._snap("install", file, *(["--classic"] if name == "microk8s" else []))
        installed = self._installed()
        if installed and decide.minor(installed["version"]) != decide.minor(self.given["channel"]):
            wrong = f"{self.given['snaps']} has MicroK8s {installed['version']}"
            raise decide.Unfit(
                f"{wrong}, and microk8s_channel asks for {self.given['channel']}: give its own files"
            )

    def _file(self, name: str) -> str:
        """Where a file of the given folder is on this host."""
        place = f"{self.given['snaps'].rstrip('/')}/{name}"
        if place.startswith(("http://", "https://")):
            return str(fetch_file(self.module, place, timeout=ASK))
        if not Path(place).is_file():
            raise decide.Unfit(
                f"microk8s_snaps: there is no {place} on {self.name}. `snap download` makes it"
            )
        return place

    def _remove(self) -> None:
        """Take the snap away with all it has; what pods left in its folder is somebody's, and stays."""
        self._mount_again()
        storage = COMMON / "default-storage"
        if storage.is_dir() and any(storage.iterdir()):
            raise decide.Unfit(
                f"{self.name} has to be installed anew, and {storage} has data of pods. Move it "
                "elsewhere, or delete it, and run again"
            )
        if self._mounted(COMMON):
            self._set_aside()
        self._snap("remove", "--purge", "microk8s")
        JOINING.unlink(missing_ok=True)

    def _set_aside(self) -> None:
        """Have the data volume be empty, and elsewhere: snapd cannot remove a folder where one is mounted.

        How it came to be mounted (fstab, a unit, a container's engine) is not asked, so it stays mounted.
        """
        self._microk8s("stop", timeout=self._left())  # and with it what pods have mounted below
        ASIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Private, and without what is mounted below: whatever that is, it is not emptied.
        self._must("mount", "--bind", "--make-private", str(COMMON), str(ASIDE))
        self._must("umount", "--recursive", "--lazy", str(COMMON))
        for each in ASIDE.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()

    def _mount_again(self) -> None:
        """Bring a volume back that is set aside, by this run or by one that was cut off."""
        if self._mounted(ASIDE):
            if not self._mounted(COMMON):
                COMMON.mkdir(mode=0o755, parents=True, exist_ok=True)
                self._must("mount", "--bind", str(ASIDE), str(COMMON))
            self._must("umount", str(ASIDE))
        if ASIDE.is_dir():
            ASIDE.rmdir()  # as it says that a run was cut off

    def _mounted(self, place: Path) -> bool:
        return self._run("mountpoint", "--quiet", str(place))[0] == 0

    def _enable(self, minor: int) -> bool:
        """Enable what is missing, one by one, and look whether it then is; whether any was."""
        enabled = (self._status() or {}).get("addons", [])
        there = json.loads(self._workloads())["items"]
        names = {f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in there}
        changed = False
        for addon in self.given["addons"]:
            name, workload = addon["name"], decide.workload(minor, addon["name"])
            # An ingress of before 1.35 stays what it was, and is called enabled all the same.
            old = name == "ingress" and name in enabled and decide.NGINX in names and workload != decide.NGINX
            if name in enabled and not old:
                continue
            changed = True
            if self.module.check_mode:
                continue
            if old:
                self._microk8s("disable", name, timeout=self._left())
            _, out, err = self._microk8s("enable", name, *addon["args"], timeout=self._left())
            if not self._until(functools.partial(self._enabled, name)):
                self._fail(f"the addon {name} is not enabled: {_last(out, err)}")
        return changed

    def _spread(self) -> bool:
        """Have the cluster's DNS outlive a node; whether anything had to be done for that."""
        patch = decide.spread(self._workloads(), len(self._nodes() or {}))
        if patch and not self.module.check_mode:
            space, name = decide.DNS.split("/")
            patched = ("patch", "deployment", name, f"--patch={json.dumps(patch)}")
            self._asked("kubectl", f"--namespace={space}", *patched)
        return bool(patch)

    def _enabled(self, addon: str) -> bool:
        return addon in (self._status() or {}).get("addons", [])

    # --- asking and waiting ---

    def _wait_here(self) -> bool:
        """Wait until this node's API answers and finds a node Ready; whether it does."""
        left = self._left()
        code, _, _ = self._microk8s("status", "--wait-ready", "--timeout", str(left), timeout=left + ASK)
        return code == 0 and self._nodes() is not None

    def _require_here(self) -> None:
        """The same, of which nothing else may come."""
        if not self._wait_here():
            self._fail(f"the API on {self.name} does not answer after {self.given['timeout']} s")

    def _until(self, see: Callable[[], bool]) -> bool:
        while not (found := see()) and time.monotonic() < self.end:
            time.sleep(1)
        return found

    def _wait_for(self, lacking: Callable[[], list[str]]) -> None:
        """Wait until nothing is lacking any more."""
        left: list[str] = []

        def see() -> bool:
            left[:] = lacking()
            return not left

        if not self._until(see):
            self._fail(f"after {self.given['timeout']} s: {'; '.join(left)}")

    def _left(self) -> int:
        return max(1, int(self.end - time.monotonic()))

    def _microk8s(self, *words: str, timeout: int = ASK) -> tuple[int, str, str]:
        return self._run(MICROK8S, *words, timeout=timeout)

    def _asked(self, *words: str) -> str:
        code, out, err = self._microk8s(*words)
        if code:
            self._fail(f"microk8s {' '.join(words)}: {_last(out, err)}")
        return out

    def _snap(self, *words: str) -> None:
        code, out, err = self._run("snap", *words, timeout=INSTALL)
        if code:
            said = " ".join((err or out).split()) or f"exit status {code}"
            self._fail(f"snap {' '.join(words)} on {self.name}: {said}")

    def _must(self, *words: str) -> None:
        code, out, err = self._run(*words)
        if code:
            self._fail(f"{' '.join(words)} on {self.name}: {_last(out, err)}")

    def _run(self, *words: str, timeout: int = ASK) -> tuple[int, str, str]:
        """A command that ends, and that nobody answers."""
        ended = ["timeout", "--kill-after=10", str(timeout), *words]
        code, out, err = self.module.run_command(ended, data="")
        return int(code), str(out), str(err)

    def _mark(self, place: Path) -> None:
        OURS.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.touch()

    def _fail(self, what: str) -> NoReturn:
        """Fail, with the report of `microk8s inspect`."""
        report = self._inspect()
        where = f". The report of `microk8s inspect` is {report} on {self.name}" if report else ""
        self.module.fail_json(msg=f"{what}{where}", report=report)
        raise AssertionError  # fail_json has ended the process

    def _inspect(self) -> str:
        """Where the report is of what is wrong; nothing where there is no MicroK8s."""
        if not Path(MICROK8S).exists():
            return ""
        found = re.search(r"Report tarball is at (\S+)", self._microk8s("inspect", timeout=300)[1])
        return found[1] if found else ""


def _last(out: str, err: str) -> str:
    """The last lines that a command said."""
    return " ".join(line.strip() for line in (out + err).strip().splitlines()[-3:]) or "it says nothing"


if __name__ == "__main__":
    main()
