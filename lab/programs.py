"""Programs built from Go modules: all of each one's sources are pinned by go.mod and go.sum in its folder."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hostwright.toolchain import golang
from lab.parts import part, run

MODULES = Path(__file__).parent / "modules"


def program(name: str) -> Path:
    """The program of lab/modules/NAME, a static binary; minutes of both cores when it is not built yet.

    Sources come through the module proxy that Go is configured with, and fit go.sum or are refused.
    Raises BadInput when it is not built yet and Go is older than its go.mod asks for.
    """
    folder = MODULES / name
    pinned = tomllib.loads((folder / "program.toml").read_text())

    def make(target: Path) -> None:
        golang.check(folder)
        run(
            "go", "build", "-trimpath", "-mod=readonly", f"-ldflags=-s -w {pinned.get('ldflags', '')}",
            f"-o={target}", pinned["package"],
            cwd=folder, env={"CGO_ENABLED": "0", "GOWORK": "off"},
        )  # fmt: skip

    return part(f"programs/{name}", make, folder)
