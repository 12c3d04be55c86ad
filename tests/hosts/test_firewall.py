"""What the host lets in, as the role firewall leaves it: its rules, and the same seen from outside."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.firewall

AREA = "Firewall"


@pytest.mark.each(cases=lambda machine: machine.wanted["__firewall_packages"])
def test_package(seen: dict[str, Any], case: str) -> None:
    """package {case} is installed"""
    assert case in seen["packages"], f"package {case} is not installed"


@pytest.mark.each(cases=lambda machine: machine.wanted["__firewall_services"])
def test_service(seen: dict[str, Any], case: str) -> None:
    """{case} runs, and starts at boot"""
    unit = seen["units"].get(case, {"ActiveState": "absent", "UnitFileState": "absent"})
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled"), (
        f"{case} is {unit['ActiveState']}"
    )
