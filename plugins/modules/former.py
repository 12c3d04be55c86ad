#!/usr/bin/python
"""Take an application out of the way of the one that is meant to run; what it kept stays."""

from __future__ import annotations

DOCUMENTATION = r"""
module: former
short_description: Take the application that ran before out of the way of another
description:
  - An environment runs one application. Where containers, or on a cluster workloads, of another one of ours
    are there, running or not, it must be named as one that is replaced, or the module fails.
  - Of one that is replaced, containers and networks are removed; on a cluster everything in its namespace
    but claims and volumes, and the namespace. Volumes stay, and so do its files and releases.
  - What is not ours, or cannot be asked because there is no engine yet, is left alone.
options:
  own:
    description: The Compose project that is meant to run, or on a cluster its namespace.
    type: str
    required: true
  replaces:
    description: Names of applications that may be taken out.
    type: list
    elements: str
    default: []
  kubectl:
    description: The command, on a cluster.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds until what is removed on a cluster must be gone.
    type: int
    default: 900
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: [hostwright maintainers (@hostwright)]
"""

EXAMPLES = r"""
- name: Take the warehouse out
  hostwright.hostwright.former:
    own: shop
    replaces: [warehouse]
"""

RETURN = r"""
former:
  description: Project or namespace to the application that was there.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402  (Ansible wants the documentation first)
from ansible_collections.hostwright.hostwright.plugins.module_utils.former import look  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils.kubectl import (  # noqa: E402
    INSTANCE,
    MANAGED,
    PRUNED,
)


def main() -> None:
    """Entry point of Ansible."""
    spec = {
        "own": {"type": "str", "required": True},
        "replaces": {"type": "list", "elements": "str", "default": []},
        "kubectl": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "int", "default": 900},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    own, kubectl = module.params["own"], module.params["kubectl"]

    def ask(command: list) -> tuple:
        told: tuple = module.run_command(command, handle_exceptions=False)
        return told

    try:
        found = look(ask, own, kubectl)
    except OSError:  # there is no engine yet
        found = {}
    kept = sorted({*found.values()} - {*module.params["replaces"]})
    if kept:
        module.fail_json(msg=refusal(own, kept, "kubernetes" if kubectl else "compose"), former=found)
    if not module.check_mode:
        for place in sorted(found):
            module.run_command(removal(place, kubectl, module.params["timeout"]), check_rc=True, cwd="/")
    module.exit_json(changed=bool(found), former=found)


def refusal(own: str, kept: list, role: str) -> str:
    """What is in the way, and what to do about it."""
    names = ", ".join(kept)
    return (
        f"{names} runs here, and {own} would take its place. hostwright up asks whether it may; or set "
        f"app_{role}_replaces: [{names}]. It is stopped and removed then, and its data stays. To keep it, "
        "give the environment its application back (hostwright:application)"
    )


def removal(place: str, kubectl: list, timeout: int) -> list:
    """The command that removes a project or what is in a namespace, and no volume."""
    if not kubectl:
        # By its name alone: what its folder says now may be another thing than what runs.
        return ["docker", "compose", "--project-name", place, "down", "--remove-orphans"]
    chosen = ["--namespace", place, "--selector", f"{INSTANCE}={place},{MANAGED}"]
    return [*kubectl, "delete", PRUNED, *chosen, "--cascade=foreground", "--wait", f"--timeout={timeout}s"]


if __name__ == "__main__":
    main()
