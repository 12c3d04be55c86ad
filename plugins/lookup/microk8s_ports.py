"""Lookup plugin: what a node of a cluster lets in, as the role firewall takes it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.lookup import LookupBase  # type: ignore[import-untyped]
from ansible_collections.hostwright.hostwright.plugins.module_utils import microk8s

DOCUMENTATION = r"""
name: microk8s_ports
short_description: What a node of a cluster lets in
description:
  - The ports of MicroK8s that others must reach, each from those only who must; an empty list for a host that
    is not in the group C(cluster). Nodes are those of the groups C(servers) and C(workers). With C(metallb)
    among C(microk8s_addons), those of its speakers too.
options:
  sources:
    description:
      - Networks from which operators reach the API, by default C(microk8s_api_sources), else none.
    type: list
    elements: str
author: hostwright
"""

EXAMPLES = r"""
firewall_ports: "{{ lookup('hostwright.hostwright.microk8s_ports') }}"
"""

RETURN = r"""
_raw:
  description: One list, of C(port), C(protocol) and C(sources).
  type: list
  elements: list
"""


class LookupModule(LookupBase):  # type: ignore[misc]
    """What a node of a cluster lets in."""

    def run(self, _: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=options)
        told = variables or {}
        if "cluster" not in told.get("group_names", ()):
            return [[]]
        given = self.get_option("sources") or told.get("microk8s_api_sources", [])
        group = "workers" if "workers" in told["group_names"] else "servers"
        nodes = [self._addresses(told, name) for name in ("servers", "workers")]
        addons = self._templar.template(told.get("microk8s_addons", []))
        names = [each["name"] for each in addons]
        return [microk8s.ports(group, *nodes, self._templar.template(given), names)]

    def _addresses(self, told: dict[str, Any], group: str) -> list[str]:
        """Every address of the group's hosts, as the environment has them."""
        found: list[str] = []
        for name in told["groups"].get(group, ()):
            host = told["hostvars"][name]
            record = host.get("hostwright_host") or {"address": host.get("ansible_host", name)}
            found += [each for each in (record["address"], record.get("address6")) if each]
        return found
