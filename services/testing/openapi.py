"""A service's published document: as it is committed, and kept by every answer to good and bad requests."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from testing.patient import PATIENCE
from testing.service import ROOT

KEPT = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Headers = Mapping[str, str]
Asked = dict[tuple[str, str], Counter[int]]  # method and path -> how often each status came


def check_committed(service: str, app: FastAPI) -> None:
    """The document is the one in services/SERVICE/openapi/CONTRACT.json; with $UPDATE set it becomes that."""
    committed = ROOT / service / "openapi" / f"{app.state.settings.contract}.json"
    found = json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE"):
        committed.write_text(found)
    if committed.read_text() != found:
        raise AssertionError(f"UPDATE=1 pytest services/{service}/tests -k committed rewrites {committed}")


def attack(
    service: str,
    url: str,
    headers: Headers | Callable[[Any], Headers],
    *,
    examples: int,
    contract: str = "warehouse",
    without: str | None = None,
    **request: Any,
) -> Asked:
    """Good and bad requests of every operation: no 5xx, and only documented statuses, types and bodies.

    `headers` of every request, or a function of the operation that makes them; `without`: a pattern of paths
    to leave alone; `request`: options for requests, as `verify`.
    """
    document = schemathesis.openapi.from_path(ROOT / service / "openapi" / f"{contract}.json")
    document.config.update(base_url=url)
    chosen: Any = document.exclude(path_regex=without) if without else document
    return {
        (each.method, each.path): _answers(each, headers, examples, request)
        for each in (found.ok() for found in chosen.get_all_operations())
    }


def _answers(operation: Any, headers: Any, examples: int, request: Mapping[str, Any]) -> Counter[int]:
    counted: Counter[int] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def one(case: Any) -> None:
        own = headers(operation) if callable(headers) else headers
        answer = case.call_and_validate(headers=own, checks=KEPT, **{"timeout": PATIENCE, **request})
        counted[answer.status_code] += 1

    one()
    return counted
