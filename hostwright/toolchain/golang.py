"""Whether the Go of this machine is new enough for a module, before minutes are spent on finding that out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from hostwright.errors import BadInput


def check(*modules: Path) -> str:
    """Raise BadInput unless the Go here builds the modules (folders); else how it does, in words.

    It must be as new as the newest of their go.mod files asks for, or one that fetches what they ask for:
    from 1.21 on Go does so where GOTOOLCHAIN is `auto`. Nothing is fetched here.
    """
    needed, where = max(((_asked(each / "go.mod"), each / "go.mod") for each in modules), key=_by_version)
    fix, program = f"install Go {needed} or newer", shutil.which("go")
    if program is None:
        raise BadInput(f"there is no Go on PATH ({needed} is needed)", where=str(where), fix=fix)
    # Not in a module's folder, where it would be fetched at once. Before 1.21 the second line is empty.
    answer = subprocess.run(
        [program, "env", "GOVERSION", "GOTOOLCHAIN"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    version, fetches, *_ = [*answer.stdout.splitlines(), "", ""]
    found = version.removeprefix("go")
    if _numbers(found) >= _numbers(needed):
        return f"{found}, {needed} is needed"
    if fetches.endswith("auto"):
        return f"{found}, which fetches {needed} when it needs it"
    older = f"Go {found or 'of no version'} ({program}) is older than the {needed} that is needed"
    raise BadInput(older, where=str(where), fix=fix)


def _asked(file: Path) -> str:
    """The version that a go.mod file asks for: `1.25.11`."""
    return str(re.findall(r"^go (\S+)", file.read_text(), re.MULTILINE)[0])


def _by_version(asked: tuple[str, Path]) -> tuple[int, ...]:
    return _numbers(asked[0])


def _numbers(version: str) -> tuple[int, ...]:
    """`1.26.5` as numbers that compare: `1.25rc1` before `1.25.0`, and what is no version before all."""
    found = re.search(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
