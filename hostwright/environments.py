"""Which environments a project has, and what each says of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hostwright import paths
from hostwright.errors import BadInput


@dataclass(frozen=True)
class Environment:
    """One deployment: its name and the settings in infra/Pulumi.NAME.yaml."""

    name: str
    project: Path
    settings: dict[str, Any]

    @property
    def application(self) -> str:
        return str(self.settings.get("application", "warehouse"))

    @property
    def components(self) -> list[str] | str:
        """Components of the application that are switched on: names, or "all"."""
        found: list[str] | str = self.settings.get("components") or []
        return found

    @property
    def driver(self) -> str:
        return str(self.settings.get("driver", ""))

    @property
    def topology(self) -> str:
        return str(self.settings.get("topology", "single"))

    @property
    def clustered(self) -> bool:
        return self.topology == "cluster"

    @property
    def key(self) -> Path:
        """The private half of the SSH key: of the settings, a relative path being of infra/, or its own."""
        given = (self.settings.get("ssh") or {}).get("privateKey")
        return self.project / "infra" / Path(given).expanduser() if given else self.state / "id_ed25519"

    @property
    def state(self) -> Path:
        return paths.state(self.name)


def names(project: Path) -> list[str]:
    """Environments of the project, sorted: those with a Pulumi.NAME.yaml."""
    return sorted(
        p.name.removeprefix("Pulumi.").removesuffix(".yaml")
        for p in (project / "infra").glob("Pulumi.*.yaml")
    )


def load(name: str = "", project: Path | None = None) -> Environment:
    """The named environment, else the one $HOSTWRIGHT_ENVIRONMENT names, else the only one there is.

    Raises BadInput when that leaves none or several.
    """
    project = project or paths.project()
    known = names(project)
    name = name or os.environ.get("HOSTWRIGHT_ENVIRONMENT", "")
    if not name:
        if len(known) != 1:
            raise BadInput(
                "no environment named" if known else "this project has no environment yet",
                where=str(project / "infra"),
                fix=f"give one of: {', '.join(known)}" if known else "hostwright init DIR, or hostwright lab",
            )
        name = known[0]
    path = project / "infra" / f"Pulumi.{name}.yaml"
    if name not in known:
        raise BadInput(
            f"unknown environment {name!r}",
            where=str(path),
            fix=f"give one of: {', '.join(known)}" if known else "hostwright init DIR, or hostwright lab",
        )
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise BadInput(
            "the environment's file is not YAML", where=f"{path}: {error}", fix="mend the file"
        ) from None
    config = document.get("config") or {}
    settings = {key.removeprefix("hostwright:"): value for key, value in config.items()}
    return Environment(name, project, settings)
