"""Whether KVM works here, found out by booting a guest: /dev/kvm can exist and be of no use."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from hostwright import paths

# kvm.s, assembled: it does what a kernel does at its start, then ends QEMU with 16 * 2 + 1.
GUEST = bytes.fromhex(
    "fa31c08ed88ec08ed0fcbf0010b9001866f3abc70600100320c70600200330c706003083000f0116107d66b8200604000f22"
    "e066b8001000000f22d866b9800000c00f320d00010f300f20c06683e0fb660d030000800f22c0ea5e7c0800b8100000008e"
    "d88ec08ed0bc00700000bb00500000b8f37c00006689433066c74332080066c74334008e0f011c25167d00004531ffcc4183"
    "ff017556b80700000031c90fa20fbae3087314b904000000b801000000c4e271f7c083f810753331c031d231c9bb01000000"
    "bf00600000f0480fc70f751c31c90f01d083c8030f01d1bf00610000480fae27480fae2fb010e6f4f4ebfd41ffc748cf0000"
    "000000000000ffff0000009aaf00ffff00000092cf001700f87c0000ff010050"
)
SUCCESS = 33
SECONDS = 5


@dataclass(frozen=True)
class Verdict:
    """Whether guests run under KVM, and how that is known."""

    usable: bool
    detail: str


def usable() -> Verdict:
    """Boot a guest under KVM, once per start of this machine: the answer is remembered until the next."""
    memory = paths.cache() / "kvm.json"
    started = Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(
        os.access("/dev/kvm", os.W_OK)
    )
    try:
        known = json.loads(memory.read_text())
        if known.pop("boot") == started:
            return Verdict(**known)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    verdict = boot("kvm")
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({"boot": started, **asdict(verdict)}))
    return verdict


def boot(accelerator: str) -> Verdict:
    """Boot a guest now; `tcg` must always work, which shows that the test itself does."""
    if accelerator == "kvm":
        if not Path("/dev/kvm").exists():
            return Verdict(False, "there is no /dev/kvm")
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return Verdict(False, "/dev/kvm is closed to this user; join the group kvm")
    emulator = _emulator()
    if emulator is None:
        return Verdict(False, "no QEMU to test it with")
    with tempfile.NamedTemporaryFile(suffix=".img") as disk:
        disk.write((GUEST.ljust(510, b"\0") + b"\x55\xaa").ljust(512 * 2880, b"\0"))
        disk.flush()
        command = [
            emulator, "-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "max",
            "-m", "16", "-nodefaults", "-display", "none", "-no-reboot",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
            "-drive", f"file={disk.name},format=raw,if=ide",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return Verdict(False, f"a guest did not get through its first instructions in {SECONDS} s")
    if done.returncode == SUCCESS:
        return Verdict(True, f"a guest booted under {accelerator}")
    said = (done.stderr.strip().splitlines() or [f"QEMU ended with {done.returncode}"])[0]
    return Verdict(False, f"a guest did not boot: {said}")


def _emulator() -> str | None:
    if platform.machine() != "x86_64":
        return None
    return shutil.which("qemu-system-x86_64") or shutil.which("qemu-kvm", path="/usr/bin:/usr/libexec")
