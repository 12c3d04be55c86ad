"""What is made of figures: the exponent that fits, what a recap says, and which targets were missed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bench import __main__ as bench
from tests.bench import cluster, gatekeeper, gateway, growth, phases, policy
from tests.bench.growth import Figure
from tests.bench.load import NUMBER, Case, Load, wrk

ROOT = Path(__file__).resolve().parents[2]

FOUND: dict[str, Any] = {
    "seconds": {
        "up, to all Ready": 170.0,
        "up, to its proof": 400.0,
        "second run": 50.0,
        "a worker more": 80.0,
    },
    "changed": 0,
    "rolling": {"requests": 900, "failed": 0, "kept": True, "details": ()},
}
PHASES: dict[str, Any] = {
    "seconds": {phases.UP: 200.0, "proof": 15.0, "second up": 25.0},
    "ratios": {"hosts, to by hand": 2.0, "converge, to by hand": 0.6, "second run, to by hand": 0.3},
    "changes": {"Pulumi": 0, "Ansible": 0},
    "load": 1.0,
}


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(exponent: float) -> None:
    assert growth.fitted({size: 7 * size**exponent for size in (3, 10, 30, 100)}) == pytest.approx(exponent)


def test_the_exponent_is_of_the_power_that_fits_best() -> None:
    assert growth.fitted({1: 1.0, 10: 30.0, 100: 100.0}) == pytest.approx(1.0), (
        "one that is off by as much each way"
    )


def test_each_step_has_its_exponents_and_what_is_above_linear_is_named() -> None:
    figures = [Figure("base", size, 2.0 * size, 80.0) for size in (3, 30)]
    figures += [Figure("again", size, 0.1 * size**1.5, 80.0) for size in (3, 30)]
    found = growth.exponents(figures)
    assert found == {"base": {"seconds": 1.0, "memory": 0.0}, "again": {"seconds": 1.5, "memory": 0.0}}
    assert list(growth.missing(found)) == [
        "growth, again: seconds as the 1.50th power of the number of hosts"
    ]
    lines = [line.split() for line in growth.table(figures).splitlines()]
    assert lines[1] == ["base", "30", "hosts", "60.0", "s", "80", "MiB"]
    assert lines[2] == ["base", "exponent", "1.00", "0.00"]


def test_a_command_is_clocked_with_what_it_took_itself(tmp_path: Path) -> None:
    here = b"x" * (96 << 20)  # which is not the command's
    sizes = []
    for size in (1, 64):
        command = [sys.executable, "-c", f"held = b'x' * ({size} << 20); print('said')"]
        found = growth.clocked("held", 3, command, tmp_path, dict(os.environ))
        assert (found.step, found.hosts) == ("held", 3)
        sizes.append(found.memory)
    assert sizes[0] + 50 < sizes[1] < len(here) >> 20
    with pytest.raises(SystemExit) as failure:
        growth.clocked("held", 3, [sys.executable, "-c", "exit('no such thing')"], tmp_path, dict(os.environ))
    assert str(failure.value) == "held failed with 3 hosts\nno such thing\n"


def test_the_preview_of_ten_hosts_is_one_of_ten_hosts() -> None:
    found = growth.previewed(10)
    assert (found.step, found.hosts) == ("preview, with mocks", 10)
    assert min(found.seconds, found.memory) > 0


def test_changes_are_those_of_the_recap() -> None:
    said = """TASK [Say] ***
