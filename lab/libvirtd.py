"""A running libvirt on a machine that has nobody to start it."""

from __future__ import annotations

import grp
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from hostwright.errors import Failure, HostwrightError
from hostwright.hosts import virsh
from lab.servers import running

URI = "qemu:///system"
SECONDS = 60


def ensure() -> str:
    """Have the system's libvirt answering; one that does is left alone. Its URI. Raises Failure."""
    _open_kvm()
    if _answers():
        return URI
    if Path("/run/systemd/system").is_dir():
        _start("systemctl", "start", "libvirtd.service")
    else:
        # Without systemd nobody makes the folders for their sockets either.
        for folder in ("/run/dbus", "/run/libvirt"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        if not running("dbus-daemon", Path("/run/dbus/pid")):
            Path("/run/dbus/pid").unlink(missing_ok=True)
            _start("dbus-daemon", "--system", "--fork")
        if not running("virtlogd", Path("/run/virtlogd.pid")):
            _start("virtlogd", "--daemon")
        if not running("libvirtd", Path("/run/libvirtd.pid")):
            _start("libvirtd", "--daemon")
    deadline = time.monotonic() + SECONDS
    while not _answers():
        if time.monotonic() > deadline:
            raise Failure(
                f"libvirt does not answer within {SECONDS} s",
                where=URI,
                fix="look at what libvirtd says: libvirtd --verbose",
            )
        time.sleep(0.3)
    return URI


def _open_kvm() -> None:
    """Give /dev/kvm its group, which udev does where there is one.

    A device that root may open and QEMU's user may not makes libvirt probe QEMU anew at every question, some
    minutes for a guest: also where KVM is of no use, and no guest is given it.
    """
    device = Path("/dev/kvm")
    with suppress(OSError, KeyError):
        group = grp.getgrnam("kvm").gr_gid
        if device.is_char_device() and device.stat().st_gid != group:
            os.chown(device, -1, group)
            device.chmod(0o660)


def _answers() -> bool:
    try:
        virsh.run(URI, "uri", timeout=10)
    except HostwrightError:
        return False
    return True


def _start(*command: str) -> None:
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if done.returncode:
        raise Failure(
            f"{command[0]} ended with {done.returncode}", fix=f"run it by hand: {' '.join(command)}"
        )
