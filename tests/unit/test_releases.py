"""Releases that a host keeps: which one is current, which is gone back to, and what is in the way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hostwright import releases as shown
from hostwright.errors import BadInput

sys.path.append(str(Path(__file__).parents[2] / ".collections"))
from ansible_collections.hostwright.hostwright.plugins.module_utils import releases
from ansible_collections.hostwright.hostwright.plugins.module_utils.releases import (
    Releases,
    Unfit,
    digest,
    obstacles,
    texts,
)

FACTS: dict[str, Any] = {"images": {}, "secrets": ["secrets/orders/database_password"], "databases": {}}


class Host:
    """A folder with an application's files, and one for its releases."""

    def __init__(self, folder: Path) -> None:
        self.files, self.releases = folder / "warehouse", folder / "state"
        (self.files / "secrets/orders").mkdir(parents=True)
        (self.files / "gateway").mkdir()
        (self.files / "secrets/orders/database_password").write_text("hush")
        self.manifest = ["compose.yaml", "gateway/nginx.conf", "secrets/orders/database_password"]

    def write(self, text: str) -> None:
        (self.files / "compose.yaml").write_text(text)
        (self.files / "gateway/nginx.conf").write_text(f"# {text}")
        (self.files / ".hostwright").write_text("\n".join(self.manifest))

    def begin(self, text: str, number: int | None = None) -> None:
        """What the files say is tried."""
        self.write(text)
        self.known.begin(digest(self.files), number)

    def deploy(self, text: str, number: int | None = None, **facts: Any) -> int | None:
        """It runs well; the number of the release that is current now, if it was not before."""
        self.begin(text, number)
        found = self.known.end(self.files, digest(self.files), lambda: FACTS | facts)
        return found and found["release"]

    @property
    def known(self) -> Releases:
        return Releases(str(self.releases), keep=3)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_runs_well_is_a_release_once(host: Host) -> None:
    assert [host.deploy(text) for text in ("one", "one", "two", "two")] == [1, None, 2, None]
    assert (host.known.current, host.known.attempt) == (2, None)
    assert texts(host.known.files(1)) == {"compose.yaml": "one", "gateway/nginx.conf": "# one"}


def test_no_secret_is_kept(host: Host) -> None:
    host.deploy("one")
    kept = [path.read_text() for path in host.releases.rglob("*") if path.is_file()]
    assert kept
    assert not [text for text in kept if "hush" in text]


def test_the_last_few_are_kept_and_the_current_one_always(host: Host) -> None:
    for text in ("one", "two", "three", "one", "four"):
        host.deploy(text)
    assert sorted(host.known.known) == [1, 3, 4]
    assert sorted(path.name for path in (host.releases / "releases").iterdir()) == ["1", "3", "4"]
    host.deploy("one", 1)
    host.deploy("five")
    assert sorted(host.known.known) == [1, 4, 5]


def test_one_goes_back_to_what_ran_before(host: Host) -> None:
    for text in ("one", "two", "three"):
        host.deploy(text)
    assert host.known.choose(None)["release"] == 2
    assert host.known.choose(1)["release"] == 1
    assert host.deploy("two", 2) == 2
    assert host.known.choose(None)["release"] == 3, "what ran before that"
    assert host.deploy("three") == 3, "forward again is the release it was"


def test_after_what_does_not_run_well_one_goes_back_to_what_did(host: Host) -> None:
    host.deploy("one")
    host.deploy("two")
    host.begin("broken")
    assert host.known.choose(None)["release"] == 2
    assert [(row["release"], row["state"]) for row in shown.rows(index(host))] == [
        (None, "not well"), (2, "ran last"), (1, ""),
    ]  # fmt: skip
    host.begin("one", 1)
    assert host.known.choose(None)["release"] == 1, "a way back that was cut short is gone to its end"
    assert host.deploy("one", 1) == 1
    assert [(row["release"], row["state"]) for row in shown.rows(index(host))] == [(1, "current"), (2, "")]


def test_a_release_that_is_not_there_is_refused(host: Host) -> None:
    with pytest.raises(Unfit, match="no release to return to yet"):
        host.known.choose(None)
    host.deploy("one")
    with pytest.raises(Unfit, match="release 1 is the only one"):
        host.known.choose(None)
    with pytest.raises(Unfit, match="no release 7; there are 1"):
        host.known.choose(7)


def test_what_is_in_the_way_is_named() -> None:
    image = {"reference": "registry/orders:1", "id": "sha256:1"}
    pinned = {"reference": "registry/auth:1@sha256:aa", "id": "sha256:2"}
    release = {
        "secrets": ["secrets/mail/smtp_password"],
        "images": {"orders": image, "auth": pinned},
        "databases": {"orders-db/orders_db": "0002", "orders-db/mail_db": "0001", "auth-db/auth_db": "0005"},
    }
    here = {"registry/orders:1": "sha256:1", "registry/auth:1@sha256:aa": "sha256:2"}
    now = {"orders-db/orders_db": "0002", "orders-db/mail_db": "0001", "auth-db/auth_db": "0005"}
    assert obstacles(release, ["secrets/mail/smtp_password"], here, now) == []
    assert obstacles(release, ["secrets/mail/smtp_password"], {}, now) == [], "it can be pulled"
    found = obstacles(
        release, [], here | {"registry/orders:1": "sha256:9"}, now | {"orders-db/mail_db": "0002"}
    )
    assert found == [
        ("secrets", "it needs secrets that are gone: secrets/mail/smtp_password"),
        ("images", "these names are other images now: registry/orders:1"),
        ("databases", "migrations only go forward: orders-db/mail_db is at 0002, and it knows 0001"),
    ]


def test_images_that_differ_from_the_release_before_are_shown(host: Host) -> None:
    def images(**tags: str) -> dict[str, Any]:
        return {"images": {name: {"reference": f"{name}:{tag}", "id": tag} for name, tag in tags.items()}}

    host.deploy("one", **images(auth="1", orders="1"))
    host.deploy("two", **images(auth="1", orders="2", mail="1"))
    rows = shown.rows(index(host))
    assert [shown.changed(rows, row) for row in rows] == [["mail", "orders"], []]


@pytest.mark.parametrize("text", ["last", "-1", "1.5"])
def test_a_release_is_a_number(text: str) -> None:
    with pytest.raises(BadInput, match="is no release"):
        shown.number(text)


def index(host: Host) -> dict[str, Any]:
    known = host.known
    return {"current": known.current, "attempt": known.attempt, "releases": [*known.known.values()]}


def test_an_index_is_what_it_was(host: Host) -> None:
    host.deploy("one")
    before = (host.releases / "releases.json").read_text()
    releases.Releases(str(host.releases))._write()
    assert (host.releases / "releases.json").read_text() == before
