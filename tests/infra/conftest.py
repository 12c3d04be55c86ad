"""Settings to begin with, and Pulumi's mocks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra import config

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFak5nkFdXYxk1kZmlxZm5DWkRaWnBBbXlqTWh4TnhX test"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key's file; what is in it is nobody's business here."""
    path = tmp_path / "id_ed25519"
    path.write_text("private\n")
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A qcow2 header of a disk of five GiB."""
    path = tmp_path / "leap.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(20) + (5 << 30).to_bytes(8, "big") + bytes(480))
    return path


@pytest.fixture
def values(key: Path, image: Path) -> Callable[..., dict[str, Any]]:
    """Values as in Pulumi.ENV.yaml, for a driver, with changes."""

    def make(driver: str, **changes: Any) -> dict[str, Any]:
        common: dict[str, Any] = {
            "application": "warehouse",
            "topology": "single",
            "driver": driver,
            "ssh": {"user": "opensuse", "privateKey": str(key), "publicKey": PUBLIC},
            "hosts": {"memory": 2048, "cpus": 2, "disk": 12},
            "network": {"mode": "nat", "cidr": "10.92.0.0/24", "cidr6": "fd00:92::/64"},
            "libvirt": {
                "uri": "qemu:///system",
                "image": str(image),
                "sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
                "type": "qemu",
            },
            "container": {"image": "hostwright/node:leap16.0-lab"},
            "static": {"hosts": [{"name": "web1", "address": "192.0.2.10"}]},
        }
        return common | changes

    return make


@pytest.fixture
def settings(values: Callable[..., dict[str, Any]]) -> Callable[..., config.Settings]:
    """Parsed settings of environment `shop`."""
    return lambda driver, **changes: config.parse("shop", values(driver, **changes))


class Mocks(pulumi.runtime.Mocks):
    """Remembers every resource: name, type, inputs, options that reach the engine."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        kind = args.typ.rpartition(":")[2].rpartition("/")[2]
        self.resources[kind, args.name] = dict(args.inputs)
        return f"{args.name}-id", dict(args.inputs)

    def call(self, _: pulumi.runtime.MockCallArgs) -> dict[Any, Any]:
        return {}


@pytest.fixture
def mocks() -> Iterator[Mocks]:
    # Pulumi takes the thread's loop, and whoever ran one before in this process may have left none.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    made = Mocks()
    pulumi.runtime.set_mocks(made, project="hostwright", stack="shop", preview=False)
    yield made
    asyncio.set_event_loop(None)
    loop.close()
