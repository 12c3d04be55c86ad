"""What an application on a cluster is, seen in one look: sent to a server, asked of its API and in the pods.

Only the standard library. It reads and changes nothing: a review of access is answered and not kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, TypeVar

from hostwright.proof import knock
from hostwright.proof.observe import SELF, _capabilities, _done, _fields, _guarded, _uid

PATIENCE = 300  # seconds for a command; a comparison asks of each manifest
PAUSES = (1, 3, 9)  # seconds before another try
FIGURES = 120  # seconds until there are figures of pods that were made just now, on a busy node
LOOK_AGAIN = 3  # seconds
ANSWERED = re.compile(r"Error from server \(|command terminated with exit code")
KINDS = "deployments,statefulsets,daemonsets,jobs,services,persistentvolumeclaims,horizontalpodautoscalers"
PARTS = (
    "namespace", "objects", "pods", "differences", "inside", "forwarded", "reviews", "enforcers",
)  # fmt: skip
OWNER = "app.kubernetes.io/name"
# Pods of the network plug-ins that are known to enforce policies.
ENFORCERS = ("calico-node", "cilium", "kube-router")
STATES = {"0": "open", "1": "closed", "124": "filtered"}  # by the exit status of bash, or of timeout
LOOPBACK = "127.0.0.1"
Done = TypeVar("Done")

# In a pod: what its first process may do, how its root is mounted, and then a program.
SHELL = "cat /proc/1/status; echo ---; grep ' / ' /proc/self/mounts; echo ---; exec \"$@\""
PYTHON = ("python", "-c", "import json, sys; exec(json.loads(sys.stdin.readline()))")
# Where there is no Python: to each ADDRESS PORT line that it reads, the exit status of a connection there.
# Four at a time, as a pod of 32 MiB has to have room for it.
BASH = """
while read -r address port; do
    (timeout 3 bash -c "</dev/tcp/$address/$port" </dev/null 2>/dev/null; echo "$address $port $?") &
    ((++asked % 4)) || wait
done
wait
"""


def look(request: dict[str, Any]) -> dict[str, Any]:
    """Everything the proof asks of an application's namespace.

    Request: `kubectl` (the command), `namespace`, `directory` (of the manifests), `doors` (ports of Services,
    `{"owner", "port", "protocol", "callers"}`: all pods of others knock there, and its callers must be
    answered), `silent` (owners whose image may have no shell), `python` (owners whose image has it),
    `resolving` (those of them that may ask for names), `forward` (as `doors`, for port-forward) and `reviews`
    (specs of SubjectAccessReviews). Answer: PARTS; a part that cannot be seen is `{"error": text}`.
    """
    kubectl = Kubectl(request["kubectl"], request["namespace"])
    lookers: dict[str, Callable[[], Any]] = {
        "namespace": lambda: kubectl.json("get", "namespace", request["namespace"]),
        "objects": lambda: _objects(kubectl),
        "pods": lambda: kubectl.items("pods"),
        "differences": lambda: _differences(kubectl, request["directory"]),
        "inside": lambda: _inside(kubectl, request),
        "forwarded": lambda: _forwarded(kubectl, request["forward"]),
        "reviews": lambda: _reviews(kubectl, request["reviews"]),
        "enforcers": lambda: _enforcers(kubectl),
    }
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(lookers, pool.map(_guarded, lookers.values()), strict=True))


class Kubectl:
    """Calls of kubectl in a namespace. Raises RuntimeError for those that fail, with their own words.

    MicroK8s' own word that one has succeeded is not enough: where there is no API it is a sentence and
    success. So an answer is one that can be read.
    """

    def __init__(self, command: list[str], namespace: str) -> None:
        # Root has no home here, and kubectl would keep its cache in the current folder.
        self.command = [*command, "--cache-dir=/root/.kube/cache", f"--namespace={namespace}"]

    def done(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return _done(*self.command, *arguments, text=text, timeout=PATIENCE)

    def __call__(self, *arguments: str, text: str = "") -> str:
        done = patiently(lambda: self.done(*arguments, text=text), lambda it: (it.returncode, it.stderr))
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {arguments[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
        return done.stdout

    def json(self, *arguments: str, text: str = "") -> Any:
        said = self(*arguments, "--output=json", text=text)
        try:
            return json.loads(said)
        except ValueError:
            raise RuntimeError(f"kubectl {arguments[0]} said {said.strip()[:300]!r}") from None

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("get", *arguments)["items"]
        return found


def patiently(call: Callable[[], Done], outcome: Callable[[Done], tuple[int, str]]) -> Done:
    """What a call of kubectl gives, made again where it was cut off, as when an API server starts anew.

    `outcome`: its exit status and its standard error. What the API, or a program in a pod, has answered is
    an answer, whatever it says.
    """
    for pause in PAUSES:
        status, said = outcome(found := call())
        if status == 0 or ANSWERED.search(said):
            return found
        time.sleep(pause)
    return call()


def ready(pod: dict[str, Any]) -> bool:
    """Whether a pod serves, and is not about to go."""
    return _true(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]


def _true(item: dict[str, Any], condition: str) -> bool:
    """Whether a condition in an object's status is true."""
    conditions = item.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == (condition, "True") for each in conditions)


