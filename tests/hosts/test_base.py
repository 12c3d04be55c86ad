"""The operating system, as the role base leaves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hostwright.proof.wanted import Machine

pytestmark = pytest.mark.base

AREA = "System"

Detail = Callable[[object], None]


def laid_over(name: str) -> Callable[[Machine], list[tuple[str, Any]]]:
    """The role's own settings with the environment's laid over them; null takes one away."""

    def cases(machine: Machine) -> list[tuple[str, Any]]:
        merged = machine.wanted[f"__base_{name}"] | machine.wanted[f"base_{name}"]
        return [(key, value) for key, value in merged.items() if value is not None]

    return cases


def test_system(seen: dict[str, Any], detail: Detail) -> None:
    """the system is openSUSE Leap 16.0"""
    detail(f"{seen['os']['PRETTY_NAME']}, kernel {seen['os']['kernel']}")
    assert (seen["os"]["ID"], seen["os"]["VERSION_ID"]) == ("opensuse-leap", "16.0")


@pytest.mark.each(cases=lambda machine: machine.wanted["__base_packages"] + machine.wanted["base_packages"])
def test_package(seen: dict[str, Any], case: str, detail: Detail) -> None:
    """package {case} is installed"""
    assert case in seen["packages"], f"package {case} is not installed"
    detail(seen["packages"][case])


@pytest.mark.each(cases=lambda machine: machine.wanted["__base_services"])
def test_service(seen: dict[str, Any], case: str) -> None:
    """{case} runs, and starts at boot"""
    unit = seen["units"].get(case, {"ActiveState": "absent", "UnitFileState": "absent"})
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled"), (
        f"{case} is {unit['ActiveState']}"
    )


def test_no_failed_unit(seen: dict[str, Any], detail: Detail) -> None:
    """no unit has failed"""
    failed = sorted(name for name, unit in seen["units"].items() if unit["ActiveState"] == "failed")
    detail(f"{len(seen['units'])} units")
    assert failed == [], f"failed: {', '.join(failed)}"


@pytest.mark.each(cases=lambda machine: [user["name"] for user in machine.wanted["base_users"]])
def test_user(machine: Machine, seen: dict[str, Any], case: str) -> None:
    """user {case} logs in with the declared keys and no others, and has the declared rights"""
    wanted = next(user for user in machine.wanted["base_users"] if user["name"] == case)
    user = seen["users"][case]
    assert user is not None, f"there is no user {case}"
    keys = [line for line in user["keys"] if line.strip() and not line.startswith("#")]
    assert sorted(keys) == sorted(wanted.get("authorized_keys", [])), "its keys are not the declared ones"
    assert ("NOPASSWD: ALL" in user["sudo"]) == bool(wanted.get("sudo", False)), user["sudo"]
    assert user["locked"], f"{case} has a password, or needs none; keys are the only way in"


@pytest.mark.each(cases=laid_over("sshd"))
def test_sshd(seen: dict[str, Any], case: tuple[str, Any]) -> None:
    """sshd: {case[0]} is {case[1]}"""
    keyword, value = case
    found = seen["sshd"].get(keyword.lower(), "")
    wanted = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value).lower()
    assert found.lower() == wanted, f"sshd runs with {keyword} {found or '(unset)'}"


@pytest.mark.each(
    cases=lambda machine: [
        (setting["key"], setting["value"]) for setting in machine.wanted["__base_sysctl_own"]
    ]
)
def test_sysctl(seen: dict[str, Any], case: tuple[str, Any]) -> None:
    """kernel: {case[0]} is {case[1]}"""
    name, value = case
    ipv6_is_off = name.startswith("net.ipv6.") and "net.ipv6.conf.all.forwarding" not in seen["sysctl"]
    found = seen["sysctl"].get(name)
    assert ipv6_is_off or found == str(value), f"the kernel has {name} = {found}"


@pytest.mark.each(cases=laid_over("journald"))
def test_journald(seen: dict[str, Any], case: tuple[str, Any]) -> None:
    """journal: {case[0]} is {case[1]}"""
    key, value = case
    found = seen["journald"].get(key)
    assert found == str(value), f"journald is told {key}={found or '(nothing)'}"


def test_time_sources(machine: Machine, seen: dict[str, Any], detail: Detail) -> None:
    """chrony asks the declared time servers"""
    declared = machine.wanted["base_ntp_servers"]
    detail(", ".join(seen["time"]))
    if declared:
        assert sorted(seen["time"]) == sorted(declared), f"declared: {', '.join(declared)}"
    else:
        assert seen["time"], "chrony has no source at all"


def test_selinux(machine: Machine, seen: dict[str, Any], detail: Detail) -> None:
    """SELinux is in the declared mode"""
    detail(seen["selinux"])
    declared = machine.wanted["base_selinux"]
    assert seen["selinux"] == declared, f"SELinux is {seen['selinux']}, declared is {declared}"
