"""What the contract tests send to paths that take a body, held against the services' own descriptions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from hostwright import application, paths
from tests.contracts.warehouse import test_bad_input as bad
from tests.faults.needs import route

WAREHOUSE = application.load("warehouse")


def described() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Method, path, properties of the body and answers of all that take one and are behind the gateway."""
    for path in sorted((paths.toolkit() / "services").glob("*/openapi/warehouse.json")):
        document = json.loads(path.read_text())
        for place, operations in document["paths"].items():
            if route(WAREHOUSE, place).service != path.parts[-3]:
                continue  # a webhook: nobody outside can send one
            for method, operation in operations.items():
                if "requestBody" not in operation:
                    continue
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                model = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
                yield method.upper(), place, model["properties"], operation["responses"]


def test_every_field_of_every_body_is_sent_in_every_wrong_form() -> None:
    sent = {
        (method, re.sub(r"/\d+/", "/{}/", path)): set(body)
        for (method, path), (_, body) in bad.WRITES.items()
    }
    known = {(method, re.sub(r"\{\w+\}", "{}", path)): set(fields) for method, path, fields, _ in described()}
    assert sent == known


def test_every_text_is_sent_as_sql_and_script() -> None:
    fields = {field for _, body in bad.WRITES.values() for field, value in body.items() if value != 1}
    assert fields == {field for _, field in bad.CHOSEN} | set(bad.ANY)


@pytest.mark.parametrize(("method", "path", "fields", "answers"), [*described()])
def test_what_is_refused_is_documented(
    method: str, path: str, fields: dict[str, Any], answers: dict[str, Any]
) -> None:
    wanted = {"400", "401"} if "refresh_token" in fields else {"400"}
    assert wanted <= set(answers), f"{method} {path}"
