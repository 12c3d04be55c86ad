"""A node container for one molecule scenario, made and removed by the code of the container driver."""

from __future__ import annotations

import os
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


def create(name: str) -> None:
    """Start the node, and write how molecule reaches it and where its packages come from."""
    import lab
    from lab import inventory

    mirror = lab.build()
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    key = folder / "id_ed25519"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    props = _props(name) | {"image": mirror.node_image, "publicKey": Path(f"{key}.pub").read_text().strip()}
    containers.create_network(_network(name))
    containers.create_volume(_volume(name))
    containers.create_node(props)
    _wait(props, key)
    login = {"address": props["address"], "port": 22, "user": USER, "identity_file": str(key)}
    Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).write_text(yaml.safe_dump([{"instance": name, **login}]))
    (folder / "inventory").mkdir(exist_ok=True)
    told = {"all": {"vars": inventory.variables(mirror)}}
    (folder / "inventory" / "mirror.yml").write_text(yaml.safe_dump(told))


def restart(name: str) -> None:
    """Reboot the node, and wait until one can log in."""
    containers.connect().containers.get(name).restart(timeout=60)
    _wait(_props(name), Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "id_ed25519")


def destroy(name: str) -> None:
    """Remove the node, its volume and its network, whatever of them there is."""
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


def _props(name: str) -> dict[str, Any]:
    cidr, cidr6 = _cidrs(name)
    return {
        "environment": name,
        "name": name,
        "network": f"hostwright-{name}",
        "address": str(cidr[11]),
        "address6": str(cidr6[0x11]),
        "mac": "52:54:00:5c:{:02x}:{:02x}".format(*divmod(_number(name), 256)),
        "volume": f"{name}-docker",
        "mount": topology.LAYOUTS["single"].data,
        "memory": 1024,
        "cpus": 2,
        "user": USER,
    }


def _volume(name: str) -> dict[str, Any]:
    return {"environment": name, "name": f"{name}-docker", "host": name}


def _network(name: str) -> dict[str, Any]:
    cidr, cidr6 = _cidrs(name)
    return {
        "environment": name,
        "name": f"hostwright-{name}",
        "bridge": f"hw-mol-{_number(name):x}",
        "cidr": str(cidr),
        "cidr6": str(cidr6),
    }


def _cidrs(name: str) -> tuple[IPv4Network, IPv6Network]:
    """A network of the scenario's own, so that scenarios run side by side."""
    number = _number(name)
    return IPv4Network(f"10.{96 + number // 256}.{number % 256}.0/24"), IPv6Network(
        f"fd00:96:{number:x}::/64"
    )


def _number(name: str) -> int:
    return zlib.crc32(name.encode()) % 1024


if __name__ == "__main__":
    {"create": create, "restart": restart, "destroy": destroy}[sys.argv[1]](sys.argv[2])
