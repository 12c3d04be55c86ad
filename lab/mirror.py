"""The mirror as a whole: its parts built, served and locked, and what an environment needs to know of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from lab import images, node, packages, requirements, rpm, snap
from lab.parts import sha256, store
from lab.servers import HOST, PORT, URL, ca_pem, publish
from lab.servers import serve as start_servers
from lab.wheels import wheels

PARTS = ("node", "packages", "snaps", "wheels", "images", "qcow2", "kubernetes", "kubernetes-upgrade")


class Mirror:
    """What this machine's mirror offers to environments.

    `held` is the lock as this build left it: another checkout may build other images meanwhile.
    """

    url = URL
    registry = f"{HOST}:{PORT}"
    node_image = node.IMAGE

    def __init__(self, held: dict[str, Any]) -> None:
        self._held = held

    @property
    def ca_pem(self) -> str:
        """The certificate of the authority behind `url`."""
        return ca_pem()

    @property
    def rpm_key(self) -> str:
        """The armoured key that the repository at `url`/rpm/ is signed with."""
        return rpm.public_key()

    @property
    def images(self) -> dict[str, str]:
        """What hosts pull: name of an image or service -> `10.87.0.1:8443/hostwright/NAME:TAG@sha256:...`."""
        images = self._held.get("images", {})
        return {name: f"{self.registry}/{reference}" for name, reference in images.items()}

    @property
    def qcow2(self) -> Path:
        """The node as the disk of a virtual machine; built if it is not yet."""
        return node.disk()

    @property
    def qcow2_sha256(self) -> str:
        """Its digest in hexadecimal."""
        return node.disk_sha256()

    @property
    def lock(self) -> Path:
        """A JSON file of what the mirror holds, with versions and digests."""
        return _lock()


def build(
    note: Callable[[str], None] = lambda _: None,
    *,
    only: Collection[str] = (),
    qcow2: bool = False,
    kubernetes: bool = False,
    components: bool = False,
) -> Mirror:
    """Have the mirror's parts built and served; those whose inputs have not changed take no time.

    `only` names the parts wanted, of PARTS. By default all but the disk, which `qcow2` adds, a MicroK8s of a
    real Kubernetes, which `kubernetes` adds, and one of the next minor. `components` adds the images of what
    watches an application; `note` is told the name of each part as it is ready.
    """
    start_servers()
    asked = {"qcow2": qcow2, "kubernetes": kubernetes, "kubernetes-upgrade": False}
    wanted = set(only) or {part for part in PARTS if asked.get(part, True)}
    makers: dict[str, Callable[[], Any]] = {
        "node": _node, "packages": _packages, "snaps": _snaps, "wheels": _wheels, "qcow2": _qcow2,
        "images": partial(images.build, components),
        "kubernetes": lambda: _kubernetes("kubernetes") | images.addons(),
        "kubernetes-upgrade": lambda: _kubernetes("kubernetes-upgrade"),
    }  # fmt: skip

    def make(part: str) -> tuple[str, Any]:
        held = makers[part]()
        note(part)
        return part, held

    with ThreadPoolExecutor(2) as pool:
        made = dict(pool.map(make, [part for part in PARTS if part in wanted]))
    held = _held() | made
    _keep(held)
    return Mirror(held)


def serve() -> Mirror:
    """Start the servers (engine, registry, HTTPS) unless they answer already."""
    start_servers()
    return Mirror(_held())


def ensure_requirements(note: Callable[[str], None] = lambda _: None) -> None:
    """Install what the lab needs of this machine and the machine lacks."""
    requirements.ensure(note)


def _node() -> dict[str, str]:
    return {"image": node.image(), "made_from": node.container().name}


def _packages() -> dict[str, str]:
    folder = packages.repository()
    publish("rpm", folder)
    return {each.name: sha256(each) for each in sorted(folder.glob("*.rpm"))}


def _snaps() -> dict[str, str]:
    folder = snap.snaps()
    publish("snaps", folder)
    return {str(each.relative_to(folder)): sha256(each) for each in sorted(folder.glob("*/*.snap"))}


def _kubernetes(name: str) -> dict[str, str]:
    folder = snap.kubernetes_snaps(name)
    publish(f"snaps-{name}", folder)
    return {str(each.relative_to(folder)): sha256(each) for each in folder.glob("*/*.snap")}


def _wheels() -> dict[str, str]:
    folder = wheels()
    publish("wheels", folder)
    return {wheel.name: sha256(wheel) for wheel in sorted(folder.glob("*.whl"))}


def _qcow2() -> dict[str, str]:
    disk = node.disk()
    publish("images", disk.parent)
    return {disk.name: node.disk_sha256()}


def _lock() -> Path:
    return store() / "mirror.lock.json"


def _held() -> dict[str, Any]:
    held: dict[str, Any] = json.loads(_lock().read_text()) if _lock().exists() else {}
    return held


def _keep(held: dict[str, Any]) -> None:
    fresh = _lock().with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(held, indent=2, sort_keys=True) + "\n")
    fresh.rename(_lock())
