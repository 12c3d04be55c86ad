"""What Pulumi's libvirt provider cannot do or say, asked of virsh: whose a name is, and DHCP reservations."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from hostwright.errors import BadInput, Failure


def run(uri: str, *arguments: str, timeout: float = 60) -> str:
    """What virsh prints, in English. `timeout` in seconds.

    Raises BadInput when the hypervisor does not answer, or not in time, Failure when virsh refuses.
    """
    try:
        done = subprocess.run(
            ["virsh", "-q", "-c", uri, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=os.environ | {"LC_ALL": "C"},  # what it says of failures is read, here and by who calls
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise Failure("virsh is not on PATH", fix="install libvirt's client programs") from None
    except subprocess.TimeoutExpired:
        raise _silent(uri, f"virsh {arguments[0]} did not end within {timeout:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    message = done.stderr.strip()
    if "failed to connect to the hypervisor" in message:
        raise _silent(uri, message.splitlines()[-1].removeprefix("error: "))
    raise Failure(f"virsh {' '.join(arguments)}: {message}", where=uri)


def _silent(uri: str, why: str) -> BadInput:
    return BadInput(
        f"the hypervisor does not answer: {why}",
        where=f"hostwright:libvirt.uri: {uri}",
        fix="start libvirtd (or virtqemud) and join the group libvirt; qemu+ssh: check host, key",
    )


def names(uri: str, kind: str) -> set[str]:
    """Names of all domains, networks or pools (`kind`: domain, net or pool), running or not."""
    return _listed(uri, kind, "--all")


def running(uri: str, kind: str) -> set[str]:
    """Names of those that run."""
    return _listed(uri, kind)


def _listed(uri: str, kind: str, *options: str) -> set[str]:
    listing = {"domain": "list", "net": "net-list", "pool": "pool-list"}[kind]
    return {line.strip() for line in run(uri, listing, *options, "--name").splitlines() if line.strip()}


def volumes(uri: str, pool: str) -> list[str]:
    """Names of the volumes in the pool; none when it does not run."""
    if pool not in running(uri, "pool"):
        return []
    run(uri, "pool-refresh", pool)
    return [line.split()[0] for line in run(uri, "vol-list", pool).splitlines() if line.strip()]


def document(uri: str, kind: str, name: str) -> ET.Element:
    """The XML of one of them."""
    command = {"domain": "dumpxml", "net": "net-dumpxml", "pool": "pool-dumpxml"}[kind]
    return ET.fromstring(run(uri, command, name))  # noqa: S314  (libvirt's own)


def reserve(props: Mapping[str, Any]) -> None:
    """Reserve `address` for `mac` and `name` in the DHCP service of `network` at `uri`, live and for good."""
    if not reserved(props):
        run(
            props["uri"],
            "net-update",
            props["network"],
            "add",
            "ip-dhcp-host",
            _entry(props),
            "--live",
            "--config",
        )


def release(props: Mapping[str, Any]) -> None:
    """Take the reservation back, where the network still has it."""
    if reserved(props):
        run(
            props["uri"],
            "net-update",
            props["network"],
            "delete",
            "ip-dhcp-host",
            _entry(props),
            "--live",
            "--config",
        )


def reserved(props: Mapping[str, Any]) -> bool:
    """Whether the network has exactly this reservation."""
    if props["network"] not in names(props["uri"], "net"):
        return False
    wanted = {key: props[value] for key, value in {"mac": "mac", "ip": "address", "name": "name"}.items()}
    found = document(props["uri"], "net", props["network"]).iterfind("ip/dhcp/host")
    return any(host.attrib == wanted for host in found)


def _entry(props: Mapping[str, Any]) -> str:
    return f"<host mac='{props['mac']}' name='{props['name']}' ip='{props['address']}'/>"
