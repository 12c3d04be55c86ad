"""The settings of one environment, typed and checked before anything is touched."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from hostwright import paths
from hostwright.environments import DRIVERS, SECTIONS, TOPOLOGIES, is_name
from hostwright.errors import BadInput

POD_BLOCK = 26  # Calico gives each host pods' addresses by such blocks
# What the operating system, the engine and an application need at least, in MiB and GiB. The parts of
# Kubernetes that run on a server only take a GiB.
LEAST = {
    "single": {"memory": 1024, "disk": 8},
    "servers": {"memory": 2048, "disk": 12},
    "workers": {"memory": 1024, "disk": 12},
}


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(
            f"unfit name {text!r}: lower-case letters, digits and hyphens, 2 to 63 of them, a letter first"
        )
    return text


Name = Annotated[str, AfterValidator(_name)]
Components = Annotated[list[Name], BeforeValidator(lambda given: ["all"] if given == "all" else given)]
User = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]


class Section(BaseModel):
    """A part of the settings: immutable, camel-case keys in the file, and no unknown ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Ssh(Section):
    """Who logs in, and with which key."""

    user: User = "opensuse"
    private_key: Path = Path()
    public_key: str = ""


class Size(Section):
    """Size of one host: memory in MiB, disk and data volume in GiB."""

    memory: int = Field(default=2048, ge=1)
    cpus: int = Field(default=2, ge=1)
    disk: int = Field(default=12, ge=1)
    data: int = Field(default=8, ge=1)


class Sizes(Section):
    """What hosts of a group have other than the common size."""

    servers: Size = Size()
    workers: Size = Size()


class Cluster(Section):
    """How many hosts run Kubernetes itself and how many only what is deployed to it; their inner networks."""

    servers: int = 3
    workers: int = Field(default=0, ge=0)
    sizes: Sizes = Sizes()
    # As MicroK8s has them.
    pod_network: IPv4Network = IPv4Network("10.1.0.0/16")
    service_network: IPv4Network = IPv4Network("10.152.183.0/24")

    @field_validator("service_network")
    @classmethod
    def _range(cls, network: IPv4Network) -> IPv4Network:
        # The API server's own limit, and the DNS service's place: the tenth address.
        if not 12 <= network.prefixlen <= 28:
            raise ValueError(f"{network} must be a network from /12 to /28")
        return network


class Network(Section):
    """Where hosts live. `nat`: a network of our own. `bridge`: an existing bridge of the hypervisor;
    with a gateway its hosts have fixed addresses, without one a DHCP server must reserve them."""

    mode: Literal["nat", "bridge"] = "nat"
    bridge: str = ""
    cidr: IPv4Network = IPv4Network("10.93.0.0/24")
    cidr6: IPv6Network | None = None
    gateway: IPv4Address | None = None
    dns: list[IPvAnyAddress] = Field(default_factory=list)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.mode == "bridge" and not self.bridge:
            raise ValueError("mode bridge needs the name of the bridge")
        if self.cidr.prefixlen > 28:
            raise ValueError(
                f"{self.cidr} is too small: hosts begin at the eleventh address, use /28 or larger"
            )
        return self


def digest(text: str) -> str:
    """The SHA-256 digest of an image in small letters. Raises ValueError for what is none."""
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise ValueError("must be the image's SHA-256 digest, 64 hexadecimal digits")
    return text.lower()


def _listed(given: object) -> object:
    return [given] if isinstance(given, str) else given


class Libvirt(Section):
    """The hypervisor or hypervisors, and the image hosts start from."""

    uris: Annotated[list[str], BeforeValidator(_listed)] = Field(
        default=["qemu:///system"], min_length=1, alias="uri"
    )
    image: str = Field(min_length=1)
    sha256: str
    type: Literal["auto", "kvm", "qemu"] = "auto"
    pool: str = ""

    @field_validator("uris")
    @classmethod
    def _different(cls, uris: list[str]) -> list[str]:
        if twice := duplicates([machine(uri) for uri in uris]):
            raise ValueError(f"the hypervisor {twice[0] or 'of this machine'} is there twice")
        return uris

    @field_validator("sha256")
    @classmethod
    def _digest(cls, text: str) -> str:
        return digest(text)


