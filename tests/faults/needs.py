"""Which containers a request waits for, read from the application: what fails elsewhere must not touch it."""

from __future__ import annotations

from hostwright.application import Application, Route

# One reading request of each service that has a route; all but the sites' are a staff member's.
READS = {
    "auth": "/api/auth/profile",
    "orders": "/api/orders?limit=5",
    "notification": "/api/notifications?limit=5",
    "analytics": "/api/reports/stats",
    "mail": "/api/mail?limit=5",
    "mailsink": "/messages?limit=5",
    "storefront": "/",
    "panel": "/panel/",
}


def needs(application: Application, path: str) -> frozenset[str]:
    """The gateway, the path's service and, if the route wants it, who authenticates, with their databases.

    No broker, and none of those whom the service calls: these are told later, or in the background.
    """
    way = route(application, path)
    asked = [way.service]
    if way.authentication == "required" and application.gateway.authentication:
        asked.append(application.gateway.authentication.service)
    services = [application.services[name] for name in asked]
    stores = [each.database.store for each in services if each.database]
    return frozenset({"gateway", *asked, *stores})


def route(application: Application, path: str) -> Route:
    """The one that the gateway takes: the longest that the path begins with, whole names only."""
    plain = path.partition("?")[0]
    fits = [
        each
        for each in application.gateway.routes
        if plain == each.path or plain.startswith(each.path.rstrip("/") + "/")
    ]
    return max(fits, key=lambda each: len(each.path))


def containers(application: Application) -> list[str]:
    """Every one that keeps running, by its name in the application: gateway, services, stores."""
    return ["gateway", *application.services, *application.stores]
