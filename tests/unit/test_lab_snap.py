"""The stand-in for snapd: what its commands do to snaps of the lab's store, and what they exit with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha3_384
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from lab import snap
from lab.opensuse import OVERLAY
from lab.programs import MODULES

_spec = spec_from_file_location("standin_snapd", OVERLAY / "snapd/usr/lib/snapd/snap.py")
assert _spec
assert _spec.loader
standin = module_from_spec(_spec)
_spec.loader.exec_module(standin)

Snap = Callable[..., tuple[int, str]]
HOOK = '#!/bin/sh\necho "in $SNAP_DATA"; test ! -e "$SNAP_COMMON/refuse"\n'


def pack(file: Path, meta: dict[str, Any], hook: str = "") -> None:
    """A snap without services, and its assertion."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("meta/snap.yaml", json.dumps(meta))
        if hook:
            entry = zipfile.ZipInfo("meta/hooks/install")
            entry.external_attr = 0o755 << 16
            packed.writestr(entry, hook)
    digest = sha3_384(file.read_bytes()).hexdigest()
    file.with_suffix(".assert").write_text(f"type: snap-revision\nsnap-sha3-384: {digest}\n")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    for minor in (35, 36):
        for base in ("snapd", "core22"):
            pack(folder / f"1.{minor}/{base}.snap", {"name": base, "version": "1"})
        meta = {"name": "microk8s", "version": f"v1.{minor}.0", "confinement": "classic"}
        pack(folder / f"1.{minor}/microk8s.snap", meta, HOOK)
    tracks = {"1.35": "v1.35.0", "1.36": "v1.36.0"}
    known = {"microk8s": tracks, "snapd": tracks, "core22": tracks}
    (folder / "channels.json").write_text(json.dumps(known))
    return folder


@pytest.fixture
def run(store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Snap:
    snapd = standin.Snapd(tmp_path / "root", store.as_uri())

    def call(*words: str) -> tuple[int, str]:
        capfd.readouterr()
        status = snapd.run(list(words))
        return status, "".join(capfd.readouterr())

    return call


def listed(run: Snap) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in run("list")[1].splitlines()[1:]}


def test_install_hold_refresh_remove(run: Snap, tmp_path: Path) -> None:
    assert run("list") == (0, "No snaps are installed yet. Try 'snap install hello-world'.\n")
    assert run("install", "microk8s", "--classic", "--channel=1.35/stable")[0] == 0
    assert listed(run)["microk8s"][0::2] == ["v1.35.0", "1.35/stable", "classic"]
    assert run("refresh", "--hold=forever", "microk8s")[0] == 0
    assert listed(run)["microk8s"][-1] == "classic,held"
    data = tmp_path / "root/var/snap/microk8s/current"
    (data / "kept").touch()
    assert run("refresh", "--channel=1.36/stable", "microk8s")[0] == 0
    assert listed(run)["microk8s"][0::2] == ["v1.36.0", "1.36/stable", "classic,held"]
    assert (data / "kept").exists()
    assert run("refresh", "microk8s") == (0, 'snap "microk8s" has no updates available\n')
    assert run("remove", "--purge", "microk8s")[0] == 0
    assert not (tmp_path / "root/var/snap/microk8s").exists()
    assert run("remove", "microk8s") == (0, 'snap "microk8s" is not installed\n')


MOUNTED = """
mount -t tmpfs none "$COMMON"
touch "$COMMON/kept"
"$@" remove --purge microk8s
echo "ended with $?; there is $(ls "$COMMON")"
"$@" list
umount "$COMMON"
"$@" remove --purge microk8s
"""
SNAPD = f"""
import sys
sys.path.insert(0, {str(OVERLAY / "snapd/usr/lib/snapd")!r})
import snap
from pathlib import Path
sys.exit(snap.Snapd(Path(sys.argv[1])).run(sys.argv[2:]))
"""


