"""What must hold on each host of an inventory, in the very words of its sources, and what is seen there."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import testinfra  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]
from testinfra.utils.ansible_runner import AnsibleRunner  # type: ignore[import-untyped]

from hostwright import application, environments, paths, secrets
from hostwright.application import Application, Component, Edge, Port
from hostwright.application.gateway import INGRESS
from hostwright.proof import knock, namespace, observe
from hostwright.render import Cluster, Environment
from hostwright.render.kubernetes import instances, uid
from hostwright.render.manifests import Place
from hostwright.render.network import MIGRATE, edges, is_address, of_ingress, public_nodes

ROLES = ("mirror", "base", "firewall", "docker", "app_compose", "microk8s", "app_kubernetes")
OF_ONE_HOST, OF_A_CLUSTER = ("docker", "app_compose"), ("microk8s", "app_kubernetes")
GATEWAYS = "X-Request-ID"  # a header of all that the gateway answers, and of nothing that a controller does
# What nobody may do in the application's namespace but its operators: verb, API group, resource.
FORBIDDEN = (
    ("get", "", "secrets"), ("list", "", "secrets"), ("get", "", "configmaps"), ("list", "", "pods"),
    ("create", "", "pods"), ("create", "", "pods/exec"), ("create", "", "serviceaccounts/token"),
    ("patch", "apps", "deployments"), ("delete", "networking.k8s.io", "networkpolicies"), ("*", "*", "*"),
)  # fmt: skip
OPERATOR = "an operator"
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
        others = OF_ONE_HOST if self.clustered else OF_A_CLUSTER
        return [role for role in ROLES if role not in others]

    @property
    def clustered(self) -> bool:
        return "cluster" in self.groups

    @property
    def asked(self) -> bool:
        """Whether this host answers for the application: of a cluster the inventory's first server."""
        servers = AnsibleRunner.get_runner(self.inventory).inventory.get("servers", {}).get("hosts", [])
        return not self.clustered or servers[:1] == [self.name]

    @functools.cached_property
    def declared(self) -> Application | None:
        """What is meant to run here, if anything is."""
        environment = self.variables.get("hostwright_environment", {})
        name = self._told("application", environment.get("application"))
        components = self._told("components", environment.get("components", ()))
        return application.load(name, components=components) if name else None

    def _told(self, name: str, otherwise: Any) -> Any:
        """A variable of the role that the application is deployed by, as the inventory has it."""
        return self.variables.get(
            f"{'app_kubernetes' if self.clustered else 'app_compose'}_{name}", otherwise
        )

    @functools.cached_property
    def application(self) -> Application | None:
        """The same without the components whose image cannot be had; None where another host answers."""
        if not self.asked:
            return None
        exclusive = self._told("exclusive", self.variables.get("mirror_exclusive", False))
        if not (self.declared and exclusive):
            return self.declared
        return self.declared.held(self._told("images", self.variables.get("app_compose_images", {})))

    @property
    def absent(self) -> list[str]:
        """Components that are declared, and not deployed."""
        if not (self.declared and self.application):
            return []
        return [name for name in self.declared.components if name not in self.application.components]

    @property
    def secrets(self) -> dict[str, str]:
        """The environment's secrets by name. Raises HostwrightError."""
        return _secrets(self.variables["hostwright_environment"]["name"])

    @property
    def instances(self) -> dict[str, str]:
        """What runs all the time, by container (service of the Compose project): the part it is one of.

        On a cluster each part that has some stands for all of its pods.
        """
        if not self.application:
            return {}
        asked = {} if self.clustered else self.variables.get("app_compose_replicas", {})
        components = [name for name in self.application.components if self.home(name) == name]
        found = {name: name for name in ["gateway", *self.application.stores, *components]}
        for name, service in self.application.services.items():
            most = 1 if self.clustered else asked.get(name, service.replicas)
            for number in range(1, most + 1):
                found[name if number == 1 else f"{name}-{number}"] = name
        return found

    @property
    def jobs(self) -> list[str]:
        """What has run to its end before: migrations."""
        services = self.application.services.items() if self.application else ()
        return [f"{name}{MIGRATE}" for name, service in services if service.file.migrate]

    def home(self, part: str) -> str:
        """The part whose pods it is in, on a cluster."""
        component = self.application.components.get(part) if self.application else None
        return component.home if component and self.clustered else part

    @property
    def silent(self) -> dict[str, Component]:
        """What watches on a cluster, whose images have nothing in them to ask with."""
        return dict(self.application.components) if self.application and self.clustered else {}

    @property
    def rolled(self) -> list[str]:
        """Parts of a cluster that are made anew one by one, as they keep nothing and any node will do."""
        stay = [name for name, each in self.silent.items() if each.file.data or each.seen]
        stores = self.application.stores if self.application else {}
        return [part for part in self.instances if part not in (*stores, *stay)]

    @property
    def keepers(self) -> list[str]:
        """Parts of a cluster that have data."""
        stores = self.application.stores if self.application else {}
        return [*stores, *(name for name, each in self.silent.items() if each.file.data and not each.seen)]

    def uid(self, part: str) -> int:
        """Whom the part of the application runs as."""
        assert self.application  # noqa: S101  (it has parts)
        if part == "gateway":
            return self.application.gateway.uid
        if part in self.application.stores:
            return self.application.stores[part].traits.uid
        return uid(self.silent[part]) if part in self.silent else self.application.parts[part].file.uid

    def images(self, part: str) -> list[str]:
        """The images of a part's containers, on a cluster: its own, and of what is beside it."""
        return [
            self.image(part),
            *(self.image(name) for name in self.silent if self.home(name) == part != name),
        ]

    def image(self, part: str) -> str:
        """The image that is asked for: the environment's, else the application's."""
        assert self.application  # noqa: S101  (it has parts)
        if part == "gateway":
            name = self.application.gateway.image_name
        elif part in self.application.stores:
            name = self.application.stores[part].image_name
        else:
            name = self.application.parts[part].image
        images = self.wanted["app_kubernetes_images" if self.clustered else "app_compose_images"]
        return str(images.get(name) or self.application.images()[name])

    @property
    def published(self) -> list[Port]:
        """The declared ports of the host itself: of public and of host scope. Each node has a cluster's."""
        here = self.declared if self.clustered else self.application
        return [port for port in here.ports() if port.scope != "internal"] if here else []

    @property
    def internal(self) -> list[Port]:
        """The declared ports of the application's own network."""
        ports = self.application.ports() if self.application else []
        return [port for port in ports if port.scope == "internal"]

    @property
    def doors(self) -> list[Port]:
        """On a cluster the ports of Services, at which pods find each other; 80 is the Ingress' way in."""
        ports = self.application.ports() if self.application and self.clustered else []
        found = {
            (port.owner, port.number): port
            for port in ports
            if port.scope != "public" or (of_ingress(port) and port.number == INGRESS[0])
        }
        return list(found.values())

    def scale(self, part: str) -> tuple[int, int]:
        """How many of a part there are on a cluster, at least and at most."""
        if not self.application or part in (*self.application.stores, *self.application.components):
            return 1, 1
        return instances(self._placed(self.application), part)

    def places(self, part: str) -> Sequence[str]:
        """Names of the nodes that a part is to be on, each of them; none where it may be on any."""
        if not self.application or part != "gateway":
            return ()
        return public_nodes(self._placed(self.application), part)

    def _placed(self, application: Application) -> Place:
        public = tuple(self.wanted["app_kubernetes_public_nodes"])
        cluster = Cluster(overlay=self.wanted["app_kubernetes_overlay"], public_nodes=public)
        replicas = {name: int(number) for name, number in self.wanted["app_kubernetes_replicas"].items()}
        return Place(application, Environment(cluster=cluster, replicas=replicas))

    @functools.cached_property
    def edges(self) -> list[Edge]:
        """Whose pods have to reach whose on a cluster, all the time."""
        if not self.application:
            return []
        place = Place(self.application, Environment(settings=self.wanted["app_kubernetes_settings"]))
        return [edge for edge in edges(place) if edge.source not in self.jobs]

    def callers(self, door: Port) -> set[str]:
        """Who has to reach it, of those that can be asked."""
        return self._callers(door) - {*self.silent}

    def _callers(self, door: Port) -> set[str]:
        key = (self.home(door.owner), door.container_port)
        return {edge.source for edge in self.edges if (edge.target, edge.port) == key}

    @property
    def overheard(self) -> list[Port]:
        """Doors that only those have to reach who cannot be asked: an operator asks in their place."""
        return [door for door in self.doors if self._callers(door) and not self.callers(door)]

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
        engine = "docker" in self.roles
        request = {
            "files": FILES,
            "users": [
                *logins,
                *self.variables.get("docker_users", []),
                self.variables.get("ansible_user", "root"),
            ],
            "engine": engine,
            "cluster": "microk8s" in self.roles,
            "knock": [self._target(look) for look in self.looks("host")] if engine else [],
            "inside": [
                {"service": instance, "port": port.container_port, "protocol": port.protocol}
                for port in self.internal
                for instance, part in self.instances.items()
                if part == port.owner
            ],
        }
        return self._sent(observe.payload(request))

    def _sent(self, program: str) -> dict[str, Any] | str:
        """What a program of ours sees there as root, or why there is no answer."""
        try:
            done = self.host.run("sudo -n python3 -c %s", program)
        except RuntimeError as error:  # testinfra's, when ssh itself fails; its text is the whole command
            return f"{self.name}: {str(getattr(error.args[0], 'stderr', error)).strip()}"
        if done.rc != 0:
            return f"{self.name}: {done.stderr.strip()[-500:] or f'exit status {done.rc}'}"
        return observe.unpack(done.stdout)

    @property
    def namespace(self) -> str:
        """Of the application, on a cluster."""
        return str(self.wanted["app_kubernetes_namespace"])

    @functools.cached_property
    def deployed(self) -> dict[str, Any]:
        """What the application is on its cluster, see namespace.look: a look of its own, as it is long."""
        services = self.application.services.items() if self.application else ()
        python = [name for name, service in services if service.file.build == "python"]
        found = self._sent(
            observe.payload(
                {
                    "kubectl": self.wanted["app_kubernetes_kubectl"],
                    "namespace": self.namespace,
                    "directory": self.wanted["app_kubernetes_directory"],
                    "doors": [_door(port) | {"callers": sorted(self.callers(port))} for port in self.doors],
                    "python": python,
                    # Who has nobody to reach may not ask for names either.
                    "resolving": sorted({edge.source for edge in self.edges} & {*python}),
                    "silent": [*self.silent],
                    "forward": [_door(port) for port in self.forwarded],
                    "reviews": [
                        account | {"resourceAttributes": _attributes(self.namespace, *what)}
                        for account in accounts(self.namespace).values()
                        for what in FORBIDDEN
                    ],
                },
                "namespace",
            )
        )
        return {part: {"error": found} for part in namespace.PARTS} if isinstance(found, str) else found

    @property
    def forwarded(self) -> list[Port]:
        """On a cluster the ports that an operator asks at, each once."""
        ports = [*(look.port for look in self.looks("host")), *self.overheard]
        return list({(port.owner, port.number): port for port in ports}.values())

    def heard(self, port: Port) -> dict[str, Any]:
        """What an operator was answered there. Raises Unreachable."""
        answers = self.deployed["forwarded"]
        if isinstance(answers, dict):
            raise Unreachable(answers["error"])
        keys = [(each.owner, each.number) for each in self.forwarded]
        found: dict[str, Any] = dict(zip(keys, answers, strict=True))[port.owner, port.number]
        return found

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Of the application's namespace, as the API has them; none where they cannot be seen."""
        found = self.deployed["objects"]
        return [each for each in found if each["kind"] == kind] if isinstance(found, list) else []

    def inside(self, container: str, *command: str) -> str:
        """Output of a command in a container, named as in `instances`. Raises RuntimeError if it fails."""
        if self.clustered:
            kubectl = [*self.wanted["app_kubernetes_kubectl"], f"--namespace={self.namespace}"]
            name = f"service/{container}"
            into = [*kubectl, "exec", name, f"--container={container}", "--"]
        else:
            found = self.seen["containers"]["containers"]
            name = next((each["name"] for each in found if each["service"] == container), container)
            into = ["docker", "exec", name]
        words = [*into, *command]

        def run() -> Any:
            return self.host.run("sudo -n" + " %s" * len(words), *words)

        done = namespace.patiently(run, lambda it: (it.rc, it.stderr)) if self.clustered else run()
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
        """Every published port at every address of the place.

        On a cluster loopback is where `kubectl port-forward` brings what has scope host.
        """
        ports = self.published
        if place == "outside":
            return [Look(port, place, address) for port in ports for address in self._reached(port)]
        if self.clustered:
            here = {port.owner for port in self.application.ports()} if self.application else set()
            ports = [port for port in ports if port.scope == "host" and port.owner in here]
        loopback = LOOPBACK if not self.clustered and self.ipv6 else LOOPBACK[:1]
        return [Look(port, place, address) for port in ports for address in loopback]

    def _reached(self, port: Port) -> list[str]:
        """The addresses by which the outside would reach a port: a cluster's may have a load balancer's."""
        if not self.clustered or port.scope == "host" or of_ingress(port):
            return self.addresses
        return self.balanced(port) if self.application else []

    def balanced(self, port: Port) -> list[str]:
        """The addresses of a port's load balancer."""
        return [
            each["ip"]
            for service in self.objects("Service")
            if service["metadata"]["name"] == f"{port.owner}-{port.number}"
            for each in service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
            if "ip" in each
        ]

    def known_as(self, address: str) -> str:
        """Under which name the application is asked for at an address.

        On a cluster by the first that is one: by an address an Ingress controller shows its own certificate.
        On a host by the address, or so too where the certificate, an operator's, is not for addresses.
        """
        if self.clustered:
            names = self.wanted["app_kubernetes_names"]
        elif self._certified(address):
            return address
        else:
            names = self.variables.get("app_compose_names", [])
        return next((name for name in names if not is_address(name) and "*" not in name), address)

    def _certified(self, address: str) -> bool:
        """Whether the gateway's certificate, if it has one, is for the address."""
        if not (self.application and self.application.https):
            return True
        return str(ip_address(address)) in secrets.names_of(self.secrets["gateway_certificate"])

    @property
    def ipv6(self) -> bool:
        """Whether the application is published over IPv6 too: on a cluster, whether its pods have it."""
        if self.clustered:
            environment = self.variables.get("hostwright_environment", {})
            pods = self.variables.get("app_kubernetes_pods") or [environment.get("pod_network") or ""]
            return any(":" in each for each in pods)
        return bool(self.variables.get("app_compose_ipv6", True))

    def admits(self, look: Look) -> bool:
        """Whether we, from here, are among those who may reach the port at the address."""
        if look.port.scope != "public" or (":" in look.address and not self.ipv6):
            return False
        if look.port.number not in self.let_in(look.address, forwarded=True):
            return False
        # A cluster's policies and balancers look at the application's sources too, and an Ingress does not.
        beyond = self.clustered and not of_ingress(look.port)
        return not beyond or among(look.port.sources, look.address, look.port.number)

    def let_in(self, address: str, forwarded: bool = False) -> set[int]:
        """The TCP ports that the firewall is told to open to us, by the way we come to the address.

        With `forwarded` those alone that lead to a container.
        """
        everyone = self.wanted["__firewall_everyone"]
        return {
            int(each["port"])
            for each in self.wanted["__firewall_all"]
            if each.get("protocol", "tcp") == "tcp"
            and (each.get("forwarded", False) or not forwarded)
            and among(each.get("sources", everyone), address, int(each["port"]))
        }

    def answer(self, look: Look) -> dict[str, Any]:
        """What was answered there, see knock.knock."""
        key = (look.address, look.port.number)
        return self._answers_on_host[key] if look.place == "host" else self._answers_outside[key]

    @functools.cached_property
    def _answers_on_host(self) -> dict[tuple[str, int], dict[str, Any]]:
        keys = [(look.address, look.port.number) for look in self.looks("host")]
        if self.clustered:
            answers: Any = [self.heard(look.port) for look in self.looks("host")]
        else:
            answers = self.seen["host"]
        if isinstance(answers, dict):
            raise Unreachable(answers["error"])
        return dict(zip(keys, answers, strict=True))

    @functools.cached_property
    def _answers_outside(self) -> dict[tuple[str, int], dict[str, Any]]:
        looks = self.looks("outside")
        keys = [(look.address, look.port.number) for look in looks]
        return dict(zip(keys, knock.knock_all([self._target(look) for look in looks]), strict=True))

    def _target(self, look: Look) -> dict[str, Any]:
        """How to knock there. A certificate must be for the name, and of somebody whom its clients trust."""
        target = {"address": look.address, "port": look.port.number, "protocol": look.port.protocol}
        name = self.known_as(look.address)
        if look.port.protocol == "https":
            target |= {"ca": secrets.trusted(self.secrets), "name": name}
        if self.clustered and of_ingress(look.port):
            target |= {"host": bracketed(name), "header": GATEWAYS}
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


