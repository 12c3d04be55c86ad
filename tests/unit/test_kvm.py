"""The test of KVM tests something: its guest boots where there is no KVM at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostwright.hosts import kvm


def test_the_guest_boots_under_emulation() -> None:
    assert kvm.boot("tcg") == kvm.Verdict(True, "a guest booted under tcg")


def test_a_guest_that_does_not_get_through_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last instructions gone it hangs, as on a KVM that stops at one of them."""
    monkeypatch.setattr(kvm, "GUEST", b"\xf4\xeb\xfd")
    monkeypatch.setattr(kvm, "SECONDS", 1)
    verdict = kvm.boot("tcg")
    assert not verdict.usable
    assert "did not get through" in verdict.detail


def test_the_answer_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = kvm.usable()
    memory = tmp_path / "hostwright/kvm.json"
    assert json.loads(memory.read_text())["usable"] is first.usable
    monkeypatch.setattr(kvm, "boot", lambda _: kvm.Verdict(False, "asked again"))
    assert kvm.usable() == first
    memory.write_text(memory.read_text().replace('"boot": "', '"boot": "another'))
    assert kvm.usable().detail == "asked again"


def test_without_an_emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kvm.shutil, "which", lambda *_, **__: None)
    assert not kvm.boot("tcg").usable
