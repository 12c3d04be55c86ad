"""The agent's own words; those of a notification come from the server."""

from __future__ import annotations

import os

TEXTS = {
    "en": {
        "open": "Open the order",
        "open_many": "Open the orders",
        "many": "{count} changes of orders",
        "ended": "Order notifications have stopped",
    },
    "pl": {
        "open": "Otwórz zamówienie",
        "open_many": "Otwórz zamówienia",
        "many": "Zmiany zamówień: {count}",
        "ended": "Powiadomienia o zamówieniach są wyłączone",
    },
}


def language() -> str:
    """Of the user's messages, as gettext looks for it."""
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        if found := os.environ.get(name):
            return "pl" if found.startswith("pl") else "en"
    return "en"
