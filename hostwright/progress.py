"""Phases of a long command: elapsed time on a terminal, plain lines elsewhere, figures for later."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@dataclass
class Phases:
    """Names and wall seconds of the phases of one run, shown on standard error as they happen."""

    seconds: dict[str, float] = field(default_factory=dict)
    console: Console = field(
        default_factory=lambda: Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=True)
    )

    @contextmanager
    def phase(self, name: str, title: str) -> Iterator[Note]:
        """Time one phase; the yielded note shows what it is doing. A phase entered twice adds up."""
        started = time.monotonic()
        note = Note(self.console, title)
        self._mark(name)
        try:
            with note:
                yield note
        except BaseException:
            self.console.print(f"{title}: failed after {time.monotonic() - started:.1f} s", style="bold red")
            raise
        spent = time.monotonic() - started
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 2)
        self.console.print(f"{title}: {note.result or 'done'} ({spent:.1f} s)", style="green")

    def save(self, path: Path) -> None:
        """Write `{"phase": seconds}` beside the environment's other state."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.seconds, indent=2) + "\n")

    def _mark(self, name: str) -> None:
        """A line that a program watching a plain log can wait for."""
        if not self.console.is_terminal:
            self.console.print(f"phase: {name}")


class Note:
    """What the current phase is doing: a live line on a terminal, a plain line elsewhere."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self.title = title
        self.result = ""
        self._progress: Progress | None = None

    def __enter__(self) -> Note:
        if self.console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
            self._progress.add_task(self.title, total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, text: str) -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], description=f"{self.title}: {text}")
        else:
            self.console.print(f"  {text}")
