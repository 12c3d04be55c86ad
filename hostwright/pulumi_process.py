"""The process environment in which every Pulumi command of this toolkit runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hostwright import paths


def toolchain_bin() -> Path:
    """The folder in which `hostwright toolchain` puts the pinned programs (or links to those on PATH)."""
    return paths.cache() / "toolchain" / "bin"


def pulumi_env() -> dict[str, str]:
    """Variables for Pulumi; those the operator has set win. PATH begins with toolchain and interpreter."""
    env = dict(os.environ)
    programs = [str(toolchain_bin()), str(Path(sys.executable).parent)]
    env["PATH"] = os.pathsep.join([*programs, env.get("PATH", os.defpath)])
    env.setdefault("PULUMI_BACKEND_URL", f"file://{paths.state() / 'pulumi'}")
    env.setdefault("PULUMI_HOME", str(paths.cache() / "toolchain" / "home"))
    env.setdefault("PULUMI_SKIP_UPDATE_CHECK", "1")
    env.setdefault("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "1")
    if "PULUMI_CONFIG_PASSPHRASE" not in env:
        env.setdefault("PULUMI_CONFIG_PASSPHRASE_FILE", str(paths.config() / "passphrase"))
    return env
