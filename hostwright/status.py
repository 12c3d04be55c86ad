"""What `hostwright status` tells: hosts, containers, and the alerts that are firing where Prometheus runs.

Of a cluster: hosts as nodes, pods in the place of containers, what they belong to, and certificates.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from hostwright import application, forwarded, reached, remote
from hostwright.application import Application, Component
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.hosts.record import HostRecord
from hostwright.proof.namespace import owner, ready
from hostwright.reached import Cluster

# Run by the host's own Python, with the address of its Prometheus if there is one: one round trip. On a
# cluster as root, as certificates are not for everybody to read.
LOOK = """
import glob, json, os, sys, urllib.request
with open("/proc/meminfo") as file:
    memory = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in file}
with open("/proc/uptime") as file:
    seconds = int(float(file.read().split()[0]))
folders = ("/", "/var/lib/docker", "/var/snap/microk8s/common")
disks = [os.statvfs(path) for path in folders if os.path.exists(path)]
disk = min(disks, key=lambda each: each.f_bavail * each.f_frsize)
found = {
    "up": seconds, "load": os.getloadavg()[0], "cpus": os.cpu_count(),
    "memory": memory["MemTotal"], "memory_available": memory["MemAvailable"],
    "disk": disk.f_blocks * disk.f_frsize >> 20, "disk_available": disk.f_bavail * disk.f_frsize >> 20,
    "alerts": None, "certificates": {},
}
for path in glob.glob("/var/snap/microk8s/current/certs/*.crt"):
    with open(path) as file:
        found["certificates"][os.path.basename(path)] = file.read()
for url in sys.argv[1:]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found["alerts"] = json.load(answer)["data"]["alerts"]
    except (OSError, ValueError, KeyError) as error:
        found["trouble"] = str(error)