class Container(Section):
    """The image of a node container: systemd as its first process."""

    image: str = Field(min_length=1)


class StaticHost(Section):
    """A machine that exists already."""

    name: Name
    address: IPvAnyAddress
    address6: IPv6Address | None = None
    port: int = Field(default=22, ge=1, le=65535)
    user: User | None = None
    group: Literal["servers", "workers"] | None = None


class Static(Section):
    """The machines of an environment that builds none."""

    hosts: list[StaticHost] = Field(min_length=1)


class Settings(Section):
    """Everything infra/ knows of one environment. The sections of driver and topology are always there."""

    environment: Name
    application: str = "warehouse"
    components: Components = Field(default_factory=list)
    topology: str = "single"
    driver: str
    keep_data: bool = True
    cluster: Cluster | None = None
    ssh: Ssh = Ssh()
    hosts: Size = Size()
    network: Network = Network()
    libvirt: Libvirt | None = None
    container: Container | None = None
    static: Static | None = None

    @property
    def mark(self) -> str:
        """What everything we make for this environment is known by."""
        return f"hostwright:{self.environment}"

    @property
    def counts(self) -> dict[str, int]:
        """How many hosts there are of each group that hosts are numbered in."""
        if self.cluster is None:
            return {"single": 1}
        if self.static is None:
            return {"servers": self.cluster.servers, "workers": self.cluster.workers}
        return {
            group: sum(host.group == group for host in self.static.hosts) for group in ("servers", "workers")
        }

    def size(self, group: str) -> Size:
        """The size of a group's hosts: the common one, with what the group has of its own."""
        own = getattr(self.cluster.sizes, group) if self.cluster else Size()
        return self.hosts.model_copy(update=own.model_dump(exclude_unset=True))


def load(environment: str) -> Settings:
    """The settings of the stack in whose program this is called. Raises BadInput."""
    import pulumi  # not above: who only checks settings does not wait for it

    config = pulumi.Config("hostwright")
    values: dict[str, Any] = {name: config.get(name) for name in ("application", "topology", "driver")}
    values["keepData"] = config.get_bool("keepData")
    components = config.get("components") or ""
    values["components"] = json.loads(components) if components.startswith("[") else components
    values |= {name: config.get_object(name) for name in SECTIONS}
    return parse(environment, values)


def parse(environment: str, values: Mapping[str, Any], folder: Path | None = None) -> Settings:
    """Settings from plain values keyed as in Pulumi.ENV.yaml, without the prefix; other keys are not ours.

    Relative paths are of `folder`, where that file is (default: the current one, as when Pulumi runs).

    Raises BadInput that names the file and the key.
    """
    where = f"infra/Pulumi.{environment}.yaml"
    given = {
        name: values[name]
        for name in ("application", "components", "topology", "driver", "keepData", *SECTIONS)
        if values.get(name) not in (None, {}, "")
    }
    _choice(where, "driver", given.get("driver"), DRIVERS)
    _choice(where, "topology", given.get("topology", "single"), TOPOLOGIES)
    driver = given["driver"]
    if given.get("topology") == "cluster":
        given.setdefault("cluster", {})
    elif "cluster" in given:
        raise BadInput(
            "the settings describe a cluster, the topology is single",
            where=f"{where}: hostwright:cluster",
            fix="hostwright:topology: cluster   (or take the section out)",
        )
    given = {name: value for name, value in given.items() if name not in DRIVERS} | {
        driver: given.get(driver, {})
    }
    try:
        settings = Settings.model_validate({"environment": environment, **given})
    except ValidationError as error:
        raise _bad_input(where, error) from None
    folder = folder or Path.cwd()
    settings = settings.model_copy(
        update={"ssh": _keys(where, settings, folder), "libvirt": _image(settings.libvirt, folder)}
    )
    if settings.cluster:
        _cluster(where, settings, settings.cluster)
    if driver != "static":
        _sizes(where, settings)
        _network(where, settings)
    return settings


