"""How a cluster is disturbed: by what its operator does to it, and by nodes that lose their power."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

import lab
from hostwright.proof.namespace import owner
from hostwright.proof.wanted import module_utils
from lab import inventory
from lab.programs import program
from tests import environment
from tests import live as environments
from tests.faults.faults import Fault
from tests.faults.load import ATTEMPT, Attempt, Shop
from tests.faults.needs import needs
from tests.host import NO_ANSWER, Node, until
from tests.live import Live

NETWORK = {"mode": "nat", "cidr": "10.84.0.0/24", "cidr6": "fd00:84::/64"}
GRACE = 60.0  # seconds until a node is given up, and asked for nothing any more
MOVED = 240.0  # seconds until its pods are well elsewhere
BACK = 30.0  # seconds in which services notice that their store is there again
CHOOSE = 30.0  # seconds until the servers that are left have chosen who leads
AN_HOUR = 3600
KUBECTL = 60.0  # seconds for one call, which tries the addresses of a name in turn
# For `sh -c AMONG HOSTS COMMAND...`, with mounts of its own: a command with another /etc/hosts.
AMONG = 'mount --bind "$0" /etc/hosts && exec "$@"'

kubectl = module_utils("kubectl")


def make(folder: Path, name: str = "faults-cluster", network: dict[str, str] = NETWORK) -> Live:
    """A project with a cluster of three servers, whose API has an address beyond each one's own; not up."""
    made = environments.make(folder, name, network, servers=3)
    made.configure(microk8s_endpoint=endpoint(name), microk8s_api_sources=[network["cidr"]])
    return made


def endpoint(name: str) -> str:
    """What a kubeconfig of that environment begins with; no resolver knows it."""
    return f"api.{name}.invalid"


class Disturbance(Fault):
    """Of a cluster: requests must not hear of it, unless a disturbance excuses them."""

    what = ""
    rate = 1.0  # they last, and what a page holds is all that is looked at
    patience = 180.0
    mails_once = True

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop, self.what)
        self.live = shop.live
        self.found: list[str] = []

    def healthy(self) -> bool:
        """Every node is Ready and takes pods, and the application is as it should be."""
        nodes = self.items("nodes")
        return all(map(kubectl.ready, nodes)) and not kubectl.states(self.items("deployments,statefulsets"))

    def excuses(self, attempt: Attempt) -> bool:  # noqa: ARG002
        return False

    def complaints(self) -> list[str]:
        return self.found

    def expect(self, true: bool, what: str) -> None:
        if not true:
            self.found.append(what)

    def verb(self, *words: str) -> None:
        """Something that an operator does, and that has to succeed."""
        done = self.live.hostwright(*words, check=False, timeout=AN_HOUR)
        self.expect(done.returncode == 0, f"hostwright {' '.join(words)}: {done.stderr.strip()[-1000:]}")

    def items(self, kinds: str) -> list[dict[str, Any]]:
        # What it says beside its answer is nobody's.
        quietly = ("sh", "-c", '"$@" 2>/dev/null', "sh")
        answer = self.node.run(*quietly, *self.kubectl("get", kinds, "--output=json"))
        found: list[dict[str, Any]] = json.loads(answer)["items"]
        return found

    def kubectl(self, *words: str) -> tuple[str, ...]:
        """A command of a server's, about the application."""
        return "/snap/bin/microk8s", "kubectl", f"--namespace={self.application.name}-prod", *words

    def pods(self, node: str = "") -> dict[str, str]:
        """Pod -> the part of the application that it is of; all of them that are to stay, or a node's."""
        return {
            each["metadata"]["name"]: owner(each)
            for each in self.items("pods")
            if node in ("", each["spec"].get("nodeName")) and "deletionTimestamp" not in each["metadata"]
        }

    def machines(self, group: str) -> list[str]:
        """Names of the hosts, which are those of nodes and of the containers that they are."""
        return [each["name"] for each in self.live.hosts() if group in each["groups"]]

    def alone(self, path: str) -> bool:
        """Whether a request needs somebody of whom there is one."""
        services = self.application.services
        return any(name in services and services[name].file.alone for name in needs(self.application, path))


class ScaleUp(Disturbance):
    """A worker is added."""

    kind, what = "scale up", "1 worker"

    def begin(self) -> None:
        self.verb("scale", "--workers", "1")
        self.expect(len(self.machines("workers")) == 1, "there is no worker")


class ScaleDown(Disturbance):
    """It is emptied, leaves, and is gone."""

    kind, what = "scale down", "0 workers"
    mails_once = False  # their sink may be on it

    def excuses(self, attempt: Attempt) -> bool:
        return self.alone(attempt.path)

    def begin(self) -> None:
        self.verb("scale", "--workers", "0", "--yes")
        nodes = {each["metadata"]["name"] for each in self.items("nodes")}
        self.expect(nodes == {*self.machines("servers")}, f"nodes are {', '.join(sorted(nodes))}")


