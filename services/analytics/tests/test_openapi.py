"""The published document: as committed, and kept by every answer."""

from __future__ import annotations

from analytics.bootstrap import create
from analytics.settings import AnalyticsSettings
from analytics.tests.conftest import ORDERS, Deployed, fill
from testing import openapi, patient


def test_openapi_is_committed(own_settings: dict[str, object]) -> None:
    openapi.check_committed("analytics", create(AnalyticsSettings.model_validate(own_settings)))


def test_nothing_breaks_it(deployed: Deployed, examples: int) -> None:
    """Whatever an admin sends: no 5xx, and only documented codes, types and bodies."""
    fill(deployed.settings, ORDERS)
    for _ in range(50):  # of low ids, so that some requests find one
        patient.post(
            f"{deployed.url}/api/reports/generate",
            json={"type": "daily", "format": "csv"},
            headers=deployed.headers(),
        ).raise_for_status()
    asked = openapi.attack("analytics", deployed.url, deployed.headers(), examples=examples)
    assert asked["post", "/api/reports/generate"][201] > 0
    for path in ("", "/stats", "/series"):
        assert asked["get", f"/api/reports{path}"][200] > 0
    for path in ("", "/download", "/chart.svg"):
        found = asked["get", f"/api/reports/{{report_id}}{path}"]
        assert found[200] + found[404] > 0
    assert sum(answers[400] for answers in asked.values()) > 10