def check_apart(settings: Settings, inner: Mapping[IPv4Network | IPv6Network, str]) -> None:
    """Raise BadInput when hosts have addresses of a network that is inside of them.

    `inner`: such networks, and by which setting another takes the place of each.
    """
    where = f"infra/Pulumi.{settings.environment}.yaml: hostwright:"
    for network, setting in inner.items():
        for number, host in enumerate(settings.static.hosts if settings.static else ()):
            for key in ("address", "address6"):
                address = getattr(host, key)
                if address and address in network:
                    raise BadInput(
                        f"the address {address} of {host.name} is in {network}, used inside the hosts",
                        where=f"{where}static.hosts.{number}.{key}",
                        fix=f"choose another network for the inside: {setting}",
                    )
        for key in () if settings.static else ("cidr", "cidr6"):
            own = getattr(settings.network, key)
            if own and own.version == network.version and own.overlaps(network):
                raise BadInput(
                    f"the hosts' network {own} overlaps {network}, which is used inside the hosts",
                    where=f"{where}network.{key}",
                    fix="choose another private network, such as 10.93.0.0/24; "
                    f"or another for the inside: {setting}",
                )


def check_servers(servers: int, where: str) -> None:
    """Raise BadInput for a number of servers that a cluster cannot have, or should not."""
    if servers == 2:
        raise BadInput(
            "2 servers are worse than 1: a cluster stops when it loses half of its servers, "
            "so losing either of two stops it",
            where=where,
            fix="1 server, or 3, of which any one may be lost; make the others workers",
        )
    if servers not in (1, 3):
        raise BadInput(
            f"a cluster has 1 or 3 servers, not {servers}",
            where=where,
            fix="3 servers, of which any one may be lost; make the others workers",
        )


def _cluster(where: str, settings: Settings, cluster: Cluster) -> None:
    if settings.static:
        if counted := cluster.model_fields_set & {"servers", "workers"}:
            key = min(counted)
            raise BadInput(
                f"{key} are counted twice: machines that exist each say their group",
                where=f"{where}: hostwright:cluster.{key}",
                fix="take it out, and give each of hostwright:static.hosts its group",
            )
    else:
        check_servers(cluster.servers, f"{where}: hostwright:cluster.servers")
    pods, services = cluster.pod_network, cluster.service_network
    if pods.overlaps(services):
        raise BadInput(
            f"the pods' network {pods} overlaps the services' network {services}",
            where=f"{where}: hostwright:cluster.podNetwork",
            fix="choose networks apart from each other, as the defaults 10.1.0.0/16 and 10.152.183.0/24 are",
        )
    hosts, room = sum(settings.counts.values()), pods.num_addresses >> (32 - POD_BLOCK)
    if hosts > room:
        raise BadInput(
            f"the pods' network {pods} has blocks of addresses for {room} hosts, not {hosts}",
            where=f"{where}: hostwright:cluster.podNetwork",
            fix="choose a larger one: each host takes 64 addresses, and the default has 65,536",
        )
    check_apart(
        settings, {pods: "hostwright:cluster.podNetwork", services: "hostwright:cluster.serviceNetwork"}
    )


def _network(where: str, settings: Settings) -> None:
    if settings.libvirt and len(settings.libvirt.uris) > 1 and settings.network.mode != "bridge":
        raise BadInput(
            f"{len(settings.libvirt.uris)} hypervisors, and a network that is inside one of them",
            where=f"{where}: hostwright:network.mode",
            fix="mode: bridge, with a bridge to the same network on each hypervisor (or one libvirt.uri)",
        )


