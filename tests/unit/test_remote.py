"""What the day-to-day verbs print of what a host says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostwright.remote import Plain, only

LOG = "\x1b[2Korders-1  | ready\n\x1b[2Kauth-1  | \x1b[31mits own colour\x1b[0m [2K\n"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, len(LOG)])
def test_logs_are_printed_without_what_clears_lines(size: int) -> None:
    """However the connection cuts them into chunks; what a service wrote itself stays."""
    printed = io.StringIO()
    plain = Plain(printed)
    for at in range(0, len(LOG), size):
        plain.write(LOG[at : at + size])
        plain.flush()
    assert printed.getvalue() == "orders-1  | ready\nauth-1  | \x1b[31mits own colour\x1b[0m [2K\n"


@pytest.mark.parametrize(
    ("text", "printed", "status"), [("it's", "it's b\n", 0), ("none", "", 0), ("a; exit 9", "", 0)]
)
def test_only_lines_with_a_text_leave_the_host(text: str, printed: str, status: int) -> None:
    done = subprocess.run(only(["printf", "a\nit's b\n"], text), capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (printed, status)


def test_a_command_that_fails_fails_whatever_lines_it_printed() -> None:
    assert subprocess.run(only(["sh", "-c", "exit 3"], "a"), check=False).returncode == 3


BECOME = """
from hostwright import cli, remote
from hostwright.environments import Environment
from hostwright.hosts import engine
from hostwright.hosts.record import HostRecord
from pathlib import Path
host = HostRecord(name="k1", address="192.0.2.1")
made = Environment("prod", Path(), {"application": "warehouse"})
cli.environments.load = lambda name="": made
cli.engine.outputs = lambda environment: [host]
cli.main()
"""


def become(folder: Path, *words: str, host: str = 'eval "set -- $last"; printf "<%s>\\n" "$@"') -> list[str]:
    """The last of what ssh is given, as the shell of the host takes it apart, or as `host` has it."""
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\nfor last; do :; done\n{host}\n")
    program.chmod(0o755)
    env = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "XDG_STATE_HOME": str(folder)}
    command = [sys.executable, "-c", BECOME, *words]
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_command_arrives_word_by_word(tmp_path: Path) -> None:
    assert become(tmp_path, "ssh", "--", "psql", "--command=SELECT 'a  b'") == [
        "<psql>",
        "<--command=SELECT 'a  b'>",
    ]
    assert become(tmp_path, "ssh", "--", "sudo docker ps") == ["<sudo>", "<docker>", "<ps>"]


@pytest.mark.parametrize(("line", "says"), [("printf '%s\\n' a b | tail -1", "b"), ("echo $HOME", "/root")])
def test_a_line_is_for_the_shell_of_the_host(tmp_path: Path, line: str, says: str) -> None:
    assert become(tmp_path, "ssh", "--", line, host='HOME=/root exec sh -c "$last"') == [says]


LOGS = f"""
from contextlib import contextmanager
from invoke import Context

@contextmanager
def connect(environment, host):
    yield Context()

from hostwright import remote
remote.connect = connect
{BECOME}
"""


def test_whoever_reads_logs_may_have_had_enough(tmp_path: Path) -> None:
    """The connection runs its commands here, as on a host by the same library."""
    (tmp_path / "sudo").write_text("#!/bin/sh\nwhile echo line; do :; done\n")
    (tmp_path / "sudo").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", LOGS, "logs", "--tail", "all"],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 1)


def test_how_many_lines_of_each_log(tmp_path: Path) -> None:
    (tmp_path / "sudo").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "sudo").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path)}

    def logs(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LOGS, "logs", *options]
        return subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    for options, word in ([], "--tail=100"), (["--tail", "all"], "--tail=all"), (["--tail=7"], "--tail=7"):
        assert word in logs(*options).stdout.split()
    refused = logs("--tail", "many")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'many' is no number" in refused.stderr
