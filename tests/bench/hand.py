"""What an operator would do by hand: a host of plain docker commands, and one flat playbook for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import yaml

import lab
from hostwright import application, render
from lab import inventory
from tests.live import OWN, claim, program, purge

FLAT = Path(__file__).with_name("flat")
NAME = "bench-hand"
CIDR, CIDR6 = IPv4Network("10.96.0.0/24"), IPv6Network("fd00:96::/64")
ADDRESS, ADDRESS6 = str(CIDR[11]), str(CIDR6[17])


@dataclass(frozen=True)
class Hand:
    """Commands: `host` makes the host, `site` brings it to the application."""

    host: list[str]
    site: list[str]
    env: dict[str, str]


@contextmanager
def ready(folder: Path) -> Iterator[Hand]:
    """With a key and all files there. No host is left afterwards, nor what a killed run left before."""
    claim(NAME)
    purge(NAME)
    mirror = lab.build()
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    host = ["bash", str(FLAT / "host.sh"), NAME, mirror.node_image, str(CIDR), str(CIDR6)]
    site = [program("ansible-playbook"), "-i", str(_hosts(folder, key)), str(FLAT / "site.yml")]
    try:
        yield Hand(
            host=[*host, ADDRESS, ADDRESS6, str(key)],
            site=[*site, "-e", f"@{_variables(folder, mirror)}"],
            env=os.environ | {"ANSIBLE_CONFIG": str(FLAT / "ansible.cfg")},
        )
    finally:
        purge(NAME)


def _hosts(folder: Path, key: Path) -> Path:
    """The inventory."""
    options = f"-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={folder / 'known_hosts'}"
    line = {
        "ansible_host": ADDRESS,
        "ansible_user": "opensuse",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": options,
    }
    hosts = folder / "hosts.yml"
    hosts.write_text(yaml.safe_dump({"all": {"hosts": {NAME: line}}}))
    return hosts


def _variables(folder: Path, mirror: lab.Mirror) -> Path:
    """Those of site.yml, as one would have them."""
    app = application.load("warehouse")
    files = folder / "files"
    rendered = render.write(files, app, mirror.images)
    variables = inventory.variables(mirror) | OWN
    variables |= {
        "firewall_ports": [
            {"port": port.number, "protocol": "tcp", "sources": list(port.sources), "forwarded": True}
            for port in app.ports()
            if port.scope == "public"
        ],
        "flat_directory": f"/etc/hostwright/{app.name}",
        "flat_files": [_file(path, files) for path in rendered],
        "flat_images": [mirror.images[name] for name in app.images()],
    }
    given = folder / "flat.yml"
    given.write_text(yaml.safe_dump(variables))
    return given


def _file(path: Path, folder: Path) -> dict[str, Any]:
    state = path.stat()
    mode = f"{state.st_mode & 0o777:04o}"
    return {"src": str(path), "dest": str(path.relative_to(folder)), "mode": mode, "owner": state.st_uid}
