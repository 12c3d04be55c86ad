"""What `hostwright status` tells: hosts, containers, and the alerts that are firing where Prometheus runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hostwright import application, remote
from hostwright.application import Application
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.hosts.record import HostRecord

# Run by the host's own Python, with the address of its Prometheus if there is one: one round trip.
LOOK = """
import json, os, sys, urllib.request
with open("/proc/meminfo") as file:
    memory = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in file}
with open("/proc/uptime") as file:
    seconds = int(float(file.read().split()[0]))
disks = [os.statvfs(path) for path in ("/", "/var/lib/docker") if os.path.exists(path)]
disk = min(disks, key=lambda each: each.f_bavail * each.f_frsize)
found = {
    "up": seconds, "load": os.getloadavg()[0], "cpus": os.cpu_count(),
    "memory": memory["MemTotal"], "memory_available": memory["MemAvailable"],
    "disk": disk.f_blocks * disk.f_frsize >> 20, "disk_available": disk.f_bavail * disk.f_frsize >> 20,
    "alerts": None,
}
for url in sys.argv[1:]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found["alerts"] = json.load(answer)["data"]["alerts"]
    except (OSError, ValueError, KeyError) as error:
        found["trouble"] = str(error)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Status:
    """Rows about hosts (sizes in MiB, `up` in seconds, the disk with less left), containers and alerts.

    `wrong` says in words what is not well.
    """

    hosts: list[dict[str, Any]]
    services: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    wrong: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def tables(self) -> list[tuple[Sequence[str], list[tuple[str, ...]]]]:
        """Columns and rows of each table that has some."""

        def table(rows: list[dict[str, Any]], *columns: str) -> tuple[Sequence[str], list[tuple[str, ...]]]:
            return columns, [tuple(str(row[column]) for column in columns) for row in rows]

        found = [
            (HOST_COLUMNS, [_host(row) for row in self.hosts]),
            table(self.services, "host", "service", "state", "health", "image"),
            table(self.alerts, "host", "alert", "severity", "since", "what", "action"),
        ]
        return [(columns, rows) for columns, rows in found if rows]

    def require_well(self) -> None:
        """Raise Failure with everything that is not."""
        if self.wrong:
            fix = "hostwright logs --service NAME" if self.services else "hostwright up"
            raise Failure(f"not well: {', '.join(self.wrong)}", fix=fix)


HOST_COLUMNS = ("host", "address", "up", "load", "memory left", "disk left")


def look(environment: Environment, hosts: Sequence[HostRecord]) -> Status:
    """Ask every host, over SSH. Raises Failure when one does not answer."""
    app = application.load(environment.application, environment.project, environment.components)
    status = Status([], [], [], [])
    for host in hosts:
        containers = remote.containers(environment, host)
        status.services.extend(containers)
        url = alerts_url(app, containers)
        words = ["python3", "-c", LOOK, *([url] if url else [])]
        seen = json.loads(remote.run(environment, host, shlex.join(words)))
        alerts = seen.pop("alerts")
        if trouble := seen.pop("trouble", ""):
            status.wrong.append(f"Prometheus on {host.name} does not answer: {trouble}")
        status.hosts.append({"host": host.name, "address": host.address, **seen})
        status.alerts.extend({"host": host.name, **each} for each in firing(alerts or []))
    status.wrong.extend(row["service"] for row in status.services if not well(row))
    status.wrong.extend(f"alert {row['alert']}" for row in status.alerts if row["severity"] == "critical")
    if not status.services:
        status.wrong.append("nothing runs")
    return status


def alerts_url(app: Application, containers: Sequence[dict[str, Any]]) -> str:
    """Where the host is told of alerts, if Prometheus is among what was deployed on it."""
    deployed = {row["service"] for row in containers}
    for each in app.components.values():
        if each.kind == "prometheus" and each.port and each.name in deployed:
            return f"http://127.0.0.1:{each.port}/api/v1/alerts"
    return ""


def firing(alerts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of Prometheus' own answer that are, what is worst first."""
    rows = [
        {
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


def well(row: dict[str, Any]) -> bool:
    """A job that ended with 0 is well; anything else must run and not be unhealthy."""
    if row["state"] == "exited" and row["service"].endswith("-migrate"):
        return bool(row["exit"] == 0)
    return bool(row["state"] == "running" and row["health"] in ("", "healthy"))


def _host(row: dict[str, Any]) -> tuple[str, ...]:
    """A host's row as words."""
    hours = row["up"] // 3600
    return (
        row["host"],
        row["address"],
        f"{hours // 24} d {hours % 24} h",
        f"{row['load']:.2f} of {row['cpus']}",
        f"{row['memory_available']} of {row['memory']} MiB",
        f"{row['disk_available'] / 1024:.1f} of {row['disk'] / 1024:.1f} GiB",
    )
