"""Pulumi dynamic providers, as thin as they can be.

Pulumi pickles a provider into the state and calls the pickle in a later run, possibly with a newer toolkit:
so a provider here has no fields, its class is found by name, and what it does is in an ordinary module.
Never rename or move these classes: environments that exist refer to them.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from pulumi.dynamic import (
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)

Props = dict[str, Any]


class _Provider(ResourceProvider):
    serialize_as_secret_always = False

    def configure(self, _req: ConfigureRequest) -> None:
        """Go when the engine has gone: Pulumi's own server outlives an engine that was killed."""
        if len(sys.argv) == 2 and ":" in sys.argv[1]:
            threading.Thread(target=_follow, args=(sys.argv[1],), daemon=True).start()


class NetworkProvider(_Provider):
    """An environment's network in the Docker engine."""

    def create(self, props: Props) -> CreateResult:
        from hostwright.hosts import containers

        return CreateResult(containers.create_network(props), props)

    def read(self, id_: str, props: Props) -> ReadResult:
        from hostwright.hosts import containers

        return _read(id_, props, containers.network_exists(id_))

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        return _diff(olds, news, replacing=("name", "bridge", "cidr", "cidr6"))

    def delete(self, id_: str, props: Props) -> None:
        from hostwright.hosts import containers

        containers.delete_network(id_, props)


class VolumeProvider(_Provider):
    """A host's data volume in the Docker engine."""

    def create(self, props: Props) -> CreateResult:
        from hostwright.hosts import containers

        return CreateResult(containers.create_volume(props), props)

    def read(self, id_: str, props: Props) -> ReadResult:
        from hostwright.hosts import containers

        return _read(id_, props, containers.volume_exists(id_))

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        return _diff(olds, news, replacing=("name",))

    def delete(self, id_: str, props: Props) -> None:
        from hostwright.hosts import containers

        containers.delete_volume(id_, props)


class NodeProvider(_Provider):
    """A node container."""

    def create(self, props: Props) -> CreateResult:
        from hostwright.hosts import containers

        return CreateResult(containers.create_node(props), {**props, "state": "running"})

    def read(self, id_: str, props: Props) -> ReadResult:
        from hostwright.hosts import containers

        state = containers.node_state(id_)
        return _read(id_, {**props, "state": state}, bool(state))

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from hostwright.hosts import containers

        stopped = olds.get("state", "running") != "running"
        return _diff(olds, news, containers.REPLACING, containers.UPDATING, stopped)

    def update(self, id_: str, _olds: Props, news: Props) -> UpdateResult:
        from hostwright.hosts import containers

        containers.update_node(id_, news)
        return UpdateResult({**news, "state": "running"})

    def delete(self, id_: str, props: Props) -> None:
        from hostwright.hosts import containers

        containers.delete_node(id_, props)


class ReadyProvider(_Provider):
    """The fact that a host lets its operator in."""

    def create(self, props: Props) -> CreateResult:
        from hostwright.hosts import ssh

        ssh.wait(props)
        return CreateResult(f"{props['user']}@{props['address']}", {**props, "answers": True})

    def read(self, id_: str, props: Props) -> ReadResult:
        from hostwright.hosts import ssh

        return ReadResult(id_, {**props, "answers": ssh.ask(props, "true").kind == "yes"})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        silent = not olds.get("answers", True)
        return _diff(olds, news, replacing=("machine", "address", "port", "user"), changed=silent)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        from hostwright.hosts import ssh

        ssh.wait({**news, "fresh": False})  # the same machine: the key remembered of it holds
        return UpdateResult({**news, "answers": True})


class ReservationProvider(_Provider):
    """A MAC's fixed address in the DHCP service of a libvirt network."""

    def create(self, props: Props) -> CreateResult:
        from hostwright.hosts import virsh

        virsh.reserve(props)
        return CreateResult(f"{props['mac']}={props['address']}", props)

    def read(self, id_: str, props: Props) -> ReadResult:
        from hostwright.hosts import virsh

        return _read(id_, props, virsh.reserved(props))

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        return _diff(olds, news, replacing=("networkId", "mac", "address", "name"))

    def delete(self, _id: str, props: Props) -> None:
        from hostwright.hosts import virsh

        virsh.release(props)


def _follow(engine: str) -> None:
    host, _, port = engine.rpartition(":")
    with suppress(OSError):
        while True:
            time.sleep(10)
            socket.create_connection((host, int(port)), timeout=10).close()
    os._exit(0)


def _read(identity: str, props: Props, exists: bool) -> ReadResult:
    """An empty id tells the engine that the thing is gone."""
    return ReadResult(identity, props) if exists else ReadResult("", {})


def _diff(
    olds: Mapping[str, Any],
    news: Mapping[str, Any],
    replacing: Iterable[str],
    updating: Iterable[str] = (),
    changed: bool = False,
) -> DiffResult:
    """A property that the state does not know yet, because an older toolkit wrote it, has not changed."""

    def differ(names: Iterable[str]) -> list[str]:
        return [name for name in names if name in olds and olds[name] != news.get(name)]

    replaces = differ(replacing)
    return DiffResult(
        changes=bool(replaces or differ(updating) or changed), replaces=replaces, delete_before_replace=True
    )
