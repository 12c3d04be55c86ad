"""The program itself: from the stack's settings to the two outputs."""

from __future__ import annotations

from importlib import import_module

import pulumi

from hostwright.hosts.record import EnvironmentRecord
from infra import config, preflight


def run() -> None:
    """Build the environment of the current stack and export `hosts` and `environment`. Raises BadInput."""
    settings = config.load(pulumi.get_stack())
    preflight.check(settings)
    driver = import_module(f"infra.drivers.{settings.driver}")
    pulumi.export("hosts", pulumi.Output.all(*driver.build(settings)))
    record = EnvironmentRecord(
        name=settings.environment,
        topology=settings.topology,
        driver=settings.driver,
        application=settings.application,
        components=settings.components,
        pod_network=str(settings.cluster.pod_network) if settings.cluster else None,
        service_network=str(settings.cluster.service_network) if settings.cluster else None,
    )
    pulumi.export("environment", record.model_dump(exclude_none=True))
