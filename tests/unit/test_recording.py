"""A recording of a terminal, and the picture that is made of it."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.journeys import recording

SHOWN = r"""
printf '\033[32mHosts: 1 up\033[0m\n'
printf 'away'
sleep 0.3
printf '\r\033[Kpage: %s/index.html\n' "$PWD"
exit 3
"""


def test_what_a_terminal_shows_is_recorded_and_drawn(tmp_path: Path) -> None:
    cast, picture = tmp_path / "pictures" / "up.cast", tmp_path / "up.svg"
    names = {str(tmp_path): "~"}
    command = ["sh", "-c", SHOWN]
    assert recording.record(command, cast, said="up <it>", cwd=tmp_path, env=os.environ, names=names) == 3
    header, *events = [json.loads(line) for line in cast.read_text().splitlines()]
    assert (header["version"], header["width"]) == (2, recording.COLUMNS)
    assert [at for at, _, _ in events] == sorted(at for at, _, _ in events)
    assert "".join(text for _, _, text in events).endswith("page: ~/index.html\r\n")
    assert events[-1][0] >= 0.3

    recording.draw(cast, picture)
    texts = ["".join(each.itertext()) for each in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 # our own
    assert texts[-3:] == ["$ up <it>", "Hosts: 1 up", "page: ~/index.html"]
    assert f'fill="{recording.COLOURS["green"]}">Hosts' in picture.read_text()
