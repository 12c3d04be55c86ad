"""The cluster, as the role microk8s leaves it: the snap, membership by exact names, addons, and its API."""

from __future__ import annotations

import json
import socket
import ssl
from base64 import b64decode
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from hostwright.proof.wanted import Machine, module_utils

microk8s = module_utils("microk8s")

pytestmark = pytest.mark.microk8s

AREA = "MicroK8s"
API = 16443
Detail = Callable[[object], None]


def server(machine: Machine) -> list[str]:
    """The case of servers only: their API is asked."""
    return ["server"] if "servers" in machine.groups else []


def nodes(seen: dict[str, Any]) -> dict[str, Any]:
    return microk8s.nodes(json.dumps({"items": seen["cluster"]["nodes"]})) or {}


def minor(machine: Machine) -> int:
    return microk8s.minor(machine.wanted["microk8s_channel"])


@pytest.mark.each(cases=lambda machine: machine.wanted["__microk8s_packages"])
def test_package(seen: dict[str, Any], case: str, detail: Detail) -> None:
    """package {case} is installed"""
    assert case in seen["packages"], f"package {case} is not installed"
    detail(seen["packages"][case])


@pytest.mark.each(cases=lambda machine: machine.wanted["__microk8s_services"])
def test_service(seen: dict[str, Any], case: str) -> None:
    """{case} runs, and starts at boot"""
    unit = seen["units"].get(case, {"ActiveState": "absent", "UnitFileState": "absent"})
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled"), (
        f"{case} is {unit['ActiveState']}"
    )


def test_snap(machine: Machine, seen: dict[str, Any], detail: Detail) -> None:
    """the snap is of the declared minor and channel, and refreshes nothing by itself"""
    snap = seen["cluster"]["snap"]
    detail(f"MicroK8s {snap['version']}, {snap['tracking']}")
    assert microk8s.minor(snap["version"]) == minor(machine)
    assert snap["tracking"] in ("-", machine.wanted["microk8s_channel"])
    assert "held" in snap["notes"].split(","), "its refreshes are not held"


def daemons(machine: Machine) -> list[str]:
    """What runs on a node of its kind."""
    kind = ["k8s-dqlite"] if "servers" in machine.groups else ["apiserver-proxy"]
    names = ["containerd", "kubelite", "cluster-agent", *kind]
    return [f"snap.microk8s.daemon-{name}.service" for name in names]


@pytest.mark.each(cases=daemons)
def test_daemon(seen: dict[str, Any], case: str) -> None:
    """{case} runs"""
    state = seen["units"].get(case, {}).get("ActiveState", "absent")
    assert state == "active", f"{case} is {state}"


def test_kind(machine: Machine, seen: dict[str, Any]) -> None:
    """the node is a server or a worker as declared, and in the middle of nothing"""
    locks, marks = seen["cluster"]["locks"], seen["cluster"]["marks"]
    assert ("clustered.lock" in locks) == ("workers" in machine.groups)
    assert [name for name in locks if name in ("join-in-progress", "stopped.lock")] == []
    assert marks == [], "a run of the role was cut off"


@pytest.mark.each(cases=server)
def test_members(machine: Machine, seen: dict[str, Any], case: str, detail: Detail) -> None:
    """the API lists every declared node, and no other, by exact name and Ready"""
    found = nodes(seen)
    detail(", ".join(f"{name} {each['version']}" for name, each in sorted(found.items())))
    declared = machine.variables["groups"]["cluster"]
    assert sorted(found) == sorted(declared)
    assert microk8s.unready(found, declared, minor(machine)) == []
    assert [name for name, each in found.items() if each["cordoned"]] == []


@pytest.mark.each(cases=server)
def test_database(machine: Machine, seen: dict[str, Any], case: str, detail: Detail) -> None:
    """every server has the database, and of three all vote"""
    members = (microk8s.status(seen["cluster"]["status"]) or {})["members"]
    detail(", ".join(f"{address} {role}" for address, role in members.items()))
    servers = machine.variables["groups"]["servers"]
    assert len(members) == len(servers)
    assert microk8s.too_few_voters(members, len(servers)) == []


