"""Roles and lookups of a cluster's hosts go by the same application."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COLLECTIONS = Path(__file__).resolve().parents[2] / ".collections"
NODES = {"k1": "192.0.2.1", "k2": "192.0.2.2"}
ENVIRONMENT = {"name": "prod", "application": "warehouse", "components": [], "pod_network": "10.1.0.0/16"}
TOLD = {
    "inventory_hostname": "k1",
    "groups": {"servers": ["k1"], "workers": ["k2"]},
    "hostvars": {name: {"hostwright_host": {"address": each}} for name, each in NODES.items()},
    "hostwright_environment": ENVIRONMENT,
}
SINGLE, CLUSTER = {"group_names": ["single"]}, {"group_names": ["cluster", "servers"]}
METALLB = {"microk8s_addons": [{"name": "dns"}, {"name": "metallb", "args": ["192.0.2.8-192.0.2.9"]}]}
CASES: dict[str, dict[str, Any]] = {
    "single": SINGLE,
    "single, its own": SINGLE | {"app_compose_application": "gatekeeper"},
    "single, a cluster's": SINGLE | {"app_kubernetes_application": "gatekeeper"},
    "cluster": CLUSTER,
    "cluster, its own": CLUSTER | {"app_kubernetes_application": "gatekeeper"},
    "cluster, a single's": CLUSTER | {"app_compose_application": "gatekeeper"},
    "cluster, metallb": CLUSTER | METALLB,
}
# As Ansible fills the templates of the roles' defaults in.
PROGRAM = """
import json, sys
from hostwright.proof.wanted import Wanted
found = {}
for name, told in json.load(sys.stdin).items():
    wanted = Wanted(told, ["firewall", "app_kubernetes"], {"os_family": "Suse"})
    found[name] = {each: wanted[each] for each in ("app_kubernetes_namespace", "firewall_ports")}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    """Case -> what the roles' variables are."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)},
        input=json.dumps({name: TOLD | each for name, each in CASES.items()}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return answer


def public(case: dict[str, Any]) -> set[int]:
    return {each["port"] for each in case["firewall_ports"] if each.get("forwarded")}


def test_namespace_and_firewall_are_of_the_application_that_is_deployed(found: dict[str, Any]) -> None:
    assert found["cluster"]["app_kubernetes_namespace"] == "warehouse-prod"
    assert found["cluster, its own"]["app_kubernetes_namespace"] == "gatekeeper-prod"
    assert public(found["cluster, its own"]) == public(found["single, its own"]) != public(found["single"])


def test_what_is_said_of_another_kind_of_host_counts_for_nothing(found: dict[str, Any]) -> None:
    assert found["cluster, a single's"] == found["cluster"]
    assert found["single, a cluster's"]["firewall_ports"] == found["single"]["firewall_ports"]


def test_with_metallb_its_speakers_reach_each_other(found: dict[str, Any]) -> None:
    added = [
        each
        for each in found["cluster, metallb"]["firewall_ports"]
        if each not in found["cluster"]["firewall_ports"]
    ]
    nodes = [f"{each}/32" for each in NODES.values()]
    assert added == [{"port": 7946, "protocol": each, "sources": nodes} for each in ("tcp", "udp")]
