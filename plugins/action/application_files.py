"""Action plugin: render the application here, with its secrets, and bring the files to the host."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail  # type: ignore[import-untyped]
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]

from hostwright import environments, secrets
from hostwright.application import Application, load
from hostwright.errors import BadInput, HostwrightError
from hostwright.render import Environment, render

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
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Render here, compare and write there."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            application, absent = _application(given)
            values = _secrets(application, given, self._task.check_mode)
            files = render(application, _environment(given, secrets.digests(application, values)))
        except HostwrightError as error:
            raise AnsibleActionFail(str(error)) from None
        result: dict[str, Any] = self._execute_module(
            module_name="hostwright.hostwright.application_files",
            module_args={
                "directory": given["directory"],
                "files": files,
                "secrets": {
                    f"secrets/{owner}/{name}": text
                    for owner, found in secrets.files_of(application, values).items()
                    for name, text in found.items()
                },
                "owners": {
                    reader.owner: reader.uid for secret in application.secrets() for reader in secret.readers
                },
            },
            task_vars=task_vars,
        )
        result.pop("invocation", None)
        before = result.pop("before", "")
        result["services"] = _concerned(result, before, files)
        result["not_deployed"] = absent
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
    if check:
        held = secrets.read(environment)
        return secrets.complete(application, held, environment.name, given["names"])
    return secrets.ensure(environment, application, given["names"])


def _environment(given: dict[str, Any], digests: dict[str, str]) -> Environment:
    try:
        return Environment(
            name=given["environment"],
            images=given["images"],
            names=tuple(given["names"]),
            replicas={name: int(number) for name, number in given["replicas"].items()},
            settings=given["settings"],
            digests=digests,
            trusted_proxies=tuple(given["trusted_proxies"]),
            network=IPv4Network(given["network"]) if given["network"] else None,
            network6=IPv6Network(given["network6"]) if given["network6"] else None,
            ipv6=given["ipv6"],
        )
    except ValueError as error:
        raise BadInput(str(error), where="application_files", fix="mend the argument") from None


def _concerned(result: dict[str, Any], before: str, files: dict[str, str]) -> list[str]:
    """Containers whose definition or files changed."""
    found = set()
    for path in [*result.get("written", []), *result.get("removed", [])]:
        if path == "compose.yaml":
            was, now = _containers(before), _containers(files[path])
            found |= {name for name in {*was, *now} if was.get(name) != now.get(name)}
        else:
            found.add(path.removeprefix("secrets/").partition("/")[0])
    return sorted(found)


def _containers(compose: str) -> dict[str, Any]:
    """The definitions of a compose.yaml; none where somebody has spoiled it."""
    try:
        return dict(yaml.safe_load(compose)["services"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return {}
