"""Parse what every module is packed with once a run, and not once a module."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.executor import module_common
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: parsed_once
type: aggregate
short_description: Parse what every module is packed with once a run
description:
  - Ansible packs a module together with what it imports, and parses some fifty files to find that out. It
    does so in the process of the task, which ends with it, so that the next module's task begins again.
    That is more than half of what a task costs the controller.
  - This plugin parses the common ones in the process that all tasks' are copies of. Tasks do what they did.
  - What it reaches into is not Ansible's public interface. Where that is another one day, nothing happens.
author: [hostwright maintainers (@hostwright)]
"""

Parse = Callable[[str, str | bytes], Any]


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Loaded before the first task's process is made."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "hostwright.hostwright.parsed_once"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        parse = getattr(module_common, "_compile_module_ast", None)
        if parse is None:
            return
        module_common._compile_module_ast = remembered = _remembered(parse)
        for name, module in list(sys.modules.items()):
            # The controller has imported them itself.
            if name.startswith("ansible.module_utils.") and (file := getattr(module, "__file__", None)):
                remembered(name, Path(file).read_bytes())
        gc.freeze()  # these are here to stay: no process needs to look through them again


def _remembered(parse: Parse) -> Parse:
    """The same, asked once about each text."""
    found: dict[bytes, Any] = {}

    def ask(name: str, source: str | bytes) -> Any:
        text = source.encode() if isinstance(source, str) else bytes(source)
        if text not in found:
            found[text] = parse(name, source)
        return found[text]

    return ask
