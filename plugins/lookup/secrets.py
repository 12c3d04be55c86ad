"""Lookup plugin: secrets of this environment. Use it under `no_log: true`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.plugins.lookup import LookupBase  # type: ignore[import-untyped]

from hostwright import environments, secrets
from hostwright.errors import HostwrightError

DOCUMENTATION = r"""
name: secrets
short_description: Secrets of this environment
description:
  - Reads the environment's encrypted Pulumi configuration. Secrets of the application are made by the role
    C(app_compose); those of the environment's own are made here, where O(make) says so.
  - What it gives is secret, so a task that uses it says C(no_log=true).
  - Without a term it gives all as a dictionary, else the values of the terms.
options:
  _terms:
    description: Names of secrets, as C(admin_password).
    type: list
    elements: str
  environment:
    description: Name of the environment. By default the one of the inventory.
    type: str
  project_dir:
    description:
      - The project, the folder that holds C(infra/Pulumi.yaml).
      - By default the nearest one above the current folder.
    type: path
  make:
    description: Make passwords that are missing, and keep them. A check makes some that do not last.
    type: bool
    default: false
  check_mode:
    description: Whether this is a check.
    type: bool
    default: false
    vars:
      - name: ansible_check_mode
author: hostwright
"""

EXAMPLES = r"""
- name: Log in as the first admin
  ansible.builtin.uri:
    url: https://shop.example.com/api/auth/login
    method: POST
    body_format: json
    body:
      email: "{{ lookup('hostwright.hostwright.secrets', 'admin_email') }}"
      password: "{{ lookup('hostwright.hostwright.secrets', 'admin_password') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: One value a term.
  type: list
  elements: raw
"""


class LookupModule(LookupBase):  # type: ignore[misc]
    """Secrets of this environment."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=options)
        record = (variables or {}).get("hostwright_environment") or {}
        name = self.get_option("environment") or record.get("name", "")
        project = self.get_option("project_dir")
        try:
            environment = environments.load(name, Path(project) if project else None)
            if self.get_option("make"):
                kept = not self.get_option("check_mode")
                return [secrets.password(environment, term, kept=kept) for term in terms]
            held = secrets.read(environment)
        except HostwrightError as error:
            raise AnsibleError(str(error)) from None
        if not terms:
            return [held]
        for term in terms:
            if term not in held:
                raise AnsibleError(
                    f"environment {environment.name} has no secret {term!r} (yet): "
                    f"it has {', '.join(sorted(held)) or 'none'}; the first deployment makes them"
                )
        return [held[term] for term in terms]
