"""What goes into a support bundle: secrets are searched for in every form; and what a cluster is asked."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from invoke.runners import Result

from hostwright import doctor, reached, remote, secrets, support
from hostwright.environments import Environment
from hostwright.hosts import engine
from hostwright.hosts.record import HostRecord
from hostwright.support import cleaner

PASSWORD = "aB3/x+9=zQ$7 kL"
LABEL = "PRIVATE KEY-----\n"
KEY = f"-----BEGIN {LABEL}MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\nkkPq0Q==\n-----END {LABEL}"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "form",
    [
        PASSWORD,
        quote(PASSWORD, safe=""),
        json.dumps({"value": PASSWORD}),
        base64.b64encode(PASSWORD.encode()).decode(),
        *(base64.b64encode(f"{'x' * n}{PASSWORD}{'y' * n}".encode()).decode() for n in range(1, 4)),
    ],
)
def test_a_secret_goes_in_every_form(form: str) -> None:
    cleaned = cleaner({"rabbitmq_password": PASSWORD})(f"before {form} after")
    assert "[secret rabbitmq_password]" in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    assert PASSWORD not in cleaned


def test_a_key_goes_whole_and_by_the_line() -> None:
    clean = cleaner({"token_private_key": KEY})
    for text in (KEY, KEY.splitlines()[1], json.dumps(KEY), KEY.replace("\n", "\n    ")):
        assert "MIGHAgEA" not in clean(f"log: {text}")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (f"Cookie: session={TOKEN}; a=b", "Cookie: session=[token]; a=b"),
        ('"Authorization": "Bearer abc.def"', '"Authorization": "Bearer [credential]"'),
        ("https://me:pass@mirror.example/rpm", "https://me:[password]@mirror.example/rpm"),
        ('{"mirror_password": "abc", "port": "1"}', '{"mirror_password": "[removed]", "port": "1"}'),
        (KEY.strip(), "[key]"),
        ("POST /api/orders 201", "POST /api/orders 201"),
    ],
)
def test_what_looks_like_a_credential_goes_too(text: str, cleaned: str) -> None:
    assert cleaner({})(text) == cleaned


# --- A cluster ---

# On the hosts: root is who asks, the folder is another, kubectl tells what it is asked and a password.
SUDO = """
if [ "$1" = tar ]; then shift; exec tar "$1" "$2" "$ROOT$3" "$4" "$5" "$6"; fi
exec "$@"
"""
KUBECTL = f"""echo "asked: $*"; echo 'told: {PASSWORD}'"""


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Of two servers, whose commands run here."""
    folder = tmp_path / "etc/hostwright/warehouse-dev"
    for path, text in (
        ("4-workloads/deployment-orders.yaml", f"kind: Deployment # {PASSWORD}\n"),
        ("secrets/secret-orders.yaml", "kind: Secret\n"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sudo", SUDO), ("kubectl", KUBECTL)):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}", "ROOT": str(tmp_path)}

    class Here:
        def run(self, command: str, **_: Any) -> Result:
            asked = command.startswith(("sudo kubectl", "sudo tar"))  # of the rest only that it is asked
            words = command if asked else f"echo {quote(command)}"
            done = subprocess.run(
                ["bash", "-c", words], env=path, capture_output=True, text=True, check=False
            )
            return Result(stdout=done.stdout, stderr=done.stderr, exited=done.returncode)

    @contextmanager
    def connect(*_: object) -> Iterator[Here]:
        yield Here()

    records = [HostRecord(name=f"k{n}", address=f"192.0.2.{n}", groups=["servers"]) for n in (1, 2)]
    monkeypatch.setattr(doctor, "examine", lambda _: [])
    monkeypatch.setattr(engine, "outputs", lambda _: records)
    monkeypatch.setattr(secrets, "read", lambda _: {"rabbitmq_password": PASSWORD})
    monkeypatch.setattr(remote, "connect", connect)
    variables = {"app_kubernetes_kubectl": ["kubectl"], "app_kubernetes_overlay": "dev"}
    monkeypatch.setattr(reached.Cluster, "variables", variables)
    return Environment("big", tmp_path, {"topology": "cluster"})


def test_a_cluster_is_asked_once_for_its_objects_and_each_node_for_itself(
    servers: Environment, tmp_path: Path
) -> None:
    with tarfile.open(support.write(servers, tmp_path / "bundle.tar.gz")) as bundle:
        files = {
            each.name.partition("/")[2]: content.read().decode()
            for each in bundle.getmembers()
            if (content := bundle.extractfile(each))
        }
    assert not [name for name, text in files.items() if PASSWORD in text]
    names = {*support.KUBECTL, "logs.txt"}
    found = {name: files[f"hosts/k1/kubernetes/{name}"] for name in names}
    for text in found.values():
        assert "--namespace=warehouse-dev" in text
        assert "told: [secret rabbitmq_password]" in text
    assert "describe pods,deployments," in found["described.txt"]
    assert "--tail=500" in found["logs.txt"]
    manifests = {name: text for name, text in files.items() if "/files/" in name}
    (manifest,) = manifests.items()
    assert manifest == (
        "hosts/k1/files/4-workloads/deployment-orders.yaml",
        "kind: Deployment # [secret rabbitmq_password]\n",
    )
    for node in ("k1", "k2"):
        own = {name.removeprefix(f"hosts/{node}/") for name in files if name.startswith(f"hosts/{node}/")}
        assert own >= {*support.COMMANDS, *support.MICROK8S}
        assert not own & {*support.DOCKER}
    assert not [name for name in files if name.startswith("hosts/k2/kubernetes")]


def test_what_cannot_be_had_is_in_it_as_the_reason(servers: Environment, tmp_path: Path) -> None:
    (tmp_path / "shop.yml").write_text("name: [\n")
    broken = Environment("big", tmp_path, {**servers.settings, "application": str(tmp_path / "shop.yml")})
    with tarfile.open(support.write(broken, tmp_path / "bundle.tar.gz")) as bundle:
        files = {each.name.partition("/")[2]: each for each in bundle.getmembers()}
        told = bundle.extractfile(files["application.json"])
        assert told
        assert f"where: {tmp_path / 'shop.yml'}" in told.read().decode()
    for node in ("k1", "k2"):
        assert {f"hosts/{node}/{name}" for name in (*support.COMMANDS, *support.MICROK8S)} <= files.keys()
