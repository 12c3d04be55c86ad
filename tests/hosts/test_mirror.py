"""Where packages and images come from, as the role mirror leaves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hostwright.proof.wanted import Machine

pytestmark = pytest.mark.mirror

AREA = "Mirror"


def enabled(seen: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in seen["repositories"].items() if each["enabled"]}


@pytest.mark.each(cases=lambda machine: [each["name"] for each in machine.wanted["mirror_repositories"]])
def test_repository(
    machine: Machine, seen: dict[str, Any], case: str, detail: Callable[[object], None]
) -> None:
    """repository {case} is enabled, at its address"""
    wanted = next(each for each in machine.wanted["mirror_repositories"] if each["name"] == case)
    found = enabled(seen)[case]
    detail(found["url"])
    assert found["url"] == wanted["url"]
    assert found["priority"] == wanted.get("priority", 90)


def test_signatures(seen: dict[str, Any], detail: Callable[[object], None]) -> None:
    """every enabled repository's signatures are checked"""
    found = enabled(seen)
    detail(", ".join(sorted(found)) or "no repository")
    assert [name for name, each in found.items() if not each["signed"]] == []


@pytest.mark.each(cases=lambda machine: ["mirror"] if machine.wanted["mirror_exclusive"] else [])
def test_exclusive(machine: Machine, seen: dict[str, Any], case: str) -> None:
    """no other repository is enabled"""
    assert sorted(enabled(seen)) == sorted(each["name"] for each in machine.wanted["mirror_repositories"])


@pytest.mark.each(cases=lambda machine: [each["name"] for each in machine.wanted["mirror_certificates"]])
def test_certificate(machine: Machine, seen: dict[str, Any], case: str) -> None:
    """certificate {case} is trusted by the system"""
    wanted = next(each for each in machine.wanted["mirror_certificates"] if each["name"] == case)
    bundle = "".join(seen["files"]["/etc/ssl/ca-bundle.pem"]["text"].split())
    assert "".join(wanted["pem"].split()) in bundle


@pytest.mark.each(
    cases=lambda machine: (
        [machine.wanted["mirror_registry"]]
        if machine.wanted["mirror_registry"] and machine.wanted["mirror_certificates"]
        else []
    )
)
def test_registry(machine: Machine, seen: dict[str, Any], case: str) -> None:
    """Docker trusts the registry {case} by the declared certificates"""
    found = seen["files"][f"/etc/docker/certs.d/{case}/ca.crt"]["text"]
    wanted = "".join(each["pem"] for each in machine.wanted["mirror_certificates"])
    assert "".join(found.split()) == "".join(wanted.split())
