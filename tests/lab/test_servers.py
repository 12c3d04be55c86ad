"""The mirror's servers: certificates renewed in time, artefacts swapped in one step, strangers left alone."""

from __future__ import annotations

import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from hostwright.errors import Failure
from lab import certificates, registry, servers

NAMES = ["10.87.0.1", "127.0.0.1", "localhost"]


def test_certificates_are_kept_until_they_must_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert certificates.ensure(tmp_path, NAMES)
    authority, server = _certificate(tmp_path / "ca.pem"), _certificate(tmp_path / "server.pem")
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in names] == NAMES
    assert {(tmp_path / f"{name}.key").stat().st_mode & 0o777 for name in ("ca", "server")} == {0o600}

    assert not certificates.ensure(tmp_path, NAMES)
    assert _certificate(tmp_path / "server.pem") == server

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = UTC) -> datetime:  # type: ignore[override] # noqa: ARG003
            return datetime.now(UTC) + timedelta(days=340)

    monkeypatch.setattr(certificates, "datetime", Later)
    assert certificates.ensure(tmp_path, NAMES), "renewed in its last thirty days"
    assert _certificate(tmp_path / "server.pem").not_valid_after_utc > server.not_valid_after_utc
    assert _certificate(tmp_path / "ca.pem") == authority

    assert certificates.ensure(tmp_path, ["other.example"])


def test_serving_again_changes_nothing_and_answers_over_tls() -> None:
    servers.serve()
    before = _pids()
    servers.serve()
    assert _pids() == before
    assert set(servers.status().values()) <= {"running", "answering"}
    assert _get("/v2/") == b"{}"
    for name, least in servers.KERNEL.items():
        assert int(Path("/proc/sys", name).read_text()) >= least, name


def test_what_is_published_is_replaced_in_one_step(tmp_path: Path) -> None:
    servers.serve()
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    try:
        assert servers.publish("trial", first) == f"{servers.URL}/trial/"
        assert _get("/trial/name") == b"first"
        servers.publish("trial", second)
        assert _get("/trial/name") == b"second"
    finally:
        (servers.store() / "www" / "trial").unlink()


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "hostwright" / "lab"


def test_a_registry_is_begun_anew_where_the_cache_is_another(
    own_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_state.mkdir(parents=True)
    written = []
    for cache, moved in (("first", True), ("first", False), ("other", True)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
        assert registry.configure(own_state) is moved
        written.append(yaml.safe_load((own_state / registry.CONFIGURATION).read_text()))
    assert len({each["http"]["secret"] for each in written}) == 1
    assert written[2]["storage"]["filesystem"]["rootdirectory"].startswith(str(tmp_path / "other"))


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


def test_a_daemon_is_started_once_and_ended(own_state: Path) -> None:
    up = own_state / "up"
    script = f"trap 'rm {up}; exit' TERM; touch {up}; while :; do sleep 0.1; done # trial-daemon"
    daemon = servers.Daemon("trial", ("sh", "-c", script), up.exists, "trial-daemon")
    daemon.start()
    pid = int((own_state / "trial.pid").read_text())
    daemon.start()
    assert int((own_state / "trial.pid").read_text()) == pid
    assert daemon.state() == "running"
    daemon.stop()
    assert daemon.state() == "stopped"
    assert not (own_state / "trial.pid").exists()


def test_a_daemon_that_fails_is_reported_with_the_end_of_its_log(own_state: Path) -> None:
    daemon = servers.Daemon("trial", ("sh", "-c", "echo no such luck >&2; exit 3"), lambda: False, "trial")
    with pytest.raises(Failure, match="the lab's trial does not come up") as failed:
        daemon.start()
    assert failed.value.fix == "no such luck"
    assert failed.value.where == str(own_state / "trial.log")


def test_a_process_that_took_over_a_pid_is_left_alone(
    own_state: Path, stranger: subprocess.Popen[bytes]
) -> None:
    daemon = servers.Daemon("trial", ("true",), lambda: False, "trial-daemon")
    own_state.mkdir(parents=True)
    (own_state / "trial.pid").write_text(str(stranger.pid))
    daemon.stop()
    assert stranger.poll() is None
    assert not (own_state / "trial.pid").exists()


def _get(path: str) -> bytes:
    trusting = ssl.create_default_context(cadata=servers.ca_pem())
    with urllib.request.urlopen(servers.URL + path, context=trusting) as answer:  # noqa: S310
        content: bytes = answer.read()
        return content


def _pids() -> list[str]:
    return sorted(path.read_text() for path in (servers.paths.state() / "lab").glob("*.pid"))


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())