ok: [k1] => changed=7
PLAY RECAP ***
k1 : ok=9 changed=2 unreachable=0 failed=0
k2 : ok=9 changed=1 unreachable=0 failed=0
"""
    assert cluster.changed(said) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"seconds": FOUND["seconds"] | {"second run": 61.0}}, ["cluster, second run: 61 s, at most 60"]),
        ({"changed": 2}, ["cluster, second run: 2 changes"]),
        ({"rolling": FOUND["rolling"] | {"failed": 1}}, ["cluster, rolling update: 1 requests failed"]),
    ],
)
def test_targets_of_a_cluster(changes: dict[str, Any], said: list[str]) -> None:
    assert list(cluster.missing(FOUND | changes)) == said
    assert "at most 180" in cluster.table(FOUND | changes)


def test_an_up_is_what_its_parts_come_to() -> None:
    of = {"toolchain": 0.5, "hosts": 9.5, "system": 30.0, "runtime": 20.0, "deploy": 60.0, "proof": 15.0}
    found = phases.parts(140.0, of)
    assert found == {"hosts": 10.0, "converge": 115.0, "first proof": 15.0}
    assert sum(found.values()) == 140.0


def test_what_a_second_up_changed_is_read_from_what_it_says() -> None:
    said = """phase: hosts
Hosts: 1 up, {} changes (2.4 s)
phase: deploy
Deploy: done (6.0 s)
Ansible: ok=41 changed={} (/state/ansible.log)
phase: proof
Proof: 310 of 310 hold (14.8 s)
"""
    assert phases.changes(said.format(0, 0)) == {"Pulumi": 0, "Ansible": 0}
    assert phases.changes(said.format(3, 12)) == {"Pulumi": 3, "Ansible": 12}
    with pytest.raises(ValueError, match="what Ansible changed"):
        phases.changes("Hosts: 1 up, 0 changes (2.4 s)\n")


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("phases", {}, []),
        (
            "phases",
            {"seconds": {phases.UP: 241.0, "proof": 21.0, "second up": 31.0}},
            [
                "phases, up, to its proof: 241 s, at most 240",
                "phases, proof: 21 s, at most 20",
                "phases, second up: 31 s, at most 30",
            ],
        ),
        (
            "phases",
            {"ratios": {"converge, to by hand": 0.61, "second run, to by hand": 0.31}},
            [
                "phases, converge, to by hand: 0.61, at most 0.6",
                "phases, second run, to by hand: 0.31, at most 0.3",
            ],
        ),
        ("phases", {"changes": {"Pulumi": 0, "Ansible": 2}}, ["phases, second up: 2 changes by Ansible"]),
        ("cold", {"seconds": {phases.ALL: 1801.0}}, ["cold, all of it: 1801 s, at most 1800"]),
        ("cold-cluster", {"seconds": {phases.ALL: 3600.0}}, []),
        (
            "cold-cluster",
            {"seconds": {phases.ALL: 3601.0}},
            ["cold-cluster, all of it: 3601 s, at most 3600"],
        ),
        ("libvirt", {"seconds": {phases.UP: 1201.0}}, ["libvirt, up, to its proof: 1201 s, at most 1200"]),
    ],
)
def test_targets_of_phases(part: str, changes: dict[str, Any], said: list[str]) -> None:
    found = (PHASES if part == "phases" else {}) | changes
    assert list(phases.missing(part, found)) == said
    assert "at most" in phases.table(part, found)
    assert list(bench.missing({part: found})) == said, "the whole run asks it too"


def test_every_part_of_phases_can_be_asked_for() -> None:
    assert {*phases.TARGETS} <= {*bench.PARTS}
    assert {*bench.BY_NAME} <= {*bench.PARTS}


@pytest.mark.parametrize(
    ("part", "topology", "servers"), [("cold", "single", 0), ("cold-cluster", "cluster", 3)]
)
def test_from_nothing_the_mirror_is_of_what_is_made(
    part: str, topology: str, servers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []

    def run(_: Any, step: str, command: list[str], *__: Any) -> str:
        said.append(command[1:])
        phases.Clock.note(_, step, 1.0)
        return ""

    def made(_: Path, name: str, **more: int) -> str:
        said.append((name, more))
        return name

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(phases.Clock, "run", run)
    monkeypatch.setattr(phases.Clock, "up", lambda clock, _: clock.note(phases.UP, 1.0))
    monkeypatch.setattr(phases, "_made", made)
    monkeypatch.setattr(phases, "temporary", nullcontext)
    monkeypatch.setattr(phases.lab, "serve", lambda: None)
    found = bench.PARTS[part](0)
    assert found == {part: {"seconds": {"toolchain": 1.0, "mirror": 1.0, phases.UP: 1.0, phases.ALL: 3.0}}}
    mirror = ["lab", "--only-mirror", "--topology", topology]
    assert said == [["toolchain"], mirror, ("bench-cold", {"servers": servers})]


def test_the_flat_playbook_has_what_the_firewall_takes() -> None:
    """Its templates and constants are the role's; from outside come the ports."""
    (play,) = yaml.safe_load((ROOT / "tests/bench/flat/site.yml").read_text())
    taken = set(yaml.safe_load((ROOT / "roles/firewall/defaults/main.yml").read_text()))
    assert taken - {"firewall_ports"} <= set(play["vars"])


