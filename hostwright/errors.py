"""What can go wrong in a way the operator can mend, and the exit status each kind ends with."""

from __future__ import annotations


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


class Failure(HostwrightError):
    """Something went wrong while doing it: exit status 1; running again converges."""
