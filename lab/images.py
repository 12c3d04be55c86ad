"""The images applications run in: base images made without a registry, and every service of ours on top."""

from __future__ import annotations

import fnmatch
import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import yaml

from hostwright import paths
from hostwright.application.file import DOCKERFILES
from hostwright.errors import Failure
from lab import oci, registry, rootfs
from lab.parts import discard, key, part, run, scratch
from lab.tree import EPOCH, inside, unpacked
from lab.wheels import wheels

BASES = ("python", "postgres", "rabbitmq", "nginx")
PROJECT = "hostwright"
# What is built -> its Dockerfile, what goes in beside the own folder, the images it stands on.
KINDS = {
    "python": (DOCKERFILES["python"], ("requirements.lock", "kit"), ("python",)),
    "static": (DOCKERFILES["static"], ("web",), ("python", "nginx")),
}

_HERE = Path(__file__).parent / "images"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CREATED = "2024-01-01T00:00:00Z"
# What a package manager leaves behind: different at every build, useless in an image. A * passes slashes too.
_LEAVINGS = (
    "build", "build/*", "dev", "proc", "run/*", "sys", "tmp/*", "root/*", "usr/sbin/policy-rc.d",
    "etc/resolv.conf", "etc/apt/apt.conf.d/99machine", "etc/*-", "etc/.pwd.lock",
    "var/cache/apt/*", "var/cache/debconf/*", "var/cache/ldconfig/*", "var/cache/man", "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock",
    "var/log/alternatives.log", "var/log/bootstrap.log", "var/log/dpkg.log", "var/log/apt/*",
)  # fmt: skip


def build() -> dict[str, str]:
    """Have every image in the registry, which must be running: name -> `hostwright/NAME:TAG@sha256:...`.

    What is unchanged is neither built nor pushed again.
    """
    with ThreadPoolExecutor(2) as pool:
        bases = dict(zip(BASES, pool.map(pushed, BASES), strict=True))
    return bases | services(bases)


def pushed(name: str) -> str:
    """Have one base image in the registry, and give its reference there."""
    place = f"{PROJECT}/{name}"
    tag = str(_recipe(name)["tag"])
    return f"{place}:{tag}@{registry.push(base(name), place, tag)}"


def base(name: str) -> Path:
    """The OCI layout of one base image: the shared userland and one layer made by its build.sh and root/."""
    folder, recipe, userland = _HERE / name, _recipe(name), rootfs.base()
    beneath = _layer("userland", partial(_copy, userland), userland.name)
    own = _layer(name, partial(_install, folder), userland.name, folder / "build.sh", folder / "root")

    def make(target: Path) -> None:
        config: dict[str, Any] = {**recipe["config"]}
        if not any(each.startswith("PATH=") for each in config["Env"]):
            config["Env"] = [_PATH, *config["Env"]]
        config["Labels"] = {
            "org.opencontainers.image.title": recipe["title"],
            "org.opencontainers.image.version": str(recipe["tag"]),
            "org.opencontainers.image.vendor": "hostwright lab",
        }
        history = (f"userland {userland.name}", f"lab/images/{name}")
        oci.image(target, (beneath, own), config, history, _CREATED)

    return part(
        f"{name}.oci", make, beneath.digest, own.digest, folder / "image.yml", Path(oci.__file__), quiet=True
    )


def services(bases: Mapping[str, str], folder: Path | None = None) -> dict[str, str]:
    """Build and push the image of each service that says `build:`; name -> `hostwright/NAME:KEY@sha256:...`.

    `bases` are references of python and nginx, on which they stand; `folder` holds services and kit
    (default: the toolkit's). KEY names all that went into an image: one of a known key is not built again.
    """
    folder = folder or paths.toolkit() / "services"
    ours = described(folder)
    with _context(folder) as context, ThreadPoolExecutor(2) as pool:
        made = pool.map(partial(_service, context, bases), ours)
        return {each["name"]: reference for each, reference in zip(ours, made, strict=True)}


