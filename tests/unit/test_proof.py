"""The proof's own eyes: knocking, scanning, looking, and saying what was seen."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application, paths, proof, secrets
from hostwright.environments import Environment
from hostwright.errors import Failure
from hostwright.proof import knock, observe, report, wanted
from tests.rows import proof_of
from tests.unit.test_secrets import CHAIN, SHOP, given

ports = proof_of("test_ports")

FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


@contextlib.contextmanager
def listening(address: str = "127.0.0.1", says: bytes | None = None, patience: float = 2) -> Iterator[int]:
    """A listener on a port of its own; `says`: what it answers to anything before it hangs up.

    It waits `patience` seconds for that.
    """
    with socket.create_server((address, 0), family=FAMILIES[address], backlog=64) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.settimeout(patience)
                        if says is not None:
                            connection.recv(1024)
                            connection.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def web(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """Secrets of a warehouse: an authority and a certificate for loopback."""
    return secrets.complete(application.load("warehouse"), {}, "test")


@pytest.fixture
def tls(made: dict[str, str], tmp_path: Path) -> ssl.SSLContext:
    (tmp_path / "certificate").write_text(made["gateway_certificate"])
    (tmp_path / "key").write_text(made["gateway_private_key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    return context


# --- Knocking ---


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("protocol", ["http", "https", "postgres", "amqp", "ssh"])
def test_what_does_not_speak_is_open_and_no_more(protocol: str) -> None:
    for says in (b"", b"220 mail.example ESMTP\r\n", b"\x00" * 64):
        with listening(says=says) as port:
            answer = knock.knock("127.0.0.1", port, protocol)
        assert answer["state"] == "open"
        assert not answer["speaks"]
        assert protocol in answer["detail"]


@pytest.mark.parametrize("deaf", [1, 2])
def test_who_accepts_and_does_not_speak_is_asked_once_more(deaf: int) -> None:
    """A machine that is short of time answers few at once; who speaks to nobody is found all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server, web() as port:
        accepted = []

        def serve() -> None:
            for count in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    accepted.append(count)
                    if count >= deaf:
                        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        targets = [
            {"address": "127.0.0.1", "port": each, "protocol": "http"}
            for each in (port, server.getsockname()[1], free_port())
        ]
        answers = knock.knock_all(targets)
    assert [each["state"] for each in answers] == ["open", "open", "refused"]
    assert [each["speaks"] for each in answers] == [True, deaf == 1, False]
    assert accepted == [0, 1]


def test_a_closed_port_is_refused() -> None:
    answer = knock.knock("127.0.0.1", free_port(), "http")
    assert (answer["state"], answer["speaks"]) == ("refused", False)


def test_http() -> None:
    with web() as port:
        answer = knock.knock("127.0.0.1", port, "http")
    assert answer["speaks"], answer
    assert answer["detail"].startswith("HTTP ")


