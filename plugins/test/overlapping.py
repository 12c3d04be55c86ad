"""Test plugin: whether two networks have an address in common."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

DOCUMENTATION = r"""
name: overlapping
short_description: Whether two networks have an address in common
description:
  - Networks are ADDRESS/LENGTH or ADDRESS/MASK, of IPv4 or IPv6; those of different families have none.
options:
  _input:
    description: One network.
    type: str
    required: true
  other:
    description: The other.
    type: str
    required: true
positional: other
author: hostwright
"""

EXAMPLES = r"""
- ansible.builtin.assert:
    that: "'10.1.0.0/16' is not hostwright.hostwright.overlapping('10.2.0.0/16')"
"""

RETURN = r"""
_value:
  description: Whether they do.
  type: bool
"""


def overlapping(one: str, other: str) -> bool:
    """Raises ValueError for what is no network."""
    first, second = ip_network(one, strict=False), ip_network(other, strict=False)
    return first.version == second.version and first.overlaps(second)


class TestModule:
    """What Ansible asks for the plugin's tests."""

    def tests(self) -> dict[str, Callable[[str, str], bool]]:
        return {"overlapping": overlapping}
