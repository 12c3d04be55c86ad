"""Which environments a project has, and what each says of itself."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hostwright import paths
from hostwright.errors import BadInput

TOPOLOGIES = ("single", "cluster")
DRIVERS = ("libvirt", "container", "static")
# Settings that hold others.
SECTIONS = ("cluster", "ssh", "hosts", "network", "libvirt", "container", "static")
# Where a project has what of the toolkit.
LINKS = {".collections/ansible_collections/hostwright/hostwright": ".", "tests/hosts": "tests/hosts"}


def is_name(text: str, most: int = 63) -> bool:
    """Whether a host may have it. Kubernetes takes no other names, and what is made is named like them."""
    return len(text) <= most and re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", text) is not None


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
        return self.project / "infra" / paths.expanded(str(given)) if given else self.state / "id_ed25519"

    @property
    def state(self) -> Path:
        return paths.state(self.name)

    @property
    def variables(self) -> dict[str, Any]:
        """What group_vars/all of its inventory says, as it is written: templates are not filled in.

        Raises BadInput for what is not YAML.
        """
        found: dict[str, Any] = {}
        for path in sorted((self.project / "inventories" / self.name / "group_vars/all").glob("*.yml")):
            try:
                document = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506  (a SafeLoader)
            except yaml.YAMLError as error:
                raise BadInput(
                    "the inventory's file is not YAML", where=f"{path}: {error}", fix="mend the file"
                ) from None
            found |= document if isinstance(document, dict) else {}
        return found


class _Loader(yaml.SafeLoader):
    """Has nothing for what only Ansible reads, as `!vault`."""


_Loader.add_multi_constructor("!", lambda *_: None)


def link(project: Path) -> None:
    """Let Ansible find the toolkit's collection, and pytest the proof: links to where they are installed.

    Those are of this machine, so that version control has no links: whoever loads a project makes them. What
    is there and no link is left alone, and so is a checkout's link to itself.
    """
    toolkit, here = paths.toolkit().resolve(), project.resolve()
    for name, part in LINKS.items() if here != toolkit else ():
        place, target = here / name, toolkit / part
        if place.exists() and (not place.is_symlink() or place.resolve() in (target, here)):
            continue
        with contextlib.suppress(OSError):  # who cannot write there has to be content with what is there
            place.parent.mkdir(parents=True, exist_ok=True)
            new = place.with_name(f"{place.name}.{os.getpid()}")
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(place)


def claim(name: str, project: Path) -> None:
    """Have what is kept here under this name, the SSH key and Pulumi's stack among it, be this project's.

    It is taken over from a project that is gone, or has no such environment any more. Checkouts that share a
    lab share the file of its settings, too. Raises BadInput when another project has it.
    """
    if check_claim(name, project) != project.resolve():
        mark = _mark(name)
        mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark.write_text(f"{project.resolve()}\n")


def check_claim(name: str, project: Path) -> Path | None:
    """Who has the name now, if anybody has. Raises BadInput when the project cannot have it, see `claim`."""
    mark, mine = _mark(name), project.resolve()
    text = mark.read_text().strip() if mark.is_file() else ""
    if not text:
        return None
    theirs, ours = _settings(Path(text), name), _settings(mine, name)
    if Path(text) != mine and theirs.exists() and not (ours.exists() and theirs.samefile(ours)):
        raise BadInput(
            f"the name {name} is taken: on this machine it is an environment of another project",
            where=f"{theirs}, by {mark}",
            fix=f"give this one another name; or end that one: cd {text}; hostwright down -e {name} --data",
        )
    return Path(text)


def release(name: str) -> None:
    """Let another project have the name: nothing that was made under it is left."""
    _mark(name).unlink(missing_ok=True)


def _mark(name: str) -> Path:
    return paths.state(name) / "project"


def _settings(project: Path, name: str) -> Path:
    return project / "infra" / f"Pulumi.{name}.yaml"


def names(project: Path) -> list[str]:
    """Environments of the project, sorted: those with a Pulumi.NAME.yaml."""
    return sorted(
        p.name.removeprefix("Pulumi.").removesuffix(".yaml")
        for p in (project / "infra").glob("Pulumi.*.yaml")
    )


def load(name: str = "", project: Path | None = None) -> Environment:
    """The named environment, else the one $HOSTWRIGHT_ENVIRONMENT names, else the only one there is.

    Its project gets the links that it lacks. Raises BadInput when that leaves none or several, and for a file
    whose settings have not the form of some.
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
    path = _settings(project, name)
    if name not in known:
        raise BadInput(
            f"unknown environment {name!r}",
            where=str(path),
            fix=f"give one of: {', '.join(known)}" if known else "hostwright init DIR, or hostwright lab",
        )
    settings = _read(path)
    link(project)
    return Environment(name, project, settings)


def _read(path: Path) -> dict[str, Any]:
    """The settings by name, those of SECTIONS being mappings. Raises BadInput."""
    try:
        document = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(
            "the environment's file cannot be read as YAML", where=f"{path}: {error}", fix="mend the file"
        ) from None
    config = _mapping(_mapping(document, path).get("config"), path, "config")
    settings = {key.removeprefix("hostwright:"): value for key, value in config.items()}
    sections = {
        name: _mapping(settings[name], path, f"hostwright:{name}") for name in SECTIONS if name in settings
    }
    chosen = settings.get("components") or []
    if not isinstance(chosen, str | list) or not all(isinstance(each, str) for each in chosen):
        raise BadInput(
            "components are neither a list of names nor all",
            where=f"{path}: hostwright:components",
            fix="hostwright:components: [prometheus, grafana], for instance; or: all",
        )
    return settings | sections


def _mapping(value: Any, path: Path, key: str = "") -> dict[str, Any]:
    """The mapping there; nothing is an empty one. Raises BadInput for anything else, and for odd names."""
    value = value or {}
    wrong = [each for each in value if not isinstance(each, str)] if isinstance(value, dict) else []
    if isinstance(value, dict) and not wrong:
        return value
    raise BadInput(
        f"{wrong[0]!r} is no setting's name" if wrong else f"{key or 'the file'} is not names with values",
        where=f"{path}: {key}".removesuffix(": "),
        fix="write NAME: VALUE, a line each, or {NAME: VALUE}; docs/environments.md names all of them",
    )
