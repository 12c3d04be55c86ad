"""Every declared port, looked at from outside, from the host and from the application's network; no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

import pytest

from hostwright.application import Port
from hostwright.proof.observe import RESOLVER
from hostwright.proof.wanted import Look, Machine

pytestmark = pytest.mark.app_compose

AREA = "Ports"
Detail = Callable[[object], None]

# What an operating system listens on of its own: protocol, port, and whose it is. A DHCP client is
# answered at its port; the others are asked by programs of the host only, and must keep to loopback.
SYSTEM = {
    ("udp", 68): ("NetworkManager", "systemd-network", "dhclient"),
    ("udp", 546): ("NetworkManager", "systemd-network", "dhclient"),
    ("udp", 323): ("chronyd",),
    ("udp", 53): ("systemd-resolve",),
    ("tcp", 53): ("systemd-resolve",),
}
DHCP = (68, 546)
# What a node of a cluster listens on at all addresses though nobody is let in: controller manager, scheduler,
# and at ports of this range whether it has pods that a load balancer may send to.
NODES_OWN = (10257, 10259, *range(30000, 32768))
# MetalLB's, in the node's network: to each other, and what is counted of them, where nobody is let in.
SPEAKER = (("tcp", 7946), ("udp", 7946), ("tcp", 7472))


def wide(machine: Machine) -> list[Look]:
    return [look for look in machine.looks("outside") if machine.admits(look)]


def closed(machine: Machine) -> list[Look]:
    return [look for look in machine.looks("outside") if not machine.admits(look)]


def must_speak(look: Look, answer: dict[str, Any], detail: Detail) -> None:
    detail(answer["detail"])
    number, protocol = look.port.number, look.port.protocol
    where = f"{look.address} from {look.place}"
    assert answer["state"] == "open", (
        f"port {number}/{protocol} of {look.port.owner} is {answer['state']} at {where}"
    )
    assert answer["speaks"], f"port {number} of {look.port.owner} at {where} {answer['detail']}"


@pytest.mark.app_kubernetes
@pytest.mark.place("outside")
@pytest.mark.each(cases=wide)
def test_answers_outside(machine: Machine, case: Look, detail: Detail) -> None:
    """{case.port.number}/{case.port.protocol} of {case.port.owner} answers at {case.address}"""
    must_speak(case, machine.answer(case), detail)


@pytest.mark.app_kubernetes
@pytest.mark.place("outside")
@pytest.mark.each(cases=closed)
def test_silent_outside(machine: Machine, case: Look, detail: Detail) -> None:
    """{case.port.number}/{case.port.protocol} of {case.port.owner} is closed at {case.address}"""
    answer, port = machine.answer(case), case.port
    detail(answer["state"])
    assert answer["state"] != "open", (
        f"port {port.number} of {port.owner} has scope {port.scope}, is not open to us here, "
        f"and answers outside at {case.address}"
    )


@pytest.mark.app_kubernetes
@pytest.mark.each(cases=lambda machine: machine.looks("host"))
def test_answers_on_host(machine: Machine, case: Look, detail: Detail) -> None:
    """{case.port.number}/{case.port.protocol} of {case.port.owner} answers at {case.address}"""
    must_speak(case, machine.answer(case), detail)


def knocks(machine: Machine, port: Port, shared: bool) -> list[tuple[str, dict[str, Any]]]:
    """Who knocked at the internal port from a network of its own, and what was answered."""
    seen = machine.seen
    return [
        (container["name"], knock)
        for container in seen["containers"].get("containers", [])
        for knock in container["knocks"]
        if (knock["port"], knock["shared"]) == (port.container_port, shared)
        and machine.instances[knock["service"]] == port.owner
    ]


@pytest.mark.place("network")
@pytest.mark.each(cases=lambda machine: machine.internal)
def test_answers_in_network(machine: Machine, seen: dict[str, Any], case: Port, detail: Detail) -> None:
    """{case.number}/{case.protocol} of {case.owner} answers those that share a network with it"""
    found = knocks(machine, case, shared=True)
    assert found, f"{case.owner} does not run, or shares no network with anybody"
    heard = [(name, knock) for name, knock in found if knock["speaks"]]
    said = ", ".join(sorted({knock["detail"] for _, knock in heard}))
    families = " and ".join(sorted({"IPv6" if ":" in knock["address"] else "IPv4" for _, knock in heard}))
    detail(f"{said}; over {families}, asked from {len({name for name, _ in found})} containers")
    # An instance's name stands for all of its addresses, and who asks takes the first that answers.
    pairs = {(name, knock["service"]) for name, knock in found}
    deaf = sorted(pairs - {(name, knock["service"]) for name, knock in heard})
    why = "; ".join(sorted({knock["detail"] for name, knock in found if (name, knock["service"]) in deaf}))
    assert deaf == [], "\n".join(
        f"port {case.number} of {instance} does not answer {name}: {why}" for name, instance in deaf
    )


def separated(machine: Machine) -> list[Port]:
    """Internal ports that somebody here should not reach: who has no network in common with their owner."""
    return [port for port in machine.internal if knocks(machine, port, shared=False)]


@pytest.mark.place("network")
@pytest.mark.each(cases=separated)
def test_silent_beyond_network(machine: Machine, seen: dict[str, Any], case: Port, detail: Detail) -> None:
    """{case.number}/{case.protocol} of {case.owner} is closed to those that share no network with it"""
    found = knocks(machine, case, shared=False)
    detail(f"asked from {', '.join(sorted({name for name, _ in found}))}")
    unseen = {knock["detail"] for _, knock in found if knock["state"] == "unseen"}
    assert unseen == set(), "; ".join(sorted(unseen))
    reached = [f"{name} reaches {knock['address']}" for name, knock in found if knock["state"] == "open"]
    assert reached == [], "; ".join(reached)


def loopback(address: str) -> bool:
    return address != "*" and ip_address(address).is_loopback


def foreign(each: dict[str, Any]) -> bool:
    """A node that is itself a container has its engine's resolver there; no process of the node owns it."""
    return each["address"] == RESOLVER and each["pid"] == 0


