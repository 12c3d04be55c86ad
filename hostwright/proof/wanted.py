"""What must hold on each host of an inventory, in the very words of its sources, and what is seen there."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import testinfra  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]
from testinfra.utils.ansible_runner import AnsibleRunner  # type: ignore[import-untyped]

from hostwright import application, environments, paths, secrets
from hostwright.application import Application, Port
from hostwright.proof import knock, observe

ROLES = ("mirror", "base", "firewall", "docker", "app_compose", "microk8s")
OF_ONE_HOST, OF_A_CLUSTER = ("docker", "app_compose"), ("microk8s",)
LOOPBACK = ("127.0.0.1", "::1")
FILES = [
    "/etc/docker/daemon.json",
    "/etc/docker/certs.d/*/ca.crt",
    "/etc/hosts",
    "/etc/pki/trust/anchors/*",
    "/etc/ssl/ca-bundle.pem",
    "/etc/zypp/repos.d/*",
]


@dataclass(frozen=True)
class Look:
    """A declared port, looked at from a place (`outside` or `host`) by an address."""

    port: Port
    place: str
    address: str

    def __str__(self) -> str:
        return f"{self.place}-{self.address}-{self.port.number}-{self.port.protocol}"


class Unreachable(Exception):
    """The host does not let us look at it; the text says why."""


class Machine:
    """One host of an inventory: what Ansible is told of it, what must hold, and what is there."""

    def __init__(self, name: str, inventory: str) -> None:
        self.name = name
        self.inventory = inventory
        self.host: Host = testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)
        self.variables: dict[str, Any] = AnsibleRunner.get_runner(inventory).get_variables(name)

    @property
    def groups(self) -> list[str]:
        return list(self.variables["group_names"])

    @property
    def roles(self) -> list[str]:
        """The roles that are meant for the host: on a cluster's, Kubernetes stands for Docker."""
        others = OF_ONE_HOST if "cluster" in self.groups else OF_A_CLUSTER
        return [role for role in ROLES if role not in others]

    @functools.cached_property
    def declared(self) -> Application | None:
        """What is meant to run here, if anything is."""
        environment = self.variables.get("hostwright_environment", {})
        name = self.variables.get("app_compose_application") or environment.get("application")
        components = self.variables.get("app_compose_components", environment.get("components", ()))
        known = name and "app_compose" in self.roles
        return application.load(name, components=components) if known else None

    @functools.cached_property
    def application(self) -> Application | None:
        """The same without the components whose image cannot be had."""
        exclusive = self.variables.get("app_compose_exclusive", self.variables.get("mirror_exclusive", False))
        if not (self.declared and exclusive):
            return self.declared
        return self.declared.held(self.variables.get("app_compose_images", {}))

    @property
    def absent(self) -> list[str]:
        """Components that are declared, and not deployed."""
        held = self.application.components if self.application else ()
        return [name for name in (self.declared.components if self.declared else ()) if name not in held]

    @property
    def secrets(self) -> dict[str, str]:
        """The environment's secrets by name. Raises HostwrightError."""
        return _secrets(self.variables["hostwright_environment"]["name"])

    @property
    def instances(self) -> dict[str, str]:
        """What runs all the time, by container (service of the Compose project): the part it is one of."""
        if not self.application:
            return {}
        asked = self.variables.get("app_compose_replicas", {})
        found = {name: name for name in ["gateway", *self.application.stores, *self.application.components]}
        for name, service in self.application.services.items():
            for number in range(1, asked.get(name, service.replicas) + 1):
                found[name if number == 1 else f"{name}-{number}"] = name
        return found

    @property
    def jobs(self) -> list[str]:
        """What has run to its end before: migrations."""
        services = self.application.services.items() if self.application else ()
        return [f"{name}-migrate" for name, service in services if service.file.migrate]

    @property
    def published(self) -> list[Port]:
        """The declared ports of the host itself: of public and of host scope."""
        return [port for port in self._ports if port.scope != "internal"]

    @property
    def internal(self) -> list[Port]:
        """The declared ports of the application's own network."""
        return [port for port in self._ports if port.scope == "internal"]

    @property
    def _ports(self) -> list[Port]:
        return self.application.ports() if self.application else []

    @functools.cached_property
    def wanted(self) -> Wanted:
        """The variables of the roles as they are for this host."""
        system = self.seen["os"]
        facts = {
            "os_family": "Suse" if "suse" in system.get("ID_LIKE", system["ID"]) else system["ID"],
            "virtualization_role": "guest" if system["container"] else "NA",
            "virtualization_type": system["container"] or "NA",
            "selinux": {
                "status": "disabled" if self.seen["selinux"] == "disabled" else "enabled",
                "mode": self.seen["selinux"],
            },
        }
        hosts = AnsibleRunner.get_runner(self.inventory).inventory["_meta"]["hostvars"]
        return Wanted(self.variables | {"hostvars": hosts}, self.roles, facts)

    @property
    def seen(self) -> dict[str, Any]:
        """What is on the host, in one round trip, and only one also if it fails. Raises Unreachable."""
        if isinstance(self._look, str):
            raise Unreachable(self._look)
        return self._look

    @functools.cached_property
    def _look(self) -> dict[str, Any] | str:
        logins = [user["name"] for user in self.variables.get("base_users", [])]
        request = {
            "files": FILES,
            "users": [
                *logins,
                *self.variables.get("docker_users", []),
                self.variables.get("ansible_user", "root"),
            ],
            "engine": "docker" in self.roles,
            "cluster": "microk8s" in self.roles,
            "knock": [self._target(look) for look in self.looks("host")],
            "inside": [
                {"service": instance, "port": port.container_port, "protocol": port.protocol}
                for port in self.internal
                for instance, part in self.instances.items()
                if part == port.owner
            ],
        }
        try:
            done = self.host.run("sudo -n python3 -c %s", observe.payload(request))
        except RuntimeError as error:  # testinfra's, when ssh itself fails; its text is the whole command
            return f"{self.name}: {str(getattr(error.args[0], 'stderr', error)).strip()}"
        if done.rc != 0:
            return f"{self.name}: {done.stderr.strip()[-500:] or f'exit status {done.rc}'}"
        return observe.unpack(done.stdout)

    def inside(self, container: str, *command: str) -> str:
        """Output of a command in a container, named as in `instances`. Raises RuntimeError if it fails."""
        found = self.seen["containers"]["containers"]
        name = next((each["name"] for each in found if each["service"] == container), container)
        done = self.host.run("sudo -n docker exec %s" + " %s" * len(command), name, *command)
        if done.rc != 0:
            raise RuntimeError(f"{command[0]} in {name}: {done.stderr.strip()[-300:]}")
        return str(done.stdout).strip()

    def sql(self, store: str, database: str, query: str) -> str:
        """What a store of PostgreSQL answers its superuser: a line a row, columns parted by `|`."""
        psql = ("psql", "--username=postgres", "--host=/run/postgresql", "--no-psqlrc", "-tA")
        return self.inside(store, *psql, f"--dbname={database}", f"--command={query}")

    @property
    def addresses(self) -> list[str]:
        """The addresses by which the outside reaches the host, IPv4 first."""
        record = self.variables.get("hostwright_host", {})
        named = [record.get("address"), record.get("address6")]
        found = {address for address in [*named, *self.seen["addresses"]] if address}
        return sorted(found, key=lambda address: (":" in address, address))

    def looks(self, place: str) -> list[Look]:
        """Every published port at every address of the place."""
        loopback = LOOPBACK if self.ipv6 else LOOPBACK[:1]
        addresses = loopback if place == "host" else self.addresses
        return [Look(port, place, address) for port in self.published for address in addresses]

    @property
    def ipv6(self) -> bool:
        """Whether the application is published over IPv6 too."""
        return bool(self.variables.get("app_compose_ipv6", True))

    def admits(self, look: Look) -> bool:
        """Whether we, from here, are among those who may reach the port at the address."""
        address = ip_address(look.address)
        if look.port.scope != "public" or (address.version == 6 and not self.ipv6):
            return False
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((look.address, look.port.number))  # sends nothing, only chooses the way
            mine = ip_address(probe.getsockname()[0])
        return any(mine in ip_network(source) for source in look.port.sources)

    def answer(self, look: Look) -> dict[str, Any]:
        """What was answered there, see knock.knock."""
        key = (look.address, look.port.number)
        return self._answers_on_host[key] if look.place == "host" else self._answers_outside[key]

    @functools.cached_property
    def _answers_on_host(self) -> dict[tuple[str, int], dict[str, Any]]:
        keys = [(look.address, look.port.number) for look in self.looks("host")]
        return dict(zip(keys, self.seen["host"], strict=True))

    @functools.cached_property
    def _answers_outside(self) -> dict[tuple[str, int], dict[str, Any]]:
        looks = self.looks("outside")
        keys = [(look.address, look.port.number) for look in looks]
        return dict(zip(keys, knock.knock_all([self._target(look) for look in looks]), strict=True))

    def _target(self, look: Look) -> dict[str, Any]:
        """How to knock there. A certificate must name the address, signed by the environment's authority."""
        target = {"address": look.address, "port": look.port.number, "protocol": look.port.protocol}
        if look.port.protocol == "https":
            target |= {"ca": self.secrets["ca_certificate"], "name": look.address}
        return target

    @functools.cached_property
    def scans(self) -> dict[str, subprocess.Popen[str]]:
        """A look from here for every open TCP port at each address: begun when first asked for."""
        return {
            address: _start({"scan": {"address": address, "canary": self._canary(address)}})
            for address in self.addresses
        }

    def _canary(self, address: str) -> int:
        """A port known to be open: a declared one, as sshd remembers those who knock and do not log in."""
        for look in self.looks("outside"):
            if look.address == address and self.answer(look)["state"] == "open":
                return look.port.number
        return int(self.variables.get("ansible_port", 22))

    def who_listens(self, port: int, protocol: str = "tcp") -> str:
        """Who has the port on the host, in words: process, its unit or container, and where it listens."""
        found = [
            f"{each['process'] or 'the kernel'} (pid {each['pid']}, {each['unit'] or 'no unit'}) "
            f"listens on {each['address']}"
            for each in self.seen["listeners"]
            if (each["protocol"], each["port"]) == (protocol, port)
        ]
        containers = (self.seen["containers"] or {}).get("containers", [])
        found += [
            f"Docker publishes it for container {each['name']}"
            for each in containers
            if any(int(binding["HostPort"]) == port for binding in each["published"])
        ]
        return "; ".join(found) or "no process of the host listens: a rule of its firewall passes it on"

    def open_ports(self, address: str) -> list[int]:
        """What the scan from outside found open at the address; waits for it. Raises OSError."""
        out, err = self.scans[address].communicate(timeout=300)
        if self.scans[address].returncode != 0:
            raise OSError(f"cannot scan {address}: {(err.strip().splitlines() or ['?'])[-1]}")
        found: list[int] = json.loads(out)
        return found