def _service(context: Path, bases: Mapping[str, str], service: Mapping[str, Any]) -> str:
    name, uid = str(service["name"]), str(service["uid"])
    dockerfile, shared, beneath = KINDS[service["build"]]
    files = [
        file
        for part in (dockerfile, *shared, name)
        for file in ([context / part] if (context / part).is_file() else sorted((context / part).rglob("*")))
        if file.is_file()
    ]
    inputs = [each for file in files for each in (str(file.relative_to(context)), file)]
    tag = key(*(bases[each] for each in beneath), uid, *inputs)
    place = f"{PROJECT}/{name}"
    local = f"{registry.ADDRESS}/{place}:{tag}"
    if not registry.held(place, tag):
        started = time.monotonic()
        standing = {each: f"{registry.ADDRESS}/{bases[each]}" for each in beneath}
        build_service(
            context, service, standing, local, f"REVISION={tag}", "PIP_NO_INDEX=1", options=["--network=none"]
        )
        print(f"lab: image {name} built in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return f"{place}:{tag}@{registry.held(place, tag)}"


def build_service(
    context: Path,
    service: Mapping[str, Any],
    bases: Mapping[str, str],
    name: str,
    *arguments: str,
    options: Sequence[str] = (),
) -> None:
    """Build what a service.yml describes and push it as `name`; `arguments` are more of the Dockerfile's."""
    dockerfile, _, beneath = KINDS[service["build"]]
    given = [f"{each.upper()}={bases[each]}" for each in beneath]
    given += [f"SERVICE={service['name']}", f"UID={service['uid']}", *arguments]
    client, kind = _client()
    run(
        client, "build", "--quiet", *options, f"--tag={name}", f"--file={context / dockerfile}",
        *(f"--build-arg={each}" for each in given), context,
        env={"DOCKER_BUILDKIT": kind},
    )  # fmt: skip
    run(client, "push", "--quiet", name)


def described(folder: Path) -> list[dict[str, Any]]:
    """The service.yml of each service of ours."""
    found = [yaml.safe_load(each.read_text()) for each in sorted(folder.glob("*/service.yml"))]
    return [each for each in found if "build" in each]


@contextmanager
def _context(folder: Path) -> Iterator[Path]:
    """A copy of the services' folder as they are now, with the wheelhouse in it."""
    with scratch() as place:
        context = place / "services"
        unwanted = shutil.ignore_patterns("tests", "__pycache__", "wheels", ".*_cache")
        shutil.copytree(folder, context, ignore=unwanted)
        shutil.copytree(wheels(folder / "requirements.lock"), context / "wheels", copy_function=os.link)
        yield context


@functools.cache
def _client() -> tuple[str, str]:
    """A docker client and its DOCKER_BUILDKIT: one that has BuildKit (`1`), else the first on PATH (`0`)."""
    clients = [found for folder in os.get_exec_path() if (found := shutil.which("docker", path=folder))]
    for client in clients:
        probe = subprocess.run(
            [client, "build", "--help"], env={**os.environ, "DOCKER_BUILDKIT": "1"}, capture_output=True
        )
        if probe.returncode == 0:
            return client, "1"
    if not clients:
        raise Failure("docker is not installed", fix="apt-get install docker.io")
    return clients[0], "0"


def _recipe(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((_HERE / name / "image.yml").read_text())
    return found


def _layer(name: str, write: Callable[[IO[bytes]], None], *inputs: str | Path) -> oci.Layer:
    def make(target: Path) -> None:
        oci.layer(target, write)

    return oci.load(part(f"{name}.layer", make, *inputs, Path(oci.__file__), *_LEAVINGS))


def _copy(source: Path, stream: IO[bytes]) -> None:
    with source.open("rb") as content:
        shutil.copyfileobj(content, stream, 1 << 20)


def _install(folder: Path, stream: IO[bytes]) -> None:
    """Run build.sh on an overlay over the userland and write what that changed."""
    with unpacked(rootfs.base()) as lower:
        upper, work, merged = (lower.parent / name for name in ("upper", "work", "merged"))
        for each in (upper, work, merged):
            each.mkdir()
        run(
            "mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={lower},upperdir={upper},workdir={work},metacopy=off,redirect_dir=off", merged,
        )  # fmt: skip
        (merged / "build").mkdir()
        shutil.copy2(folder / "build.sh", merged / "build")
        with inside(merged) as command:
            command("apt-get", "update", "--quiet")
            command("env", f"SOURCE_DATE_EPOCH={EPOCH}", "/build/build.sh")
        discard(merged)
        if (folder / "root").exists():
            shutil.copytree(folder / "root", upper, dirs_exist_ok=True, symlinks=True)
        oci.write_changes(upper, lower, stream, skip=_left_behind, epoch=int(EPOCH))


def _left_behind(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEAVINGS)