def test_a_folder_where_a_volume_is_mounted_is_emptied_and_keeps_its_snap(run: Snap, tmp_path: Path) -> None:
    run("install", "microk8s", "--classic", "--channel=1.35/stable")
    root, private = tmp_path / "root", ("unshare", "--map-root-user", "--mount")
    done = subprocess.run(
        [*private, "sh", "-c", MOUNTED, "sh", sys.executable, "-c", SNAPD, str(root)],
        env=os.environ | {"COMMON": str(root / "var/snap/microk8s/common")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error: cannot perform the following tasks:\n- Remove data for snap" in done.stderr
    assert f"(unlinkat {root}/var/snap/microk8s/common: device or resource busy)" in done.stderr
    assert "ended with 1; there is \n" in done.stdout
    assert "\nmicrok8s  v1.35.0" in done.stdout
    assert done.stdout.endswith("microk8s removed\n")


def test_what_is_there_already_is_left_as_it_is(run: Snap) -> None:
    run("install", "microk8s", "--classic", "--channel=1.35/stable")
    status, said = run("install", "microk8s", "--classic", "--channel=1.36/stable")
    assert (status, "already installed" in said) == (0, True)
    assert listed(run)["microk8s"][0] == "v1.35.0"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("install", "microk8s", "--classic", "--channel=1.99/stable"),
            "is not available on 1.99/stable but",
        ),
        (("install", "microk8s", "--classic", "--channel=1.35/beta"), "is not available on 1.35/beta but"),
        (("install", "microk8s", "--classic"), "is not available on latest/stable but"),
        (("install", "microk8s", "--channel=1.35/stable"), "published using classic confinement"),
        (("install", "other"), 'snap "other" not found'),
        (("refresh", "microk8s"), 'snap "microk8s" is not installed'),
        (("list", "microk8s"), "no matching snaps installed"),
        (("frobnicate",), "unknown command"),
    ],
)
def test_what_cannot_be_done_fails_with_its_own_words(run: Snap, words: tuple[str, ...], said: str) -> None:
    status, output = run(*words)
    assert (status, said in output) == (1, True), output


def test_a_file_needs_its_assertion(run: Snap, store: Path) -> None:
    for name in ("snapd", "core22", "microk8s"):
        options = ["--classic"] if name == "microk8s" else []
        file = str(store / f"1.35/{name}.snap")
        status, said = run("install", file, *options)
        assert (status, "cannot find signatures" in said) == (1, True)
        assert run("ack", str(store / f"1.35/{name}.assert"))[0] == 0
        assert run("install", file, *options)[0] == 0
    assert listed(run)["microk8s"][2] == "-", "a file is of no channel"


def test_a_hook_that_fails_leaves_nothing(run: Snap, tmp_path: Path) -> None:
    common = tmp_path / "root/var/snap/microk8s/common"
    common.mkdir(parents=True)
    (common / "refuse").touch()
    status, said = run("install", "microk8s", "--classic", "--channel=1.35/stable")
    assert (status, 'run hook "install"' in said) == (1, True)
    assert "microk8s" not in listed(run)
    assert not (tmp_path / "root/snap/microk8s").exists()


def test_the_labs_snaps_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        snap.write(tmp_path / name)
    files = sorted(
        path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*") if path.is_file()
    )
    assert len(files) == 1 + 6 * len(snap.MINORS)
    assert all(
        (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files
    )


def test_what_is_built_is_what_its_snap_says_and_one_minor_apart() -> None:
    for name, version in snap.KUBERNETES.items():
        folder = MODULES / name
        assert f"version.gitVersion={version} " in (folder / "program.toml").read_text()
        assert f"\tk8s.io/kubernetes {version}\n" in (folder / "go.mod").read_text()
        assert (folder / "main.go").read_text() == (MODULES / "kubernetes/main.go").read_text()
    first, second = (int(snap.track(each).removeprefix("1.")) for each in snap.KUBERNETES.values())
    assert second == first + 1
