"""The module microk8s on a host whose MicroK8s and snap say what a test has them say."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
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
(there / "pid").write_text(str(os.getpid()))
microk8s.MICROK8S = str(there / "microk8s")
microk8s.COMMON = there / "common"
microk8s.LOCKS, microk8s.OURS, microk8s.CERTS = there / "locks", there / "ours", there / "certs"
microk8s.JOINING, microk8s.UPGRADING = there / "ours/joining", there / "ours/upgrading"
microk8s.ASIDE = there / "ours/aside"
microk8s.main()
"""
# Ready, or not, as the file says; what it is asked is written down.
MICROK8S = """#!/bin/sh
echo "$*" >> "$THERE/asked"
case "$1" in
  status) . "$THERE/status" ;;
  kubectl) case "$*" in *" get persistentvolumes"*) cat "$THERE/kept" ;; *) cat "$THERE/nodes" ;; esac ;;
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


TERM = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["k2"]}]}
PV = {
    "kind": "PersistentVolume",
    "metadata": {"name": "pv-1"},
    "spec": {
        "claimRef": {"namespace": "shop", "name": "data"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [TERM]}},
    },
}


def node(name: str, address: str) -> dict[str, Any]:
    """One that is Ready, as the API lists it."""
    told = [{"type": "Ready", "status": "True"}], [{"type": "InternalIP", "address": address}]
    status = dict(zip(("conditions", "addresses"), told, strict=True))
    return {
        "metadata": {"name": name},
        "spec": {},
        "status": status | {"nodeInfo": {"kubeletVersion": "v1.35.0"}},
    }


@pytest.fixture
def there(tmp_path: Path) -> Path:
    for name, text in {"microk8s": MICROK8S, "snap": SNAP}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "status").write_text(READY)
    (tmp_path / "nodes").write_text(json.dumps({"items": [node(socket.gethostname().lower(), "192.0.2.1")]}))
    (tmp_path / "kept").write_text(json.dumps({"items": []}))
    return tmp_path


def run(there: Path, state: str, **given: Any) -> dict[str, Any]:
    """The module's answer."""
    return answered(call(there, state, **given))


def call(there: Path, state: str, *inside: str, **given: Any) -> subprocess.CompletedProcess[str]:
    """The module as a process, by way of another program."""
    arguments = {"state": state, "timeout": 1, **given}
    env = os.environ | {
        "PATH": f"{there}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(COLLECTIONS), *sys.path]),
        "THERE": str(there),
    }
    return subprocess.run(
        [*inside, sys.executable, "-c", RUN],
        env=env,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )


