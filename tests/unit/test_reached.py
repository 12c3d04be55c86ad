"""How an application is spoken to as root on one of its hosts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hostwright import paths, reached
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.hosts.record import HostRecord
from hostwright.reached import Cluster

BIG = Environment("big", Path("shop"), {"topology": "cluster", "application": "warehouse"})


class Here(Cluster):
    """What would run on the host runs on this one."""

    def command(self, *words: str, host: HostRecord | None = None) -> list[str]:  # noqa: ARG002
        return list(words)


@pytest.fixture
def here() -> Here:
    cluster = reached.cluster(BIG, [HostRecord(name="big-1", address="192.0.2.1")])
    found = Here(BIG, cluster.application, cluster.hosts)
    found.__dict__["variables"] = {"app_kubernetes_kubectl": ["kubectl"], "app_kubernetes_overlay": "dev"}
    return found


# What a server says that is asked whether its API is ready: nothing, that it is not, and a sentence with
# which MicroK8s ends well where it stands still.
AWAY, NOT_READY, STOPPED = "exit 255", "echo 'etcd failed' >&2; exit 1", "echo microk8s is not running"


class There(Cluster):
    """Servers that say what they are told to, by name."""

    says: dict[str, str] = {}  # noqa: RUF012  (of one test)

    def command(self, *words: str, host: HostRecord | None = None) -> list[str]:
        assert words[-2:] == ("--raw=/readyz", "--request-timeout=10s")
        assert host
        return ["sh", "-c", self.says[host.name]]


def there(monkeypatch: pytest.MonkeyPatch, **says: str) -> There:
    monkeypatch.setattr(There, "says", says)
    worker = HostRecord(name="worker", address="192.0.2.9", groups=["cluster", "workers"])
    hosts = [HostRecord(name=name, address="192.0.2.1", groups=["cluster", "servers"]) for name in says]
    found = There(BIG, reached.cluster(BIG, hosts).application, [worker, *hosts])
    found.__dict__["variables"] = {"app_kubernetes_kubectl": ["kubectl"]}
    return found


@pytest.mark.parametrize("first", [AWAY, NOT_READY, STOPPED])
def test_the_first_server_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    cluster = there(monkeypatch, k1=first, k2="echo ok", k3="echo ok")
    assert cluster.host.name == "k2"
    assert cluster.told == {"hostwright_server": "k2"}


def test_where_no_server_answers_each_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failure) as caught:
        there(monkeypatch, k1=AWAY, k2=NOT_READY, k3=STOPPED).host  # noqa: B018
    said = "k1: no answer; k2: etcd failed; k3: microk8s is not running"
    assert (caught.value.what, caught.value.where) == (f"no server answers: {said}", "big")


@pytest.mark.parametrize("name", ["restart", "leave"])
def test_plays_run_on_the_server_that_they_are_told(tmp_path: Path, name: str) -> None:
    inventory = tmp_path / "hosts"
    inventory.write_text("[servers]\nk1\nk2\nk3\n[workers]\nk4\n")

    def hosts(*options: str) -> set[str]:
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [program, "-i", inventory, paths.toolkit() / f"playbooks/{name}.yml", "--list-hosts"]
        told = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
        return {*re.findall(r"^\s+(k\d)$", told, re.MULTILINE)}

    assert hosts() == {"k1"}
    assert hosts("--extra-vars", json.dumps({"hostwright_server": "k2"})) == {"k2"}


def test_lines_come_as_they_are_written(here: Here) -> None:
    assert list(here.lines("printf", "a\\n\\nb")) == ["a", "", "b"]
    endless = here.lines("yes")
    assert next(endless) == "y"
    endless.close()  # returns, as it has ended what writes


def test_a_command_that_fails_says_so_after_what_it_printed(here: Here) -> None:
    lines = here.lines("sh", "-c", "echo one; echo no API >&2; exit 3")
    assert next(lines) == "one"
    with pytest.raises(Failure, match="no API"):
        next(lines)


def test_an_api_that_is_away_is_no_answer(here: Here) -> None:
    """MicroK8s prints a sentence then, and ends with 0."""
    here.variables["app_kubernetes_kubectl"] = ["echo", "microk8s is not running."]
    with pytest.raises(Failure, match="no answer but 'microk8s is not running"):
        here.items("pods")


def test_what_kubectl_is_asked(here: Here) -> None:
    common = ("kubectl", "--cache-dir=/root/.kube/cache", "--namespace=warehouse-dev")
    selector = "--selector=app.kubernetes.io/instance=warehouse-dev"
    wide = ("--all-containers", "--prefix", "--timestamps", "--ignore-errors")
    assert here.logs() == (*common, "logs", selector, *wide, "--tail=-1")
    followed = (f"{selector},app.kubernetes.io/name=orders", *wide, "--tail=9")
    assert here.logs("orders", 9, follow=True) == (
        *(*common, "logs", *followed),
        *("--follow", "--max-log-requests=1000"),
    )
    assert here.exec("deployment/orders", ["sh", "-c", "a b"], terminal=True) == (
        *(*common, "exec", "--stdin", "--tty"),
        *("deployment/orders", "--", "sh", "-c", "a b"),
    )
