"""The module microk8s on a host whose MicroK8s and snap say what a test has them say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from hostwright import paths

COLLECTIONS = paths.toolkit() / ".collections"
# As Ansible runs it, with the places of this host.
RUN = """
import os
from pathlib import Path
from ansible_collections.hostwright.hostwright.plugins.modules import microk8s
there = Path(os.environ["THERE"])
microk8s.MICROK8S = str(there / "microk8s")
microk8s.COMMON = there / "common"
microk8s.LOCKS, microk8s.OURS, microk8s.CERTS = there / "locks", there / "ours", there / "certs"
microk8s.JOINING, microk8s.UPGRADING = there / "ours/joining", there / "ours/upgrading"
microk8s.main()
"""
# Ready, or not, as the file says; what it is asked is written down.
MICROK8S = """#!/bin/sh
echo "$*" >> "$THERE/asked"
case "$1" in
  status) . "$THERE/status" ;;
  kubectl) cat "$THERE/nodes" ;;
  inspect) echo "  Report tarball is at /var/report.tar.gz" ;;
  refresh-certs) cp "$THERE/fresh.crt" "$THERE/certs/$3" ;;
esac
"""
SNAP = """#!/bin/sh
case "$1" in
  remove) touch "$THERE/removed" ;;
  list) echo Name Version Rev Tracking Notes; echo microk8s v1.35.0 12 1.35/stable classic,held ;;
  *) echo "error: no way" >&2; exit 1 ;;
esac
"""
READY = "echo 'microk8s:'; echo '   running: True'"
AWAY = "echo microk8s is not running.; exit 1"
REPORT = "The report of `microk8s inspect` is /var/report.tar.gz"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    for name, text in {"microk8s": MICROK8S, "snap": SNAP}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "status").write_text(READY)
    told = [{"type": "Ready", "status": "True"}], [{"type": "InternalIP", "address": "192.0.2.1"}]
    status = dict(zip(("conditions", "addresses"), told, strict=True))
    node = {
        "metadata": {"name": socket.gethostname().lower()},
        "spec": {},
        "status": status | {"nodeInfo": {"kubeletVersion": "v1.35.0"}},
    }
    (tmp_path / "nodes").write_text(json.dumps({"items": [node]}))
    return tmp_path


def run(there: Path, state: str, **given: Any) -> dict[str, Any]:
    """The module's answer."""
    arguments = {"state": state, "timeout": 1, **given}
    env = os.environ | {
        "PATH": f"{there}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(COLLECTIONS), *sys.path]),
        "THERE": str(there),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env=env,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def certificate(path: Path, days: int) -> None:
    """One that ends after so many days."""
    key, name, now = Ed25519PrivateKey.generate(), x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    ended = builder.not_valid_before(now - timedelta(400)).not_valid_after(now + timedelta(days))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(ended.sign(key, None).public_bytes(Encoding.PEM))


HOST = {"channel": "1.35/stable", "host": "k1", "address": "192.0.2.1"}


def test_an_api_that_answers_leaves_no_report(there: Path) -> None:
    assert run(there, "present", **HOST)["seen"]["report"] == ""
    assert run(there, "answering") | {"invocation": None} == {"changed": False, "invocation": None}
    assert "inspect" not in (there / "asked").read_text()


def test_an_api_that_does_not_come_up_is_inspected_where_it_is(there: Path) -> None:
    """What is to be made of it is decided when all hosts have been seen."""
    (there / "status").write_text(AWAY)
    answer = run(there, "present", **HOST)
    assert answer["seen"]["report"] == "/var/report.tar.gz"
    answer = run(there, "answering")
    assert "does not answer after 1 s" in answer["msg"]
    assert (answer["failed"], answer["report"]) == (True, "/var/report.tar.gz")
    assert REPORT in answer["msg"]


def test_a_plan_that_cannot_be_made_names_the_reports(there: Path) -> None:
    (there / "status").write_text(AWAY)
    (there / "nodes").write_text("microk8s is not running.")
    seen = run(there, "present", **HOST)["seen"]
    answer = run(there, "planned", hosts=[seen])
    assert "no server has an API that answers" in answer["msg"]
    assert answer["msg"].endswith(f"Reports of `microk8s inspect`: /var/report.tar.gz on {seen['name']}")


JOIN = HOST | {"again": True, "token": "0" * 32, "peer": "0" * 12, "leader": "k0", "worker": False}


def test_what_pods_left_is_not_removed_with_a_snap(there: Path) -> None:
    volume = there / "common" / "default-storage" / "claim"
    volume.mkdir(parents=True)
    answer = run(there, "joined", **JOIN)
    assert "has to be installed anew, and" in answer["msg"]
    assert f"{volume.parent} has data of pods" in answer["msg"]
    assert not (there / "removed").exists()
    volume.rmdir()
    run(there, "joined", **JOIN)
    assert (there / "removed").exists(), "nothing keeps it then"


def test_a_refresh_that_fails_is_inspected(there: Path) -> None:
    answer = run(there, "upgraded", channel="1.36/stable")
    assert answer["msg"].startswith("snap refresh --channel=1.36/stable microk8s on ")
    assert "error: no way" in answer["msg"]
    assert REPORT in answer["msg"]


def test_before_there_is_a_microk8s_nothing_is_inspected(there: Path) -> None:
    (there / "microk8s").unlink()
    answer = run(there, "upgraded", channel="1.36/stable")
    assert "error: no way" in answer["msg"]
    assert "inspect" not in answer["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_what_ends_soon_is_made_anew_and_nothing_else(there: Path, check: bool) -> None:
    certificate(there / "certs/ca.crt", 10)
    certificate(there / "certs/server.crt", 29)
    certificate(there / "certs/front-proxy-client.crt", 31)
    certificate(there / "fresh.crt", 365)
    answer = run(there, "renewed", _ansible_check_mode=check)
    assert (answer["changed"], answer["renewed"]) == (True, ["server.crt"])
    asked = (there / "asked").read_text().splitlines() if (there / "asked").exists() else []
    refreshed = [line for line in asked if line.startswith("refresh-certs")]
    assert refreshed == ([] if check else ["refresh-certs -e server.crt"])
    again = run(there, "renewed")
    assert again["changed"] is check
    certificate(there / "fresh.crt", 366)
    assert run(there, "renewed", days=400)["renewed"] == ["server.crt", "front-proxy-client.crt"]


def test_a_certificate_that_is_not_made_anew_is_said(there: Path) -> None:
    certificate(there / "certs/server.crt", 3)
    (there / "fresh.crt").write_bytes((there / "certs/server.crt").read_bytes())
    answer = run(there, "renewed")
    assert "server.crt on " in answer["msg"]
    assert "is not made anew" in answer["msg"]
    assert REPORT in answer["msg"]


def test_a_server_that_does_not_come_back_with_its_new_certificate_is_said(there: Path) -> None:
    certificate(there / "certs/server.crt", 3)
    certificate(there / "fresh.crt", 365)
    (there / "status").write_text(AWAY)
    answer = run(there, "renewed")
    assert "does not answer after 1 s" in answer["msg"]
    assert REPORT in answer["msg"]


def test_before_there_is_a_microk8s_no_certificate_is(there: Path) -> None:
    (there / "snap").write_text("#!/bin/sh\n")
    assert run(there, "renewed", _ansible_check_mode=True)["renewed"] == []
