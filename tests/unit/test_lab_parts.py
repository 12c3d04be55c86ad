"""Parts are built once, from what defines them, and are there wholly or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import parts, requirements


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_part_is_built_once_for_the_same_inputs() -> None:
    made: list[Path] = []

    def make(target: Path) -> None:
        made.append(target)
        target.write_text("content")

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: parts.part("thing.tar", make, "one"), range(8)))
    assert len(made) == 1
    assert {each.read_text() for each in found} == {"content"}
    assert parts.part("thing.tar", make, "two") not in found


def test_a_build_that_fails_leaves_nothing_and_the_next_succeeds() -> None:
    def fail(target: Path) -> None:
        target.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.part("thing.tar", fail, "one")
    assert not [each for each in parts.store().iterdir() if not each.name.endswith(".lock")]
    assert parts.part("thing.tar", lambda target: target.write_text("whole"), "one").read_text() == "whole"


def test_what_a_killed_build_left_goes_with_the_next() -> None:
    left = parts.store() / ".scratch-999999999-ab"
    left.mkdir()
    parts.part("thing", lambda target: target.mkdir(), "one")
    assert not left.exists()


def test_the_two_newest_of_a_part_are_kept() -> None:
    made = [parts.part("thing.tar", lambda target: target.touch(), str(number)) for number in range(4)]
    other = parts.part("thing-else.tar", lambda target: target.touch(), "other")
    assert [each.exists() for each in made] == [False, False, True, True]
    assert other.exists()


def test_the_key_knows_content_place_and_permission(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    file = folder / "below" / "file"
    file.write_text("one")
    keys = [parts.key(folder)]
    file.write_text("two")
    keys.append(parts.key(folder))
    file.chmod(0o755)
    keys.append(parts.key(folder))
    file.rename(folder / "file")
    keys.append(parts.key(folder))
    assert len(set(keys)) == 4
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "file.cpython-311.pyc").touch()
    assert parts.key(folder) == keys[-1]
    assert parts.key("a", "b") != parts.key("ab") != parts.key("b", "a")


def test_the_machine_has_what_the_lab_needs() -> None:
    assert {"mmdebstrap", "createrepo-c", "extlinux"} <= set(requirements.wanted())
    assert requirements.missing() == []