print(json.dumps(found))
"""
SEEN = ("up", "load", "cpus", "memory", "memory_available", "disk", "disk_available")  # of a host, by LOOK
SOON = timedelta(days=14)  # before its end `up` has not made a certificate anew that it makes
ALERTS = "/api/v1/alerts"
TLS = r"""jsonpath={range .items[*]}{.metadata.name} {.data.tls\.crt}{"\n"}{end}"""  # no private key


@dataclass(frozen=True)
class Status:
    """Rows about hosts (sizes in MiB, `up` in seconds, the disk with less left), containers and alerts.

    `wrong` says in words what is not well. Of a cluster hosts have `node` and `version` too (None for what
    one that does not answer would have said), and services are pods, `host` being the node; `workloads` are
    what they belong to, and `certificates` those that end first.
    """

    hosts: list[dict[str, Any]]
    services: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    wrong: list[str]
    workloads: list[dict[str, Any]] = field(default_factory=list)
    certificates: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def tables(self) -> list[tuple[Sequence[str], list[tuple[str, ...]]]]:
        """Columns and rows of each table that has some."""

        def table(rows: list[dict[str, Any]], *columns: str) -> tuple[Sequence[str], list[tuple[str, ...]]]:
            return columns, [tuple(str(row[column]) for column in columns) for row in rows]

        nodes = ("node", "version") if any("node" in row for row in self.hosts) else ()
        services = table(self.services, "host", "service", "state", "health", "restarts", "image")
        found = [
            ((*HOST_COLUMNS, *nodes), [_host(row) for row in self.hosts]),
            (WORKLOAD_COLUMNS, [_workload(row) for row in self.workloads]) if self.workloads else services,
            table(self.certificates, "host", "certificate", "ends"),
            table(self.alerts, "host", "alert", "severity", "since", "what", "action"),
        ]
        return [(columns, rows) for columns, rows in found if rows]

    def require_well(self) -> None:
        """Raise Failure with everything that is not."""
        if self.wrong:
            fix = "hostwright logs --service NAME" if self.services else "hostwright up"
            raise Failure(f"not well: {', '.join(self.wrong)}", fix=fix)


HOST_COLUMNS = ("host", "address", "up", "load", "memory left", "disk left")
WORKLOAD_COLUMNS = ("service", "ready", "restarts", "nodes", "image")


def look(environment: Environment, hosts: Sequence[HostRecord]) -> Status:
    """Ask every host, over SSH. Raises Failure when one does not answer that is not of a cluster."""
    if environment.clustered and hosts:
        return _look_at_cluster(environment, hosts)
    app = application.load(environment.application, environment.project, environment.components)
    status = Status([], [], [], [])
    for host in hosts:
        containers = remote.containers(environment, host)
        status.services.extend(containers)
        prometheus = deployed(app, "prometheus", containers)
        url = [f"http://127.0.0.1:{prometheus.port}{ALERTS}"] if prometheus and prometheus.port else []
        words = ["python3", "-c", LOOK, *url]
        seen = json.loads(remote.run(environment, host, shlex.join(words)))
        alerts, _ = seen.pop("alerts"), seen.pop("certificates")
        if trouble := seen.pop("trouble", ""):
            status.wrong.append(f"Prometheus on {host.name} does not answer: {trouble}")
        status.hosts.append({"host": host.name, "address": host.address, **seen})
        status.alerts.extend(firing(alerts or [], host.name))
    status.wrong.extend(row["service"] for row in status.services if not well(row))
    status.wrong.extend(critical(status.alerts))
    if not status.services:
        status.wrong.append("nothing runs")
    return status


def _look_at_cluster(environment: Environment, hosts: Sequence[HostRecord]) -> Status:
    status = Status([], [], [], [])
    servers = []
    for host in hosts:
        try:
            words = shlex.join(["sudo", "python3", "-c", LOOK])
            seen = json.loads(remote.run(environment, host, words))
        except Failure as error:
            status.wrong.append(error.what)
            seen = {}
        if seen and "servers" in host.groups:
            servers.append(host)
        unknown = {"node": "unknown", "version": ""}
        row = {"host": host.name, "address": host.address} | {name: seen.get(name) for name in SEEN}
        status.hosts.append(row | unknown)
        if host in servers:  # what a worker has is good for ten years, or of before it joined
            status.certificates.extend(ends(host.name, seen["certificates"]))
    try:
        if not servers:
            raise Failure("no server answers", where=environment.name)
        cluster = reached.cluster(environment, servers)
        nodes = _ask(cluster, status)
        status.wrong.extend(missing(status))
    except Failure as error:
        status.wrong.append(f"{error.where}: {error.what}")
    else:
        _hear(cluster, status, nodes)
    status.wrong.extend(critical(status.alerts))
    status.wrong.extend(ending(status.certificates, datetime.now(UTC)))
    return status


def _ask(cluster: Cluster, status: Status) -> dict[str, str]:
    """Add what the API says; returns address -> node of each pod. Raises Failure before anything is added."""
    nodes, items = cluster.get("nodes"), cluster.items("deployments,statefulsets,daemonsets,jobs,pods")
    chosen = (cluster.selector(), "--field-selector=type=kubernetes.io/tls", f"--output={TLS}")
    told = cluster.run(*cluster.kubectl("get", "secrets", *chosen))
    known = {each["metadata"]["name"]: node(each) for each in nodes}
    for row in status.hosts:
        row |= known.get(row["host"], {"node": "not joined", "version": ""})
    status.services.extend(pod(each) for each in items if each["kind"] == "Pod")
    status.workloads.extend(workloads(items))
    pairs = [line.split() for line in told.splitlines()]
    held = {pair[0]: base64.b64decode(pair[1]).decode() for pair in pairs if len(pair) == 2}
    status.certificates.extend(ends(cluster.namespace, held))
    pods = [each for each in items if each["kind"] == "Pod" and "podIP" in each["status"]]
    return {each["status"]["podIP"]: each["spec"]["nodeName"] for each in pods}


def _hear(cluster: Cluster, status: Status, nodes: Mapping[str, str]) -> None:
    """Add the alerts that are firing, if Prometheus is among what was deployed."""
    prometheus = deployed(cluster.application, "prometheus", status.services)
    if prometheus is None:
        return
    try:
        told = forwarded.ask(cluster, prometheus.name, prometheus.file.port, ALERTS)
    except Failure as error:
        status.wrong.append(f"Prometheus does not answer: {error.what}")
        return
    status.alerts.extend(firing(told["data"]["alerts"], nodes=nodes))


def node(item: Mapping[str, Any]) -> dict[str, str]:
    """`node`, whether it takes pods and runs them, and `version`, its kubelet's."""
    conditions = {each["type"]: each["status"] for each in item["status"].get("conditions", [])}
    state = "cordoned" if item["spec"].get("unschedulable") else "ready"
    return {
        "node": state if conditions.get("Ready") == "True" else "not ready",
        "version": item["status"]["nodeInfo"]["kubeletVersion"],
    }


def pod(item: dict[str, Any]) -> dict[str, Any]:
    """As remote.containers has a container."""
    phase = item["status"].get("phase", "Unknown")
    states = item["status"].get("containerStatuses", [])
    running = phase == "Running"
    return {
        "host": item["spec"].get("nodeName", ""),
        "service": owner(item),
        "container": item["metadata"]["name"],
        "state": "exited" if phase in ("Succeeded", "Failed") else phase.lower(),
        "health": ("healthy" if ready(item) else "unhealthy") if running else "",
        "exit": max((each["state"].get("terminated", {}).get("exitCode", 0) for each in states), default=0),
        "image": item["spec"]["containers"][0]["image"],
        "restarts": sum(each["restartCount"] for each in states),
    }


