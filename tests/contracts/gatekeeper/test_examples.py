"""The gatekeeper's document as its reader tries it: its commands in their order, by curl."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts import examples
from tests.environment import Gateway


@pytest.mark.shows(
    "example/health",
    "example/1",
    "example/2",
    "example/3",
    "example/4",
    "example/5",
    "example/6",
    "example/7",
)
def test_examples(door: Gateway, tmp_path: Path) -> None:
    """the document's examples give the documented answers"""
    examples.run(Path(__file__).with_name("examples.yml"), door, tmp_path)
