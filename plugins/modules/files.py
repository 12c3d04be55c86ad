#!/usr/bin/python
"""Write many files in one round trip, and name what has not read them yet."""

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Write many files in one round trip, and name what has not read them yet
description:
  - Writes files whole and atomically, with their folders, and sets owner, group and mode.
  - Names in RV(stale) the units, and the files made from these files, that are older than what they read. A
    handler that refreshes those also does what an earlier run owed when it was killed between a change and
    its handler, since times are compared on the host itself. Nothing else remembers that.
  - A unit that does not run owes nothing, since it reads its files when it starts.
options:
  files:
    description: What to write.
    type: list
    elements: dict
    required: true
    suboptions:
      texts:
        description: Whole texts by path of file, of one file or of several that are alike in everything else.
        type: dict
        required: true
      mode:
        description: Their permissions.
        type: str
        default: "0644"
      owner:
        description: Their owner.
        type: str
        default: root
      group:
        description: Their group.
        type: str
        default: root
      validate:
        description: A command that must approve of a text before it is put in place, C(%s) being its file.
        type: str
      unit:
        description: The systemd unit that reads them when it is started or reloaded.
        type: str
      makes:
        description: A file that is made from these. If it is missing it is stale.
        type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: [hostwright maintainers (@hostwright)]
"""

EXAMPLES = r"""
- name: Write configuration
  hostwright.hostwright.files:
    files:
      - texts:
          /etc/ssh/sshd_config.d/10-site.conf: "{{ lookup('ansible.builtin.template', 'sshd.conf.j2') }}"
        mode: "0600"
        unit: sshd.service
  register: __base_written
  notify: Apply configuration
"""

RETURN = r"""
written:
  description: Paths of the files that were not as asked for.
  returned: always
  type: list
  elements: str
stale:
  description: Units and made files that have not read what is there now, sorted; any of them means changed.
  returned: always
  type: list
  elements: str
"""

import os  # noqa: E402  (Ansible wants the documentation first)
import shlex  # noqa: E402
import tempfile  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

FILE = {
    "texts": {"type": "dict", "required": True},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "validate": {"type": "str"},
    "unit": {"type": "str"},
    "makes": {"type": "path"},
}


def main() -> None:
    """Entry point of Ansible."""
    spec = {"files": {"type": "list", "elements": "dict", "required": True, "options": FILE}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    files = [
        {**alike, "path": path, "content": content}
        for alike in module.params["files"]
        for path, content in alike["texts"].items()
    ]
    if unread := [file["path"] for file in files if "{{" in file["path"]]:
        module.fail_json(msg=f"{unread[0]} is no path: in keys of a dictionary Ansible reads no expressions")
    diffs = []
    written = [file["path"] for file in files if _write(module, file, diffs)]
    stale = _stale(module, files, set(written))
    module.exit_json(changed=bool(written or stale), written=written, stale=stale, diff=diffs)


def _write(module: AnsibleModule, file: dict, diffs: list) -> bool:
    """Make one file as asked for; whether it was not."""
    path, wanted = file["path"], file["content"].encode()
    held = _read(path)
    if held != wanted:
        diffs.append(
            {
                "before_header": path,
                "after_header": path,
                "before": (held or b"").decode(errors="replace"),
                "after": file["content"],
            }
        )
        if not module.check_mode:
            _put(module, file, wanted)
    if held is None and module.check_mode:
        return True
    common = module.load_file_common_arguments(
        {name: file[name] for name in ("path", "mode", "owner", "group")}
    )
    return module.set_fs_attributes_if_different(common, held != wanted)


def _put(module: AnsibleModule, file: dict, text: bytes) -> None:
    """Put a text in place in one step, after its own program has found it good."""
    handle, name = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "wb") as new:
        new.write(text)
    if file["validate"]:
        code, out, err = module.run_command(shlex.split(file["validate"].replace("%s", name)))
        if code != 0:
            module.fail_json(msg=f"{file['path']} would not be valid: {(err or out).strip()}", rc=code)
    Path(file["path"]).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    module.atomic_move(name, file["path"])


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None


def _stale(module: AnsibleModule, files: list, written: set) -> list:
    """What reads these files and is older than the newest of them."""
    since = _since(module, sorted({file["unit"] for file in files if file["unit"]}))
    since.update({file["makes"]: _time(file["makes"], "st_mtime") for file in files if file["makes"]})
    return sorted(
        {
            reader
            for file in files
            for reader in (file["unit"], file["makes"])
            if since.get(reader) is not None
            and (file["path"] in written or _time(file["path"], "st_ctime") > since[reader])
        }
    )


def _since(module: AnsibleModule, units: list) -> dict:
    """When each unit last changed its state (a reload is a change), in seconds; None if it does not run."""
    if not units:
        return {}
    show = ["systemctl", "show", "--property=ActiveState,StateChangeTimestamp", "--timestamp=us+utc"]
    answer = module.run_command([*show, *units], check_rc=True)[1]
    since = {}
    for unit, block in zip(units, answer.split("\n\n"), strict=True):
        shown = dict(line.split("=", 1) for line in block.split("\n") if "=" in line)
        active = shown.get("ActiveState") in ("active", "reloading")
        since[unit] = _seconds(shown["StateChangeTimestamp"]) if active else None
    return since


def _seconds(stamp: str) -> float:
    """`Fri 2026-11-20 10:00:00.123456 UTC` in seconds since the epoch."""
    moment = datetime.strptime(stamp.split(" ", 1)[1], "%Y-%m-%d %H:%M:%S.%f UTC")
    return moment.replace(tzinfo=UTC).timestamp()


def _time(path: str, which: str) -> float:
    try:
        return getattr(Path(path).stat(), which)
    except FileNotFoundError:
        return 0.0


if __name__ == "__main__":
    main()
