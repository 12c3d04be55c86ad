"""What a virtual machine is told at its first boot: a small ISO image that cloud-init finds by its label."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from hostwright import paths
from hostwright.errors import Failure
from infra.config import Settings
from infra.topology import HostSpec


def image(settings: Settings, spec: HostSpec) -> Path:
    """The image of a host, named by its content and made when it is not there yet. Raises Failure."""
    user_data, network_config = documents(settings, spec)
    digest = hashlib.sha256(f"{user_data}\0{network_config}".encode()).hexdigest()[:12]
    target = paths.cache() / "cloud-init" / f"{spec.name}-{digest}.iso"
    if target.exists():
        return target
    program = next(filter(None, map(shutil.which, ("genisoimage", "mkisofs", "xorrisofs"))), None)
    if program is None:
        raise Failure("no program that writes ISO images", fix="install genisoimage, mkisofs or xorriso")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
        meta_data = yaml.safe_dump({"instance-id": target.stem, "local-hostname": spec.name})
        texts = {"user-data": user_data, "meta-data": meta_data, "network-config": network_config}
        for name, text in texts.items():
            Path(folder, name).write_text(text)
        made = Path(folder, "image.iso")
        command = [program, "-quiet", "-volid", "cidata", "-joliet", "-rock", "-output", str(made), *texts]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"{program} ended with {done.returncode}: {done.stderr.strip()}")
        made.replace(target)
    return target


def documents(settings: Settings, spec: HostSpec) -> tuple[str, str]:
    """User data and network configuration of a host, as texts."""
    network = settings.network
    user = {
        "name": settings.ssh.user,
        "shell": "/bin/bash",
        "lock_passwd": True,
        "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
        "ssh_authorized_keys": [settings.ssh.public_key],
    }
    user_data = {
        "users": [user],
        "ssh_pwauth": False,
        "disable_root": True,
        "fs_setup": [
            {"device": "/dev/vdb", "filesystem": "ext4", "label": "hostwright-data", "overwrite": False}
        ],
        "mounts": [["LABEL=hostwright-data", spec.layout.data, "ext4", "defaults,nofail", "0", "2"]],
    }
    interface: dict[str, Any] = {"match": {"macaddress": spec.mac}, "accept-ra": False}
    addresses, routes = [], []
    if network.mode == "bridge" and network.gateway:
        interface["dhcp4"] = False
        addresses.append(f"{spec.address}/{network.cidr.prefixlen}")
        routes.append({"to": "0.0.0.0/0", "via": str(network.gateway)})
    else:
        interface["dhcp4"] = True
    if spec.address6 and network.cidr6:
        addresses.append(f"{spec.address6}/{network.cidr6.prefixlen}")
        if network.mode == "nat":
            routes.append({"to": "::/0", "via": str(network.cidr6[1])})
    interface |= {key: value for key, value in (("addresses", addresses), ("routes", routes)) if value}
    if network.dns:
        interface["nameservers"] = {"addresses": [str(server) for server in network.dns]}
    network_config = {"version": 2, "ethernets": {"eth0": interface}}
    return (
        "#cloud-config\n" + yaml.safe_dump(user_data, sort_keys=True, width=1000),
        yaml.safe_dump(network_config, sort_keys=True),
    )
