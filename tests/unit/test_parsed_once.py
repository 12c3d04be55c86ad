"""The callback plugin that saves Ansible from parsing the same files for each module."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from ansible.executor import module_common
from ansible.module_utils import basic

PLUGIN = importlib.import_module("plugins.callback.parsed_once")
BASIC = Path(inspect.getfile(basic)).read_text()


def test_what_every_module_needs_is_parsed_already(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    parse = module_common._compile_module_ast

    def watched(name: str, source: str | bytes) -> object:
        asked.append(name)
        return parse(name, source)

    monkeypatch.setattr(module_common, "_compile_module_ast", watched)
    PLUGIN.CallbackModule()
    assert "ansible.module_utils.basic" in asked
    before = len(asked)
    known = module_common._compile_module_ast("ansible.module_utils.basic", BASIC)
    assert len(asked) == before
    assert module_common._compile_module_ast("another", BASIC.encode()) is known
    assert {node.name for node in known.body if hasattr(node, "name")} >= {"AnsibleModule"}
    module_common._compile_module_ast("ours", "import json")
    assert asked[before:] == ["ours"]


def test_another_ansible_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module_common, "_compile_module_ast")
    PLUGIN.CallbackModule()
    assert not hasattr(module_common, "_compile_module_ast")