def test_a_gateway_with_nothing_behind_it_does_not_serve() -> None:
    with listening(says=b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as port:
        answer = knock.knock("127.0.0.1", port, "http")
    assert (answer["state"], answer["speaks"]) == ("open", False)


def test_https_is_for_its_name_by_its_authority(tls: ssl.SSLContext, made: dict[str, str]) -> None:
    with web(tls) as port:

        def ask(**how: str) -> dict[str, Any]:
            return knock.knock("127.0.0.1", port, "https", **how)

        assert ask(ca=made["ca_certificate"], name="127.0.0.1")["detail"].startswith("TLSv1.3, HTTP ")
        stranger = secrets.complete(application.load("warehouse"), {}, "other")["ca_certificate"]
        assert "CERTIFICATE_VERIFY_FAILED" in ask(ca=stranger, name="127.0.0.1")["detail"]
        assert "not valid for" in ask(ca=made["ca_certificate"], name="192.0.2.1")["detail"]


def test_https_of_a_certificate_of_ones_own(made: dict[str, str], tmp_path: Path) -> None:
    """Its root is not here; it is for its name all the same, and nobody else's."""
    (tmp_path / "certificate").write_text(CHAIN)
    (tmp_path / "key").write_text(SHOP.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    believed = secrets.trusted(made | given("gateway", CHAIN, SHOP.key))
    with web(context) as port:

        def ask(**how: str) -> str:
            return str(knock.knock("127.0.0.1", port, "https", **how)["detail"])

        assert ask(ca=believed, name="shop.example.com").startswith("TLSv1.3, HTTP ")
        assert "not valid for" in ask(ca=believed, name="127.0.0.1")
        assert "CERTIFICATE_VERIFY_FAILED" in ask(ca=made["ca_certificate"], name="shop.example.com")


def test_a_host_is_asked_for_by_what_its_certificate_is_for(
    made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"hostwright_environment": {"name": "prod", "topology": "single", "application": "warehouse"}}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": {"web1": {"ansible_host": "127.0.0.1"}}, "vars": told}}))
    machine = wanted.Machine("web1", str(path))
    look = wanted.Look(next(each for each in machine.published if each.protocol == "https"), "outside", "::1")
    held = dict(made)
    monkeypatch.setattr(wanted, "_secrets", lambda _: held)
    machine.variables["app_compose_names"] = ["192.0.2.1", "*.example.com", "shop.example.com"]
    assert machine.known_as("127.0.0.1") == "127.0.0.1"
    target = machine._target(look)
    assert (target["name"], target["ca"]) == ("::1", made["ca_certificate"])
    held |= given("gateway", CHAIN, SHOP.key)
    target = machine._target(look)
    assert (target["name"], target["ca"]) == ("shop.example.com", secrets.trusted(held))
    del machine.variables["app_compose_names"]
    assert machine.known_as("127.0.0.1") == "127.0.0.1", "which the proof says that it is not for"


# --- What the firewall is told ---

DOCUMENTED = next(
    found
    for block in re.findall(
        r"```yaml\n(.*?)```", (paths.toolkit() / "docs/environments.md").read_text(), re.DOTALL
    )
    if "firewall_ports" in (found := yaml.safe_load(block))
)["firewall_ports"]


def told(folder: Path, **variables: Any) -> wanted.Machine:
    """A host that is this machine, of the warehouse, with these variables, and as it would be seen."""
    environment = {"name": "prod", "topology": "single", "application": "warehouse"}
    host = {"ansible_host": "127.0.0.1", "hostwright_environment": environment} | variables
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"children": {"single": {"hosts": {"web1": host}}}}}))
    machine = wanted.Machine("web1", str(path))
    system = {"ID": "opensuse-leap", "ID_LIKE": "suse opensuse", "container": ""}
    machine.__dict__["_look"] = {"os": system, "selinux": "enforcing", "addresses": ["127.0.0.1", "::1"]}
    return machine


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({}, 22),
        ({"ansible_port": 2222}, 2222),
        ({"ansible_port": 2222, "firewall_ssh_port": 22}, 22),
    ],
    ids=["as ever", "another", "a forwarded one"],
)
def test_the_port_of_ssh_is_the_one_we_come_by(tmp_path: Path, variables: dict[str, int], port: int) -> None:
    machine = told(tmp_path, firewall_ports=[], **variables)
    assert machine.let_in("127.0.0.1") == {port}
    machine.open_ports = lambda _: [port]  # type: ignore[method-assign]
    ports.test_nothing_else_answers_outside(machine, machine.seen, "127.0.0.1", str)
    sshd = {"protocol": "tcp", "address": "0.0.0.0", "process": "sshd", "unit": "sshd.service"}  # noqa: S104
    assert [each for each in (22, 2222, 2223) if ports.allowed(machine, sshd | {"port": each})] == [port]


@pytest.mark.parametrize("here", [False, True])
def test_what_firewall_ports_admits_is_what_must_be_open(tmp_path: Path, here: bool) -> None:
    """The documented list, from where it admits nobody, and with where we are among those it admits."""
    given = [
        each | {"sources": [*each["sources"], *(["127.0.0.0/8"] if here else [])]} for each in DOCUMENTED
    ]
    machine = told(tmp_path, firewall_ports=given)
    assert {443, 80} <= {port.number for port in machine.published if port.scope == "public"}
    opened = {(look.port.number, look.address) for look in ports.wide(machine)}
    assert opened == ({(443, "127.0.0.1")} if here else set())
    assert {(80, "127.0.0.1"), (80, "::1"), (443, "::1")} <= {
        (look.port.number, look.address) for look in ports.closed(machine)
    }


def test_what_firewall_ports_opens_of_the_host_alone_leads_to_no_container(tmp_path: Path) -> None:
    machine = told(
        tmp_path, firewall_ports=[{"port": 443}, {"port": 80, "protocol": "udp", "forwarded": True}]
    )
    assert machine.let_in("127.0.0.1") == {22, 443}
    assert ports.wide(machine) == []


