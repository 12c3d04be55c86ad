"""What the day-to-day verbs print of what a host says."""

from __future__ import annotations

import io
import subprocess

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
