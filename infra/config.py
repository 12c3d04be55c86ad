"""The settings of one environment, typed and checked before anything is touched."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pulumi
from pydantic import (
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
from hostwright.errors import BadInput

TOPOLOGIES = ("single",)
DRIVERS = ("libvirt", "container", "static")
SECTIONS = ("ssh", "hosts", "network", "libvirt", "container", "static")

# Networks that live inside the hosts: Docker's default bridge; MicroK8s' pods and services.
INNER_NETWORKS = {
    "single": [IPv4Network("172.17.0.0/16")],
    "cluster": [IPv4Network("10.1.0.0/16"), IPv4Network("10.152.183.0/24")],
}
# What the operating system, the engine and an application need at least, in MiB and GiB.
LEAST = {"single": {"memory": 1024, "disk": 8}, "cluster": {"memory": 4096, "disk": 20}}

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,61}[a-z0-9]$")]
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


class Libvirt(Section):
    """The hypervisor, and the image hosts start from."""

    uri: str = "qemu:///system"
    image: str = Field(min_length=1)
    sha256: str
    type: Literal["auto", "kvm", "qemu"] = "auto"
    pool: str = ""

    @field_validator("sha256")
    @classmethod
    def _digest(cls, text: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
            raise ValueError("must be the image's SHA-256 digest, 64 hexadecimal digits")
        return text.lower()


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


class Static(Section):
    """The machines of an environment that builds none."""

    hosts: list[StaticHost] = Field(min_length=1)


class Settings(Section):
    """Everything infra/ knows of one environment. The section of the chosen driver is always there."""

    environment: Name
    application: str = "warehouse"
    components: Components = Field(default_factory=list)
    topology: str = "single"
    driver: str
    keep_data: bool = True
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


def load(environment: str) -> Settings:
    """The settings of the stack in whose program this is called. Raises BadInput."""
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
    if driver != "static":
        _sizes(where, settings)
        check_networks(where, settings)
    return settings


def check_networks(where: str, settings: Settings, inner: Sequence[IPv4Network] | None = None) -> None:
    """Raise BadInput when the hosts' network meets one that lives inside the hosts."""
    cidr = settings.network.cidr
    for other in INNER_NETWORKS[settings.topology] if inner is None else inner:
        if cidr.overlaps(other):
            raise BadInput(
                f"the hosts' network {cidr} overlaps {other}, which is used inside the hosts",
                where=f"{where}: hostwright:network.cidr",
                fix="choose another private network, such as 10.93.0.0/24",
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
    return BadInput(what, where=f"{where}: hostwright:{key}", fix="see docs/environments.md for every key")


def _image(libvirt: Libvirt | None, folder: Path) -> Libvirt | None:
    if libvirt is None or libvirt.image.startswith("https://"):
        return libvirt
    return libvirt.model_copy(update={"image": str(folder / Path(libvirt.image).expanduser())})


def _keys(where: str, settings: Settings, folder: Path) -> Ssh:
    """The login with both halves of its key: those of the settings, else the environment's own."""
    ssh = settings.ssh
    private = folder / ssh.private_key.expanduser()
    if ssh.private_key == Path():
        private = paths.state(settings.environment) / "id_ed25519"
    if not private.is_file():
        raise BadInput(
            f"the SSH key {private} does not exist",
            where=f"{where}: hostwright:ssh.privateKey",
            fix=f"ssh-keygen -t ed25519 -N '' -f {private}   (or name a key that exists)",
        )
    public = ssh.public_key.strip()
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
    for what, least in LEAST[settings.topology].items():
        asked = getattr(settings.hosts, what)
        if asked < least:
            raise BadInput(
                f"a host with {asked} {units[what]} of {what} is too small: {least} {units[what]} at least",
                where=f"{where}: hostwright:hosts.{what}",
                fix=f"hostwright:hosts.{what}: {least} or more",
            )


def duplicates(names: Sequence[str]) -> list[str]:
    """Those that occur more than once, sorted."""
    return [name for name, group in itertools.groupby(sorted(names)) if len(list(group)) > 1]
