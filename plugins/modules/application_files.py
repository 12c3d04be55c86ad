#!/usr/bin/python
"""The half of the action `application_files` that runs on the host: compare, write and remove."""

from __future__ import annotations

DOCUMENTATION = r"""
module: application_files
short_description: Bring the files of an application to a host
description:
  - Renders the application for the environment, and makes one folder of the host what came out of it, in
    one round trip.
  - Secrets come from the environment's store; those it lacks are made. They are written as files that
    only the service's user can read, and appear in no diff and no output.
  - Removes what an earlier run wrote and nobody wants any more, and nothing else.
  - Waits where another run is at work on the folder, as M(hostwright.hostwright.compose) does.
options:
  directory:
    description: The folder on the host.
    type: path
    required: true
  application:
    description: Name of the application, or the path of its file. For the action only, as are the next ones.
    type: str
  environment:
    description: Name of the environment, whose secrets are delivered.
    type: str
  project_dir:
    description:
      - The project, the folder that holds C(infra/Pulumi.yaml).
      - By default the nearest one above the current folder.
    type: path
  components:
    description: Components of the application that are deployed too, or C(all).
    type: list
    elements: str
    default: []
  exclusive:
    description: Whether I(images) names all there are. A component without one is left out then.
    type: bool
    default: false
  images:
    description: Image name to reference, in place of those that the application names. Others are ignored.
    type: dict
    default: {}
  names:
    description: Names and addresses by which others reach the gateway, for its certificate and CORS.
    type: list
    elements: str
    default: []
  replicas:
    description: Service to number of instances, in place of the application's.
    type: dict
    default: {}
  settings:
    description: Service to environment variables, over those of the application.
    type: dict
    default: {}
  trusted_proxies:
    description: Networks of proxies before the gateway that are believed about clients' addresses.
    type: list
    elements: str
    default: []
  network:
    description: The application's network, a /24.
    type: str
  network6:
    description: Its IPv6 twin, a /64.
    type: str
  ipv6:
    description: Whether to publish on IPv6 too.
    type: bool
    default: true
  patience:
    description: How many times as long as on a usual host a container may take to say how it is.
    type: int
    default: 1
  gateway:
    description:
      - What is wanted otherwise of the gateway. C(timeout), the seconds within which a service must answer.
        C(compression), whether data is compressed. C(hsts), for how many seconds browsers insist on https.
    type: dict
    default: {}
  release:
    description:
      - The folder of a release. Its files are brought in place of what would be rendered, and the secrets
        that are there stay as they are.
    type: path
  cluster:
    description:
      - Of a Kubernetes, for which manifests are rendered in place of a Compose project.
    type: dict
    suboptions:
      overlay:
        description: C(dev), C(staging) or C(prod), how much of everything there is.
        type: str
        required: true
      nodes:
        description: Nodes that data may be kept on. What has no node yet is dealt out over them.
        type: list
        elements: str
        required: true
      pins:
        description: Store or component to the node that has its data.
        type: dict
        default: {}
      folder:
        description: The folder of the nodes that has one for each.
        type: path
        required: true
      ingress_class:
        description: Of the Ingress controller.
        type: str
        required: true
      ingress_namespace:
        description: Where the Ingress controller's pods are.
        type: str
        required: true
      ingress_annotations:
        description: What the Ingress is annotated with.
        type: dict
        default: {}
      pods:
        description: Networks of the pods.
        type: list
        elements: str
        required: true
  files:
    description: Path below the folder to text. From the action, as are the next ones.
    type: dict
    default: {}
  secrets:
    description: Path below the folder to content.
    type: dict
    default: {}
  owners:
    description: Owner, the second folder of a secret's path, to the uid that alone may read it.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The content of a secret is never shown.
author: [hostwright maintainers (@hostwright)]
"""

EXAMPLES = r"""
- name: Bring the application's files
  hostwright.hostwright.application_files:
    application: warehouse
    environment: prod
    directory: /etc/hostwright/warehouse
  register: __app_compose_files
"""

RETURN = r"""
written:
  description: Paths below the folder that were not as they should be.
  returned: always
  type: list
  elements: str
removed:
  description: Paths that nobody wants any more.
  returned: always
  type: list
  elements: str
not_deployed:
  description: Chosen components that are left out, as I(exclusive) says.
  returned: always
  type: list
  elements: str
volumes:
  description: For a cluster the folders that stores need, each with C(store), C(node), C(path) and C(uid).
  returned: always
  type: list
  elements: dict
services:
  description: Containers that a changed file concerns, sorted.
  returned: always
  type: list
  elements: str
"""

