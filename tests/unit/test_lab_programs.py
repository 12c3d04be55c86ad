"""A program from Go modules, and the image that holds it and nothing else."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from hostwright.errors import BadInput, Failure
from lab import images, programs

GO_MOD = "module hostwright/trial\n\ngo 1.21\n"
MAIN = 'package main\n\nvar said = "nothing"\n\nfunc main() { println(said) }\n'
IMAGE = """
title: Trial
tag: "1"
module: {name: trial, path: usr/bin/trial}
folders: [data]
uid: 10001
config: {User: "10001", Entrypoint: [/usr/bin/trial]}
"""


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a module of its own."""
    monkeypatch.setenv("GOCACHE", subprocess.check_output(["go", "env", "GOCACHE"], text=True).strip())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(programs, "MODULES", tmp_path)
    monkeypatch.setattr(images, "_HERE", tmp_path)
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "go.mod").write_text(GO_MOD)
    (folder / "main.go").write_text(MAIN)
    (folder / "program.toml").write_text('package = "."\nldflags = "-X main.said=hello"\n')
    (folder / "image.yml").write_text(IMAGE)
    return folder


def test_a_program_is_built_once_and_is_all_there_is_in_its_image(trial: Path) -> None:
    binary = programs.program("trial")
    assert subprocess.run([binary], capture_output=True, text=True, check=True).stderr == "hello\n"
    assert programs.program("trial") == binary
    layout = images.base("trial")
    index = json.loads((layout / "index.json").read_text())
    blobs = layout / "blobs"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].replace(":", "/")).read_text())
    config = json.loads((blobs / manifest["config"]["digest"].replace(":", "/")).read_text())
    assert config["config"]["User"] == "10001"
    (layer,) = manifest["layers"]
    with tarfile.open(blobs / layer["digest"].replace(":", "/")) as held:
        found = {each.name: (oct(each.mode), each.uid) for each in held.getmembers()}
    assert found["usr/bin/trial"] == ("0o755", 0)
    assert found["tmp"] == ("0o1777", 0)
    assert found["data"] == ("0o755", 10001)
    assert {name for name in found if not name.startswith("etc")} == {
        "usr", "usr/bin", "usr/bin/trial", "tmp", "data"
    }  # fmt: skip


def test_a_module_that_is_not_pinned_is_refused(trial: Path) -> None:
    """It is not even asked for: go.mod and go.sum are what there is."""
    (trial / "main.go").write_text(
        'package main\n\nimport "example.com/unpinned"\n\nfunc main() { unpinned.Do() }\n'
    )
    with pytest.raises(Failure, match="go failed in building the lab"):
        programs.program("trial")


def test_a_go_that_is_too_old_is_not_asked(trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trial / "go.mod").write_text(GO_MOD.replace("1.21", "1.999"))
    monkeypatch.setenv("GOTOOLCHAIN", "local")
    with pytest.raises(BadInput, match=r"is older than the 1\.999 that is needed") as caught:
        programs.program("trial")
    assert caught.value.where == str(trial / "go.mod")