# --- Scanning ---


@pytest.mark.parametrize("address", FAMILIES)
def test_scan_finds_every_open_port_and_no_other(address: str) -> None:
    with listening(address) as one, listening(address) as two, listening(address) as three:
        ports = range(min(one, two, three) - 500, max(one, two, three) + 500)
        ours, others = {one, two, three}, listed()
        found = set(knock.scan(address, ports, canary=one))
        others |= listed()
    after = set(knock.scan(address, ports))
    assert ours <= found
    assert not ours & after
    assert found <= others, "of others too, what listens here"


def listed() -> set[int]:
    """Every port on which something listens on this machine (proc(5))."""
    texts = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    lines = [line.split() for text in texts for line in text.splitlines()]
    return {int(words[1].rpartition(":")[2], 16) for words in lines if words[3] == "0A"}


def test_scan_is_complete() -> None:
    with listening() as port:
        assert port in knock.scan("127.0.0.1")
    assert [*knock.ALL_PORTS][:1] + [*knock.ALL_PORTS][-1:] == [1, 65535]


def test_scan_notices_a_canary_that_is_silent() -> None:
    with pytest.raises(TimeoutError, match="stopped answering"):
        knock.scan("127.0.0.1", range(1, 50), canary=free_port(), window=64)


def test_scan_without_a_way_says_so() -> None:
    """Silence must not be mistaken for closed ports: a link-local address leads nowhere without its link."""
    with pytest.raises(OSError, match="cannot ask port"):
        knock.scan("fe80::1", range(1, 5), timeout=0.2)


# --- Looking ---


def test_a_look_comes_back_whole_whatever_is_missing() -> None:
    """Run here as it is run on a host: in one piece, by a Python that knows nothing of us."""
    with listening() as port:
        request = {
            "files": ["/etc/host*"],
            "users": ["root", "nobody-at-all"],
            "knock": [{"address": "127.0.0.1", "port": port, "protocol": "tcp"}],
        }
        done = subprocess.run(
            [sys.executable, "-I", "-c", observe.payload(request)], capture_output=True, text=True, check=True
        )
    seen = observe.unpack(done.stdout)
    assert seen["host"][0]["speaks"]
    assert port in [each["port"] for each in seen["listeners"]]
    assert "/etc/hosts" in seen["files"]
    assert seen["os"]["ID"]
    # What is not here (rpm, zypper) is told in its own place, and hides nothing else.
    assert all(value is not None for name, value in seen.items() if name not in ("containers", "cluster"))
    assert "rpm" in str(seen["packages"].get("error", "rpm"))


def test_a_look_never_carries_a_containers_environment() -> None:
    text = (Path(observe.__file__)).read_text()
    assert '"Env"' not in text
    assert '"Cmd"' not in text


# --- Reporting ---


def row(**changes: Any) -> dict[str, Any]:
    return {
        "host": "web-1",
        "area": "Ports",
        "what": "443/https of gateway answers at 192.0.2.1",
        "scope": "public",
        "place": "outside",
        "closed": False,
        "port": {"number": 443, "protocol": "https", "owner": "gateway"},
        "address": "192.0.2.1",
        "result": "holds",
        "seconds": 0.1,
        "detail": "TLSv1.3",
    } | changes


def proved(*rows: dict[str, Any], variant: str = "") -> dict[str, Any]:
    return result_of(*rows, variant=variant).as_dict()


def result_of(*rows: dict[str, Any], variant: str = "") -> proof.ProofResult:
    system = {
        "PRETTY_NAME": "openSUSE Leap 16.0",
        "VARIANT": variant,
        "VARIANT_ID": variant,
        "kernel": "6.12",
    }
    return proof.ProofResult(
        environment={"name": "prod", "application": "warehouse", "topology": "single", "driver": "static"},
        started="2026-11-21T04:00:00Z",
        seconds=9.5,
        hosts=[
            {
                "name": "web-1",
                "addresses": ["192.0.2.1"],
                "driver": "static",
                "system": system,
                "versions": {"docker": "28.1"},
                "containers": [
                    {"name": "gateway", "image": "nginx@sha256:abc", "id": "sha256:def", "state": "running"}
                ],
            }
        ],
        rows=list(rows),
        page=Path("index.html"),
    )


