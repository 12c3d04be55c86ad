"""Action plugin: render the application here, with its secrets, and bring the files to the host."""

from __future__ import annotations

import json
from dataclasses import asdict
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail  # type: ignore[import-untyped]
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]

from hostwright import environments, secrets
from hostwright.application import Application, load
from hostwright.errors import BadInput, HostwrightError
from hostwright.render import (
    Cluster,
    Environment,
    gateway_options,
    pinned,
    render,
    secret_files,
    volumes,
)

# Fields of `hostwright.render.Cluster`, and the nodes that new stores are dealt out over.
CLUSTER = {
    "overlay": {"type": "str", "required": True},
    "nodes": {"type": "list", "elements": "str", "required": True},
    "pins": {"type": "dict", "default": {}},
    "folder": {"type": "path", "required": True},
    "ingress_class": {"type": "str", "required": True},
    "ingress_namespace": {"type": "str", "required": True},
    "ingress_annotations": {"type": "dict", "default": {}},
    "public_nodes": {"type": "list", "elements": "str", "default": []},
    "ssh_ports": {"type": "list", "elements": "int", "default": [22]},
    "pods": {"type": "list", "elements": "str", "required": True},
}
ARGUMENTS = {
    "directory": {"type": "path", "required": True},
    "application": {"type": "str", "required": True},
    "environment": {"type": "str", "required": True},
    "project_dir": {"type": "path"},
    "components": {"type": "list", "elements": "str", "default": []},
    "exclusive": {"type": "bool", "default": False},
    "images": {"type": "dict", "default": {}},
    "names": {"type": "list", "elements": "str", "default": []},
    "replicas": {"type": "dict", "default": {}},
    "settings": {"type": "dict", "default": {}},
    "trusted_proxies": {"type": "list", "elements": "str", "default": []},
    "network": {"type": "str"},
    "network6": {"type": "str"},
    "ipv6": {"type": "bool", "default": True},
    "patience": {"type": "int", "default": 1},
    "gateway": {"type": "dict", "default": {}},
    "release": {"type": "path"},
    "cluster": {"type": "dict", "options": CLUSTER},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Render here, compare and write there."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        given = json.loads(json.dumps(given))  # Ansible's own kinds of strings can go into no manifest
        if given["release"]:
            return self._deliver({"directory": given["directory"], "release": given["release"]}, task_vars)
        try:
            application, absent = _application(given)
            values = _secrets(application, given, self._task.check_mode)
            digests = secrets.digests(application, values)
            environment = _environment(given, digests, _cluster(application, given["cluster"]))
            files = render(application, environment)
            own = _secret_files(application, environment, values)
            told = [asdict(each) for each in volumes(application, environment)] if given["cluster"] else []
        except HostwrightError as error:
            raise AnsibleActionFail(str(error)) from None
        delivered = self._deliver({"directory": given["directory"], "files": files, **own}, task_vars)
        return delivered | {"not_deployed": absent, "volumes": told}

    def _deliver(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="hostwright.hostwright.application_files", module_args=arguments, task_vars=task_vars
        )
        result.pop("invocation", None)
        before, after = result.pop("before", ""), result.pop("after", "")
        result["services"] = _concerned(result, before, after)
        return result


def _project(given: dict[str, Any]) -> Path | None:
    return Path(given["project_dir"]) if given["project_dir"] else None


def _application(given: dict[str, Any]) -> tuple[Application, list[str]]:
    """The application as it is deployed, and the components that it is deployed without."""
    declared = load(given["application"], _project(given), given["components"])
    application = declared.held(given["images"]) if given["exclusive"] else declared
    return application, sorted(set(declared.components) - set(application.components))


def _secrets(application: Application, given: dict[str, Any], check: bool) -> dict[str, str]:
    """Its secrets; a check makes none that last."""
    environment = environments.load(given["environment"], _project(given))
    return secrets.ensure(environment, application, given["names"], kept=not check)


def _cluster(application: Application, given: dict[str, Any] | None) -> Cluster | None:
    if given is None:
        return None
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    nodes, pins = told.pop("nodes"), told.pop("pins")
    return Cluster(**told, pins=pinned(application, nodes, pins))


def _secret_files(
    application: Application, environment: Environment, values: dict[str, str]
) -> dict[str, Any]:
    """Path -> content, and who reads what: each service its own, and of a cluster's manifests root alone."""
    if environment.topology == "cluster":
        found = secret_files(application, environment, values)
        return {"secrets": {f"secrets/{Path(path).name}": text for path, text in found.items()}}
    return {
        "secrets": {
            f"secrets/{owner}/{name}": text
            for owner, found in secrets.files_of(application, values).items()
            for name, text in found.items()
        },
        "owners": {reader.owner: reader.uid for secret in application.secrets() for reader in secret.readers},
    }


def _environment(given: dict[str, Any], digests: dict[str, str], cluster: Cluster | None) -> Environment:
    try:
        return Environment(
            name=given["environment"],
            topology="cluster" if cluster else "single",
            cluster=cluster or Cluster(),
            images=given["images"],
            names=tuple(given["names"]),
            replicas={name: int(number) for name, number in given["replicas"].items()},
            settings=given["settings"],
            digests=digests,
            trusted_proxies=tuple(given["trusted_proxies"]),
            network=IPv4Network(given["network"]) if given["network"] else None,
            network6=IPv6Network(given["network6"]) if given["network6"] else None,
            ipv6=given["ipv6"],
            patience=given["patience"],
            gateway=gateway_options(given["gateway"]),
        )
    except ValueError as error:
        raise BadInput(str(error), where="application_files", fix="mend the argument") from None


def _concerned(result: dict[str, Any], before: str, after: str) -> list[str]:
    """Containers whose definition or files changed."""
    found = set()
    for path in [*result.get("written", []), *result.get("removed", [])]:
        if path == "compose.yaml":
            was, now = _containers(before), _containers(after)
            found |= {name for name in {*was, *now} if was.get(name) != now.get(name)}
        else:
            found.add(path.removeprefix("secrets/").partition("/")[0])
    return sorted(found)


def _containers(compose: str) -> dict[str, Any]:
    """The definitions in a compose.yaml of what runs all the time; none where somebody has spoiled it."""
    try:
        found = yaml.safe_load(compose)["services"]
        return {name: each for name, each in found.items() if "profiles" not in each}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return {}
