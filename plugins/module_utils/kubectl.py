"""An application in its namespace, as kubectl sees it: what is there, and what is wrong with it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

INSTANCE = "app.kubernetes.io/instance"
MANAGED = "app.kubernetes.io/managed-by=hostwright"
NAME = "app.kubernetes.io/name"
TRIED = "hostwright/tried"  # on a pod: for which nodes it was made anew, and came to one with all others
NODES = "hostwright/nodes"  # on a Service of type LoadBalancer: whose addresses are to be its own
# Of these there may be some that nobody wants any more. Volumes and claims are not among them.
PRUNED = (
    "deployments,statefulsets,daemonsets,jobs,services,ingresses,networkpolicies,horizontalpodautoscalers,"
    "poddisruptionbudgets,configmaps,secrets,serviceaccounts"
)
PROMOTE = "hostwright/promote"  # on a namespace: a state and whose data it is
SCALER = "HorizontalPodAutoscaler"
VERSION = re.compile(r"v\d+((alpha|beta)\d+)?")


class Kubectl:
    """Calls of kubectl; one that fails ends the module with its own words."""

    def __init__(self, module: Any, command: list) -> None:
        self.module = module
        self.command = command

    def __call__(self, *arguments: str) -> str:
        code, out, err = self.ask(*arguments)
        if code != 0:
            self.module.fail_json(
                msg=(err or out).strip(), cmd=" ".join([*self.command, *arguments]), rc=code
            )
        return out

    def ask(self, *arguments: str) -> tuple:
        """Status, output and error; for who knows what to make of them."""
        found: tuple = self.module.run_command([*self.command, *arguments])
        return found

    def objects(self, *arguments: str) -> list:
        """What `get` finds, whole; nothing where there is nothing.

        On a worker, and where it does not run, MicroK8s says so in a sentence, with success.
        """
        told = self("get", *arguments, "--ignore-not-found", "--output", "json")
        if not told.strip():
            return []
        try:
            found = json.loads(told)
        except ValueError:
            self.module.fail_json(msg=f"there is no API of Kubernetes here: {told.strip()[:300]}")
        return list(found["items"]) if found["kind"] == "List" else [found]


def reference(item: dict) -> str:
    """KIND/NAME, by which one object is told from others of a namespace."""
    return "{}/{}".format(item["kind"].lower(), item["metadata"]["name"])


def changed(diff: str) -> list:
    """Objects, KIND/NAME, a diff of kubectl is about: its files are GROUP.VERSION.KIND.NAMESPACE.NAME."""
    found = []
    for line in diff.splitlines():
        if line.startswith("+++ ") and "/MERGED-" in line:
            # A group has dots, and so has a name of few kinds of ours: the version tells where the kind is.
            words = Path(line.split()[1]).name.split(".")
            at = next(index for index, word in enumerate(words) if VERSION.fullmatch(word))
            found.append("{}/{}".format(words[at + 1].lower(), ".".join(words[at + 3 :])))
    return found


def pins(volumes: list) -> dict:
    """Store or component -> node that has its data, of an instance's PersistentVolumes.

    Some are a folder of every node.
    """
    found = {}
    for each in volumes:
        if "nodeAffinity" not in each["spec"]:
            continue
        (term,) = each["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        (wanted,) = term["matchExpressions"]
        found[each["metadata"]["labels"][NAME]] = wanted["values"][0]
    return found


def addressed(services: list, nodes: list) -> dict:
    """KIND/NAME -> addresses of the nodes that a Service names in NODES, where it has others."""
    known = {}
    for node in nodes:
        inner = [each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"]
        known[node["metadata"]["name"]] = inner[0]
    found = {}
    for item in services:
        names = item["metadata"]["annotations"][NODES].split(",")
        wanted = [known[each] for each in names if each in known]
        if [each.get("ip") for each in item["status"]["loadBalancer"].get("ingress", [])] != wanted:
            found[reference(item)] = wanted
    return found


def ready(node: dict) -> bool:
    """Whether a node takes pods and runs them."""
    conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("unschedulable", False)


def taking(nodes: list) -> list:
    """Names of those that take pods and run them."""
    return sorted(each["metadata"]["name"] for each in nodes if ready(each))


def crowded(objects: list, nodes: list) -> dict:
    """KIND/NAME -> names of its pods, of each Deployment that has several ready, all on one of several nodes.

    The scheduler chooses where a pod is made and moves none: they stay where they are when a node is added,
    or emptied and filled again. Those that came together when they were made anew for these nodes are none.
    """
    names = {*taking(nodes)}
    if len(names) < 2:
        return {}
    found = {}
    for part in [each["metadata"]["name"] for each in objects if each["kind"] == "Deployment"]:
        pods = [each for each in objects if each["kind"] == "Pod" and _serves(each, part)]
        marks = [each["metadata"].get("annotations", {}).get(TRIED, "") for each in pods]
        tried = any(names <= {*mark.split(",")} for mark in marks)
        elsewhere = any(len(_places(each, names)) > 1 for each in pods)
        if (
            len(pods) > 1
            and len({each["spec"]["nodeName"] for each in pods}) == 1
            and elsewhere
            and not tried
        ):
            found[f"deployment/{part}"] = [each["metadata"]["name"] for each in pods]
    return found


def _places(pod: dict, names: set) -> set:
    """Of these nodes those that it may be on: manifests of ours name them, or say nothing."""
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    wanted = {name for term in terms for each in term["matchExpressions"] for name in each["values"]}
    return names & wanted if terms else names


def _serves(pod: dict, part: str) -> bool:
    """Whether it is one of the part, ready and not about to go."""
    metadata = pod["metadata"]
    its = metadata.get("labels", {}).get(NAME) == part and "deletionTimestamp" not in metadata
    return its and _conditions(pod).get("Ready", {}).get("status") == "True"


def states(objects: list) -> dict:
    """KIND/NAME -> what is not well yet, or cannot become so; of what STATES knows.

    With a Deployment's autoscaler among them, there have to be as many of it as that has at least.
    """
    scalers = [item["spec"] for item in objects if item["kind"] == SCALER]
    least = {"deployment/" + each["scaleTargetRef"]["name"]: each["minReplicas"] for each in scalers}
    found = {}
    for item in objects:
        if item["kind"] != SCALER:
            name, asked = reference(item), item["spec"].get("replicas", 1)
            state = STATES[item["kind"]](item)
            if not state and asked < least.get(name, 0):
                state = State(f"{asked} of {least[name]} asked for")
            if state:
                found[name] = state
    return found


class State(str):
    """What is wrong, in a few words."""

    final = False
    """Whether waiting changes nothing any more."""


def hopeless(text: str) -> State:
    """What is wrong and stays so: whoever waits for it may give up."""
    state = State(text)
    state.final = True
    return state


def _conditions(item: dict) -> dict:
    return {each["type"]: each for each in item.get("status", {}).get("conditions", [])}


def _deployment(item: dict) -> State:
    spec, status = item["spec"], item.get("status", {})
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return State("has not been looked at yet")
    progress = _conditions(item).get("Progressing", {})
    if progress.get("status") == "False":
        return hopeless(progress.get("message", "it does not progress"))
    counts = [status.get(each, 0) for each in ("updatedReplicas", "availableReplicas", "replicas")]
    if counts == [wanted] * 3:
        return State("")
    updated, available, there = counts
    if there > wanted and updated >= wanted:
        return State(f"{there - wanted} of before still there")
    return State(f"{min(updated, available)} of {wanted} available")


def _set(item: dict) -> State:
    spec, status = item["spec"], item.get("status", {})
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return State("has not been looked at yet")
    if status.get("updateRevision") != status.get("currentRevision"):
        return State("is being made anew")
    if status.get("readyReplicas", 0) < wanted:
        return State(f"{status.get('readyReplicas', 0)} of {wanted} ready")
    return State("")


def _daemons(item: dict) -> State:
    status = item.get("status", {})
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return State("has not been looked at yet")
    wanted = status.get("desiredNumberScheduled", 0)
    there = min(status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0))
    return State(f"on {there} of {wanted} nodes" if there < wanted else "")


def _job(item: dict) -> State:
    conditions = _conditions(item)
    if conditions.get("Failed", {}).get("status") == "True":
        return hopeless("it failed: {}".format(conditions["Failed"].get("message", "")))
    if conditions.get("Complete", {}).get("status") == "True":
        return State("")
    return State("runs")


STATES = {"DaemonSet": _daemons, "Deployment": _deployment, "Job": _job, "StatefulSet": _set}


def wait(ask: Any, timeout: float, pause: float = 1.0) -> dict:
    """Until `ask()`, as `states`, is empty or hopeless or the time (seconds) is over; what it said last."""
    deadline = time.monotonic() + timeout
    while True:
        found: dict = ask()
        if not found or any(each.final for each in found.values()) or time.monotonic() > deadline:
            return found
        time.sleep(pause)
