"""What `promote` decides: who may, how far it is, what stands in the way, and what it says of that."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hostwright import application, promote, toolchain
from hostwright.databases import Database
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts.record import HostRecord
from hostwright.progress import Phases

PROD = Environment("prod", Path("shop"), {"topology": "single"})
BIG = Environment("big", Path("shop"), {"topology": "cluster"})
GIB = 1 << 30
BY_HAND = "remove /etc/hostwright/warehouse/promoted on prod-1, then hostwright up -e prod"


@pytest.mark.parametrize(
    ("source", "target", "what"),
    [
        (BIG, BIG, "big is not of topology single"),
        (PROD, PROD, "prod is not of topology cluster"),
        (
            PROD,
            dataclasses.replace(BIG, settings={"topology": "cluster", "application": "starter"}),
            "prod has the application warehouse, big starter",
        ),
    ],
)
def test_a_pair_that_cannot_be(source: Environment, target: Environment, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        promote.check_pair(source, target)


def test_a_pair() -> None:
    promote.check_pair(PROD, BIG)


@pytest.mark.parametrize(
    ("mark", "held", "state"),
    [
        ("", "", ""),
        ("freezing prod", "big", "freezing"),
        ("copying prod", "", "copying"),  # it ended with an error, and prod serves
        ("copying prod", "big", "copying"),  # it was killed
        ("serving prod", "big", "serving"),
        ("serving prod", "big confirmed", "serving"),  # `--confirm` was killed
        ("aborted prod", "", "aborted"),
    ],
)
def test_how_far_it_is(mark: str, held: str, state: str) -> None:
    assert promote.progress(mark, held, PROD, BIG, BY_HAND) == state


@pytest.mark.parametrize(
    ("mark", "held", "what", "fix"),
    [
        ("copying test", "", "big has data of test, not of prod", "--from test --to big"),
        ("", "other", "prod is on its way to other", "--from prod --to other --abort"),
        # After an error prod served on: what big has is older.
        ("serving prod", "", "prod and big may both serve", "--from prod --to big --abort"),
        ("aborted prod", "big", "prod does not serve again yet", "--abort"),
        ("", "big confirmed", "prod has been promoted to big", "hostwright down -e prod --data"),
        ("", "other confirmed", "prod has been promoted to other", "hostwright down -e prod --data"),
        ("serving prod", "other confirmed", "prod has been promoted to other", "down -e prod --data"),
        # Whoever rebuilds the cluster must not be told to remove the only data there is.
        ("", "big", "big has no mark of what it got from prod", f"prod alone has the data: {BY_HAND}"),
    ],
)
def test_marks_that_do_not_fit(mark: str, held: str, what: str, fix: str) -> None:
    with pytest.raises(BadInput) as caught:
        promote.progress(mark, held, PROD, BIG, BY_HAND)
    assert what in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgres:17", "10.0.0.1:8443/library/postgres:17", True),
        ("postgres:17", "postgres:18", False),
        ("r.example/orders@sha256:a", "s.example/mirror/orders@sha256:a", True),
        ("orders:1@sha256:a", "orders:2@sha256:a", True),
        ("orders:1@sha256:a", "orders:1@sha256:b", False),
        ("orders:1@sha256:a", "orders:1", True),
    ],
)
def test_images_of_several_registries(one: str, other: str, same: bool) -> None:
    assert promote.same_image(one, other) == promote.same_image(other, one) == same


def test_other_images_are_named() -> None:
    here = {"orders": "orders:1", "auth": "auth:1", "orders-2": "orders:1"}
    assert promote.other_images(here, {"orders": "r/orders:2", "auth": "r/auth:1"}) == [
        "orders is orders:1 here and r/orders:2 there"
    ]


def test_queues() -> None:
    queues = {"mail.send": 3, "mail.send.dead": 1, "mail.send.retry.30": 2, "order_analytics": 0}
    assert promote.left_over(queues) == "mail.send (3), mail.send.dead (1), mail.send.retry.30 (2)"
    assert promote.laid_aside(queues) == {"mail.send.dead": 1, "mail.send.retry.30": 2}
    assert promote.left_over({"order_analytics": 0}) == ""


def test_room_is_that_of_a_node() -> None:
    sizes = {"orders-db": 4 * GIB, "auth-db": GIB}
    free = {"orders-db": 8 * GIB, "auth-db": 8 * GIB}
    apart = {"orders-db": "one", "auth-db": "two", "gateway": "three"}
    assert promote.short(sizes, free, apart) == []
    together = dict.fromkeys(apart, "one")
    (told,) = promote.short(sizes, free, together)
    assert told == "one has 8192 MiB left, orders-db, auth-db need 8704"


def sides() -> tuple[promote.Old, promote.New]:
    warehouse = application.load("warehouse")
    server = HostRecord(name="big-1", address="192.0.2.11", groups=["cluster", "servers"])
    worker = HostRecord(name="big-0", address="192.0.2.10", groups=["cluster", "workers"])
    host = HostRecord(name="prod-1", address="192.0.2.2", groups=["single"], port=2222)
    return promote.Old(PROD, warehouse, [host]), promote.New(BIG, warehouse, [worker, server])


def test_programs_of_a_store_run_in_its_container() -> None:
    old, new = sides()
    old.__dict__["variables"] = {}
    new.__dict__["variables"] = {"app_kubernetes_overlay": "staging", "app_kubernetes_kubectl": ["kubectl"]}
    mine, theirs = old.databases(), new.databases()
    assert [str(each) for each in mine] == [str(each) for each in theirs]
    assert str(mine[0]) == "orders-db/orders_db"
    *ssh, place, command = mine[0].reach(["psql", "--command=SELECT 'a b'"])
    assert (ssh[0], ssh[-2:], place) == ("ssh", ["-p", "2222"], "opensuse@192.0.2.2")
    assert "BatchMode=yes" in ssh
    assert command == (
        "sudo -n docker compose --project-directory /etc/hostwright/warehouse exec -T orders-db "
        "env PGHOST=/run/postgresql PGUSER=postgres psql '--command=SELECT '\"'\"'a b'\"'\"''"
    )
    *_, place, command = theirs[-1].reach(["pg_restore"])
    assert place == "opensuse@192.0.2.11", "a server, and no worker"
    assert command == (
        "sudo -n kubectl --cache-dir=/root/.kube/cache --namespace=warehouse-staging exec --stdin "
        "pod/auth-db-0 --container=auth-db -- env PGHOST=/run/postgresql PGUSER=postgres pg_restore"
    )


def test_a_host_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    unreachable = HostRecord(name="prod-1", address="127.0.0.1", port=1)
    with pytest.raises(Failure, match="Connection refused") as caught:
        promote.Old(PROD, application.load("warehouse"), [unreachable]).run("true")
    assert caught.value.where == "prod-1"


def test_one_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with (
        promote._alone(PROD),
        pytest.raises(BadInput, match="prod is being promoted already"),
        promote._alone(PROD),
    ):
        raise AssertionError("two at once")


def test_who_has_data_of_people_says_how_to_count_it() -> None:
    """Others' data follows from theirs."""
    used = {name for name, each in application.load("warehouse").services.items() if each.file.used}
    assert used == {"auth", "orders"}