def test_a_step_is_clocked_and_says_why_it_failed(tmp_path: Path) -> None:
    told: list[str] = []
    clock = phases.Clock(told.append)
    command = [sys.executable, "-c", "import sys; print('said'); print('warned', file=sys.stderr)"]
    assert sorted(clock.run("step", command, tmp_path, os.environ).split()) == ["said", "warned"]
    assert told == [f"step: {clock.seconds['step']} s"]
    with pytest.raises(SystemExit, match="step failed\nno such thing"):
        clock.run("step", [sys.executable, "-c", "exit('no such thing')"], tmp_path, os.environ)


def through(mib: float = 1600, most: int = gateway.IDLE_MIB, errors: int = 0, **feed: Any) -> gateway.Found:
    """Half as fast on uvicorn, which takes three times the CPU."""

    def figures(requests: int, cpu_us: float, errors: int = 0) -> list[gateway.Figures]:
        load = Load(requests, errors, 1.0, 5.0, 9.0)
        return [gateway.Figures("validate", load, {"gateway": 100.0, "auth": cpu_us})]

    heard = {"rate": 50.0, "orders": 500, "refused": 0, "heard": 500, "p50_ms": 20.0, "p99_ms": 250.0} | feed
    ours, plain = figures(1000, 200.0, errors), figures(500, 800.0)
    return gateway.Found(gateway.Idle({"gateway": mib}, most), {}, gateway.Feed(**heard), ours, plain, 1.0)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (through(), []),
        (through(mib=2600, most=gateway.OBSERVED_MIB), []),
        (through(mib=1639), ["1 containers, idle: 1639 MiB, at most 1638"]),
        (
            through(mib=2663, most=gateway.OBSERVED_MIB),
            ["1 containers, idle: 2663 MiB, at most 2662"],
        ),
        (through(heard=499), ["gateway, order to desktop: 0 orders refused, 1 not heard"]),
        (through(p99_ms=251.0), ["gateway, order to desktop: 251 ms, at most 250"]),
        (through(heard=0, orders=0, p99_ms=float("nan")), ["gateway, order to desktop: nan ms, at most 250"]),
        (through(errors=2), ["gateway, validate: 2 errors"]),
    ],
)
def test_targets_through_the_gateway(found: gateway.Found, said: list[str]) -> None:
    assert list(gateway.missing(found)) == said
    assert gateway.ratios(found) == {"validate": {"faster": 2.0, "less CPU": 3.0}}
    assert f"at most {found.idle.most}" in gateway.table(found)


def test_services_are_laid_over_with_uvicorn() -> None:
    services = yaml.safe_load(gateway.override(["auth", "orders-2"]))["services"]
    assert list(services) == ["auth", "orders-2"]
    for each in services.values():
        assert each["command"][-1].endswith('"$$SERVICE.app:app"'), "which Compose leaves to the shell"
        assert each["volumes"] == [f"{gateway.PLAIN}:{gateway.INSIDE}:ro"]


