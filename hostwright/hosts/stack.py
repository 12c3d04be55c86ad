"""What the last `pulumi up` of an environment put out, and what Pulumi's failures mean."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hostwright import toolchain
from hostwright.environments import Environment, claim
from hostwright.errors import BadInput, Failure, HostwrightError
from hostwright.pulumi_process import pulumi_env, toolchain_bin

# An error of ours in Pulumi's output: the program's or a provider's.
OURS = re.compile(r"error: (?P<what>(?!update failed|preview failed)[^\n]+)\n\s+where: (?P<where>[^\n]+)"
                  r"(?:\n\s+fix: (?P<fix>[^\n]+))?")  # fmt: skip


def outputs(environment: Environment) -> dict[str, Any]:
    """The stack's outputs, `hosts` and `environment`; empty before the first `up`.

    Raises HostwrightError when Pulumi or the passphrase is missing.
    """
    if lacking := toolchain.missing():
        raise Failure(f"the toolchain lacks {', '.join(lacking)}", fix="hostwright toolchain")
    check_passphrase()
    claim(environment.name, environment.project)
    if not known(environment):
        return {}
    done = subprocess.run(
        [
            toolchain_bin() / "pulumi", "stack", "output", "--json",
            "--stack", environment.name, "--cwd", environment.project / "infra",
        ],
        env=pulumi_env(),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if "no stack named" in done.stderr:
        return {}
    if done.returncode:
        raise explain(environment, done.stderr or done.stdout)
    return dict(json.loads(done.stdout or "{}"))


def pulumi(environment: Environment, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """One call of the CLI for the environment's stack. Raises Failure where there is none, and BadInput."""
    claim(environment.name, environment.project)
    try:
        return subprocess.run(
            ["pulumi", *arguments, "--stack", environment.name, "--non-interactive", "--color", "never"],
            cwd=environment.project / "infra",
            env=pulumi_env(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise Failure("there is no pulumi on this machine", fix="hostwright toolchain") from None


def checked(environment: Environment, done: subprocess.CompletedProcess[str]) -> str:
    """Its standard output, or what it complained of as an error of ours."""
    if done.returncode:
        raise explain(environment, done.stderr or done.stdout)
    return done.stdout


def configure(environment: Environment, key: str, value: str) -> None:
    """Write one plain value of the settings, at `key` with dots for what is inside; comments stay.

    Raises HostwrightError when Pulumi cannot.
    """
    checked(environment, pulumi(environment, "config", "set", "--path", f"hostwright:{key}", value))


def known(environment: Environment) -> bool:
    """Whether Pulumi's state has heard of the environment; only a backend in files can tell at once."""
    folder = backend(environment)
    return folder is None or any((folder / ".pulumi/stacks/hostwright").glob(f"{environment.name}.json*"))


def backend(environment: Environment) -> Path | None:
    """The folder of Pulumi's state, when it is one: as Pulumi reads the URL, which runs in infra/."""
    scheme, _, rest = pulumi_env()["PULUMI_BACKEND_URL"].partition("://")
    if scheme != "file":
        return None
    path = unquote(rest.partition("?")[0])
    if path.startswith("~"):
        return _home() / path[2:]
    return environment.project / "infra" / path


def _home() -> Path:
    """Pulumi's: by the system's list of users, whatever HOME says."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path.home()


def check_passphrase() -> None:
    """Raise BadInput when Pulumi would have no passphrase for the secrets."""
    env = pulumi_env()
    if "PULUMI_CONFIG_PASSPHRASE" in env:
        return
    path = Path(env["PULUMI_CONFIG_PASSPHRASE_FILE"])
    if not path.is_file():
        raise BadInput(
            "no passphrase for the environment's secrets",
            where=str(path),
            fix="put the one they were encrypted with there; for a first environment: "
            f"umask 077; mkdir -p {path.parent}; openssl rand -hex 24 > {path}",
        )


def explain(environment: Environment, text: str) -> HostwrightError:
    """The error to show for what Pulumi printed: our own when it holds one, else its diagnostics."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    stack = f"{environment.project / 'infra'}, stack {environment.name}"
    if match := OURS.search(text):
        # What a provider finds out while it works is no longer the settings' fault.
        kind = Failure if "Exception calling application" in match["what"] else BadInput
        what = match["what"].rpartition("Exception calling application: error: ")[2]
        return kind(what, where=match["where"], fix=match["fix"] or "")
    if "no stack named" in text:
        return Failure(f"{environment.name} has no hosts yet", where=stack, fix="hostwright up")
    if "currently locked" in text:
        return Failure("another run holds the lock", where=stack, fix="wait for it, or: hostwright up again")
    if "incorrect passphrase" in text or "constructing secrets manager" in text:
        return BadInput(
            "the passphrase is not the one the secrets were encrypted with",
            where=pulumi_env().get("PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_CONFIG_PASSPHRASE"),
            fix="put the right one there",
        )
    _, _, details = text.rpartition("Diagnostics:")
    diagnostics = [line.strip() for line in (details or text).splitlines() if "error:" in line]
    return Failure(
        "; ".join(dict.fromkeys(diagnostics)) or text.strip()[-1500:],
        where=stack,
        fix="mend what the message names; running again takes up what is left",
    )
