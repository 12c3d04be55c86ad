"""A document's own commands against a gateway, one after the other in one shell, as its reader types them.

A file has `examples`, each with its `command` and what is said of it: an `answer` (JSON, of which there may
be more; SHAPES stand for what varies), or a pattern of what it `prints`. What a reader would put in is put
in: where the gateway is, a new `person`, what an answer `keeps` for later (word to replace -> way to it).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.environment import Gateway, fresh_email

HERE = "http://localhost:8080"
SHAPES = {
    "uuid-here": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "YOUR_JWT_TOKEN": r"[\w-]+\.[\w-]+\.[\w-]+",
}


def run(file: Path, door: Gateway, folder: Path) -> None:
    """All of a file's; `folder` is for curl's own settings: whom to trust, and to wait when it is told to."""
    document = yaml.safe_load(file.read_text())
    put_in = {HERE: door.url, document["person"]: fresh_email()}
    with Shell(_settings(door, folder)) as shell:
        for each in document["examples"]:
            command, answer = (_with(put_in, each.get(part)) for part in ("command", "answer"))
            said = shell.run(command)
            if answer is None:
                assert re.fullmatch(each["prints"], said), f"{command}\n{said}"
                continue
            found = _last(said)
            assert alike(answer, found), f"{command}\n{said}\nis not {answer}"
            for word, way in each.get("keeps", {}).items():
                put_in[word] = found
                for name in way:
                    put_in[word] = put_in[word][name]


class Shell:
    """A bash for commands after each other, which keeps its variables. They read nothing."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, command: str) -> str:
        """What it prints, without space around it."""
        sender, receiver = self._process.stdin, self._process.stdout
        assert sender
        assert receiver
        end = secrets.token_hex()
        sender.write(f"{{\n{command}\n}} </dev/null\nprintf '\\n%s\\n' {end}\n")
        sender.flush()
        lines = []
        for line in receiver:
            if line.strip() == end:
                return "".join(lines).strip()
            lines.append(line)
        raise AssertionError(f"the shell has ended:\n{command}")


def alike(documented: Any, found: Any) -> bool:
    """Whether what is documented is found, whatever else there is in objects."""
    if isinstance(documented, dict):
        return isinstance(found, dict) and all(
            name in found and alike(value, found[name]) for name, value in documented.items()
        )
    if isinstance(documented, list):
        return (
            isinstance(found, list) and len(found) == len(documented) and all(map(alike, documented, found))
        )
    if documented in SHAPES:
        return isinstance(found, str) and re.fullmatch(SHAPES[documented], found) is not None
    return bool(documented == found)


def _with(put_in: dict[str, str], thing: Any) -> Any:
    """A text, or what is made of texts, with words replaced."""
    if isinstance(thing, str):
        for word, instead in put_in.items():
            thing = thing.replace(word, instead)
    elif isinstance(thing, dict):
        return {name: _with(put_in, value) for name, value in thing.items()}
    elif isinstance(thing, list):
        return [_with(put_in, value) for value in thing]
    return thing


def _last(text: str) -> Any:
    """The last of JSON documents: before it are answers that said to come again later."""
    found = None
    while text:
        found, end = json.JSONDecoder().raw_decode(text)
        text = text[end:].lstrip()
    return found


def _settings(door: Gateway, folder: Path) -> dict[str, str]:
    """An environment in which curl finds the gateway by its name, and trusts its authority."""
    authority = folder / "ca.pem"
    authority.write_text(door.ca)
    options = {"retry": "9", "max-time": "60", "resolve": f"{door.name}:{door.port}:{door.address}"}
    if door.protocol == "https":
        options["cacert"] = str(authority)
    (folder / ".curlrc").write_text("".join(f'{name} = "{value}"\n' for name, value in options.items()))
    return {**os.environ, "CURL_HOME": str(folder)}