def _choice(where: str, what: str, given: object, known: Sequence[str]) -> None:
    if given not in known:
        raise BadInput(
            f"unknown {what} {given!r}" if given else f"no {what} is chosen",
            where=f"{where}: hostwright:{what}",
            fix=f"give one of: {', '.join(known)}",
        )


def _bad_input(where: str, error: ValidationError) -> BadInput:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    what = {
        "missing": f"{key} is missing",
        "extra_forbidden": f"unknown key {key}",
    }.get(first["type"], f"{key}: {message}")
    if key == "environment":
        return BadInput(what, where=where, fix="rename the file: its name has the environment's")
    return BadInput(what, where=f"{where}: hostwright:{key}", fix="see docs/environments.md for every key")


def _image(libvirt: Libvirt | None, folder: Path) -> Libvirt | None:
    if libvirt is None or libvirt.image.startswith("https://"):
        return libvirt
    return libvirt.model_copy(update={"image": str(folder / paths.expanded(libvirt.image))})


def _keys(where: str, settings: Settings, folder: Path) -> Ssh:
    """The login with both halves of its key: those of the settings, else the environment's own."""
    ssh = settings.ssh
    public = ssh.public_key.strip()
    private = folder / paths.expanded(ssh.private_key)
    if ssh.private_key == Path():
        private = paths.state(settings.environment) / "id_ed25519"
    if not private.is_file():
        raise BadInput(
            f"the SSH key {private} does not exist",
            where=f"{where}: hostwright:ssh.privateKey",
            fix=f"bring it from where the environment was made: its public half is {public}"
            if public and ssh.private_key == Path()
            else f"ssh-keygen -t ed25519 -N '' -f {private}   (or name a key that exists)",
        )
    beside = Path(f"{private}.pub")
    if not public and not beside.is_file():
        raise BadInput(
            f"no public key beside {private}",
            where=f"{where}: hostwright:ssh.publicKey",
            fix=f"ssh-keygen -y -f {private} > {beside}",
        )
    public = public or beside.read_text().strip()
    if not re.match(r"^(ssh|ecdsa|sk)-\S+ \S+", public) or "\n" in public:
        raise BadInput(
            "the public key is not one line of OpenSSH's form",
            where=f"{where}: hostwright:ssh.publicKey",
            fix="give the text of the .pub file, as in: ssh-ed25519 AAAA... comment",
        )
    return ssh.model_copy(update={"private_key": private, "public_key": public})


def _sizes(where: str, settings: Settings) -> None:
    units = {"memory": "MiB", "disk": "GiB"}
    for group in settings.counts:
        for what, least in LEAST[group].items():
            asked = getattr(settings.size(group), what)
            if asked < least:
                key = size_key(settings, group, what)
                raise BadInput(
                    f"a {noun(group)} with {asked} {units[what]} of {what} is too small: "
                    f"{least} {units[what]} at least",
                    where=f"{where}: {key}",
                    fix=f"{key}: {least} or more",
                )


def size_key(settings: Settings, group: str, what: str) -> str:
    """The key of the settings that a group's `what` (memory, disk) comes from."""
    own = getattr(settings.cluster.sizes, group).model_fields_set if settings.cluster else ()
    return f"hostwright:cluster.sizes.{group}.{what}" if what in own else f"hostwright:hosts.{what}"


def machine(uri: str) -> str:
    """Host, and port if it has one, of a hypervisor's URI; an empty text for this machine."""
    parts = urlsplit(uri)
    return f"{parts.hostname or ''}:{parts.port or ''}".rstrip(":")


def noun(group: str) -> str:
    """What a host of the group is called."""
    return "host" if group == "single" else group.removesuffix("s")


def duplicates(names: Sequence[str]) -> list[str]:
    """Those that occur more than once, sorted."""
    return [name for name, group in itertools.groupby(sorted(names)) if len(list(group)) > 1]