def owner(item: dict[str, Any]) -> str:
    """The part of the application that an object belongs to."""
    return str(item["metadata"].get("labels", {}).get(OWNER, ""))


def _objects(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Those of KINDS. Of pods made a moment ago nobody has measured anything: autoscalers are waited for."""
    deadline = time.monotonic() + FIGURES
    while True:
        found = kubectl.items(KINDS)
        if not any(map(_blind, found)) or time.monotonic() > deadline:
            return found
        time.sleep(LOOK_AGAIN)


def _blind(item: dict[str, Any]) -> bool:
    """Whether it is an autoscaler that has to see how busy it is, and cannot."""
    if item["kind"] != "HorizontalPodAutoscaler" or _true(item, "ScalingActive"):
        return False
    return bool(item["spec"]["minReplicas"] < item["spec"]["maxReplicas"])


def _differences(kubectl: Kubectl, directory: str) -> list[str]:
    """The titles of a comparison with the folder, one a file: what is in them may be anything."""
    arguments = ("--server-side", "--force-conflicts", "--field-manager=hostwright", "--recursive")
    done = kubectl.done("diff", *arguments, f"--filename={directory}")
    titles = [line for line in done.stdout.splitlines() if line.startswith("+++ ")]
    if (done.returncode, bool(titles), bool(done.stdout.strip())) not in ((0, False, False), (1, True, True)):
        raise RuntimeError(f"kubectl diff: {(done.stderr or done.stdout).strip()[-300:]}")
    return titles


def _enforcers(kubectl: Kubectl) -> list[str]:
    """Network plug-ins here that enforce policies, by what their pods are labelled."""
    pods = kubectl.items("pods", "--all-namespaces", f"--selector=k8s-app in ({', '.join(ENFORCERS)})")
    return sorted({pod["metadata"]["labels"]["k8s-app"] for pod in pods if ready(pod)})


def _reviews(kubectl: Kubectl, specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reviews, each with the API's answer in its status.

    `kubectl auth can-i --as` asks as somebody, which the API does not let who is unknown to it do.
    """
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}}
    reviews = {"apiVersion": "v1", "kind": "List", "items": [review | {"spec": spec} for spec in specs]}
    return documents(kubectl("create", "--filename=-", "--output=json", text=json.dumps(reviews)))


def documents(text: str) -> list[dict[str, Any]]:
    """Objects of JSON one after another, or in a List, as kubectl prints what it has made."""
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        found += document["items"] if document["kind"] == "List" else [document]
        text = text[end:]
    return found