def answered(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
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


def test_a_cluster_that_is_used_is_not_joined_away(there: Path) -> None:
    (there / "kept").write_text(json.dumps({"items": [PV]}))
    seen = run(there, "present", **HOST)["seen"]
    assert seen["used"] is True
    empty = seen | {"name": "k0", "host": "k0", "address": "192.0.2.9", "used": False}
    empty["nodes"] = {"k0": next(iter(seen["nodes"].values())) | {"address": "192.0.2.9"}}
    plan = run(there, "planned", hosts=[empty, seen])["plan"]
    assert (plan["leader"], plan["joining"]) == (seen["name"], {"k0": {"again": False}})
    answer = run(there, "planned", hosts=[empty, seen | {"group": "workers"}])
    assert f"{seen['name']} has a cluster of its own that is used" in answer["msg"]
    (there / "kept").write_text(json.dumps({"items": []}))
    assert run(there, "present", **HOST)["seen"]["used"] is False


def test_a_worker_with_a_volumes_only_copy_does_not_leave(there: Path) -> None:
    nodes = [node(socket.gethostname().lower(), "192.0.2.1"), node("k2", "192.0.2.2")]
    (there / "nodes").write_text(json.dumps({"items": nodes}))
    (there / "kept").write_text(json.dumps({"items": [PV]}))
    leaving = {"nodes": ["web-2"], "addresses": {"web-2": "192.0.2.2"}}
    answer = run(there, "leaving", **leaving)
    assert answer["failed"]
    assert "the only copy of these volumes would be lost: k2 has pv-1 of shop/data" in answer["msg"]
    assert {line.split()[0] for line in (there / "asked").read_text().splitlines()} == {"kubectl", "status"}
    assert "drain" not in (there / "asked").read_text()
    (there / "kept").write_text(json.dumps({"items": []}))
    assert run(there, "leaving", **leaving)["leaving"] == [{"host": "web-2", "node": "k2", "ready": True}]


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


# Real mounts, whose names are written down when they are done; the one named in `end` is the run's last.
DID = """
did() {
  echo "$*" | sed "s#$THERE/##g" >> "$THERE/did"
  if [ "$(wc -l < "$THERE/did")" = "$(cat "$THERE/end")" ]; then kill -9 "$(cat "$THERE/pid")"; fi
}
"""
DO = f"""#!/bin/sh
{DID}
PATH="${{PATH#*:}}" "${{0##*/}}" "$@" && did "${{0##*/}} $*"
"""
# As snapd does it: what cannot be removed is emptied, and fails. It is installed on what is there.
SNAPD = f"""#!/bin/sh
{DID}
case "$1" in
  list) echo Name Version Rev Tracking Notes
        if [ -e "$THERE/snap.there" ]; then echo microk8s v1.35.0 12 1.35/stable classic,held; fi ;;
  remove) rm -rf "$THERE/common" || exit; rm "$THERE/snap.there"; did "snap $1" ;;
  install) mkdir -p "$THERE/common"; ls "$THERE/common" > "$THERE/snap.there"; did "snap $1" ;;
esac
"""
STEPS = [
    "microk8s stop",
    "mount --bind --make-private common ours/aside",
    "umount --recursive --lazy common",
    "snap remove",
    "mount --bind ours/aside common",
    "umount ours/aside",
    "snap install",
]


@pytest.fixture
def volume(there: Path) -> Iterator[Volume]:
    """A node whose join was cut off, with a volume at `common`, and below that another, with data."""
    for name, text in {"snap": SNAPD, "mount": DO, "umount": DO}.items():
        (there / name).write_text(text)
        (there / name).chmod(0o755)
    own = json.loads((there / "nodes").read_text())["items"]
    (there / "joined").write_text(json.dumps({"items": [node("k0", "192.0.2.9"), *own]}))
    joins = 'stop) did "microk8s stop" ;;\n  join) cp "$THERE/joined" "$THERE/nodes" ;;'
    (there / "microk8s").write_text(MICROK8S.replace('case "$1" in', f'{DID}\ncase "$1" in\n  {joins}'))
    for name in ("common", "elsewhere", "ours"):
        (there / name).mkdir()
    for name in ("elsewhere/data", "snap.there", "ours/joining", "end", "did"):
        (there / name).touch()
    mounts = (
        "mount -t tmpfs volume common && mkdir -p common/pods/claim common/images && touch common/images/old "
        "&& mount --bind elsewhere common/pods/claim && echo ready && exec sleep infinity"
    )
    private = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounts]
    with subprocess.Popen(private, cwd=there, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout
        assert held.stdout.readline() == "ready\n"
        yield Volume(there, held.pid)
        held.kill()


@dataclass(frozen=True)
class Volume:
    """The mounts of the process `pid`."""

    there: Path
    pid: int

    def run(self, state: str, **given: Any) -> dict[str, Any]:
        """The module's answer; nothing when it was ended."""
        inside = ["nsenter", f"--target={self.pid}", "--user", "--preserve-credentials", "--mount"]
        done = call(self.there, state, *inside, **given)
        if done.returncode == -signal.SIGKILL or done.returncode == 128 + signal.SIGKILL:
            return {}
        return answered(done)

    @property
    def common(self) -> Path:
        return Path(f"/proc/{self.pid}/root{self.there}/common")

    @property
    def mounted(self) -> list[str]:
        """Places below the test's folder where something is mounted."""
        lines = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        places = [line.split()[4] for line in lines]
        return [
            str(Path(each).relative_to(self.there))
            for each in places
            if Path(each).is_relative_to(self.there)
        ]

    @property
    def did(self) -> list[str]:
        return (self.there / "did").read_text().splitlines()


def test_a_volume_is_emptied_and_away_while_the_snap_is_removed(volume: Volume) -> None:
    device = volume.common.stat().st_dev
    assert volume.mounted == ["common", "common/pods/claim"]
    assert volume.run("joined", **JOIN)["changed"] is True
    assert volume.did == STEPS
    assert volume.mounted == ["common"]
    assert [*(volume.there / "ours").iterdir()] == [], "nothing says that a run was cut off"
    assert (volume.common.stat().st_dev, [*volume.common.iterdir()]) == (device, [])
    assert (volume.there / "snap.there").read_text() == "", "it is installed on the empty volume"
    assert (volume.there / "elsewhere/data").exists(), "what was mounted below is not its own"


@pytest.mark.parametrize("end", range(1, len(STEPS) + 1), ids=STEPS)
def test_a_removal_that_is_cut_off_converges(volume: Volume, end: int) -> None:
    """After each of its steps, as the role goes on: it looks, and has what is still joining begin anew."""
    device = volume.common.stat().st_dev
    (volume.there / "end").write_text(f"{end}\n")
    assert volume.run("joined", **JOIN) == {}
    assert volume.did == STEPS[:end]
    (volume.there / "end").write_text("")
    seen = volume.run("present", **HOST)["seen"]
    assert volume.run("joined", **JOIN | {"again": seen["joining"]})["changed"] is True
    assert volume.mounted == ["common"]
    assert [*(volume.there / "ours").iterdir()] == []
    assert (volume.common.stat().st_dev, [*volume.common.iterdir()]) == (device, [])
    assert (volume.there / "snap.there").read_text() == ""
    assert (volume.there / "elsewhere/data").exists()


def test_a_volume_with_what_pods_left_is_let_be(volume: Volume) -> None:
    (volume.common / "default-storage/claim").mkdir(parents=True)
    assert "has data of pods" in volume.run("joined", **JOIN)["msg"]
    assert volume.did == []
    assert volume.mounted == ["common", "common/pods/claim"]
    assert (volume.common / "images/old").exists()


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
