"""A command at a terminal: recorded as asciicast, and drawn as a moving SVG."""

from __future__ import annotations

import codecs
import json
import os
import pty
import signal
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte

from tests.live import Live

COLUMNS, ROWS = 100, 14
LINE, LETTER, EDGE = 20, 8.4, 18  # pixels; the letters of any monospaced font are squeezed into theirs
SPEED = 10  # times faster than it was
FRAME = 0.4  # seconds of the picture between two looks at the screen
LAST = 5.0  # seconds for which the end stays
COLOURS = {"default": "#d8dee4", "green": "#6fcf97", "red": "#ff8a80", "cyan": "#7fd1e0", "yellow": "#dcbb62",
           "magenta": "#d7a0e8", "blue": "#8ab4f8"}  # fmt: skip


def up(live: Live, folder: Path) -> None:
    """`hostwright up` of an environment that is not up yet, into up.cast and up.svg."""
    cast = folder / "up.cast"
    names = {live.env["XDG_STATE_HOME"]: "~/.local/state"}
    command = live.command("up")
    status = record(command, cast, said="hostwright up", cwd=live.project, env=live.env, names=names)
    draw(cast, folder / "up.svg")
    assert status == 0, cast.read_text()[-4000:]


def record(
    command: Sequence[str],
    cast: Path,
    *,
    said: str,
    cwd: Path,
    env: Mapping[str, str],
    names: Mapping[str, str],
) -> int:
    """Runs the command at a terminal of its own and writes what that showed, as asciicast v2; its status.

    `said` is the command as a reader would type it. `names` are replaced, text by text: the folders of a run.
    """
    started = time.monotonic()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.execvpe(command[0], command, {**env, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)})  # noqa: S606
    termios.tcsetwinsize(terminal, (ROWS, COLUMNS))
    events: list[tuple[float, str, str]] = [(0.0, "o", f"$ {said}\r\n")]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        with suppress(OSError):  # the kernel's way of saying that nobody has the terminal open any more
            while content := os.read(terminal, 65536):
                text = decoder.decode(content)
                for long, short in names.items():
                    text = text.replace(long, short)
                events.append((round(time.monotonic() - started, 3), "o", text))
    except BaseException:
        os.kill(child, signal.SIGTERM)
        raise
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": said}
    cast.parent.mkdir(parents=True, exist_ok=True)
    cast.write_text("".join(json.dumps(each) + "\n" for each in (header, *events)))
    return os.waitstatus_to_exitcode(status)


def draw(cast: Path, picture: Path) -> None:
    """The recording as an SVG that plays by itself; the last screen where movement is not wanted."""
    frames = list(_frames(cast))
    lines = max(len(screen) for _, screen in frames)
    width, height = round(COLUMNS * LETTER + 2 * EDGE), lines * LINE + 2 * EDGE
    total = frames[-1][0] + LAST
    stops = "".join(
        f"{100 * at / total:.2f}%{{transform:translateY({-number * height}px)}}"
        for number, (at, _) in enumerate(frames)
    )
    end = f"translateY({-(len(frames) - 1) * height}px)"
    texts = "".join(
        f'<text y="{number * height + EDGE + (row + 0.75) * LINE:g}">{_spans(line)}</text>'
        for number, (_, screen) in enumerate(frames)
        for row, line in enumerate(screen)
        if line
    )
    title = escape(json.loads(cast.read_text().partition("\n")[0])["title"])
    size = f'width="{width}" height="{height}"'
    picture.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size}'
        f' role="img" aria-label="{title}"><title>{title}</title><style>'
        "text{font:14px ui-monospace,'SF Mono','Cascadia Code',Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        "white-space:pre}"
        f".film{{animation:play {total:.1f}s step-end infinite}}"
        f"@keyframes play{{{stops}100%{{transform:{end}}}}}"
        f"@media (prefers-reduced-motion:reduce){{.film{{animation:none;transform:{end}}}}}"
        f'</style><rect {size} rx="10" fill="#15191d"/>'
        f'<svg {size}><g class="film">{texts}</g></svg></svg>\n'
    )


Line = list[tuple[str, str, int]]  # text, colour, column


def _frames(cast: Path) -> Iterator[tuple[float, list[Line]]]:
    """Seconds of the picture, and what the screen shows from then on."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    shown: list[Line] = []
    looked = -FRAME
    for moment, _, text in map(json.loads, cast.read_text().splitlines()[1:]):
        if moment / SPEED - looked >= FRAME:
            now = _screen(screen)
            if now != shown:
                yield max(looked, 0.0), now
            shown, looked = now, moment / SPEED
        stream.feed(text)
    yield looked + FRAME, _screen(screen)


def _screen(screen: pyte.Screen) -> list[Line]:
    rows = [_line(screen.buffer[row]) for row in range(screen.lines)]
    while rows and not rows[-1]:
        rows.pop()
    return rows


def _line(cells: Any) -> Line:
    found: Line = []
    for colour, run in groupby(range(COLUMNS), key=lambda column: str(cells[column].fg)):
        columns = list(run)
        text = "".join(cells[column].data for column in columns)
        if text.strip():
            lead = len(text) - len(text.lstrip())
            found.append((text.strip(), COLOURS.get(colour, COLOURS["default"]), columns[0] + lead))
    return found


def _spans(line: Line) -> str:
    return "".join(
        f'<tspan x="{EDGE + column * LETTER:g}" textLength="{len(text) * LETTER:g}" fill="{colour}">'
        f"{escape(text)}</tspan>"
        for text, colour, column in line
    )
