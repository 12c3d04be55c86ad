"""What an environment's inventory is told of the mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hostwright import paths
from lab.mirror import Mirror
from lab.snap import KUBERNETES, track

_HEAD = "# Written by `hostwright lab`: where hosts of this environment take packages and images from.\n"


def write(environment: str, mirror: Mirror, topology: str = "single") -> Path:
    """Write inventories/ENVIRONMENT/group_vars/all/mirror.yml unless it says so already; its path."""
    path = paths.project() / "inventories" / environment / "group_vars" / "all" / "mirror.yml"
    text = _HEAD + yaml.dump(variables(mirror, topology), Dumper=_Dumper, sort_keys=False)
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path


def variables(mirror: Mirror, topology: str = "single") -> dict[str, Any]:
    """Variables of the roles: the mirror is the only source, signatures checked."""
    found: dict[str, Any] = {
        "mirror_repositories": [
            {"name": "hostwright-lab", "url": f"{mirror.url}/rpm/", "gpg_key": mirror.rpm_key.strip() + "\n"}
        ],
        "mirror_exclusive": True,
        "mirror_certificates": [{"name": "lab", "pem": mirror.ca_pem.strip() + "\n"}],
        "mirror_registry": mirror.registry,
        "app_compose_images": mirror.images,
    }
    if topology == "cluster":
        registry = f"https://{mirror.registry}"
        found |= channel(mirror, "kubernetes") | {
            "microk8s_registries": {"docker.io": registry, "registry.k8s.io": registry},
        }
    return found


def channel(mirror: Mirror, name: str) -> dict[str, str]:
    """The same of a Kubernetes alone, as lab.snap calls it: where MicroK8s comes from, and of which minor."""
    of = track(KUBERNETES[name])
    return {"microk8s_channel": f"{of}/stable", "microk8s_snaps": f"{mirror.url}/snaps-{name}/{of}"}


class _Dumper(yaml.SafeDumper):
    """Keys and certificates as blocks, lists indented, as a person would write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
