"""Node containers for one molecule scenario, made and removed by the code of the container driver.

A scenario's first node is called molecule-ROLE, the others molecule-ROLE-2 and so on. A platform may say
how much memory its node has (MiB), and, of a scenario's nodes all alike, that its MicroK8s is to be a real
Kubernetes (`kubernetes: true`), which takes long to build.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import yaml

from hostwright.hosts import containers, ssh
from infra import topology

USER = "opensuse"


def create(platforms: str) -> None:
    """Start nodes (JSON, as in molecule.yml), and write how molecule reaches them and the mirror."""
    import lab
    from lab import inventory

    nodes = json.loads(platforms)
    kubernetes = any(node.get("kubernetes") for node in nodes)
    mirror = lab.build(kubernetes=kubernetes)
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    key = folder / "id_ed25519"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    made = {"image": mirror.node_image, "publicKey": Path(f"{key}.pub").read_text().strip()}
    logins = []
    for node in nodes:
        name = node["name"]
        props = _props(name, node["groups"][-1]) | made
        props["memory"] = node.get("memory", props["memory"])
        containers.create_network(_network(name))
        containers.create_volume(_volume(name))
        containers.create_node(props)
        _wait(props, key)
        login = {"address": props["address"], "port": 22, "user": USER, "identity_file": str(key)}
        logins.append({"instance": name, **login})
    Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).write_text(yaml.safe_dump(logins))
    (folder / "inventory").mkdir(exist_ok=True)
    told = {"all": {"vars": inventory.variables(mirror, "cluster" if kubernetes else "single")}}
    (folder / "inventory" / "mirror.yml").write_text(yaml.safe_dump(told))


def restart(*names: str) -> None:
    """Reboot nodes, and wait until one can log in."""
    for name in names:
        containers.connect().containers.get(name).restart(timeout=60)
        _wait(_props(name), Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "id_ed25519")


def destroy(*names: str) -> None:
    """Remove nodes, their volumes and their network, whatever of them there is."""
    for name in names:
        containers.delete_node(name, _props(name))
        containers.delete_volume(f"{name}-docker", _volume(name))
    containers.delete_network(_network(name)["name"], _network(name))
    Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).write_text("[]")


def _wait(props: dict[str, Any], key: Path) -> None:
    login = {
        "name": props["name"],
        "address": props["address"],
        "port": 22,
        "user": USER,
        "privateKey": str(key),
    }
    ssh.wait(login | {"knownHosts": f"{key}.known_hosts", "timeout": 60, "fresh": True})


def _props(name: str, group: str = "single") -> dict[str, Any]:
    cidr, cidr6 = _cidrs(name)
    scenario, place = _place(name)
    number = _number(scenario) + 4096 * (place - 1)
    return {
        "environment": scenario,
        "name": name,
        "network": f"hostwright-{scenario}",
        "address": str(cidr[10 + place]),
        "address6": str(cidr6[0x10 + place]),
        "mac": "52:54:00:5c:{:02x}:{:02x}".format(*divmod(number, 256)),
        "volume": f"{name}-docker",
        "mount": topology.LAYOUTS[group].data,
        "memory": 1024,
        "cpus": 2,
        "user": USER,
    }


def _volume(name: str) -> dict[str, Any]:
    return {"environment": _place(name)[0], "name": f"{name}-docker", "host": name}


def _network(name: str) -> dict[str, Any]:
    cidr, cidr6 = _cidrs(name)
    scenario, _ = _place(name)
    return {
        "environment": scenario,
        "name": f"hostwright-{scenario}",
        "bridge": f"hw-mol-{_number(scenario):x}",
        "cidr": str(cidr),
        "cidr6": str(cidr6),
    }


def _cidrs(name: str) -> tuple[IPv4Network, IPv6Network]:
    """A network of the scenario's own, so that scenarios run side by side."""
    number = _number(_place(name)[0])
    return IPv4Network(f"10.{96 + number // 256}.{number % 256}.0/24"), IPv6Network(
        f"fd00:96:{number:x}::/64"
    )


def _place(name: str) -> tuple[str, int]:
    """The scenario's first node, and which of its nodes this is, counted from 1."""
    found = re.fullmatch(r"(.*?)(?:-(\d+))?", name)
    assert found  # noqa: S101  (there is nothing that it does not match)
    return found[1], int(found[2] or 1)


def _number(scenario: str) -> int:
    return zlib.crc32(scenario.encode()) % 1024


if __name__ == "__main__":
    {"create": create, "restart": restart, "destroy": destroy}[sys.argv[1]](*sys.argv[2:])
