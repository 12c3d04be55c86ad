"""A pytest plugin: what each test of a proof proved, kept as rows for a report (`--proof-rows FILE`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hostwright.application import Port
from hostwright.proof.wanted import Look, Machine, Unreachable

SYSTEM = ("PRETTY_NAME", "VARIANT", "VARIANT_ID", "kernel", "container")
AREAS = (
    "Reach",
    "Mirror",
    "System",
    "Firewall",
    "Docker",
    "MicroK8s",
    "Kubernetes",
    "Application",
    "Ports",
    "Warehouse",
)
NO_CASE = SimpleNamespace(params={})
ROW: dict[str, Any] = {
    "host": "",
    "scope": "",
    "closed": False,
    "place": "host",
    "port": None,
    "address": "",
    "shows": [],
    "result": "fails",
    "seconds": 0.0,
    "detail": "",
}
RESULTS = {"passed": "holds", "failed": "fails", "skipped": "not deployed"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proof-rows", metavar="FILE", help="write what was proved as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--proof-rows"):
        config.pluginmanager.register(Rows(Path(path)), "hostwright-rows")


class Rows:
    """Collects rows as tests end, and writes them with what was seen of the hosts when all have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        self.machines: dict[str, Machine] = {}
        self.started = time.time()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report: pytest.TestReport = yield  # type: ignore[assignment]
        if isinstance(item, pytest.Function):
            machine = getattr(item, "callspec", NO_CASE).params.get("machine")
            if isinstance(machine, Machine):
                self.machines[machine.name] = machine
                self._add(item, _of_host(item, machine, item.callspec.params.get("case")), report)
            else:
                self._add(item, _of_contract(item), report)
        return report  # type: ignore[return-value]

    def _add(self, item: pytest.Function, described: dict[str, Any], report: pytest.TestReport) -> None:
        """One row a test; a failure while it is prepared or cleaned up is its failure."""
        row = self.rows.setdefault(item.nodeid, described)
        if report.when == "call" or report.outcome != "passed":
            # What pytest.xfail ends was asked for, and the answer shows nothing here; its reason says why.
            row["result"] = "unproved" if hasattr(report, "wasxfail") else RESULTS[report.outcome]
            row["seconds"] = round(report.duration, 3)
            details = [str(value) for key, value in report.user_properties if key == "detail"]
            row["detail"] = _reason(report) if report.outcome != "passed" else "; ".join(details)

    def pytest_sessionfinish(self) -> None:
        document = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(time.time() - self.started, 1),
            "hosts": [_host(self.machines[name]) for name in sorted(self.machines)],
            "rows": sorted(self.rows.values(), key=lambda row: (row["host"], _order(row["area"]))),
        }
        self.path.write_text(json.dumps(document, indent=1))


def _order(area: str) -> int:
    return AREAS.index(area) if area in AREAS else len(AREAS)


def _of_contract(item: pytest.Function) -> dict[str, Any]:
    """A test of an application's contract: it asks the gateway, whichever host has it."""
    words = (item.function.__doc__ or item.originalname.removeprefix("test_").replace("_", " ")).strip()
    case = f" [{item.callspec.id}]" if hasattr(item, "callspec") else ""
    return ROW | {
        "area": f"Contract: {item.path.stem.removeprefix('test_').replace('_', ' ')}",
        "what": words.splitlines()[0] + case,
        "place": "outside",
        "shows": sorted({key for mark in item.iter_markers("shows") for key in mark.args}),
    }


def _of_host(item: pytest.Function, machine: Machine, case: Any) -> dict[str, Any]:
    place = item.get_closest_marker("place")
    port = case.port if isinstance(case, Look) else case if isinstance(case, Port) else None
    return ROW | {
        "host": machine.name,
        "area": item.module.AREA,
        "what": (item.function.__doc__ or item.name).strip().splitlines()[0].format(case=case),
        "scope": port.scope if port else "",
        "closed": "silent" in item.name,
        "place": place.args[0] if place else "host",
        "port": {"number": port.number, "protocol": port.protocol, "owner": port.owner} if port else None,
        "address": case.address if isinstance(case, Look) else "",
    }


def _reason(report: pytest.TestReport) -> str:
    """Why it fails, in the words of the assertion: its message, else what was compared."""
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail).removeprefix("reason: ")
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash else report.longrepr).removeprefix("AssertionError: ")
    lines = text.removeprefix("Failed: ").strip().splitlines()
    message: list[str] = []
    for line in lines:
        if message and line.startswith("assert "):
            break
        message.append(line.strip())
    return "\n".join(message[:12])


def _host(machine: Machine) -> dict[str, Any]:
    """What the report says of a host: system, engine, and the image each part runs."""
    record = {
        "name": machine.name,
        "addresses": [],
        "driver": machine.variables.get("hostwright_host", {}).get("facts", {}).get("driver", ""),
        "system": dict.fromkeys(SYSTEM, ""),
        "versions": {},
        "containers": [],
    }
    try:
        seen = machine.seen
    except Unreachable:
        return record
    packages = seen["packages"]
    versions = {
        name: packages[name] for name in ("openssh-server", "firewalld", "chrony") if name in packages
    }
    engine = seen.get("containers") or {}
    if "version" in engine:
        versions |= {"docker": engine["version"], "docker compose": engine["compose"]}
    snap = (seen.get("cluster") or {}).get("snap") or {}
    if "version" in snap:
        versions["microk8s"] = snap["version"]
    return record | {
        "addresses": machine.addresses,
        "system": {key: seen["os"].get(key, "") for key in SYSTEM},
        "versions": {"packages": str(len(packages)), **versions},
        "containers": [
            {"name": each["name"], "image": each["image"], "id": each["image_id"], "state": each["state"]}
            for each in engine.get("containers", [])
        ]
        + _pods(machine),
    }


def _pods(machine: Machine) -> list[dict[str, str]]:
    """The application's, where they have been looked at: each is one container."""
    found = vars(machine).get("deployed", {}).get("pods", [])
    return [
        {
            "name": pod["metadata"]["name"],
            "image": pod["spec"]["containers"][0]["image"],
            "id": next((each["imageID"] for each in pod["status"].get("containerStatuses", [])), ""),
            "state": pod["status"]["phase"],
        }
        for pod in (found if isinstance(found, list) else [])
    ]