MADE = promote._new  # which asks Pulumi for the hosts
# A cluster that has a namespace with its annotations, in a file beside it, and nothing else.
KUBECTL = """\
#!/usr/bin/env python3
import json, pathlib, sys
file = pathlib.Path(__file__).with_name("namespace.json")
words = [word for word in sys.argv[1:] if not word.startswith("--")]
held = json.loads(file.read_text())
if words[0] == "annotate":
    name, _, text = words[3].partition("=")
    held["metadata"]["annotations"] = {} if name.endswith("-") else {name: text}
    file.write_text(json.dumps(held))
else:
    print(json.dumps(held if words[:2] == ["get", "namespace"] else {"items": []}))
"""


class OldHere(promote.Old):
    """What would run on the host runs on this one, where no container is."""

    folder = ""
    waiting = 0  # messages in its queue

    def command(self, *words: str, host: HostRecord | None = None) -> list[str]:  # noqa: ARG002
        return list(words)

    def containers(self) -> list[dict[str, Any]]:
        return []

    def databases(self) -> list[Database]:
        return []

    def queues(self) -> dict[str, int]:
        return {"mail.send": self.waiting}


class NewHere(promote.New):
    def command(self, *words: str, host: HostRecord | None = None) -> list[str]:  # noqa: ARG002
        return list(words)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[OldHere, NewHere]:
    """The two sides, with their marks in files of this machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, text in (("docker", "#!/bin/sh\n"), ("kubectl", KUBECTL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "namespace.json").write_text(json.dumps({"metadata": {"annotations": {}}}))
    old, new = sides()
    old, new = OldHere(PROD, old.application, old.hosts), NewHere(BIG, new.application, [new.hosts[1]])
    old.__dict__["folder"] = str(tmp_path)
    new.__dict__["variables"] = {"app_kubernetes_kubectl": [str(tmp_path / "kubectl")]}
    monkeypatch.setattr(promote, "_old", lambda _: old)
    monkeypatch.setattr(promote, "_new", lambda *_: new)
    return old, new


def test_what_is_confirmed_is_told_from_what_was_made_anew(here: tuple[OldHere, NewHere]) -> None:
    old, new = here
    old.set_mark("big")
    new.set_mark(promote.SERVING, "prod")
    promote.confirm(PROD, BIG)
    assert (new.mark, old.mark) == ("", "big confirmed")
    with pytest.raises(BadInput, match="prod has been promoted to big"):
        promote.promote(PROD, BIG)


def test_a_cluster_made_anew_is_no_reason_to_remove_the_data(here: tuple[OldHere, NewHere]) -> None:
    old, _ = here
    old.set_mark("big")
    for verb in (promote.promote, promote.confirm):
        with pytest.raises(BadInput, match="was it made anew") as caught:
            verb(PROD, BIG)
        assert f"remove {old.path} on prod-1, then hostwright up -e prod" in caught.value.fix


def test_a_cluster_that_is_gone_does_not_keep_the_host_from_serving(
    here: tuple[OldHere, NewHere], monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain.ensure()
    old, _ = here
    monkeypatch.setattr(promote, "_new", MADE)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "x")
    with pytest.raises(BadInput, match="big has no hosts") as caught:
        promote.abort(PROD, BIG)
    assert caught.value.fix == f"if it is gone for good: {old.by_hand}"


@pytest.mark.parametrize(("state", "after"), [("", ""), ("freezing", ""), ("aborted", "copying prod")])
def test_a_cluster_that_nothing_was_copied_to_is_not_marked(
    here: tuple[OldHere, NewHere], monkeypatch: pytest.MonkeyPatch, state: str, after: str
) -> None:
    """It serves on, and what people write there must be found when it is tried again."""
    old, new = here
    monkeypatch.setattr(promote, "PATIENCE", 0)
    monkeypatch.setattr(OldHere, "waiting", 1)
    frozen = promote._frozen(old, new, state, Phases())
    with pytest.raises(Failure, match=r"queues did not run empty: mail.send \(1\)"), frozen:
        raise AssertionError("frozen")
    assert (new.mark, old.mark) == (after, "")


def test_a_cluster_that_something_was_copied_to_is_marked(here: tuple[OldHere, NewHere]) -> None:
    old, new = here

    def cut() -> None:
        with promote._frozen(old, new, "", Phases()):
            assert (new.mark, old.mark) == ("copying prod", "big")
            raise Failure("cut")

    with pytest.raises(Failure, match="cut"):
        cut()
    assert (new.mark, old.mark) == ("copying prod", "")


def test_what_was_killed_before_the_copy_is_aborted_without_a_trace(here: tuple[OldHere, NewHere]) -> None:
    old, new = here
    new.set_mark(promote.FREEZING, "prod")
    old.set_mark("big")
    assert promote.abort(PROD, BIG) == ["prod serves again"]
    assert (new.mark, old.mark) == ("", "")
