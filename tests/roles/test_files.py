"""The module `files`: writes whole files once, and knows what has not read them."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MODULE = Path(__file__).resolve().parents[2] / "plugins" / "modules" / "files.py"


def run(*files: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run the module here, as Ansible would on a host; its answer."""
    own = {"owner": getpass.getuser(), "group": str(os.getgid())}
    arguments = {"files": [own | file for file in files], "_ansible_check_mode": check}
    done = subprocess.run(
        [sys.executable, MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_check_apply_check_apply(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "file"
    wanted = {"texts": {str(file): "one\n"}, "mode": "0640"}
    answers = []
    for check in (True, False, True, False):
        answers.append(run(wanted, check=check))
        assert file.exists() == (len(answers) > 1)
    assert [answer["changed"] for answer in answers] == [True, True, False, False]
    assert [answer["written"] for answer in answers] == [[str(file)], [str(file)], [], []]
    assert answers[0]["diff"][0]["after"] == "one\n"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("one\n", 0o640)
    file.chmod(0o600)
    assert run(wanted)["written"] == [str(file)]


def test_a_text_that_is_not_valid_is_not_put_in_place(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    answer = run({"texts": {str(file): "new"}, "validate": "grep --quiet old %s"})
    assert answer["failed"]
    assert "would not be valid" in answer["msg"]
    assert file.read_text() == "old"


def test_an_expression_that_nobody_read_is_no_path(tmp_path: Path) -> None:
    answer = run({"texts": {f"{tmp_path}/{{{{ unit }}}}.d/file": "text"}})
    assert answer["failed"]
    assert "{{ unit }}.d/file is no path" in answer["msg"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_made_from_a_file_is_stale_until_made_again(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    wanted = {"texts": {str(source): "text"}, "makes": str(made)}
    assert run(wanted)["stale"] == [str(made)]
    # Whoever was to make it was killed: the next run owes it still.
    assert run(wanted) | {"diff": []} == run(wanted, check=True) | {"diff": []}
    assert run(wanted)["stale"] == [str(made)]
    made.write_text("made")
    assert not run(wanted)["changed"]
