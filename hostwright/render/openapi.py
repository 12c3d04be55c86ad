"""One OpenAPI document of all that a gateway lets through, made of those that its services have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hostwright.application import Application
from hostwright.application.gateway import DOCUMENT, OWN, PART, Policy

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
SCHEMA = re.compile(r'"#/components/schemas/([^"]+)"')
BEARER = "Bearer"
ANSWER, STATE = "GatewayError", "GatewayState"

Document = dict[str, Any]


def document(
    application: Application, policy: Policy, routes: Sequence[Mapping[str, Any]], texts: Mapping[int, str]
) -> Document:
    """The document (OpenAPI 3.1), as `routes` let requests through; `texts`: of the gateway's own answers.

    A service without a document of its own, one that is somebody else's for example, is left out.
    """
    found: Document = {
        "openapi": "3.1.0",
        "info": {"title": application.title, "version": "1"},
        "paths": {},
        "components": {
            "schemas": _own_schemas(policy),
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
    versions = set()
    for name, theirs in _documents(application):
        versions.add(theirs["info"]["version"])
        theirs = _renamed(theirs, name, found["components"]["schemas"])
        for path, operations in theirs["paths"].items():
            for method, operation in operations.items():
                if method in METHODS and (route := _route(routes, method, path, name)):
                    through = operation | _conditions(route, operation, texts, name)
                    found["paths"].setdefault(path, {})[method] = through
        found["components"]["schemas"] |= theirs["components"]["schemas"]
    found["info"]["version"] = max(versions, default="1")
    for route in routes:
        if route["service"] == OWN:
            operation = _own_operation(route["path"])
            found["paths"][route["path"]] = {"get": operation | _conditions(route, operation, texts, OWN)}
    _prune(found)
    return found


def _documents(application: Application) -> Iterator[tuple[str, Document]]:
    for service in application.services.values():
        path = service.folder / "openapi" / f"{service.contract}.json"
        if path.is_file():
            yield service.name, json.loads(path.read_text())


def _renamed(theirs: Document, service: str, taken: Mapping[str, Any]) -> Document:
    """Another service's schema of the same name, if it is another, gets the service's before its own."""
    schemas = theirs["components"]["schemas"]
    new: dict[str, str] = {}
    # Whoever refers to one that is renamed is another schema too, whatever it is called.
    while more := {
        name: f"{service.title().replace('-', '')}{name}"
        for name in schemas.keys() & taken.keys() - new.keys()
        if taken[name] != schemas[name] or new.keys() & _named(schemas[name])
    }:
        new |= more
    theirs["components"]["schemas"] = {new.get(name, name): schema for name, schema in schemas.items()}
    text = SCHEMA.sub(
        lambda match: json.dumps(f"#/components/schemas/{new.get(match[1], match[1])}"), json.dumps(theirs)
    )
    renamed: Document = json.loads(text)
    return renamed


def _route(
    routes: Sequence[Mapping[str, Any]], method: str, path: str, service: str
) -> Mapping[str, Any] | None:
    """The route that such a request takes, if it leads to this service."""
    first = next((each for each in routes if _leads(each, method.upper(), path)), None)
    return first if first and first["service"] == service else None


def _leads(route: Mapping[str, Any], method: str, path: str) -> bool:
    """Whether it is for such a request: to its path and what is below, where a part in braces is any one."""
    text = "[^/]+".join(map(re.escape, PART.split(route["path"])))
    end = "" if text.endswith("/") else "$" if route["service"] == OWN else "(/|$)"
    return (not route["methods"] or method in route["methods"]) and re.match(text + end, path) is not None


def _conditions(
    route: Mapping[str, Any], operation: Document, texts: Mapping[int, str], service: str
) -> Document:
    """What the gateway asks, and what it may answer in the service's place."""
    statuses = [400, 411, 413] if "requestBody" in operation else [400]
    if route["required"]:
        statuses.append(401)
    if route["roles"]:
        statuses.append(403)
    if route["limit"]:
        statuses.append(429)
    if service != OWN:
        statuses += [502, 503, 504]
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ANSWER}"}}}
    own = {str(status): {"description": texts[status], "content": content} for status in statuses}
    return {
        "security": [{BEARER: []}] if route["required"] else [],
        "responses": dict(sorted((own | operation["responses"]).items())),
    }


def _own_schemas(policy: Policy) -> Document:
    """Of the gateway's own answers: when it refuses, and when it tells of itself."""
    reason = {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "retry_after": {"type": "integer", "description": "seconds, of 429"},
        "service": {"type": "string", "description": "that is away, of 502, 503 and 504"},
    }
    state: Document = {"type": "object"}
    if policy.errors == "envelope":
        success = {"type": "boolean", "const": False}
        error = {"type": "object", "required": ["code", "message"], "properties": reason}
        refusal = {"required": ["success", "error"], "properties": {"success": success, "error": error}}
        state = {
            "type": "object",
            "required": ["success", "data"],
            "properties": {"success": {"type": "boolean", "const": True}, "data": state},
        }
    else:
        plain = {"error": {"type": "string"}, **{name: reason[name] for name in ("retry_after", "service")}}
        refusal = {"required": ["error"], "properties": plain}
    return {ANSWER: {"type": "object", **refusal}, STATE: state}


def _own_operation(path: str) -> Document:
    told = {
        "/health": "Whether services can be reached: the state and counts of each circuit breaker",
        "/metrics": "Requests by service and status, and each circuit breaker",
        DOCUMENT: "This document",
    }
    schema: Document = {"$ref": f"#/components/schemas/{STATE}"}
    if path == DOCUMENT:
        schema = {"type": "object"}
    return {
        "summary": told[path],
        "tags": [OWN],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
    }


def _named(part: Any) -> set[str]:
    """Schemas that a part of a document refers to."""
    return set(SCHEMA.findall(json.dumps(part)))


def _prune(found: Document) -> None:
    """Leave out the schemas of what cannot be asked for."""
    schemas = found["components"]["schemas"]
    wanted, new = set[str](), _named(found["paths"])
    while new:
        wanted |= new
        new = set().union(*(_named(schemas[name]) for name in new)) - wanted
    found["components"]["schemas"] = {name: schemas[name] for name in sorted(wanted)}