# Kind -> what of its status says how many are ready, and how many there are to be.
COUNTS = {"DaemonSet": ("numberReady", "desiredNumberScheduled"), "Job": ("succeeded", "completions")}


def workloads(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of what pods belong to among these how many are ready, or done, of how many."""
    pods = [pod(each) for each in items if each["kind"] == "Pod"]
    rows = []
    for each in items:
        if each["kind"] == "Pod":
            continue
        done, wanted = COUNTS.get(each["kind"], ("readyReplicas", "replicas"))
        # How many nodes there are for it to be on is not its own to say.
        says = each.get("status", {}) if each["kind"] == "DaemonSet" else each["spec"]
        mine = [row for row in pods if row["service"] == owner(each)]
        rows.append(
            {
                "service": owner(each),
                "kind": each["kind"].lower(),
                "ready": each.get("status", {}).get(done, 0),
                "wanted": says.get(wanted, 1),
                "restarts": sum(row["restarts"] for row in mine),
                "nodes": sorted({row["host"] for row in mine} - {""}),
                "image": each["spec"]["template"]["spec"]["containers"][0]["image"],
            }
        )
    return sorted(rows, key=lambda row: str(row["service"]))


def ends(host: str, certificates: Mapping[str, str]) -> list[dict[str, Any]]:
    """The row of the certificate (PEM, by name) that ends first; none where there is none."""
    found = []
    for name, text in certificates.items():
        with contextlib.suppress(ValueError):
            end = x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc
            found.append({"host": host, "certificate": name, "ends": f"{end:%Y-%m-%dT%H:%M:%SZ}"})
    return sorted(found, key=lambda row: row["ends"])[:1]


def ending(rows: Iterable[Mapping[str, Any]], now: datetime) -> list[str]:
    """Certificates that end SOON, in words."""
    return [
        f"certificate {row['certificate']} of {row['host']} ends {row['ends'][:10]}"
        for row in rows
        if datetime.fromisoformat(row["ends"]) - now < SOON
    ]


def missing(status: Status) -> list[str]:
    """Nodes and pods of a cluster that there should be, in words."""
    nodes = [f"node {row['host']}: {row['node']}" for row in status.hosts if row["node"] != "ready"]
    pods = [
        f"{row['service']} ({row['ready']} of {row['wanted']})"
        for row in status.workloads
        if row["ready"] < row["wanted"]
    ]
    return [*nodes, *pods] if status.workloads else [*nodes, "nothing runs"]


def deployed(app: Application, kind: str, rows: Sequence[dict[str, Any]]) -> Component | None:
    """The component of that kind, if it is among what was deployed."""
    there = {row["service"] for row in rows}
    return next((each for each in app.components.values() if each.kind == kind and each.name in there), None)


def firing(
    alerts: Sequence[Mapping[str, Any]], host: str = "", nodes: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Those of Prometheus' own answer that are, what is worst first, each on the host.

    On a cluster on that of `nodes`, address of a pod -> its node: an instance there is PART/ADDRESS.
    """
    rows = [
        {
            "host": (nodes or {}).get(each["labels"].get("instance", "").partition("/")[2], host),
            "alert": each["labels"]["alertname"],
            "severity": each["labels"].get("severity", ""),
            "since": each["activeAt"][:19] + "Z",
            "what": each["annotations"].get("summary", ""),
            "action": each["annotations"].get("action", ""),
        }
        for each in alerts
        if each["state"] == "firing"
    ]
    return sorted(rows, key=lambda row: (row["severity"] != "critical", row["since"], row["what"]))


def critical(alerts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those that are for now, in words."""
    return [f"alert {row['alert']}" for row in alerts if row["severity"] == "critical"]


def well(row: dict[str, Any]) -> bool:
    """A job that ended with 0 is well; anything else must run and not be unhealthy."""
    if row["state"] == "exited" and row["service"].endswith("-migrate"):
        return bool(row["exit"] == 0)
    return bool(row["state"] == "running" and row["health"] in ("", "healthy"))


def _host(row: dict[str, Any]) -> tuple[str, ...]:
    """A host's row as words."""
    figures: tuple[str, ...] = ("-",) * 4
    if row["up"] is not None:
        hours = row["up"] // 3600
        figures = (
            f"{hours // 24} d {hours % 24} h",
            f"{row['load']:.2f} of {row['cpus']}",
            f"{row['memory_available']} of {row['memory']} MiB",
            f"{row['disk_available'] / 1024:.1f} of {row['disk'] / 1024:.1f} GiB",
        )
    nodes = (row["node"], row["version"]) if "node" in row else ()
    return (row["host"], row["address"], *figures, *nodes)


def _workload(row: dict[str, Any]) -> tuple[str, ...]:
    """A workload's row as words."""
    counts = f"{row['ready']} of {row['wanted']}"
    return (row["service"], counts, str(row["restarts"]), ", ".join(row["nodes"]), row["image"])