def _inside(kubectl: Kubectl, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Each pod that is ready and not silent: `pod`, `owner`, `node`, and what it is to its kernel and hears,
    see `_ask`.
    """
    services = {each["metadata"]["name"]: each["spec"]["clusterIPs"] for each in kubectl.items("services")}
    addresses = {name: each for name, each in services.items() if each != ["None"]}  # of all pods' own
    python, resolving = request["python"], request["resolving"]
    targets = [
        door | {"address": each} for door in request["doors"] for each in addresses.get(door["owner"], ())
    ]

    def ask(pod: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, Any]:
        name, part = pod["metadata"]["name"], owner(pod)
        names = sorted(addresses) if part in resolving else []
        found: dict[str, Any] = {"pod": name, "owner": part, "node": pod["spec"]["nodeName"]}
        return found | dict(
            _guarded(lambda: _ask(kubectl, name, part, others, names if part in python else None))
        )

    pods = [pod for pod in kubectl.items("pods") if ready(pod) and owner(pod) not in ("", *request["silent"])]
    others = [[target for target in targets if target["owner"] != owner(pod)] for pod in pods]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, pods, others))
    # Where all ask at once some wait too long: who must be answered and was not, or could not ask, asks again
    # when it is quiet.
    for pod, heard in zip(pods, found, strict=True):
        if silent := [knock for knock in heard.get("knocks", []) if _missed(knock, heard["owner"])]:
            for knock, again in zip(silent, ask(pod, silent).get("knocks", []), strict=False):
                knock |= again
    return found


def _missed(knock: dict[str, Any], part: str) -> bool:
    """Whether the part was not answered where it has to be, or did not ask."""
    answered = knock["state"] == "open" and knock.get("speaks", True)
    return knock["state"] == "unseen" or (part in knock["callers"] and not answered)


def _ask(
    kubectl: Kubectl, pod: str, container: str, targets: list[dict[str, Any]], names: list[str] | None
) -> dict[str, Any]:
    """`uid`, `capabilities`, `no_new_privileges` and `read_only` of a pod's container; `knocks`, the targets
    with what was answered; `names`, see knock.resolve.

    `names` of None: it has no Python, and tells no more than whether a port is open.
    """
    if names is None:
        program: tuple[str, ...] = ("bash", "-c", BASH)
        text = "".join(f"{each['address']} {each['port']}\n" for each in targets)
    else:
        program = PYTHON
        asked = [{key: each[key] for key in ("address", "port", "protocol")} for each in targets]
        text = json.dumps(SELF["knock"]) + "\n" + json.dumps({"knock": asked, "resolve": names})
    into = ("exec", "--stdin", pod, f"--container={container}", "--", "sh", "-c", SHELL, "sh")
    status, root, said = kubectl(*into, *program, text=text).split("---\n", 2)
    fields = _fields(status)
    found = {
        "uid": _uid(fields),
        "capabilities": _capabilities(fields),
        "no_new_privileges": fields["NoNewPrivs"] == "1",
        "read_only": "ro" in root.split()[3].split(","),
    }
    if names is None:
        answers = accepting(targets, said)
    else:
        heard = json.loads(said)
        answers, found["names"] = heard["knocks"], heard["names"]
    return found | {"knocks": [target | answer for target, answer in zip(targets, answers, strict=True)]}


def accepting(targets: list[dict[str, Any]], said: str) -> list[dict[str, str]]:
    """The answers that BASH heard: `open`, `closed`, `filtered`, or `unseen` where it could not ask."""
    lines = (line.rpartition(" ") for line in said.splitlines())
    heard = {asked: STATES.get(status, "unseen") for asked, _, status in lines}
    states = (heard.get(f"{each['address']} {each['port']}", "unseen") for each in targets)
    return [{"state": state, "detail": "accepts" if state == "open" else state} for state in states]


def _forwarded(kubectl: Kubectl, ports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is answered at each port of a Service, as an operator reaches it: by `kubectl port-forward`."""
    found: list[dict[str, Any]] = []
    for part, group in groupby(ports, key=lambda port: port["owner"]):
        wanted = list(group)
        try:
            with _forward(kubectl, part, [port["port"] for port in wanted]) as local:
                found += knock.knock_all(
                    [
                        {"address": LOOPBACK, "port": here, "protocol": port["protocol"]}
                        for here, port in zip(local, wanted, strict=True)
                    ]
                )
        except (OSError, RuntimeError) as error:
            found += [{"state": "closed", "speaks": False, "detail": str(error)}] * len(wanted)
    return found


@contextlib.contextmanager
def _forward(kubectl: Kubectl, service: str, numbers: list[int]) -> Iterator[list[int]]:
    """Ports of loopback that lead to a Service's, for as long as it takes. Raises RuntimeError."""
    words = [f"--address={LOOPBACK}", f"service/{service}", *(f":{number}" for number in numbers)]
    # MicroK8s' command is a row of scripts, of which the last one has to end too.
    process = subprocess.Popen(
        [*kubectl.command, "port-forward", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout  # noqa: S101  (a pipe was asked for)
    try:
        # It tells of each in the order given, and ends after a minute without a pod.
        lines = iter(process.stdout.readline, "")
        yield [_local(lines) for _ in numbers]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def _local(lines: Iterator[str]) -> int:
    """The next port that is told of."""
    last = "it ended"
    for line in lines:
        if found := re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ->", line):
            return int(found[1])
        last = line.strip()
    raise RuntimeError(f"kubectl port-forward: {last}")
