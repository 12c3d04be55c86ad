"""Secrets are where their readers read them, and nowhere else: wherever one might look is searched."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostwright import paths
from tests import environment
from tests.host import Node

# Not secret: certificates, the key that tokens are checked with, the name of the admin.
PUBLIC = {"ca_certificate", "gateway_certificate", "mailsink_certificate", "token_public_key", "admin_email"}


@pytest.fixture(scope="module")
def needles(live: Any) -> dict[str, list[str]]:
    """What to search for by name of the secret: the value, a line of its middle, and both as base64."""
    found: dict[str, list[str]] = {}
    for name, value in environment.secrets(live).items():
        if name not in PUBLIC:
            lines = [line for line in value.splitlines() if line and not line.startswith("-----")]
            core = lines[len(lines) // 2]
            encoded = [base64.b64encode(text.encode()).decode().rstrip("=")[:-2] for text in (value, core)]
            found[name] = [core, *encoded]
    assert len(found) > 8, "there is something to search for"
    return found


def hits(text: str, needles: dict[str, list[str]]) -> list[str]:
    """Names of the secrets that the text holds."""
    return [name for name, forms in needles.items() if any(form in text for form in forms)]


def test_the_search_finds(live: Any, node: Node, needles: dict[str, list[str]]) -> None:
    """Where secrets belong they are found: else finding nothing elsewhere would mean nothing."""
    delivered = node.run("sh", "-c", "cat /etc/hostwright/*/secrets/*/*")
    assert set(needles) - set(hits(delivered, needles)) == {"ca_private_key"}, (
        "that one stays with the operator"
    )
    encoded = base64.b64encode(environment.secrets(live)["admin_password"].encode()).decode()
    assert hits(encoded, needles) == ["admin_password"]


def test_files_are_their_readers_alone(node: Node) -> None:
    places = "/etc/hostwright/*/secrets/*"
    listed = node.run("sh", "-c", f"stat --format '%a %u %n' {places} {places}/*").splitlines()
    assert len(listed) > 12
    for line in listed:
        mode, uid, name = line.split(maxsplit=2)
        assert mode in ("400", "500"), f"{name} has mode {mode}"
        assert int(uid) > 0, f"{name} belongs to root, and its reader is not root"


def test_containers(node: Node, needles: dict[str, list[str]]) -> None:
    containers = node.run("docker", "ps", "--all", "--quiet").split()
    for each in containers:
        assert hits(node.run("docker", "inspect", each), needles) == [], each
        assert hits(node.run("docker", "logs", each), needles) == [], each


def test_images(node: Node, needles: dict[str, list[str]]) -> None:
    for image in set(node.run("docker", "images", "--quiet", "--no-trunc").split()):
        history = node.run("docker", "image", "history", "--no-trunc", image)
        assert hits(history + node.run("docker", "image", "inspect", image), needles) == []


def test_processes_of_the_host(node: Node, needles: dict[str, list[str]]) -> None:
    shown = node.run(
        "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'", check=False
    )
    assert "SERVICE_NAME=orders" in shown, "containers' environments are among them"
    assert hits(shown, needles) == []


def test_journal_and_files_of_the_host(node: Node, needles: dict[str, list[str]]) -> None:
    assert hits(node.run("journalctl", "--no-pager", "--output", "cat"), needles) == []
    forms = "\n".join(form for each in needles.values() for form in each)
    node.run("sh", "-c", f"umask 077; mkdir -p /run/search; cat > /run/search/forms <<'END'\n{forms}\nEND")
    try:
        found = node.run(
            "sh", "-c",
            "grep -rlFs -f /run/search/forms /etc /home /root /tmp /var/tmp /var/log /var/lib/systemd"
            " /var/lib/docker/containers /var/lib/docker/image /run/systemd /usr/local /opt",
            check=False,
        ).split()  # fmt: skip
    finally:
        node.run("rm", "-r", "/run/search")
    outside = [path for path in found if not path.startswith("/etc/hostwright/") or "/secrets/" not in path]
    assert outside == []


def ansible(live: Any, *command: str) -> str:
    """Everything that one of Ansible's commands says."""
    done = replace(live, env=live.env | {"ANSIBLE_NOCOLOR": "1"}).run(*command)
    return done.stdout + done.stderr


