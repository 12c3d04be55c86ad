"""`hostwright init`: a project of the operator's own, outside our checkout, in which every command works."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hostwright import __version__, application, environments, paths
from hostwright.environments import DRIVERS, TOPOLOGIES, is_name
from hostwright.errors import BadInput, writing
from hostwright.hosts import typed

LONGEST = 32  # of an environment's name, which hosts' begin with
SERVERS = 3

PROGRAM = '''"""The Pulumi program of this project: the toolkit's own."""

import runpy

from hostwright.paths import toolkit

runpy.run_path(str(toolkit() / "infra" / "__main__.py"), run_name="__main__")
'''

PLAYBOOK = """---
- name: Bring every host to its application
  ansible.builtin.import_playbook: hostwright.hostwright.site
"""

IGNORE = """.collections/
/tests/hosts
*.retry
"""


def create(
    directory: Path,
    environment: str,
    driver: str,
    topology: str,
    app: str,
    hosts: Sequence[str] = (),
    user: str = "opensuse",
    mirror: Path | None = None,
    components: Sequence[str] = (),
    servers: int | None = None,
    workers: int | None = None,
    image: str = "",
    sha256: str = "",
) -> list[Path]:
    """Write the project's files; an existing project gains the environment, and no file is overwritten.

    With them come the environment's SSH key and, where nothing else opens its secrets, a passphrase.

    `hosts`: `name=address` of machines that exist already (driver static), a cluster's servers first.
    `mirror`: a YAML file of role variables that say where artefacts come from. `components`: those of the
    application that are switched on. `servers` (3), `workers` (0): how many hosts a cluster has of each.
    `image`, `sha256`: what virtual machines start from, a path or an https URL, and its digest.
    Returns the files written. Raises BadInput before anything is written.
    """
    settings = _settings(environment, driver, topology, app, hosts, user, components, servers, workers)
    if image or sha256:
        settings |= _image(settings, image, sha256)
    variables = _variables(mirror, topology)
    environments.check_claim(environment, directory)
    with writing("give a folder that you may write to"):
        (directory / "infra").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory / "infra"):
            pass
    environments.claim(environment, directory)
    key = ensure_key(environment)
    # The private half is where the environment's state is, on each operator's machine elsewhere.
    settings["ssh"] = {"user": user, "publicKey": key.with_suffix(".pub").read_text().strip()}
    toolkit = paths.toolkit()
    inventory = Path("inventories") / environment
    files = {
        Path("infra/Pulumi.yaml"): (toolkit / "infra" / "Pulumi.yaml").read_text(),
        Path("infra/__main__.py"): PROGRAM,
        Path(f"infra/Pulumi.{environment}.yaml"): _yaml(
            {"config": {f"hostwright:{name}": value for name, value in settings.items()}}
        ),
        inventory / "pulumi.yml": _yaml(
            {"plugin": "hostwright.hostwright.pulumi", "environment": environment}
        ),
        inventory / "group_vars/all/main.yml": _yaml(variables),
        Path("playbooks/site.yml"): PLAYBOOK,
        Path("ansible.cfg"): (toolkit / "ansible.cfg").read_text(),
        Path("requirements.txt"): f"hostwright=={__version__}\n",
        Path(".gitignore"): IGNORE,
    }
    written = []
    if _lacks_passphrase(directory / f"infra/Pulumi.{environment}.yaml"):
        written.append(ensure_passphrase())
    for name, text in files.items():
        path = directory / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            written.append(path)
    environments.link(directory)
    return written


def ensure_key(environment: str) -> Path:
    """The environment's own SSH key (ed25519, no passphrase, 0600), made on first use."""
    key = paths.state(environment) / "id_ed25519"
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        subprocess.run(
            [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"hostwright {environment}",
                "-f",
                str(key),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
        )
    return key


def passphrase() -> Path:
    """Where the passphrase is that the operator has said nothing else of."""
    return paths.config() / "passphrase"


def ensure_passphrase() -> Path:
    """The file with the passphrase of Pulumi's encrypted secrets (0600), made on first use."""
    path = passphrase()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(os.urandom(24).hex() + "\n")
    return path


def _lacks_passphrase(settings: Path) -> bool:
    """Whether nothing opens the environment's secrets yet: nothing of the person's, nor of who made it."""
    if {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & {*os.environ}:
        return False
    made = settings.read_text() if settings.exists() else ""
    opened = re.search(r"^(secretsprovider|encryptionsalt):", made, re.MULTILINE)
    return not (opened or passphrase().exists())


def check_choice(what: str, given: str, known: Sequence[str]) -> None:
    """Raise BadInput when a choice is not one of the known ones."""
    if given not in known:
        raise BadInput(f"unknown {what} {given!r}", where=f"--{what}", fix=f"give one of: {', '.join(known)}")


def _settings(
    environment: str,
    driver: str,
    topology: str,
    app: str,
    hosts: Sequence[str],
    user: str,
    components: Sequence[str],
    servers: int | None,
    workers: int | None,
) -> dict[str, Any]:
    if not is_name(environment, LONGEST):
        raise BadInput(
            f"unfit environment name {environment!r}",
            where="--environment",
            fix=f"lower-case letters, digits and hyphens, 2 to {LONGEST} of them, a letter first",
        )
    check_choice("driver", driver, DRIVERS)
    check_choice("topology", topology, TOPOLOGIES)
    app = application.located(app)
    application.load(app, components=components)
    groups = _groups(topology, servers, workers)
    settings: dict[str, Any] = {"application": app, "topology": topology, "driver": driver}
    if components:
        settings["components"] = "all" if [*components] == ["all"] else [*components]
    if hosts and driver != "static":
        raise BadInput(
            f"the driver {driver} makes its hosts itself", where="--host", fix="add --driver static"
        )
    if driver == "static":
        settings["static"] = {"hosts": _hosts(hosts, topology, groups, user)}
    else:
        if topology == "cluster":
            settings["cluster"] = {group: groups.count(group) for group in ("servers", "workers")}
        settings["hosts"] = {"memory": 4096, "cpus": 2, "disk": 20}
        settings["network"] = {"mode": "nat", "cidr": "10.93.0.0/24", "cidr6": "fd00:93::/64"}
        settings[driver] = (
            {
                "uri": "qemu:///system",
                "image": "https://download.opensuse.org/distribution/leap/16.0/appliances/"
                "Leap-16.0-Minimal-VM.x86_64-Cloud.qcow2",
                "sha256": "",
                "type": "auto",
            }
            if driver == "libvirt"
            else {"image": "hostwright/node:leap16.0-lab"}
        )
    return settings


def _image(settings: dict[str, Any], image: str, sha256: str) -> dict[str, Any]:
    """The section of the driver with this image and digest, as far as they are given. Raises BadInput."""
    if settings["driver"] != "libvirt":
        raise BadInput(
            f"the driver {settings['driver']} starts no virtual machine from an image",
            where="--image" if image else "--sha256",
            fix="add --driver libvirt, or take it out",
        )
    given = {}
    if image:
        if "://" not in image:
            image = str(paths.expanded(image).resolve())
        if not (image.startswith("https://") or Path(image).is_file()):
            what = f"the image {image} does not exist"
            raise BadInput(what, where="--image", fix="give a file or an https URL")
        given["image"] = image
    if sha256:
        given["sha256"] = typed.digest(sha256, "--sha256")
    return {"libvirt": settings["libvirt"] | given}


def _groups(topology: str, servers: int | None, workers: int | None) -> list[str]:
    """The group of each host of a cluster; none for a single host."""
    if topology == "cluster":
        servers = SERVERS if servers is None else servers
        typed.check_servers(servers, "--servers")
        return ["servers"] * servers + ["workers"] * (workers or 0)
    for option, count in {"--servers": servers, "--workers": workers}.items():
        if count is not None:
            raise BadInput(f"topology {topology} has 1 host", where=option, fix="add --topology cluster")
    return []


def _hosts(given: Sequence[str], topology: str, groups: Sequence[str], user: str) -> list[dict[str, Any]]:
    if not given:
        raise BadInput(
            "the static driver needs hosts", where="--host", fix="--host NAME=ADDRESS, once a host"
        )
    hosts = [_host(text, user) for text in given]
    if topology == "cluster" and len(hosts) != len(groups):
        servers, workers = groups.count("servers"), groups.count("workers")
        raise BadInput(
            f"{servers} servers and {workers} workers are {len(groups)} hosts, {len(hosts)} given",
            where="--host",
            fix="--servers and --workers say how many are what, servers first",
        )
    typed.check_machines(
        topology,
        groups or [None] * len(hosts),
        [host["name"] for host in hosts],
        [host["address"] for host in hosts],
        "--host",
    )
    return [host | {"group": group} for host, group in zip(hosts, groups, strict=True)] if groups else hosts


def _host(text: str, user: str) -> dict[str, Any]:
    name, _, address = text.partition("=")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        parsed = None
    if not is_name(name) or parsed is None:
        raise BadInput(
            f"unfit host {text!r}",
            where="--host",
            fix="NAME=ADDRESS, as in web1=192.0.2.10; a name has no capitals and no underscores",
        )
    return {"name": name, "address": str(parsed), "user": user}


def _variables(mirror: Path | None, topology: str) -> dict[str, Any]:
    # Nobody has shown MicroK8s to work on an enforcing openSUSE yet.
    variables: dict[str, Any] = {"base_selinux": "permissive" if topology == "cluster" else "enforcing"}
    if mirror is not None:
        try:
            given = yaml.safe_load(mirror.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise BadInput(
                "the mirror's variables cannot be read", where=f"{mirror}: {error}", fix="give a YAML file"
            ) from None
        if not isinstance(given, dict):
            raise BadInput(
                "the mirror's variables are not a mapping",
                where=str(mirror),
                fix="give role variables as YAML",
            )
        variables |= given
    return variables


def _yaml(document: object) -> str:
    return "---\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
