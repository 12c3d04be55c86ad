"""How an application is spoken to as root on one of its hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostwright import reached
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.hosts.record import HostRecord
from hostwright.reached import Cluster

BIG = Environment("big", Path("shop"), {"topology": "cluster", "application": "warehouse"})


class Here(Cluster):
    """What would run on the host runs on this one."""

    def command(self, *words: str) -> list[str]:
        return list(words)


@pytest.fixture
def here() -> Here:
    cluster = reached.cluster(BIG, [HostRecord(name="big-1", address="192.0.2.1")])
    found = Here(BIG, cluster.application, cluster.hosts)
    found.__dict__["variables"] = {"app_kubernetes_kubectl": ["kubectl"], "app_kubernetes_overlay": "dev"}
    return found


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