def test_inventory(live: Any, needles: dict[str, list[str]]) -> None:
    listed = ansible(live, "ansible-inventory", "-i", f"inventories/{live.name}", "--list", "-vvv")
    assert "hostwright_environment" in listed
    assert hits(listed, needles) == []


def test_verbose_run(live: Any, node: Node, needles: dict[str, list[str]]) -> None:
    """A run that delivers secrets anew, with all that Ansible can say about it."""
    path = "/etc/hostwright/warehouse/secrets/auth"
    node.run("sh", "-c", f"rm {path}/*")
    play = ("-i", f"inventories/{live.name}", "hostwright.hostwright.deploy", "-vvv", "--diff")
    said = ansible(live, "ansible-playbook", *play)
    assert "PLAY RECAP" in said
    assert environment.secrets(live)["admin_password"] in node.run("cat", f"{path}/admin_password")
    assert hits(said, needles) == []


def texts(folders: Iterable[Path]) -> Iterable[tuple[Path, str]]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 50_000_000:
                yield path, path.read_text(errors="replace")


def test_the_operators_machine(live: Any, needles: dict[str, list[str]]) -> None:
    """Project, state (Pulumi's, logs, proofs), settings, Ansible's own folder: encrypted or not there."""
    state = Path(live.env["XDG_STATE_HOME"])
    folders = [live.project, state, Path(live.env["XDG_CONFIG_HOME"]), Path.home() / ".ansible"]
    searched = 0
    for path, text in texts(folder for folder in folders if folder.exists()):
        assert hits(text, needles) == [], path
        searched += 1
    assert searched > 10


def test_a_support_bundle(live: Any, node: Node, needles: dict[str, list[str]], tmp_path: Path) -> None:
    """Gathered where a service has told all its secrets in its log, plain and encoded."""
    held = environment.secrets(live)
    told = "\n".join([*held.values(), *(base64.b64encode(each.encode()).decode() for each in held.values())])
    service = node.service("storefront")
    pid = node.inspect(service, "{{.State.Pid}}")
    node.run("sh", "-c", f"cat > /proc/{pid}/fd/1 <<'END'\n{told}\nEND")
    out = tmp_path / "bundle.tar.gz"
    try:
        assert hits(node.run("docker", "logs", service), needles), "the secrets are in the log"
        live.hostwright("support-bundle", "--out", str(out))
    finally:
        # With the container its log goes.
        node.run(
            "docker", "compose", "--project-directory", "/etc/hostwright/warehouse",
            "up", "--detach", "--wait", "--force-recreate", "--no-deps", "storefront",
        )  # fmt: skip
    assert out.stat().st_mode & 0o777 == 0o600
    with tarfile.open(out) as bundle:
        files = {
            each.name.partition("/")[2]: content.read().decode()
            for each in bundle.getmembers()
            if (content := bundle.extractfile(each))
        }
    assert {name: found for name, text in files.items() if (found := hits(text, needles))} == {}
    host = f"hosts/{node.name}"
    logs, proof = files[f"{host}/logs.txt"], json.loads(files["state/proof/proof.json"])
    missing = needles.keys() - set(re.findall(r"\[secret ([\w-]+)\]", logs))
    assert missing == set(), logs[-2000:]
    assert proof["environment"]["name"] == live.name
    assert json.loads(files["versions.json"])["hostwright"]
    assert any(need["name"] == "disk" for need in json.loads(files["doctor.json"]))
    assert files[f"{host}/files/compose.yaml"].startswith("# Warehouse.")
    assert "MemAvailable" in files[f"{host}/resources.txt"] or "Mem:" in files[f"{host}/resources.txt"]
    assert len(json.loads(files[f"{host}/containers.json"])) > 8
    again = live.hostwright("support-bundle", "--out", str(out), check=False)
    assert (again.returncode, again.stdout) == (2, "")
    assert "there is a file already" in again.stderr


def test_git(needles: dict[str, list[str]]) -> None:
    forms = [form for each in needles.values() for form in each]
    done = subprocess.run(
        ["git", "grep", "--untracked", "--name-only", "--fixed-strings", "-f", "-"],
        cwd=paths.toolkit(),
        input="\n".join(forms),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
