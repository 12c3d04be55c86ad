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
from lab.parts import alone, discard, key, part, run, scratch, store
from lab.programs import program
from lab.tree import EPOCH, inside, unpacked
from lab.wheels import wheels

BASES = ("python", "postgres", "rabbitmq", "nginx", "haproxy")
# What watches an application, as Debian has it or of Go modules; what neither has is declared, not deployed.
COMPONENTS = (
    "prometheus", "alertmanager", "node-exporter", "postgres-exporter", "blackbox-exporter",
    "nginx-prometheus-exporter", "opentelemetry-collector-contrib", "loki", "jaeger",
)  # fmt: skip
# What the lab's Kubernetes runs beside applications, at the places that its addons name.
ADDONS = {
    "pause": "pause", "coredns": "coredns/coredns", "metrics-server": "metrics-server/metrics-server",
    "traefik": "library/traefik", "kube-router": "cloudnativelabs/kube-router",
}  # fmt: skip
PROJECT = "hostwright"
# What is built -> its Dockerfile, what goes in beside the own folder, the images it stands on.
KINDS = {
    "python": (DOCKERFILES["python"], ("requirements.lock", "kit"), ("python",)),
    "static": (DOCKERFILES["static"], ("web",), ("python", "nginx")),
}

_HERE = Path(__file__).parent / "images"
_IDS = {
    "passwd": "root:x:0:0:root:/root:/sbin/nologin\nprogram:x:{uid}:{uid}::/:/sbin/nologin\n",
    "group": "root:x:0:\nprogram:x:{uid}:\n",
}
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


def build(components: bool = False) -> dict[str, str]:
    """Have every image in the registry, which must be running: name -> `hostwright/NAME:TAG@sha256:...`.

    Those of components only where they are asked for. What is unchanged is neither built nor pushed again.
    """
    wanted = BASES + (COMPONENTS if components else ())
    with ThreadPoolExecutor(2) as pool:
        made = dict(zip(wanted, pool.map(pushed, wanted), strict=True))
    return made | services(made)


def addons() -> dict[str, str]:
    """Have the images of the lab's Kubernetes in the registry, which must be running: name -> reference."""
    return {name: pushed(name, place) for name, place in ADDONS.items()}


def pushed(name: str, place: str = "") -> str:
    """Have one base image in the registry, and give its reference there."""
    place = place or f"{PROJECT}/{name}"
    tag = str(recipe(name)["tag"])
    return f"{place}:{tag}@{registry.push(base(name), place, tag)}"


def base(name: str) -> Path:
    """The OCI layout of one base image: the shared userland and one layer made by its build.sh and root/.

    One that says `program:` is made by program.sh with these arguments. What says `module:` has a layer of
    what is built from Go modules: on those two where there is a build.sh, else alone, as upstream's images of
    static programs are.
    """
    folder, described = _HERE / name, recipe(name)
    made_of: dict[str, oci.Layer] = {}
    if "module" not in described or (folder / "build.sh").exists():
        userland = rootfs.base()
        arguments = [str(each) for each in described.get("program", ())]
        script = _HERE / "program.sh" if arguments else folder / "build.sh"
        install = partial(_install, folder, script, arguments)
        made_of |= {
            f"userland {userland.name}": _layer("userland", partial(_copy, userland), userland.name),
            f"lab/images/{name}": _layer(name, install, userland.name, script, folder / "root", *arguments),
        }
    if "module" in described:
        binary = program(described["module"]["name"])
        place = partial(_place, described, binary)
        made_of[binary.name] = _layer(f"{name}-program", place, binary.name, folder / "image.yml")

    def make(target: Path) -> None:
        config: dict[str, Any] = {"Env": [], **described["config"]}
        if not any(each.startswith("PATH=") for each in config["Env"]):
            config["Env"] = [_PATH, *config["Env"]]
        config["Labels"] = {
            "org.opencontainers.image.title": described["title"],
            "org.opencontainers.image.version": str(described["tag"]),
            "org.opencontainers.image.vendor": "hostwright lab",
        }
        oci.image(target, tuple(made_of.values()), config, tuple(made_of), _CREATED)

    digests = [each.digest for each in made_of.values()]
    return part(f"{name}.oci", make, *digests, folder / "image.yml", Path(oci.__file__), quiet=True)


def services(bases: Mapping[str, str], folder: Path | None = None) -> dict[str, str]:
    """Build and push the image of each service that says `build:`; name -> `hostwright/NAME:KEY@sha256:...`.

    `bases` are references of python and nginx, on which they stand; `folder` holds services and kit
    (default: the toolkit's). KEY names all that went into an image: one of a known key is not built again.
    """
    folder = folder or paths.toolkit() / "services"
    ours = described(folder)
    # The registry answers 500 to one of two who push the same layer at once.
    pushing = alone(store() / ".services.lock")
    with pushing, _context(folder) as context, ThreadPoolExecutor(2) as pool:
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


def recipe(name: str) -> dict[str, Any]:
    """What lab/images/NAME/image.yml says: title, tag, config, and program for what program.sh makes."""
    found: dict[str, Any] = yaml.safe_load((_HERE / name / "image.yml").read_text())
    return found


def _layer(name: str, write: Callable[[IO[bytes]], None], *inputs: str | Path) -> oci.Layer:
    def make(target: Path) -> None:
        oci.layer(target, write)

    return oci.load(part(f"{name}.layer", make, *inputs, Path(oci.__file__), *_LEAVINGS))


def _copy(source: Path, stream: IO[bytes]) -> None:
    with source.open("rb") as content:
        shutil.copyfileobj(content, stream, 1 << 20)


def _install(folder: Path, script: Path, arguments: Sequence[str], stream: IO[bytes]) -> None:
    """Run the script on an overlay over the userland and write what that changed."""
    with unpacked(rootfs.base()) as lower:
        upper, work, merged = (lower.parent / name for name in ("upper", "work", "merged"))
        for each in (upper, work, merged):
            each.mkdir()
        run(
            "mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={lower},upperdir={upper},workdir={work},metacopy=off,redirect_dir=off", merged,
        )  # fmt: skip
        (merged / "build").mkdir()
        shutil.copy2(script, merged / "build")
        with inside(merged) as command:
            command("apt-get", "update", "--quiet")
            command("env", f"SOURCE_DATE_EPOCH={EPOCH}", f"/build/{script.name}", *arguments)
        discard(merged)
        if (folder / "root").exists():
            shutil.copytree(folder / "root", upper, dirs_exist_ok=True, symlinks=True)
        oci.write_changes(upper, lower, stream, skip=_left_behind, epoch=int(EPOCH))


def _place(described: dict[str, Any], binary: Path, stream: IO[bytes]) -> None:
    """Write a tree of the program; without a userland also who runs it, and its folders."""
    with scratch() as folder:
        tree, target = folder / "tree", folder / "tree" / described["module"]["path"]
        target.parent.mkdir(parents=True)
        shutil.copy2(binary, target)
        if "uid" in described:
            _own(tree, int(described["uid"]), described["folders"])
        oci.write_changes(tree, folder / "nothing", stream, skip=lambda _: False, epoch=int(EPOCH))


def _own(tree: Path, uid: int, folders: Sequence[str]) -> None:
    """Who there is, a place for what is temporary, and folders of the program's user."""
    (tree / "etc").mkdir(exist_ok=True)
    for name in ("passwd", "group"):
        (tree / "etc" / name).write_text(_IDS[name].format(uid=uid))
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)
    for name in folders:
        (tree / name).mkdir(parents=True)
        os.chown(tree / name, uid, uid)


def _left_behind(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEAVINGS)
