"""What the lab needs of the machine itself: Debian packages, one a line in apt.txt."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from hostwright.errors import BadInput
from lab.parts import run

LIST = Path(__file__).with_name("apt.txt")


def wanted() -> list[str]:
    """The packages' names."""
    lines = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    return [line for line in lines if line]


def missing() -> list[str]:
    """Those of them that are not installed."""
    asked = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\\n", *wanted()]
    answer = subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
    present = {line.split()[1] for line in answer if line.startswith("installed ")}
    return [name for name in wanted() if name not in present]


def ensure(note: Callable[[str], None] = lambda _: None) -> None:
    """Install what is missing; nothing is asked of the network when nothing is.

    Raises BadInput when this needs another user than the present one.
    """
    lacking = missing()
    if not lacking:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *lacking]
    if os.geteuid() != 0:
        raise BadInput(
            f"this machine lacks {' '.join(lacking)}", fix=f"sudo apt-get update && sudo {' '.join(install)}"
        )
    note(f"installing {' '.join(lacking)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", env=quiet)
    # A freshly installed daemon must not start itself: the lab starts its own, with its own settings.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        run(*install, env=quiet)
    finally:
        if ours:
            policy.unlink()
