"""What doctor asks of a machine for an environment."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hostwright import doctor
from hostwright.environments import Environment


@pytest.mark.parametrize(
    ("given", "uris"),
    [
        ({}, ["qemu:///system"]),
        ({"uri": "qemu+ssh://kvm1/system"}, ["qemu+ssh://kvm1/system"]),
        (
            {"uri": ["qemu+ssh://kvm1/system", "qemu+ssh://kvm2/system"]},
            ["qemu+ssh://kvm1/system", "qemu+ssh://kvm2/system"],
        ),
    ],
)
def test_every_hypervisor_is_asked(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], uris: list[str]
) -> None:
    """And each answers for itself: here kvm2 is away."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        away = "kvm2" in command[3]
        return subprocess.CompletedProcess(command, int(away), "", "no route to host" if away else "")

    monkeypatch.setattr(doctor.shutil, "which", lambda _: "/usr/bin/virsh")
    monkeypatch.setattr(doctor.subprocess, "run", run)
    monkeypatch.setattr(doctor.kvm, "usable", lambda: SimpleNamespace(usable=True, detail="works"))
    environment = Environment("shop", Path("/nowhere"), {"libvirt": given})
    found = [need for need in doctor._libvirt(environment, required=True) if need.name == "libvirt"]
    assert [need.detail for need in found] == [
        uri if "kvm2" not in uri else "no route to host" for uri in uris
    ]
    assert [need.usable for need in found] == ["kvm2" not in uri for uri in uris]
