"""The container engine, as the role docker leaves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hostwright.proof.wanted import Machine

pytestmark = pytest.mark.docker

AREA = "Docker"


@pytest.mark.each(cases=lambda machine: machine.wanted["__docker_packages"])
def test_package(seen: dict[str, Any], case: str, detail: Callable[[object], None]) -> None:
    """package {case} is installed"""
    assert case in seen["packages"], f"package {case} is not installed"
    detail(seen["packages"][case])


@pytest.mark.each(cases=lambda machine: [machine.wanted["__docker_service"]])
def test_service(seen: dict[str, Any], case: str) -> None:
    """{case} runs, and starts at boot"""
    unit = seen["units"].get(case, {"ActiveState": "absent", "UnitFileState": "absent"})
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled"), (
        f"{case} is {unit['ActiveState']}"
    )


@pytest.mark.each(cases=lambda machine: [machine.wanted["__docker_service"]])
def test_patience(seen: dict[str, Any], case: str) -> None:
    """{case} may take its time to start: it restores containers first"""
    assert seen["units"][case]["TimeoutStartUSec"] == "infinity"


def test_engine(seen: dict[str, Any], detail: Callable[[object], None]) -> None:
    """the engine answers, and Compose is there"""
    containers = seen["containers"]
    detail(f"Docker {containers['version']}, Compose {containers['compose']}")
    assert containers["version"]
    assert containers["compose"]


@pytest.mark.each(cases=lambda machine: list(machine.wanted["__docker_settings"].items()))
def test_setting(seen: dict[str, Any], case: tuple[str, Any]) -> None:
    """daemon.json: {case[0]} is {case[1]}"""
    key, value = case
    assert json.loads(seen["files"]["/etc/docker/daemon.json"]["text"])[key] == value


def test_setting_in_force(machine: Machine, seen: dict[str, Any]) -> None:
    """the engine runs with the settings on disk"""
    settings, info = machine.wanted["__docker_settings"], seen["containers"]["info"]
    assert info["LoggingDriver"] == settings["log-driver"]
    assert info["LiveRestoreEnabled"] == settings["live-restore"]


@pytest.mark.each(cases=lambda machine: machine.wanted["docker_users"])
def test_user(seen: dict[str, Any], case: str) -> None:
    """user {case} may use Docker"""
    assert "docker" in seen["users"][case]["groups"]


def test_nobody_else(machine: Machine, seen: dict[str, Any]) -> None:
    """nobody else may use Docker, which is as good as being root"""
    others = {name for name, user in seen["users"].items() if user and "docker" in user["groups"]}
    assert others <= set(machine.wanted["docker_users"])