import os  # noqa: E402  (Ansible wants the documentation first)
import tempfile  # noqa: E402
from pathlib import Path, PurePosixPath  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils.alone import alone  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils.releases import (  # noqa: E402
    MANIFEST,  # what we wrote here: nothing else is ever removed
    ours,
    texts,
)

PATIENCE = 600  # seconds in which another run may end that is at work on the folder


def main() -> None:
    """Entry point of Ansible."""
    spec = {
        "directory": {"type": "path", "required": True},
        "files": {"type": "dict", "default": {}},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
        "owners": {"type": "dict", "default": {}},
        "release": {"type": "path"},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    folder = Path(module.params["directory"])
    files, secrets = module.params["files"], module.params["secrets"]
    owners = {f"secrets/{owner}": int(uid) for owner, uid in module.params["owners"].items()}
    wanted = {*files, *secrets}
    if not module.check_mode:
        folder.mkdir(parents=True, exist_ok=True)
        alone(module, folder, PATIENCE)
    if module.params["release"]:
        files = texts(Path(module.params["release"]))
        wanted = {*files, *ours(folder, secret=True)}
    before = _read(folder / "compose.yaml")
    old = set((_read(folder / MANIFEST) or "").splitlines())

    changes = Changes(module.check_mode)
    for path in (PurePosixPath(), *_parents({*files, *secrets})):
        uid = owners.get(str(path), 0)
        changes.folder(folder / path, uid, 0o500 if uid else 0o755)
    # Before the files: whatever is written is in it, also when we are killed in between.
    changes.file(folder / MANIFEST, _lines(old | wanted))
    for path, text in sorted(secrets.items()):
        changes.file(folder / path, text, owners.get(str(PurePosixPath(path).parent), 0), 0o400, secret=True)
    # What starts everything comes last.
    for path in sorted(files, key=lambda each: (each == "compose.yaml", each)):
        changes.file(folder / path, files[path])
    changes.remove(folder, sorted(old - wanted))
    changes.file(folder / MANIFEST, _lines(wanted))
    module.exit_json(
        changed=bool(changes.written or changes.removed or changes.attributes),
        written=[str(path.relative_to(folder)) for path in changes.written if path.name != MANIFEST],
        removed=changes.removed,
        before=before or "",
        after=files.get("compose.yaml", ""),
        diff=changes.diffs,
    )


class Changes:
    """What was not as it should be, and is now unless this is a check."""

    def __init__(self, check: bool) -> None:
        self.check = check
        self.written: list = []
        self.removed: list = []
        self.attributes: list = []
        self.diffs: list = []

    def folder(self, path: Path, uid: int, mode: int) -> None:
        if not path.is_dir():
            self.attributes.append(path)
            if self.check:
                return
            path.mkdir(parents=True)
        self._own(path, uid, mode)

    def file(self, path: Path, text: str, uid: int = 0, mode: int = 0o644, secret: bool = False) -> None:
        """Write it in one step, and at no moment readable by others; beside it, for its SELinux label."""
        held = _read(path)
        if held == text:
            self._own(path, uid, mode)
            return
        self.written.append(path)
        if path.name != MANIFEST:
            self.diffs.append(_diff(path, held, text, secret))
        if self.check:
            return
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as new:
                new.write(text)
            os.chown(name, uid, uid)
            Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise

    def remove(self, folder: Path, paths: list) -> None:
        for path in paths:
            full = folder / path
            if not full.exists():
                continue
            self.removed.append(path)
            self.diffs.append(
                {"before_header": str(full), "after_header": "", "before": "(removed)\n", "after": ""}
            )
            if self.check:
                continue
            full.unlink()
            for parent in full.parents:
                if parent == folder or any(parent.iterdir()):
                    break
                parent.rmdir()

    def _own(self, path: Path, uid: int, mode: int) -> None:
        held = path.stat()
        if (held.st_uid, held.st_gid, held.st_mode & 0o7777) == (uid, uid, mode):
            return
        if path not in self.attributes:
            self.attributes.append(path)
        if not self.check:
            os.chown(path, uid, uid)
            path.chmod(mode)


def _diff(path: Path, before: str | None, after: str, secret: bool) -> dict:
    if secret:
        before, after = "" if before is None else "(a secret)\n", "(another secret)\n"
    return {"before_header": str(path), "after_header": str(path), "before": before or "", "after": after}


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None


def _lines(paths: set) -> str:
    return "".join(f"{path}\n" for path in sorted(paths))


def _parents(paths: set) -> list:
    """Folders of the paths, outer ones first."""
    return sorted({parent for path in paths for parent in PurePosixPath(path).parents if parent.name})


if __name__ == "__main__":
    main()
