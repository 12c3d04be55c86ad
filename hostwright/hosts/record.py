"""The host record: the only thing that passes from infra/ to Ansible, proof and the command."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

GROUPS = {"single": ("single",), "cluster": ("cluster", "servers", "workers")}
"""The groups that each topology's hosts are in; one may have no host."""


class HostRecord(BaseModel):
    """One machine: how to reach it, which groups it is in, and what its driver says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str
    address6: str | None = None
    port: int = 22
    user: str = "opensuse"
    groups: list[str] = Field(default_factory=list)
    facts: dict[str, Any] = Field(default_factory=dict)


class EnvironmentRecord(BaseModel):
    """What the hosts of one environment have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    topology: str
    driver: str
    application: str
    components: list[str] = Field(default_factory=list)
    """Those of the application's that are switched on; "all" alone is all of them."""
    pod_network: str | None = None
    """Of a cluster, in CIDR notation: where its pods' addresses come from."""
    service_network: str | None = None
    """Of a cluster, in CIDR notation: where its services' addresses come from."""