def bracketed(address: str) -> str:
    """As in a URL."""
    return f"[{address}]" if ":" in address else address


def among(sources: Sequence[str], address: str, port: int) -> bool:
    """Whether we, from here, come to the address from one of these networks."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, port))  # sends nothing, only chooses the way
        mine = ip_address(probe.getsockname()[0])
    return any(mine in ip_network(source) for source in sources)


def module_utils(name: str) -> Any:
    """What the roles' modules decide by, without the collection that it is a part of."""
    spec = spec_from_file_location(name, paths.toolkit() / f"plugins/module_utils/{name}.py")
    assert spec  # noqa: S101  (the file is ours)
    assert spec.loader  # noqa: S101
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def accounts(namespace: str) -> dict[str, dict[str, Any]]:
    """Who is asked about, as the API knows them; of these an operator alone may do anything."""
    every = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return {
        "somebody unknown": {"user": "system:anonymous", "groups": ["system:unauthenticated"]},
        "the default ServiceAccount": {"user": f"system:serviceaccount:{namespace}:default", "groups": every},
        OPERATOR: {"user": "operator", "groups": ["system:masters"]},
    }


def _attributes(namespace: str, verb: str, group: str, what: str) -> dict[str, str]:
    """Of a SubjectAccessReview."""
    resource, _, subresource = what.partition("/")
    found = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
    return found | ({"subresource": subresource} if subresource else {})


def _door(port: Port) -> dict[str, Any]:
    return {"owner": port.owner, "port": port.number, "protocol": port.protocol}


@functools.cache
def _secrets(environment: str) -> dict[str, str]:
    return secrets.read(environments.load(environment))


class Wanted(Mapping[str, Any]):
    """Variables of the roles for one host: defaults, then the inventory's, then the roles' own.

    Their templates are filled in by Ansible itself when they are first asked for.
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
        self._filled: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._filled:
            self._filled[name] = self._templar.template(self._raw[name])
        return self._filled[name]

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
