"""The repository: Debian packages made into RPMs under openSUSE's names that do what dpkg would have done."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import opensuse, rootfs, rpm
from lab.opensuse import OVERLAY, TABLE, UNITS, Package, under
from lab.parts import key, part, run
from lab.tree import inside, unpacked

REST = "hostwright-lab-base"

# As on openSUSE, packages of the base watch for files and act once after all of a transaction.
_TRIGGERS = {
    "systemd": (f"/{UNITS}", "[ ! -d /run/systemd/system ] || systemctl daemon-reload || :"),
    "dbus-1": ("/usr/share/dbus-1", "[ ! -S /run/dbus/system_bus_socket ] || systemctl reload dbus || :"),
    "glibc": ("/usr/lib/x86_64-linux-gnu", "/sbin/ldconfig"),
}
_CODE = (Path(__file__), Path(opensuse.__file__), Path(rpm.__file__))


@dataclass(frozen=True)
class Deb:
    """A Debian package file, and the names it says it depends on."""

    name: str
    version: str
    summary: str
    depends: frozenset[str]
    file: Path


def repository() -> Path:
    """The folder of a signed rpm-md repository: RPMs, repodata, repomd.xml.asc, repomd.xml.key."""

    def make(target: Path) -> None:
        named = opensuse.offered()
        names = {deb: each.name for each in named for deb in each.origin}
        with unpacked(rootfs.node()) as tree:
            debs = closure(tree, sorted(names))
            rest = [Package(name=deb, source="", origin=[deb]) for deb in debs if deb not in names]
            names |= {each.name: each.name for each in rest}

            def make_rpm(package: Package) -> Path:
                return _rpm(package, [debs[deb] for deb in package.origin], names)

            target.mkdir()
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for made in pool.map(make_rpm, [*named, *rest]):
                    shutil.copy(made, target / rpm.file_name(made))
        run("createrepo_c", "--quiet", target)
        rpm.sign_index(target)

    return part("rpm", make, TABLE, OVERLAY, *_CODE, rootfs.node().name, rpm.keyring().name)


def installed(tree: Path, work: Path) -> list[Path]:
    """RPMs of what dpkg has installed in a tree, names and files without content, for its RPM database."""
    names = {deb: each.name for each in opensuse.base() for deb in each.origin}
    lines = (line.split(":") for line in (tree / "etc/group").read_text().splitlines())
    groups = {int(line[2]): line[0] for line in lines}
    files: dict[str, list[tuple[str, int]]] = {}
    versions: dict[str, str] = {}
    admin = tree / "var/lib/dpkg"
    form = "${Package}\t${Version}\n"
    for line in run("dpkg-query", "--admindir", admin, "--show", "--showformat", form).splitlines():
        deb, version = line.split("\t")
        name = names.get(deb, deb)
        versions.setdefault(name, version)
        lists = (admin / "info" / f"{deb}.list", admin / "info" / f"{deb}:amd64.list")
        listed = next(each for each in lists if each.exists()).read_text().splitlines()
        files.setdefault(name, []).extend(_owned(tree, listed))
    spec = [f"Name: {REST}", *rpm.head("16.0-1", "The rest of the base", (), ("distribution-release",))]
    spec += ["%description", "What the lab's base needs to be whole.", "%files"]
    for name, owned in files.items():
        provides = opensuse.table()[name].provides if name in opensuse.table() else ()
        spec += [f"%package -n {name}", *rpm.head(versions[name], f"{name} of the base", (), provides)]
        spec += [f"%description -n {name}", f"{name} of the base", f"%files -n {name}"]
        spec += [f'%ghost %attr(-, root, {groups[gid]}) "{path}"' for path, gid in sorted(set(owned))]
        if name in _TRIGGERS:
            prefix, action = _TRIGGERS[name]
            for moment in ("%transfiletriggerin", "%transfiletriggerpostun"):
                spec += [f"{moment} -n {name} -- {prefix}", action]
    return rpm.build(spec, tree, work)


def definition() -> tuple[str | Path, ...]:
    """What `installed` depends on besides the tree."""
    return (*_CODE, repr(opensuse.base()))


def closure(tree: Path, tops: Iterable[str]) -> dict[str, Deb]:
    """The Debian packages that `tops` need and the tree has not, downloaded into it, by name."""
    with inside(tree) as command:
        command("apt-get", "update")
        command("apt-get", "install", "--yes", "--no-install-recommends", "--download-only", *tops)
    found = [_deb(file) for file in sorted((tree / "var/cache/apt/archives").glob("*.deb"))]
    return {deb.name: deb for deb in found}


def _deb(file: Path) -> Deb:
    form = "${Package}\t${Version}\t${binary:Summary}\t${Depends}, ${Pre-Depends}"
    name, version, summary, needs = run("dpkg-deb", "--show", f"--showformat={form}", file).split("\t")
    alternatives = (each.strip() for each in re.split(r"[,|]", needs))
    depends = frozenset(re.split(r"[ :(]", each)[0] for each in alternatives if each)
    return Deb(name, version, summary, depends, file)


def _rpm(package: Package, debs: list[Deb], names: dict[str, str]) -> Path:
    """One package as a signed RPM, kept by what went into it."""
    needed = {names[deb] for each in debs for deb in each.depends if deb in names}
    requires = sorted((needed | set(package.requires)) - {package.name})

    def make(target: Path) -> None:
        root = target.parent / "root"
        root.mkdir()
        for deb in debs:
            run("dpkg-deb", "--extract", deb.file, root)
        opensuse.rename(package, root)
        version, summary = (debs[0].version, debs[0].summary) if debs else ("16.0-1", package.name)
        origin = ", ".join(f"{deb.name} {deb.version}" for deb in debs) or "the lab's own files"
        spec = [f"Name: {package.name}", *rpm.head(version, summary, requires, package.provides)]
        spec += ["%description", f"{summary} (made from {origin})", *rpm.scriptlets(root)]
        spec += ["%files", *rpm.files(root, package.modes)]
        (built,) = rpm.build(spec, root, target.parent)
        rpm.sign(built)
        built.rename(target)

    overlay = OVERLAY / package.name
    inputs: list[str | Path] = [repr(package), *requires, *_CODE, rpm.keyring().name]
    inputs += [f"{deb.name} {deb.version} {key(deb.file)}" for deb in debs]
    inputs += [overlay] if overlay.is_dir() else []
    return part(f"rpms/{package.name}.rpm", make, *inputs, quiet=True)


def _owned(tree: Path, listed: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Path and group of those listed that are files in the tree, with /bin, /lib and /sbin below /usr."""
    for line in listed:
        path = f"/usr{line}" if line.startswith(("/bin/", "/lib", "/sbin/")) else line
        place = under(tree, path)
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            yield path, place.lstat().st_gid