def described(listeners: Iterable[dict[str, Any]], where: str) -> list[str]:
    return [
        f"port {each['port']}/{each['protocol']} on {where}: {each['process'] or 'the kernel'} "
        f"(pid {each['pid']}, {each['unit'] or 'no unit'}) listens on {each['address']}; nobody declared it"
        for each in listeners
    ]


def declared(machine: Machine, protocol: str) -> set[int]:
    """The host's own ports that the firewall is told to open, none that is forwarded to a container."""
    return {
        int(each["port"])
        for each in machine.wanted["firewall_ports"]
        if each.get("protocol", "tcp") == protocol and not each.get("forwarded", False)
    }


def of_node(each: dict[str, Any]) -> bool:
    """MicroK8s' own beside what is let in, Calico's health, which a pod in the node's network tells, and
    MetalLB's speaker.
    """
    if each["process"] == "speaker" and (each["protocol"], each["port"]) in SPEAKER:
        return True
    own = bool(each["unit"].startswith("snap.microk8s.daemon-"))
    if loopback(each["address"]):  # of any number: containerd streams at one that is free
        return own or (each["process"], each["port"]) == ("calico-node", 9099)
    return own and (each["protocol"] == "tcp") and (int(each["port"]) in NODES_OWN)


def allowed(machine: Machine, each: dict[str, Any]) -> bool:
    key = (each["protocol"], each["port"])
    if each["process"] in SYSTEM.get(key, ()):
        return loopback(each["address"]) or each["port"] in DHCP
    if key == ("tcp", int(machine.wanted["firewall_ssh_port"])):
        return bool(each["process"] in ("sshd", "systemd"))
    if each["port"] in declared(machine, each["protocol"]):
        return True
    if machine.clustered:
        return of_node(each)
    return each["protocol"] == "tcp" and any(
        port.number == each["port"]
        and each["process"] == "docker-proxy"
        and (port.scope == "public" or loopback(each["address"]))
        for port in machine.published
    )


@pytest.mark.app_kubernetes
@pytest.mark.each(cases=lambda _: ["tcp", "udp"])
def test_nothing_else_listens_on_host(
    machine: Machine, seen: dict[str, Any], case: str, detail: Detail
) -> None:
    """on the host, nobody else listens on {case}"""
    found = [each for each in seen["listeners"] if each["protocol"] == case and not foreign(each)]
    detail(f"ports {', '.join(str(port) for port in sorted({each['port'] for each in found})) or 'none'}")
    others = [each for each in found if not allowed(machine, each)]
    assert others == [], "\n".join(described(others, "the host"))


def test_published(machine: Machine, seen: dict[str, Any], detail: Detail) -> None:
    """Docker publishes the declared ports, each within its scope, and no others"""
    found = {
        (int(each["HostPort"]), "host" if loopback(each["HostIp"]) else "public")
        for container in seen["containers"]["containers"]
        for each in container["published"]
    }
    detail(", ".join(f"{port} {scope}" for port, scope in sorted(found)))
    wanted = {(port.number, port.scope) for port in machine.published}
    assert found == wanted, "\n".join(
        [
            f"port {port} is published with scope {scope}; nobody declared that"
            for port, scope in found - wanted
        ]
        + [f"port {port} is not published with scope {scope}" for port, scope in wanted - found]
    )


@pytest.mark.place("network")
@pytest.mark.each(cases=lambda machine: list(machine.instances))
def test_nothing_else_listens_in_network(
    machine: Machine, seen: dict[str, Any], case: str, detail: Detail
) -> None:
    """in the application's network, {case} listens on its declared ports only"""
    declared = [
        port for port in [*machine.published, *machine.internal] if port.owner == machine.instances[case]
    ]
    ports = {port.container_port for port in declared}
    looks = [each["listeners"] for each in seen["containers"]["containers"] if each["service"] == case]
    unseen = [look["error"] for look in looks if isinstance(look, dict)]
    assert unseen == [], f"cannot be seen: {'; '.join(unseen)}"
    found = [each for look in looks for each in look if not loopback(each["address"])]
    detail(f"ports {', '.join(str(port) for port in sorted({each['port'] for each in found}))}")
    others = [each for each in found if each["protocol"] != "tcp" or each["port"] not in ports]
    assert others == [], "\n".join(described(others, case))


@pytest.mark.app_kubernetes
@pytest.mark.firewall
@pytest.mark.place("outside")
@pytest.mark.each(cases=lambda machine: machine.addresses)
def test_nothing_else_answers_outside(
    machine: Machine, seen: dict[str, Any], case: str, detail: Detail
) -> None:
    """from outside, no undeclared TCP port of {case} answers"""
    found = machine.open_ports(case)
    detail(f"open of 65535: {', '.join(map(str, found)) or 'none'}")
    others = sorted(set(found) - machine.let_in(case))
    assert others == [], "\n".join(
        f"port {port}/tcp answers at {case}: {machine.who_listens(port)}" for port in others
    )
