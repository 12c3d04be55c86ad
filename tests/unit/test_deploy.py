"""The long verbs' own decisions: what the lab's environments are, and where a topology ends for now."""

from __future__ import annotations

import contextlib
import importlib
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest

from hostwright import deploy, paths, proof
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.hosts import typed
from hostwright.progress import Phases


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A mirror, and a checkout that the lab's settings are written to."""
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    (tmp_path / "infra").mkdir()
    monkeypatch.setattr(paths, "toolkit", lambda: tmp_path)
    monkeypatch.setattr(importlib.import_module("lab.inventory"), "write", lambda *_: None)
    return SimpleNamespace(node_image="node", qcow2=tmp_path / "leap.qcow2", qcow2_sha256="0" * 64)


@pytest.mark.parametrize("driver", ["container", "libvirt"])
@pytest.mark.parametrize(
    ("topology", "counts"), [("single", {"single": 1}), ("cluster", {"servers": 3, "workers": 0})]
)
def test_the_labs_settings_are_good(
    lab: SimpleNamespace, topology: str, driver: str, counts: dict[str, int]
) -> None:
    made = deploy.lab_environment(topology, driver, "warehouse", lab)
    assert made.name == f"lab-{topology}"
    settings = typed.settings(made)
    assert (settings.driver, settings.counts) == (driver, counts)


def test_labs_stand_beside_each_other() -> None:
    for first, second in combinations(deploy.LAB_NETWORKS.values(), 2):
        for key in ("cidr", "cidr6"):
            assert not ip_network(first[key]).overlaps(ip_network(second[key]))


@pytest.mark.parametrize("topology", ["single", "cluster"])
def test_each_lab_has_an_inventory(topology: str) -> None:
    folder = paths.toolkit() / f"inventories/lab-{topology}"
    assert f"environment: lab-{topology}\n" in (folder / "pulumi.yml").read_text()
    assert (folder / "group_vars/all/main.yml").is_file()


def proved(result: str = "holds", lines: tuple[str, ...] = ()) -> proof.ProofResult:
    row = {"host": "web-1", "what": "it holds", "result": result, "detail": ""}
    found = [{"result": each} for each in lines]
    return proof.ProofResult({}, "", 0.0, [], [row], Path("index.html"), found)


@pytest.mark.parametrize(
    ("row", "contracts", "asked", "lines", "phases"),
    [
        ("holds", True, True, ("holds", "not deployed"), ["proof", "contracts"]),
        ("holds", True, True, ("holds", "fails"), ["proof", "contracts"]),
        ("holds", True, False, (), ["proof"]),
        ("holds", False, True, (), ["proof"]),
        ("fails", True, True, (), ["proof"]),
    ],
)
def test_contracts_follow_a_proof_that_holds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    contracts: bool,
    asked: bool,
    lines: tuple[str, ...],
    phases: list[str],
) -> None:
    """`asked`: whether the application has contract tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(proof, "run", lambda _: proved(row))
    monkeypatch.setattr(proof, "contracted", lambda _: asked)
    monkeypatch.setattr(proof, "extend", lambda *_: proved(row, lines))
    known = Phases()
    well = row == "holds" and "fails" not in lines
    with contextlib.nullcontext() if well else pytest.raises(Failure):
        deploy.prove(Environment("lab-single", tmp_path, {}), known, contracts)
    assert [*known.seconds] == phases