@functools.cache
def _secrets(environment: str) -> dict[str, str]:
    return secrets.read(environments.load(environment))


class Wanted(Mapping[str, Any]):
    """Variables of the roles for one host: defaults, then the inventory's, then the roles' own.

    Their templates are filled in by Ansible itself when they are asked for.
    """

    def __init__(self, variables: Mapping[str, Any], roles: list[str], facts: Mapping[str, Any]) -> None:
        from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]
        from ansible.plugins.loader import init_plugin_loader  # type: ignore[import-untyped]
        from ansible.template import Templar  # type: ignore[import-untyped]

        init_plugin_loader()
        loader = DataLoader()
        families = ("main.yml", f"{facts['os_family']}.yml")

        def read(*files: str) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for role in roles:
                for file in files:
                    path = paths.toolkit() / "roles" / role / file
                    if path.is_file():
                        found |= loader.load_from_file(str(path), trusted_as_template=True) or {}
            return found

        self._raw = (
            read("defaults/main.yml")
            | {name: _trust(value) for name, value in variables.items()}
            | read(*(f"vars/{family}" for family in families))
            | {"ansible_facts": dict(facts)}
        )
        self._templar = Templar(loader=loader, variables=self._raw)

    def __getitem__(self, name: str) -> Any:
        return self._templar.template(self._raw[name])

    def __iter__(self) -> Any:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


@functools.lru_cache
def machines(inventory: str, pattern: str = "all") -> list[Machine]:
    """The hosts of an inventory that match, in order of their names; looked at once a process."""
    return [Machine(name, inventory) for name in AnsibleRunner.get_runner(inventory).get_hosts(pattern)]


def _start(request: dict[str, Any]) -> subprocess.Popen[str]:
    """Knock in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(Path(knock.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101  (a pipe was asked for)
    process.stdin.write(json.dumps(request))
    process.stdin.close()
    process.stdin = None
    return process


def _trust(value: Any) -> Any:
    """Templates of the inventory are filled in, as Ansible would."""
    from ansible.template import trust_as_template

    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: _trust(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_trust(each) for each in value]
    return value