@pytest.mark.each(
    cases=lambda machine: server(machine) and [a["name"] for a in machine.wanted["microk8s_addons"]]
)
def test_addon(machine: Machine, seen: dict[str, Any], case: str) -> None:
    """addon {case} is enabled, and what it runs is available"""
    assert case in (microk8s.status(seen["cluster"]["status"]) or {})["addons"]
    workload = microk8s.workload(minor(machine), case)
    text = json.dumps(seen["cluster"]["workloads"])
    assert microk8s.unavailable(text, [workload] if workload else []) == []


@pytest.mark.each(
    cases=lambda machine: (
        server(machine) if "dns" in [a["name"] for a in machine.wanted["microk8s_addons"]] else []
    )
)
def test_names_outlive_a_node(seen: dict[str, Any], case: str) -> None:
    """the cluster's DNS is on two nodes, where there are two"""
    text = json.dumps(seen["cluster"]["workloads"])
    assert microk8s.spread(text, len(nodes(seen))) is None, "one pod of it, or both may be on one node"


def test_launch_configuration(seen: dict[str, Any]) -> None:
    """the launch configuration, which has the cluster's token, is root's alone"""
    file = seen["cluster"]["launch"]
    assert (file["mode"], file["user"]) == ("0600", "root")


def test_names(machine: Machine, seen: dict[str, Any]) -> None:
    """the node knows the address of every other"""
    known = {name for line in seen["files"]["/etc/hosts"]["text"].splitlines() for name in line.split()[1:]}
    assert {*machine.variables["groups"]["cluster"]} <= known


def test_kubeconfig(machine: Machine) -> None:
    """the operator's kubeconfig is for its owner alone, and has a context for every server"""
    file = Path(machine.wanted["microk8s_kubeconfig"])
    assert file.stat().st_mode & 0o777 == 0o600
    contexts = [each["name"] for each in json.loads(file.read_text())["contexts"]]
    assert {*machine.variables["groups"]["servers"]} <= {*contexts}


def admitted(machine: Machine) -> bool:
    """Whether we are among those who may reach the API, by the way we come."""
    return API in machine.let_in(machine.addresses[0])


@pytest.mark.place("outside")
@pytest.mark.each(cases=lambda machine: [] if admitted(machine) else [API])
def test_api_is_closed(machine: Machine, case: int) -> None:
    """port {case} of the API is closed to us, who are not among microk8s_api_sources"""
    with socket.socket() as knock:
        knock.settimeout(5)
        assert knock.connect_ex((machine.addresses[0], case)) != 0


@pytest.mark.place("outside")
@pytest.mark.each(cases=lambda machine: server(machine) if admitted(machine) else [])
def test_api(machine: Machine, case: str, detail: Detail) -> None:
    """the API answers us at this server, with a certificate of the cluster's authority"""
    config = json.loads(Path(machine.wanted["microk8s_kubeconfig"]).read_text())
    cluster = next(each["cluster"] for each in config["clusters"] if each["name"] == machine.name)
    place = cluster["server"].removeprefix("https://")
    authority = b64decode(cluster["certificate-authority-data"]).decode()
    connection = HTTPSConnection(place, context=ssl.create_default_context(cadata=authority), timeout=20)
    connection.request("GET", "/version")
    answer = connection.getresponse()
    text = answer.read().decode()
    # Whoever is not known may not even ask for the version where RBAC is on; that is an answer too.
    assert answer.status in (200, 401, 403), text
    detail(f"{place}: {answer.status}")


@pytest.mark.place("outside")
@pytest.mark.each(cases=lambda machine: [19001] if len(machine.variables["groups"]["servers"]) > 1 else [])
def test_database_is_closed(machine: Machine, case: int) -> None:
    """port {case} of the database is closed to us"""
    with socket.socket() as knock:
        knock.settimeout(5)
        assert knock.connect_ex((machine.addresses[0], case)) != 0
