"""The rows of the proof as functions, for tests that ask them of what they make up or hold in their hands."""

from __future__ import annotations

import warnings
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest

from hostwright import paths

HOSTS = paths.toolkit() / "tests" / "hosts"


def proof_of(name: str) -> Any:
    """A module of tests/hosts, whose marks are known where they run."""
    spec = spec_from_file_location(name, HOSTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
        spec.loader.exec_module(module)
    return module
