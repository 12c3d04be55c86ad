"""What the sites say in Polish of what services refuse."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import web
from kit.errors import ServiceError

TEXTS = Path(web.__file__).with_name("shared") / "texts.js"
SERVICES = ("auth", "orders", "mail", "notification", "analytics")
OWN = (401, 409, 410, 422)  # for other statuses the sites have texts of their own
NEVER = {"Conflict", "Invalid webhook signature", "The items of this order cannot be changed any more"}


def kinds(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield error
    for each in error.__subclasses__():
        yield from kinds(each)


def test_refusals_are_in_polish_too() -> None:
    for service in SERVICES:
        importlib.import_module(f"{service}.contracts.warehouse")
    others = (".contracts.gatekeeper", ".contracts.starter")  # of applications without sites
    found = [each for each in kinds(ServiceError) if not each.__module__.endswith(others)]
    said = {each.text for each in found if each.status in OWN}
    assert "The last admin must stay one" in said
    polish = TEXTS.read_text().partition("  pl: {")[2]
    assert {each for each in said - NEVER if f'"{each}":' not in polish} == set()
