"""Another application in the place of the environment's: who is seen, who is asked, what is removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hostwright import deploy, environments, former, scaffold
from hostwright.environments import Environment
from hostwright.errors import BadInput
from hostwright.former import LOOK

sys.path.append(str(Path(__file__).parents[2] / ".collections"))
from ansible_collections.hostwright.hostwright.plugins.module_utils.former import look, namespaces, projects
from ansible_collections.hostwright.hostwright.plugins.modules.former import refusal, removal

ROOT = Path(__file__).parents[2]
KUBECTL = ["/snap/bin/microk8s", "kubectl"]


@pytest.fixture
def containers(tmp_path: Path) -> str:
    """What Docker says of three projects: two that we wrote, and a stranger's."""
    for name in ("warehouse", "shop", "stranger"):
        (tmp_path / name).mkdir()
    for name in ("warehouse", "shop"):
        (tmp_path / name / ".hostwright").touch()
    names = ("warehouse", "warehouse", "shop", "stranger")
    return "".join(f"{name}\t{tmp_path / name}\n" for name in names)


def workloads(*of: str) -> str:
    """What kubectl says of an overlay prod of each."""
    labels = "app.kubernetes.io/part-of"
    items = [
        {"metadata": {"name": "auth", "namespace": f"{name}-prod", "labels": {labels: name}}} for name in of
    ]
    return json.dumps({"kind": "List", "items": items})


def test_other_projects_of_ours_are_seen_and_no_strangers(containers: str) -> None:
    assert projects(containers, "shop") == {"warehouse": "warehouse"}
    assert projects(containers, "starter") == {"warehouse": "warehouse", "shop": "shop"}
    assert projects("", "shop") == {}


def test_other_namespaces_of_ours_are_seen() -> None:
    told = workloads("warehouse", "warehouse", "shop")
    assert namespaces(told, "shop-prod") == {"warehouse-prod": "warehouse"}
    assert namespaces(told, "warehouse-dev") == {"warehouse-prod": "warehouse", "shop-prod": "shop"}


@pytest.mark.parametrize(
    ("answer", "kubectl"),
    [
        ((1, "", "Cannot connect to the Docker daemon"), []),
        ((0, "microk8s is not running. Use microk8s inspect for a deeper inspection.", ""), KUBECTL),
        ((1, "", "The connection to the server was refused"), KUBECTL),
    ],
)
def test_who_cannot_be_asked_runs_nothing_we_know_of(
    answer: tuple[int, str, str], kubectl: list[str]
) -> None:
    assert look(lambda _: answer, "shop", kubectl) == {}


def test_the_refusal_says_what_where_and_what_to_do() -> None:
    said = refusal("shop", ["warehouse"], "compose")
    assert "warehouse runs here, and shop would take its place" in said
    assert "app_compose_replaces: [warehouse]" in said
    assert "its data stays" in said


@pytest.mark.parametrize("kubectl", [[], KUBECTL])
def test_what_is_removed_has_no_data(kubectl: list[str]) -> None:
    words = removal("warehouse-prod", kubectl, 60)
    said = " ".join(words)
    assert "warehouse-prod" in words
    assert not {"--volumes", "-v", "--rmi", "--all"} & {*words}
    assert "volume" not in said
    assert "namespaces" not in said


def engine(folder: Path, said: str) -> dict[str, str]:
    """An environment in which `docker` and `kubectl` say this."""
    for name in ("docker", "kubectl"):
        program = folder / name
        program.write_text(f"#!{sys.executable}\nprint({said!r}, end='')\n")
        program.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("clustered", [False, True])
def test_the_host_runs_it_without_anything_of_ours(tmp_path: Path, containers: str, clustered: bool) -> None:
    told = workloads("warehouse", "shop") if clustered else containers
    words = ["shop-prod", "kubectl"] if clustered else ["shop"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", (ROOT / LOOK).read_text(), *words],
        env=engine(tmp_path, told),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(json.loads(done.stdout).values()) == ["warehouse"]


def test_a_host_without_an_engine_runs_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", (ROOT / LOOK).read_text(), "shop"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))

    def make(topology: str) -> Environment:
        scaffold.create(tmp_path / topology, topology, "container", topology, "starter")
        return environments.load(topology, tmp_path / topology)

    return make


def test_each_topologys_role_is_told(made: Any) -> None:
    single, cluster = made("single"), made("cluster")
    assert former.variables(single, ["warehouse"]) == {"app_compose_replaces": ["warehouse"]}
    assert former.variables(cluster, ["warehouse"]) == {"app_kubernetes_replaces": ["warehouse"]}
    assert former.variables(single, []) == {}


def test_before_the_first_hosts_nothing_runs(made: Any) -> None:
    assert former.look(made("single"), []) == []


def test_where_nobody_is_asked_nothing_is_replaced() -> None:
    with pytest.raises(BadInput, match="warehouse runs there, and is to be replaced") as refused:
        deploy.unasked(["warehouse"])
    assert "hostwright up asks" in refused.value.fix
