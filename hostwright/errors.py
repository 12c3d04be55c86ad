"""What can go wrong in a way the operator can mend, and the exit status each kind ends with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class HostwrightError(Exception):
    """Base of every error that is shown as a message and not as a traceback."""

    exit_status = 1

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class BadInput(HostwrightError):
    """The operator asked for something that cannot be: exit status 2, nothing half-done."""

    exit_status = 2


@contextmanager
def writing(fix: str) -> Iterator[None]:
    """Raises BadInput where that cannot be: no such folder, one of somebody else, a file in its place."""
    try:
        yield
    except OSError as error:
        what = f"cannot write there: {error.strerror}"
        raise BadInput(what, where=str(error.filename or ""), fix=fix) from None


class Failure(HostwrightError):
    """Something went wrong while doing it: exit status 1; running again converges."""
