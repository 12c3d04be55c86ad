"""Making RPMs from trees of files, and signing them with the lab's own key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.opensuse import UNITS
from lab.parts import part, run

SIGNER = "hostwright lab"


def version(debian: str) -> tuple[str, str]:
    """Version and release of an RPM from a Debian version: `1:26.1.5+dfsg1-9` gives (`26.1.5+dfsg1`, `9`)."""
    upstream, _, revision = re.sub(r"^\d+:", "", debian).rpartition("-")
    parts = (upstream, revision) if upstream else (revision, "1")
    major, minor = (re.sub(r"[^A-Za-z0-9.+~^_]", ".", each) for each in parts)
    return major, minor


def head(debian: str, summary: str, requires: Sequence[str], provides: Sequence[str]) -> list[str]:
    """The lines of a spec file, or of a package in one, that say what it is; its name goes before."""
    number, release = version(debian)
    return [
        f"Version: {number}",
        f"Release: {release}",
        f"Summary: {summary}",
        "License: see upstream",
        f"Vendor: {SIGNER}",
        "AutoReqProv: no",
        *(f"Requires: {each}" for each in requires),
        *(f"Provides: {each}" for each in provides),
    ]


def scriptlets(root: Path) -> list[str]:
    """What the files below `root` ask for and no trigger of the base does: users, folders, services ended."""
    units = (each for each in root.glob(f"{UNITS}/*") if each.suffix in (".service", ".socket", ".timer"))
    started = sorted(unit.name for unit in units if "@" not in unit.name)
    tmpfiles = sorted(each.name for each in root.glob("usr/lib/tmpfiles.d/*.conf"))
    lines = []
    for users in sorted(root.glob("usr/lib/sysusers.d/*.conf")):
        lines += ["%pre", f"systemd-sysusers --replace=/usr/lib/sysusers.d/{users.name} - <<'EOF' || :"]
        lines += [*users.read_text().splitlines(), "EOF"]
    if tmpfiles:
        lines += ["%post", f"systemd-tmpfiles --create {' '.join(tmpfiles)} || :"]
    if started:
        stop = f"systemctl disable --now {' '.join(started)} || :"
        lines += ["%preun", f'[ "$1" -gt 0 ] || [ ! -d /run/systemd/system ] || {stop}']
    return lines


def files(root: Path, modes: Mapping[str, str]) -> list[str]:
    """The %files of all below `root`; folders only where they are empty or not as folders usually are."""
    lines = []
    for place in sorted(root.rglob("*")):
        path = f"/{place.relative_to(root)}"
        folder = place.is_dir() and not place.is_symlink()
        mode = modes.get(path)
        if folder and not mode and any(place.iterdir()) and place.stat().st_mode & 0o7777 == 0o755:
            continue
        attributes = f"%attr({','.join(mode.split())}) " if mode else ""
        config = "%config(noreplace) " if path.startswith("/etc/") and place.is_file() else ""
        lines.append(f'{attributes}{"%dir " if folder else config}"{path}"')
    return lines


def build(spec: Sequence[str], root: Path, work: Path) -> list[Path]:
    """The RPMs of a spec file (its lines) from the files below `root`, made in the folder `work`."""
    file = work / "package.spec"
    file.write_text("\n".join([*spec, ""]))
    defines = {
        "_topdir": work / "top",
        "_rpmdir": work / "out",
        "_binary_payload": "w3T1.zstdio",
        "_build_id_links": "none",
        "_unpackaged_files_terminate_build": "0",
        "debug_package": "%{nil}",
        # The tree is finished: nothing is built, stripped, looked for or taken away.
        "__os_install_post": "%{nil}",
        "__check_files": "%{nil}",
        "__spec_install_pre": ":",
        "__spec_clean_cmd": ":",
    }
    options = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
    run("rpmbuild", "-bb", "--quiet", "--noclean", "--target=x86_64", "--buildroot", root, *options, file)
    return sorted((work / "out").rglob("*.rpm"))


def file_name(rpm: Path) -> str:
    """`docker-26.1.5-9.x86_64.rpm`, whatever the file is called."""
    return run("rpm", "--query", "--package", "--nosignature", "--queryformat", "%{nvra}.rpm", rpm)


def sign(rpm: Path) -> None:
    """Sign a package in place."""
    defines = ("__gpg /usr/bin/gpg", f"_gpg_name {SIGNER}", f"_gpg_path {keyring()}")
    run("rpmsign", *(word for each in defines for word in ("--define", each)), "--addsign", rpm)


def sign_index(folder: Path) -> None:
    """Sign a repository's index and put the key beside it, where zypper looks for both."""
    index = folder / "repodata/repomd.xml"
    run("gpg", "--homedir", keyring(), "--batch", "--yes", "--detach-sign", "--armor", index)
    index.with_name("repomd.xml.key").write_text(public_key())
    _end_agent(keyring())


def public_key() -> str:
    """The armoured key that packages and repository are signed with."""
    return run("gpg", "--homedir", keyring(), "--batch", "--export", "--armor")


def keyring() -> Path:
    """The GnuPG folder of the lab's signing key: of this machine only, made once."""

    def make(target: Path) -> None:
        target.mkdir(mode=0o700)
        gpg = ("gpg", "--homedir", target, "--batch", "--quiet")
        run(*gpg, "--passphrase", "", "--quick-generate-key", SIGNER, "rsa3072", "sign", "never")
        _end_agent(target)

    return part("keyring", make, SIGNER)


def _end_agent(home: Path) -> None:
    run("gpgconf", "--homedir", home, "--kill", "gpg-agent")
