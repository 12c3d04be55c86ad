"""The OpenAPI document of a gateway: what services say of what is let through, and what it adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from fastapi.openapi.models import OpenAPI

from hostwright import application, paths
from hostwright.render import Environment, render

NAMES = ("gatekeeper", "starter")


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render(application.load(name), Environment())["gateway/openapi.json"])
    return found


@pytest.fixture(params=NAMES)
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    return document(request.param)


def test_it_is_a_document(found: dict[str, Any]) -> None:
    """With nothing in it that refers to nothing, and nothing that nobody refers to."""
    OpenAPI.model_validate(found)
    operations = [each.ok() for each in schemathesis.openapi.from_dict(found).get_all_operations()]
    assert len(operations) == sum(map(len, found["paths"].values()))
    referred = json.dumps(found)
    assert all(f'"#/components/schemas/{name}"' in referred for name in found["components"]["schemas"])


def test_what_a_route_asks_is_told() -> None:
    paths = document("gatekeeper")["paths"]
    nobody = paths["/v1/users/login"]["post"]
    assert nobody["security"] == []
    assert {"411", "413", "429", "503"} <= nobody["responses"].keys()
    boss = paths["/v1/users"]["get"]
    assert boss["security"] == [{"Bearer": []}]
    assert {"401", "403", "429", "503"} <= boss["responses"].keys()
    assert "413" not in boss["responses"], "it has no body"
    assert paths["/health"]["get"]["responses"].keys() == {"200", "400"}


def test_what_no_route_leads_to_is_left_out(tmp_path: Path) -> None:
    file = yaml.safe_load((paths.toolkit() / "services" / "apps" / "gatekeeper.yml").read_text())
    routes = file["gateway"]["routes"]
    file["gateway"]["routes"] = [each for each in routes if not each["path"].startswith("/v1/orders")]
    path = tmp_path / "gatekeeper.yml"
    path.write_text(yaml.safe_dump(file))
    found = json.loads(render(application.load(str(path)), Environment())["gateway/openapi.json"])
    assert "/v1/{order_id}/status" in found["paths"]
    assert not [each for each in found["paths"] if each.startswith("/v1/orders")]
    assert "Listed_OrderOut_" not in found["components"]["schemas"]


def test_schemas_of_one_name_stay_apart(found: dict[str, Any]) -> None:
    """Each operation is what its service has committed, whatever its schemas are called here."""
    for service in ("auth", "orders"):
        name = found["info"]["title"].lower()
        theirs = json.loads((paths.toolkit() / "services" / service / "openapi" / f"{name}.json").read_text())
        for path in theirs["paths"].keys() & found["paths"].keys():
            for method in theirs["paths"][path].keys() & found["paths"][path].keys():
                here, there = found["paths"][path][method], theirs["paths"][path][method]
                if here.get("operationId") != there["operationId"]:
                    continue  # another's
                for status, answer in there["responses"].items():
                    mine = whole(here["responses"][status], found)
                    assert mine == whole(answer, theirs), f"{method} {path} {status}"


def test_without_a_route_there_is_none() -> None:
    files = render(application.load("warehouse"), Environment())
    assert "gateway/openapi.json" not in files


def whole(part: Any, document: dict[str, Any]) -> Any:
    """With what it refers to in its place."""
    if isinstance(part, list):
        return [whole(each, document) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return whole(document["components"]["schemas"][part["$ref"].rpartition("/")[2]], document)
    return {name: whole(each, document) for name, each in part.items()}