class Redeploy(Disturbance):
    """All that there are several of is made anew."""

    kind, what = "redeploy", "every service"

    def begin(self) -> None:
        services = [name for name, each in self.application.services.items() if not each.file.alone]
        before = self.pods()
        self.verb("redeploy", "gateway", *services)
        left = [name for name in self.pods() if before.get(name) in ("gateway", *services)]
        self.expect(not left, f"of before: {', '.join(left)}")


class GatewayLost(Disturbance):
    """One of several goes, and nobody has taken its place yet: who asks is answered by another."""

    kind, what = "lost", "a gateway"

    def begin(self) -> None:
        name = next(each for each, part in self.pods().items() if part == "gateway")
        self.node.run(*self.kubectl("delete", "pod", name))
        self.expect(name not in self.pods(), f"{name} is there still")


class BadImage(Disturbance):
    """A rollout asks for an image that nobody has. Old pods serve on, and the rollout is undone."""

    kind, what = "bad image", "storefront"

    def begin(self) -> None:
        self.held = self.live.variables.read_text()
        mirror = yaml.safe_load(self.live.variables.with_name("mirror.yml").read_text())
        images = mirror["app_compose_images"]
        name = images[self.what].partition("@")[0].rpartition(":")[0]
        wrong = f"{name}:none@sha256:{'0' * 64}"
        self.live.configure(app_kubernetes_images=images | {self.what: wrong}, app_kubernetes_timeout=60)
        done = self.live.deploy(check=False)
        said = done.stdout + done.stderr
        self.expect(done.returncode != 0, "it was rolled out")
        self.expect(f"undone: deployment/{self.what}" in said, f"it was not undone: {said[-1000:]}")

    def end(self) -> None:
        self.live.variables.write_text(self.held)
        self.live.deploy()


class Upgrade(Disturbance):
    """The next minor but one is refused, and the next one taken, node by node: stores go with their nodes."""

    kind, what = "upgrade", "cluster"
    rate = 0.5
    mails_once = False

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop)
        self.seen: list[tuple[float, frozenset[str]]] = []  # at which moment which nodes and stores were away

    def excuses(self, attempt: Attempt) -> bool:
        """Where a store that it needs goes with its node, or the node that is asked is the one."""
        concerned = {self.node.name, *needs(self.application, attempt.path)}
        seen = [gone for at, gone in self.seen if attempt.at - BACK <= at <= attempt.at + ATTEMPT]
        return any(concerned & gone for gone in seen) or self.alone(attempt.path)

    @contextmanager
    def staged(self) -> Iterator[None]:
        mirror = lab.build(only=("kubernetes-upgrade",))
        self.wanted = inventory.channel(mirror, "kubernetes-upgrade")
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over,), daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(1.0):
            at = time.monotonic()
            try:
                gone = away(self.items("nodes,statefulsets"))
            except NO_ANSWER:  # of the node whose turn it is
                gone = frozenset({self.node.name})
            self.seen.append((at, gone))

    def begin(self) -> None:
        before = self.versions()
        track, _, risk = self.wanted["microk8s_channel"].partition("/")
        major, minor = track.split(".")
        skipped = f"{major}.{int(minor) + 1}/{risk}"
        self.configure(self.wanted | {"microk8s_channel": skipped})
        done = self.live.hostwright("upgrade", check=False)
        said = done.stdout + done.stderr
        refused = done.returncode != 0 and f"Upgrade to {track} first" in said
        self.expect(refused, f"to {skipped}: {done.returncode}: {said[-1000:]}")
        self.expect(self.versions() == before, f"to {skipped}, which was refused: {self.versions()}")
        self.configure(self.wanted)
        self.verb("upgrade", "--channel", self.wanted["microk8s_channel"])
        others = {each for each in self.versions().values() if not each.startswith(f"v{track}.")}
        self.expect(not others, f"nodes run {', '.join(sorted(others))}")

    def configure(self, variables: dict[str, str]) -> None:
        """Beside the mirror's own, and after them: for good, as nothing goes down again."""
        self.live.variables.with_name("upgrade.yml").write_text(yaml.safe_dump(variables))

    def versions(self) -> dict[str, str]:
        return {
            each["metadata"]["name"]: each["status"]["nodeInfo"]["kubeletVersion"]
            for each in self.items("nodes")
        }


def away(items: list[dict[str, Any]]) -> frozenset[str]:
    """Names of the nodes that take no pods, and of the stores that are not served, among these objects."""
    nodes = {each["metadata"]["name"] for each in items if each["kind"] == "Node" and not kubectl.ready(each)}
    stores = kubectl.states([each for each in items if each["kind"] == "StatefulSet"])
    return frozenset(nodes | {reference.partition("/")[2] for reference in stores})


