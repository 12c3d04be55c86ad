"""The three ways to a pinned program, and that a complete set is only looked at."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostwright import pulumi_process, toolchain
from hostwright.errors import BadInput, Failure
from hostwright.toolchain import golang

ROOT = Path(__file__).parents[2]
VERSIONED = "#!/bin/sh\necho {version}\n"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without a toolchain, and a PATH without programs."""
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder served over HTTP, and its address."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def program(path: Path, version: str) -> None:
    path.write_text(VERSIONED.format(version=version))
    path.chmod(0o755)


def go(folder: Path, version: str, toolchain: str = "") -> None:
    """A Go that says this of itself, and leaves a trace when it is asked for more."""
    path = folder / "go"
    path.write_text(f'#!/bin/sh\n[ "$1" = env ] || {{ : >{folder}/built; exit 1; }}\n')
    with path.open("a") as script:
        script.write(f"echo {version}\necho {toolchain}\n")
    path.chmod(0o755)


def archive(path: Path, names: list[str]) -> str:
    """A release archive with these programs; its digest."""
    with tarfile.open(path, "w:gz") as bundle:
        for name in names:
            body = VERSIONED.format(version="v3.259.0").encode()
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.size = len(body)
            bundle.addfile(member, io.BytesIO(body))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def only(monkeypatch: pytest.MonkeyPatch, tool: toolchain.Tool) -> None:
    monkeypatch.setattr(toolchain, "pins", lambda: {tool.name: tool})


def cli(**changes: Any) -> toolchain.Tool:
    return replace(toolchain.pins()["pulumi"], **changes)


def test_pins_name_every_part() -> None:
    pins = toolchain.pins()
    assert list(pins) == ["pulumi", "language-python", "libvirt"]
    assert {name: tool.version for name, tool in pins.items()} == {
        "pulumi": "3.259.0",
        "language-python": "3.68.0",
        "libvirt": "0.5.4",
    }
    for name, tool in pins.items():
        sums = (toolchain.HERE / name / "go.sum").read_text()
        assert "h1:" in sums, "every module that is built is pinned by its hash"
        assert tool.release["url"].startswith("https://")


def test_a_key_follows_every_pin() -> None:
    assert cli().key == cli().key
    assert cli(version="3.260.0").key != cli().key
    assert cli(release=cli().release | {"sha256": {"amd64": "0"}}).key != cli().key