def test_the_error_names_what_fails() -> None:
    result_of(row(), row(result="not deployed")).check()
    wrong = [row(result="fails", what=f"row {n}", detail="refused\nand more") for n in range(7)]
    with pytest.raises(Failure) as caught:
        result_of(row(), *wrong).check()
    assert caught.value.what.splitlines()[0] == "7 of 8 proofs failed"
    assert caught.value.what.splitlines()[1:] == [f"    web-1, row {n}: refused" for n in range(5)]


def test_page_stands_alone() -> None:
    page = report.page(proved(row(), row(result="fails", detail="refused")))
    assert not re.search(r"(src|href)=|@import|url\(|https?://", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_page_escapes_what_hosts_say() -> None:
    page = report.page(proved(row(result="fails", detail="<script>alert(1)</script>", what="<b>x</b>")))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>x</b>" not in page


def test_page_says_what_fails_what_is_absent_and_which_digests() -> None:
    page = report.page(
        proved(row(result="fails", detail="port 443 is refused"), row(result="not deployed", what="panel"))
    )
    assert "Not proven" in page
    assert "port 443 is refused" in page
    assert "Declared, not deployed" in page
    assert "nginx@sha256:abc" in page
    assert "Proven" in report.page(proved(row()))


def test_page_says_what_a_lab_does_not_show() -> None:
    assert "VARIANT lab" in report.page(proved(row(), variant="lab"))
    assert "VARIANT lab" not in report.page(proved(row()))


def test_ports_by_place() -> None:
    inside = row(
        place="network", scope="internal", port={"number": 8080, "protocol": "http", "owner": "auth"}
    )
    shut = row(address="2001:db8::1", closed=True)
    rows = [row(), row(place="host", address="::1", result="fails"), shut, inside]
    public, internal = report.ports(rows)
    assert [each["state"] for each in public["seen"]["outside"]] == ["open", "closed"]
    assert [each["family"] for each in public["seen"]["outside"]] == ["IPv4", "IPv6"]
    assert [each["state"] for each in public["seen"]["host"]] == ["fails"]
    assert (internal["owner"], len(internal["seen"]["network"])) == ("auth", 1)


# --- The whole of it, where it cannot succeed ---


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose only host lets nobody in."""
    folder = tmp_path / "inventories" / "gone"
    folder.mkdir(parents=True)
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "Pulumi.yaml").write_text("name: hostwright\nruntime: python\n")
    hosts = {"gone-1": {"ansible_host": "127.0.0.1", "ansible_port": free_port(), "ansible_user": "opensuse"}}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {"single": {"hosts": hosts}}}}))
    return tmp_path


def test_a_host_that_lets_nobody_in_is_one_failure(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = project / "proof"
    result = proof.run(Environment("gone", project, {"driver": "static"}), output=out)
    assert (result.total, result.failed, result.ok) == (1, 1, False)
    assert "Connection refused" in result.rows[0]["detail"]
    assert "0 of 1 hold, 1 fail" in capsys.readouterr().out
    assert json.loads((out / "proof.json").read_text())["rows"] == result.rows
    assert ET.parse(out / "junit.xml").getroot()[0].attrib["failures"] == "1"  # noqa: S314  (pytest's own)
    assert "Not proven" in (out / "index.html").read_text()


def test_options_that_an_operator_has_for_pytest_leave_nothing_out(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing")
    result = proof.run(
        Environment("gone", project, {"driver": "static"}), output=project / "proof", quiet=True
    )
    assert (result.total, result.failed) == (1, 1)


def test_no_inventory_is_no_proof(project: Path) -> None:
    with pytest.raises(Failure, match="could not run"):
        proof.run(Environment("nowhere", project, {}), output=project / "proof", quiet=True)


def test_asking_for_nothing_proves_nothing(project: Path) -> None:
    with pytest.raises(Failure):
        proof.run(Environment("gone", project, {}), markers="nothing", output=project / "out", quiet=True)


@pytest.mark.parametrize("linked", [False, True])
def test_tests_of_hosts_want_an_inventory(tmp_path: Path, linked: bool) -> None:
    """Also those that a project has a link to."""
    tests = paths.toolkit() / "tests" / "hosts"
    if linked:
        (tmp_path / "hosts").symlink_to(tests)
        tests = tmp_path / "hosts"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(tests), "-q"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--ansible-inventory=inventories/ENVIRONMENT" in done.stdout + done.stderr