def test_targets_of_services_behind_the_policy_gateway() -> None:
    def figures(variant: str, cpu_us: float, errors: int) -> gatekeeper.Figures:
        """Three rounds, of which the last lies."""
        cpus = [{"services": us, "database": 50.0, "gateway": 30.0} for us in (cpu_us, cpu_us, 1.0)]
        load = Load(round(1e6 / cpu_us), errors, 1.0, 1.0, 4.0)
        return gatekeeper.Figures("profile", variant, [gatekeeper.Round(load, each) for each in cpus])

    found = [figures(gatekeeper.OURS, 500.0, 0), figures(gatekeeper.PLAIN, 1000.0, 2)]
    assert gatekeeper.ratios(found) == {"profile": {"faster": 2.0, "less CPU": 2.0}}
    assert list(gatekeeper.missing(found)) == ["gatekeeper, profile, Flask: 6 errors"]
    lines = [line.split() for line in gatekeeper.table(found).splitlines()]
    assert lines[1] == ["profile", "ours", "2000.0", "4.0", "500", "50", "30", "0", "2.00", "2.00"]
    assert lines[2] == ["profile", "Flask", "1000.0", "4.0", "1000", "50", "30", "6"]


@contextmanager
def answering() -> Iterator[tuple[str, list[tuple[str | None, str]]]]:
    """A server's URL, and what it was asked: authorization and body."""
    asked: list[tuple[str | None, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((self.headers["Authorization"], body))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_number_in_a_body_is_another_each_time() -> None:
    case = Case("register", "auth", "POST", "/", {"email": f"{NUMBER}@example.com", "in": [[1]]}, 2)
    with answering() as (url, asked):
        loads = [wrk(case, url, [], 1) for _ in range(2)]
    assert [each.errors for each in loads] == [0, 0]
    assert min(each.requests for each in loads) > 0
    assert {who for who, _ in asked} == {None}
    emails = [yaml.safe_load(body)["email"] for _, body in asked]
    assert len(set(emails)) == len(emails)
    assert all(each.endswith("@example.com") for each in emails)


def test_each_token_is_sent_in_turn() -> None:
    case = Case("orders create", "orders", "POST", "/", {"total_amount": 1}, 1)
    with answering() as (url, asked):
        wrk(case, url, ["first", "second"], 1)
    told = [who for who, _ in asked]
    assert set(told) == {"Bearer first", "Bearer second"}
    assert all(one != other for one, other in pairwise(told))
    assert {body for _, body in asked} == {'{"total_amount": 1}'}


def gateways(ours: float, plain: float, errors: int = 0) -> list[policy.Figures]:
    """Three rounds, on a machine that is twice as slow in the second and lies in the third."""
    full, half = Load(1000, 0, 1.0, 1.0, 2.0), Load(500, errors, 1.0, 1.0, 3.0)

    def figures(name: str, cpu_us: float, last: float) -> policy.Figures:
        return policy.Figures(name, [policy.Round(us, full, half) for us in (cpu_us, 2 * cpu_us, last)])

    return [figures("nginx", 20, 20), figures("ours", ours, 999), figures("plain", plain, 1)]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (gateways(44, 308), []),
        (gateways(45, 400), ["policy, CPU of ours to nginx: 2.25, at most 2.2"]),
        (gateways(40, 276), ["policy, CPU of plain Python to ours: 6.90, at least 7"]),
        (gateways(40, 400, errors=1), [f"policy, {name}: 3 errors" for name in ("nginx", "ours", "plain")]),
    ],
)
def test_targets_of_the_policy_gateway(figures: list[policy.Figures], said: list[str]) -> None:
    assert list(policy.missing(figures)) == said
    lines = [line.split() for line in policy.table(figures).splitlines()]
    assert lines[1][:5] == ["nginx", "20.0", "1000", "500", "3.0"]
    assert lines[-1][-3:] == ["(at", "least", "7)"]
