"""What an HAProxy gateway is configured with: routes in the order they are tried, limits, answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hostwright.application import Application, Gateway, Route
from hostwright.application.gateway import DEFAULT, DOCUMENT, OWN, PART, Limit
from hostwright.errors import BadInput
from hostwright.render.environment import Environment
from hostwright.render.openapi import document

RATE_LIMIT = "RATE_LIMIT"  # requests a minute: the one setting of an environment for the gateway
ANSWERS = {
    400: ("BAD_REQUEST", "Bad request"),
    401: ("UNAUTHORIZED", "Authentication required"),
    403: ("FORBIDDEN", "You do not have permission to access this resource"),
    404: ("NOT_FOUND", "Not found"),
    405: ("METHOD_NOT_ALLOWED", "Method not allowed"),
    408: ("REQUEST_TIMEOUT", "Request timeout"),
    411: ("LENGTH_REQUIRED", "A body this large needs a Content-Length"),
    413: ("PAYLOAD_TOO_LARGE", "Request body too large"),
    429: ("RATE_LIMIT_EXCEEDED", "Too many requests. Please try again later."),
    500: ("INTERNAL_ERROR", "Internal server error"),
    502: ("BAD_GATEWAY", "Bad gateway"),
    503: ("SERVICE_UNAVAILABLE", "Service unavailable"),
    504: ("GATEWAY_TIMEOUT", "Gateway timeout"),
}


def facts(application: Application, environment: Environment, own: Sequence[str]) -> dict[str, Any]:
    """What the templates of HAProxy know beyond those of every gateway. `own`: origins of its own pages."""
    gateway = application.gateway
    policy = gateway.policy
    if policy is None:
        return {}
    origins = [*policy.cors, *own]
    ways = ordered(gateway.routes)
    allowed = _allowed(ways)
    routes = [_route(each, allowed[_pattern(each)]) for each in ways]
    return {
        "policy": policy,
        "tokens": policy.tokens,
        "breaker": policy.breaker,
        "limits": limits(gateway, environment),
        "routes": routes,
        "origins": [] if "*" in origins else list(dict.fromkeys(origins)),
        "anywhere": "*" in origins,
        "cors": bool(origins),
        "websockets": any(each["websocket"] for each in routes),
        "keeps": {each["service"] for each in routes if each["cache"]},
        "owned": list(dict.fromkeys(each.service for each in gateway.listeners if each.service)),
        "document": document(application, policy, routes, {n: text for n, (_, text) in ANSWERS.items()})
        if any((each["service"], each["path"]) == (OWN, DOCUMENT) for each in routes)
        else None,
        "answers": {status: answer(policy.errors, status) for status in ANSWERS},
        "backends": list(dict.fromkeys([*gateway.served, *([gateway.asked] if gateway.asked else [])])),
    }


def ordered(routes: Iterable[Route]) -> list[Route]:
    """The more particular first: more parts, then a word in the first part where another has braces."""

    def rank(route: Route) -> tuple[int, list[bool]]:
        parts = [part for part in route.path.split("/") if part]
        return -len(parts), [bool(PART.fullmatch(part)) for part in parts]

    return sorted(routes, key=rank)


def limits(gateway: Gateway, environment: Environment) -> dict[str, Limit]:
    """The windows by name. Raises BadInput for a RATE_LIMIT that is no number of requests a minute."""
    found = dict(gateway.policy.limits) if gateway.policy else {}
    given = environment.settings.get(OWN, {})
    for name in given:
        if name != RATE_LIMIT:
            raise BadInput(
                f"the gateway has no setting {name!r}", where=environment.name, fix=f"it has {RATE_LIMIT}"
            )
    if RATE_LIMIT in given:
        text = str(given[RATE_LIMIT])
        if not re.fullmatch(r"[1-9][0-9]{0,5}", text) or int(text) > 100_000:
            raise BadInput(
                f"{RATE_LIMIT} of {text!r}", where=environment.name, fix="requests a minute: 1 to 100000"
            )
        found[DEFAULT] = Limit(requests=int(text), seconds=60)
    return found


def answer(shape: str, status: int) -> str:
    """The body of an answer of the gateway's own, as a log-format string of HAProxy."""
    code, text = ANSWERS[status]
    more: dict[str, str] = {}
    if status == 429:
        more = {"retry_after": "%[var(txn.wait)]"}
    if status in (502, 503, 504):
        text = f"{text}: %[var(txn.target,gateway)]"
        more = {"service": "%[var(txn.target,gateway)]"}
    body: dict[str, Any] = {"error": text, **more}
    if shape == "envelope":
        body = {"success": False, "error": {"code": code, "message": text, **more}}
    # The one number among them is no text.
    return json.dumps(body, separators=(",", ":")).replace('"%[var(txn.wait)]"', "%[var(txn.wait)]")


def _route(route: Route, allow: Sequence[str]) -> dict[str, Any]:
    return {
        "pattern": _pattern(route),
        "methods": _methods(route),
        "allow": ", ".join(allow),
        "service": route.service,
        "path": route.path,
        "required": route.authentication == "required",
        "roles": route.roles,
        # Who keeps us alive asks without end.
        "limit": route.limit or (None if route.service == OWN else DEFAULT),
        "cache": route.cache,
        "websocket": route.websocket,
    }


def _pattern(route: Route) -> str:
    """Of the paths it is for, as Lua spells it in a text of its own: %f[/\0] is where a part ends."""
    text = re.sub(r"([.-])", r"%\1", PART.sub("[^/]+", route.path))
    end = "" if text.endswith("/") else "$" if route.service == OWN else r"%f[/\0]"
    return f"^{text}{end}"


def _methods(route: Route) -> list[str]:
    return [*route.methods, *(["HEAD"] if "GET" in route.methods and "HEAD" not in route.methods else [])]


def _allowed(routes: Iterable[Route]) -> dict[str, list[str]]:
    """Pattern -> the methods that its routes are for, in the routes' order."""
    found: dict[str, list[str]] = {}
    for each in routes:
        found.setdefault(_pattern(each), []).extend(_methods(each))
    return {pattern: [*dict.fromkeys(methods)] for pattern, methods in found.items()}
