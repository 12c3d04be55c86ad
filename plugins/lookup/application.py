"""Lookup plugin: the application of this environment, as the application file says it."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.plugins.lookup import LookupBase  # type: ignore[import-untyped]

from hostwright.application import Application, load
from hostwright.errors import HostwrightError

DOCUMENTATION = r"""
name: application
short_description: The application of this environment
description:
  - Reads the application file and every C(service.yml) it names, checked. Nothing of it is secret.
  - Without a term it gives the whole as a dictionary, else the values of the terms.
options:
  _terms:
    description:
      - C(name), C(title), C(source), C(ports), C(images), C(secrets) (names and readers), C(gateway),
        C(stores), C(services), C(components), or C(firewall), the public ports as the role C(firewall) takes
        them.
    type: list
    elements: str
  application:
    description:
      - Name of the application, or the path of its file.
      - By default C(app_compose_application), of a host in the group C(cluster)
        C(app_kubernetes_application), else the one that the environment names.
    type: str
author: hostwright
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ lookup('hostwright.hostwright.application', 'ports') }}"
"""

RETURN = r"""
_raw:
  description: One value a term.
  type: list
  elements: raw
"""


class LookupModule(LookupBase):  # type: ignore[misc]
    """The application of this environment."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=options)
        name = self.get_option("application") or self._named(variables or {})
        try:
            application = self._deployed(name, variables or {})
        except HostwrightError as error:
            raise AnsibleError(str(error)) from None
        known = application.describe() | {"firewall": firewall(application)}
        if not terms:
            return [application.describe()]
        for term in terms:
            if term not in known:
                raise AnsibleError(f"an application has no {term!r}: give one of {', '.join(known)}")
        return [known[term] for term in terms]

    def _deployed(self, name: str, variables: dict[str, Any]) -> Application:
        """With the components that the host's role deploys."""

        def told(name: str, default: Any) -> Any:
            return self._templar.template(variables.get(f"{_role(variables)}_{name}", default))

        chosen = (variables.get("hostwright_environment") or {}).get("components", [])
        application = load(name, components=told("components", chosen))
        exclusive = told("exclusive", variables.get("mirror_exclusive", False))
        images = variables.get("app_compose_images", {})  # the cluster's too, unless it is told of others
        return application.held(told("images", images)) if exclusive else application

    def _named(self, variables: dict[str, Any]) -> str:
        own = f"{_role(variables)}_application"
        name = variables.get(own)
        if name is None:
            name = (variables.get("hostwright_environment") or {}).get("application")
        if name is None:
            raise AnsibleError(f"no application named: give application=NAME, or set {own}")
        return str(self._templar.template(name))


def _role(variables: dict[str, Any]) -> str:
    """What a host's application is deployed by, and its variables begin with."""
    return "app_kubernetes" if "cluster" in variables.get("group_names", ()) else "app_compose"


def firewall(application: Application) -> list[dict[str, Any]]:
    """Public ports for the role `firewall`; Docker forwards them to a container."""
    return [
        {"port": port.number, "protocol": "tcp", "sources": list(port.sources), "forwarded": True}
        for port in application.ports()
        if port.scope == "public"
    ]
