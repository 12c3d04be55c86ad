"""The wheelhouse: every wheel of services/requirements.lock for the images' Python, fetched here."""

from __future__ import annotations

import sys
from pathlib import Path

from hostwright import paths
from lab.parts import part, run

PYTHON = "3.13"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def wheels(lock: Path | None = None) -> Path:
    """A folder with the wheels that a lock names (default: the services'), each checked against its hash."""
    lock = lock or paths.toolkit() / "services" / "requirements.lock"

    def make(target: Path) -> None:
        run(
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--only-binary=:all:", "--no-deps", "--require-hashes", f"--requirement={lock}",
            f"--python-version={PYTHON}", "--implementation=cp",
            *(f"--platform={each}" for each in PLATFORMS), f"--dest={target}",
        )  # fmt: skip

    return part("wheels", make, lock, PYTHON, *PLATFORMS)
