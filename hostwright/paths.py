"""Where things are: the toolkit's own files, the user's project, caches and state."""

from __future__ import annotations

import os
from pathlib import Path

from hostwright.errors import BadInput

PACKAGE = Path(__file__).resolve().parent


def toolkit() -> Path:
    """Where infra/, roles/, services/, templates/ are: the checkout, or the copy in an installed wheel."""
    packaged = PACKAGE / "_toolkit"
    return packaged if packaged.is_dir() else PACKAGE.parent


def project(start: Path | None = None) -> Path:
    """The operator's project: the nearest folder upwards that holds infra/Pulumi.yaml.

    It is looked for from $HOSTWRIGHT_PROJECT where that is set. Raises BadInput when there is none.
    """
    here = (start or Path(os.environ.get("HOSTWRIGHT_PROJECT") or Path.cwd())).resolve()
    for folder in (here, *here.parents):
        if (folder / "infra" / "Pulumi.yaml").is_file():
            return folder
    raise BadInput(
        "no hostwright project here",
        where=str(here),
        fix="change into a project, or make one: hostwright init DIR",
    )


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` taken for a home folder; of a user who is not there it stays."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def cache() -> Path:
    """What can be made again: toolchain, mirror, downloads."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hostwright"


def state(environment: str = "") -> Path:
    """What must not be lost: Pulumi's state; with a name, that environment's SSH key, known hosts, proofs."""
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hostwright"
    return base / environment if environment else base


def config() -> Path:
    """The operator's own settings, the passphrase among them."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hostwright"