def test_a_complete_set_is_only_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is run. The toolchain of this machine is there by now: the other tests run with it."""
    toolchain.ensure()
    monkeypatch.setattr(subprocess, "Popen", None)
    folder = toolchain.ensure()
    assert toolchain.missing() == []
    assert os.access(folder / "pulumi", os.X_OK)


def test_from_path(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(empty / "bin/pulumi", "v3.260.1")
    only(monkeypatch, cli())
    said: list[str] = []
    folder = toolchain.ensure(said.append)
    assert (folder / "pulumi").resolve() == empty / "bin/pulumi"
    assert said == [f"pulumi 3.259.0: from {empty / 'bin'}"]
    assert toolchain.missing() == []


def test_a_killed_run_is_taken_up(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty / "bin/pulumi").write_text(
        "#!/bin/sh\nexec /bin/sleep 600\n"
    )  # asked for its version, it is silent
    (empty / "bin/pulumi").chmod(0o755)
    folder = pulumi_process.toolchain_bin().parent
    script = "from hostwright import toolchain; toolchain.ensure()"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as killed:
        deadline = time.monotonic() + 60
        while not list(folder.glob(".new-*")):
            assert killed.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(killed.pid, signal.SIGKILL)
    assert list(folder.glob(".new-*"))
    program(empty / "bin/pulumi", "v3.259.0")
    only(monkeypatch, cli())
    assert toolchain.missing() == ["pulumi"]
    toolchain.ensure()
    assert toolchain.missing() == []
    assert list(folder.glob(".new-*")) == []


@pytest.mark.parametrize("version", ["v3.258.9", "v4.0.0", "what?", ""])
def test_other_versions_on_path_do_not_fit(
    empty: Path, monkeypatch: pytest.MonkeyPatch, site: tuple[Path, str], version: str
) -> None:
    program(empty / "bin/pulumi", version)
    only(monkeypatch, cli(release={"url": f"{site[1]}/none", "sums": f"{site[1]}/none", "sha256": {}}))
    with pytest.raises(BadInput):
        toolchain.ensure()


def test_from_the_release(empty: Path, monkeypatch: pytest.MonkeyPatch, site: tuple[Path, str]) -> None:
    folder, address = site
    digest = archive(folder / "pulumi.tar.gz", ["pulumi", "pulumi-language-go"])
    (folder / "sums").write_text(f"{'0' * 64}  other.tar.gz\n{digest}  pulumi.tar.gz\n")
    only(
        monkeypatch, cli(release={"url": f"{address}/pulumi.tar.gz", "sums": f"{address}/sums", "sha256": {}})
    )
    said: list[str] = []
    bin_ = toolchain.ensure(said.append)
    assert said == ["pulumi 3.259.0: official release"]
    assert sorted(path.name for path in bin_.iterdir()) == ["pulumi"]
    assert (bin_ / "pulumi").stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("pinned", [True, False])
def test_a_release_of_another_digest_is_refused(
    empty: Path, monkeypatch: pytest.MonkeyPatch, site: tuple[Path, str], pinned: bool
) -> None:
    """And not built instead, although it could be: somebody changed it."""
    folder, address = site
    digest = archive(folder / "pulumi.tar.gz", ["pulumi"])
    (folder / "sums").write_text(f"{'f' * 64}  pulumi.tar.gz\n")
    sums = dict.fromkeys(("amd64", "arm64"), "f" * 64) if pinned else {}
    release = {"url": f"{address}/pulumi.tar.gz", "sums": f"{address}/sums", "sha256": sums}
    only(monkeypatch, cli(release=release))
    go(empty / "bin", "go1.99.0")
    with pytest.raises(Failure, match=f"its SHA-256 digest is {digest}, not f{{64}}") as caught:
        toolchain.ensure()
    assert caught.value.exit_status == 1
    assert caught.value.where == f"{address}/pulumi.tar.gz"
    assert "that you trust on PATH" in caught.value.fix
    assert not (empty / "bin/built").exists()
    assert not (pulumi_process.toolchain_bin() / "pulumi").exists()
    assert toolchain.missing() == ["pulumi"]


NEWEST = max(
    (
        re.findall(r"^go (\S+)", path.read_text(), re.MULTILINE)[0]
        for folder in (toolchain.HERE, ROOT / "lab/modules")
        for path in folder.glob("*/go.mod")
    ),
    key=lambda version: [int(number) for number in version.split(".")],
)


@pytest.mark.parametrize(
    ("version", "fetches", "told"),
    [
        ("", "", "there is no Go on PATH ({} is needed)"),
        ("go1.19.8", "", "Go 1.19.8 ({}/go) is older than the {} that is needed"),
        ("go1.25.3", "local", "Go 1.25.3 ({}/go) is older than the {} that is needed"),
        ("go1.25rc2", "local", "Go 1.25rc2 ({}/go) is older than the {} that is needed"),
    ],
)
def test_without_a_way_it_says_so(
    empty: Path,
    monkeypatch: pytest.MonkeyPatch,
    site: tuple[Path, str],
    version: str,
    fetches: str,
    told: str,
) -> None:
    """Also where there is a Go that could not build it: before it tries."""
    only(monkeypatch, cli(release={"url": f"{site[1]}/a", "sums": f"{site[1]}/b", "sha256": {}}))
    if version:
        go(empty / "bin", version, fetches)
    with pytest.raises(BadInput, match=r"no pulumi 3\.259\.0 on PATH, its release cannot be had") as caught:
        toolchain.ensure()
    words = [str(empty / "bin")] if version else []
    assert caught.value.what.endswith(f"and {told.format(*words, '1.25.11')}")
    assert caught.value.fix.startswith("install Go 1.25.11 or newer, or put pulumi on PATH")
    assert caught.value.exit_status == 2
    assert not (empty / "bin/built").exists()


@pytest.mark.parametrize(
    ("version", "fetches", "told"),
    [
        ("go1.25.11", "local", "1.25.11, 1.25.11 is needed"),
        ("go1.27rc1", "auto", "1.27rc1, 1.25.11 is needed"),
        ("go1.21.0", "auto", "1.21.0, which fetches 1.25.11 when it needs it"),
        ("go1.22.1", "go1.22.1+auto", "1.22.1, which fetches 1.25.11 when it needs it"),
    ],
)
def test_a_go_that_will_do(empty: Path, version: str, fetches: str, told: str) -> None:
    go(empty / "bin", version, fetches)
    assert golang.check(*toolchain.modules()) == told


def test_this_machines_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one builds the lab's modules, and says of itself what is asked of it."""
    assert "is needed" in golang.check(*toolchain.modules(), *(ROOT / "lab/modules").iterdir())
    (tmp_path / "go.mod").write_text("module hostwright/future\n\ngo 1.999.0\n")
    monkeypatch.setenv("GOTOOLCHAIN", "auto")
    assert golang.check(tmp_path).endswith("which fetches 1.999.0 when it needs it")
    monkeypatch.setenv("GOTOOLCHAIN", "local")
    with pytest.raises(BadInput, match=r"is older than the 1\.999\.0") as caught:
        golang.check(tmp_path)
    assert caught.value.where == str(tmp_path / "go.mod")


@pytest.mark.parametrize("file", ["README.md", ".github/workflows/ci.yml"])
def test_who_reads_is_told_the_newest_go_that_is_asked_for(file: str) -> None:
    named = re.findall(r"(?:Go |go-version: \")([\d.]+\d)", (ROOT / file).read_text())
    assert named == [NEWEST]


def test_a_plug_in_goes_where_pulumi_looks(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(empty / "bin/pulumi-resource-libvirt", "0.5.4")
    tool = toolchain.pins()["libvirt"]
    only(monkeypatch, tool)
    toolchain.ensure()
    home = Path(pulumi_process.pulumi_env()["PULUMI_HOME"])
    assert (home / "plugins/resource-libvirt-v0.5.4/pulumi-resource-libvirt").exists()


def test_exports_are_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///a folder")
    lines = toolchain.exports().splitlines()
    assert "export PULUMI_BACKEND_URL='file:///a folder'" in lines
    assert any(line.startswith(f"export PATH={pulumi_process.toolchain_bin()}") for line in lines)
