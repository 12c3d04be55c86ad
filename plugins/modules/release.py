#!/usr/bin/python
"""Choose a release to return to, and say whether this host can."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Choose a release to return to, and say whether this host can
description:
  - Looks only. What the module M(hostwright.hostwright.compose) kept as releases can be brought back by
    M(hostwright.hostwright.application_files) and run again.
  - Fails when there is no such release, when a secret it needs is gone, when a name of an image means
    another image now, or when a database has been migrated since.
options:
  directory:
    description: The folder with compose.yaml.
    type: path
    required: true
  releases:
    description: The folder of its releases.
    type: path
    required: true
  release:
    description:
      - The number of one.
      - By default the last that ran well, which is the one before when the current one runs well.
    type: int
  force:
    description: Return to it although databases have been migrated since. They stay as they are.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: [hostwright maintainers (@hostwright)]
"""

EXAMPLES = r"""
- name: Choose the release
  hostwright.hostwright.release:
    directory: /etc/hostwright/warehouse
    releases: /var/lib/hostwright/warehouse
  register: __app_compose_release
"""

RETURN = r"""
release:
  description: Its number.
  returned: success
  type: int
files:
  description: The folder with its files.
  returned: success
  type: str
ahead:
  description: Whether a database has been migrated since, so that no migration may run.
  returned: success
  type: bool
"""

from pathlib import Path  # noqa: E402  (Ansible wants the documentation first)

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils import releases  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils.project import Project  # noqa: E402


def main() -> None:
    """Entry point of Ansible."""
    spec = {
        "directory": {"type": "path", "required": True},
        "releases": {"type": "path", "required": True},
        "release": {"type": "int"},
        "force": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    known = releases.Releases(module.params["releases"])
    try:
        chosen = known.choose(module.params["release"])
    except releases.Unfit as error:
        module.fail_json(msg=str(error))
    project = Project(module, module.params["directory"])
    held = releases.ours(Path(module.params["directory"]), secret=True)
    names = {each["reference"] for each in chosen["images"].values()}
    found = releases.obstacles(chosen, held, project.images(names), project.databases())
    ahead = any(kind == "databases" for kind, _ in found)
    hard = [text for kind, text in found if kind != "databases" or not module.params["force"]]
    if hard:
        what = f"release {chosen['release']} cannot be returned to: {'; '.join(hard)}"
        overlook = (
            "; --force leaves databases as they are and returns all the same, where its code can bear that"
        )
        module.fail_json(msg=what + (overlook if ahead and not module.params["force"] else ""))
    module.exit_json(
        changed=False, release=chosen["release"], files=str(known.files(chosen["release"])), ahead=ahead
    )


if __name__ == "__main__":
    main()