class Outage(Disturbance):
    """A node loses its power, and has it again later: it comes back by itself."""

    group = ""
    place = -1  # of its node among them
    mails_once = False
    begun = float("inf")
    stores: frozenset[str] = frozenset()

    @contextmanager
    def staged(self) -> Iterator[None]:
        there = self.machines(self.group)
        assert there, f"there are no {self.group}"
        name = there[self.place]
        self.machine = Node(name)
        self.node = Node(next(each for each in self.machines("servers") if each != name))
        named = [each for each in self.items("persistentvolumes") if owner(each)]
        self.stores = frozenset(store for store, node in kubectl.pins(named).items() if node == name)
        try:
            yield
        finally:
            self.machine.container.start()  # which does nothing where it runs

    def excuses(self, attempt: Attempt) -> bool:
        """Until it is given up; whoever needs what it has, or may have, alone waits longer."""
        if self.begun - ATTEMPT < attempt.at < self.begun + GRACE:
            return True
        only = bool(self.stores & needs(self.application, attempt.path)) or self.alone(attempt.path)
        return attempt.at > self.begun and only

    def begin(self) -> None:
        self.begun = time.monotonic()
        self.machine.container.kill()

    def end(self) -> None:
        self.machine.container.start()


class WorkerOff(Outage):
    """Its pods move."""

    kind, what, group = "power off", "a worker", "workers"

    def begin(self) -> None:
        pods = self.pods(self.machine.name)
        self.expect(bool(pods), f"{self.machine.name} has no pod to lose")
        super().begin()
        time.sleep(GRACE)
        try:
            until(self.moved, MOVED, f"the pods of {self.machine.name} are elsewhere")
        except AssertionError as error:
            self.found.append(str(error))

    def moved(self) -> bool:
        return not kubectl.states(self.items("deployments"))


class ServerOff(Outage):
    """The API can be written to all the while, at one and the same address."""

    kind, what, group = "power off", "a server", "servers"
    hold = GRACE + CHOOSE

    def begin(self) -> None:
        self.api = Api(self.live)
        super().begin()
        self.api.start()

    def end(self) -> None:
        self.api.stop()
        super().end()

    def complaints(self) -> list[str]:
        late = [(at - self.begun, said) for at, said in self.api.refused if at > self.begun + CHOOSE]
        if not self.api.written:
            return [*self.found, f"the API could not be written to: {self.api.refused[-1:]}"]
        return self.found + [f"the API after {at:.0f} s: {said}" for at, said in late]


class Api:
    """Written to once a second as operators do: by kubectl, with the kubeconfig as it was fetched.

    It begins with a name that has the addresses of all servers, in /etc/hosts of who asks: here of these
    processes alone.
    """

    def __init__(self, live: Live) -> None:
        name, held = endpoint(live.name), Path("/etc/hosts").read_text()
        servers = [host["address"] for host in live.hosts() if "servers" in host["groups"]]
        self._hosts = tempfile.NamedTemporaryFile("w", prefix="hosts-")  # noqa: SIM115  (as long as this is)
        self._hosts.write(held + "".join(f"\n{address} {name}" for address in servers))
        self._hosts.flush()
        state = Path(live.env.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        kubeconfig = state / "hostwright" / live.name / "kubeconfig"
        wanted = f"microk8s_endpoint: {name} from its first `up` on, and us in microk8s_api_sources"
        assert name in kubeconfig.read_text(), f"the environment needs {wanted}"
        self._env = live.env | {"KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": f"{self._hosts.name}.cache"}
        self._kubectl = [str(program("kubernetes")), "kubectl"]
        self.written = 0
        self.refused: list[tuple[float, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._once("faults-")
        self._hosts.close()
        shutil.rmtree(self._env["KUBECACHEDIR"], ignore_errors=True)

    def _write(self) -> None:
        while not self._stop.wait(1.0):
            at = time.monotonic()
            if problem := self._once(f"faults={at}"):
                self.refused.append((at, problem))
            else:
                self.written += 1

    def _once(self, annotation: str) -> str:
        """What is wrong, if anything is."""
        words = [*self._kubectl, "annotate", "--overwrite", "namespace", "default", annotation]
        try:
            done = subprocess.run(
                ["unshare", "--map-root-user", "--mount", "sh", "-c", AMONG, self._hosts.name, *words],
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=KUBECTL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"kubectl says nothing within {KUBECTL:.0f} s"
        return (done.stderr.strip() or f"exit status {done.returncode}") if done.returncode else ""


class FirstServerOff(ServerOff):
    """Verbs ask the next server, and so do clients that know several."""

    what, place = "the first server", 0

    @contextmanager
    def staged(self) -> Iterator[None]:
        with super().staged():
            people = self.shop.people
            gateway = environment.gateway(self.live, self.node.name)
            self.shop = replace(self.shop, people=replace(people, gateway=gateway))
            yield

    def begin(self) -> None:
        super().begin()
        time.sleep(GRACE)
        self.verb("logs", "--service", "gateway", "--tail", "1")
        self.verb("exec", "gateway", "--", "true")
        self.verb("redeploy", "storefront")


# A worker that was added has pods when all were made anew; from an upgrade nothing goes down again.
WAYS = (ScaleUp, Redeploy, GatewayLost, BadImage, WorkerOff, ScaleDown, ServerOff, FirstServerOff, Upgrade)
KINDS = tuple(dict.fromkeys(each.kind for each in WAYS))


def ways(shop: Shop, kinds: Collection[str] = KINDS) -> list[Disturbance]:
    """Every disturbance of these kinds, in an order in which one follows the other."""
    return [each(shop) for each in WAYS if each.kind in kinds]
