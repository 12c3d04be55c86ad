"""What infra/ knows of a libvirt hypervisor beside its resources: names and marks, and what it can do."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

from hostwright.errors import BadInput, Failure
from hostwright.hosts import kvm, virsh
from infra import topology
from infra.config import Libvirt, Settings
from infra.topology import HostSpec

POOLS = "/var/lib/libvirt/images"  # labelled for guests by SELinux and AppArmor rules of every distribution
DATA = "-data.qcow2"  # how the names of data volumes end


def pool_path(settings: Settings) -> str:
    """The folder of the environment's volumes, which also is the mark of its pool."""
    folder = (settings.libvirt.pool if settings.libvirt else "") or POOLS
    return f"{folder.rstrip('/')}/{topology.common_name(settings.environment)}"


def network_domain(settings: Settings) -> str:
    """The DNS domain of the environment's network, which also is its mark."""
    return f"{settings.environment}.hostwright.internal"


def is_local(uri: str) -> bool:
    """Whether the hypervisor is this machine."""
    return not urlsplit(uri).hostname


def base_name(libvirt: Libvirt) -> str:
    """The name of the volume that holds the image: another image's is another."""
    return f"base-{libvirt.sha256[:16]}.qcow2"


def root_name(host: HostSpec) -> str:
    """The name of the volume that a host starts from."""
    return f"{host.name}.qcow2"


def volume_name(host: HostSpec) -> str:
    """The name of a host's data volume."""
    return f"{host.name}{DATA}"


def place(libvirt: Libvirt, host: HostSpec) -> str:
    """The hypervisor of a host. It follows from the host's number, so that no host's coming or going moves
    another; workers are dealt out in the other direction, so that they fill what servers leave free."""
    step = -host.number if host.group == "workers" else host.number - 1
    return libvirt.uris[step % len(libvirt.uris)]


def domain_type(libvirt: Libvirt, uri: str) -> tuple[str, str]:
    """`kvm` or `qemu`, and what the operator should know of the choice (may be empty)."""
    if libvirt.type != "auto":
        return libvirt.type, ""
    if is_local(uri):
        verdict = kvm.usable()
        usable, reason = verdict.usable, verdict.detail
    else:
        # A guest cannot be tried from here; the hypervisor's own word must do.
        try:
            virsh.run(uri, "domcapabilities", "--virttype", "kvm")
            usable, reason = True, ""
        except Failure as error:
            usable, reason = False, error.what
    if usable:
        return "kvm", ""
    return (
        "qemu",
        f"guests are emulated (TCG), 5 to 20 times slower than with KVM, which is of no use: {reason}",
    )


def claim(settings: Settings) -> None:
    """Raise BadInput when a name that the environment needs is taken by what is not its own."""
    assert settings.libvirt  # noqa: S101
    common = topology.common_name(settings.environment)
    hosts = topology.hosts(settings)
    for uri in settings.libvirt.uris:
        wanted = {
            "domain": {host.name for host in hosts if place(settings.libvirt, host) == uri},
            "pool": {common},
            **({"net": {common}} if settings.network.mode == "nat" else {}),
        }
        for kind, names in wanted.items():
            for name in sorted(names & virsh.names(uri, kind)):
                if not is_ours(settings, uri, kind, name):
                    raise BadInput(
                        f"the libvirt {kind} {name} exists already "
                        f"and is not of environment {settings.environment}",
                        where=uri,
                        fix="choose another environment name, or remove it yourself if nobody needs it",
                    )


def is_ours(settings: Settings, uri: str, kind: str, name: str) -> bool:
    """Whether a domain, network or pool carries the environment's mark."""
    document = virsh.document(uri, kind, name)
    if kind == "domain":
        return document.findtext("description", "").strip() == settings.mark
    if kind == "net":
        domain = document.find("domain")
        return domain is not None and domain.get("name") == network_domain(settings)
    return document.findtext("target/path") == pool_path(settings)


def open_pool(settings: Settings, uri: str) -> None:
    """Have the environment's pool run, if its folder is there, so that what the folder holds is seen.

    Pulumi would make a pool that is gone anew, and the provider takes a volume that is there for a new one
    (terraform-provider-libvirt 0.8.3, resource_libvirt_volume.go): an earlier host's disk for a new host's.
    """
    name = topology.common_name(settings.environment)
    if name in virsh.running(uri, "pool"):
        return
    gone = name not in virsh.names(uri, "pool")
    if gone:
        virsh.run(uri, "pool-define-as", name, "dir", "--target", pool_path(settings))
    elif not is_ours(settings, uri, "pool", name):
        return
    try:
        virsh.run(uri, "pool-start", name)
    except Failure:  # as there is no folder
        if gone:
            virsh.run(uri, "pool-undefine", name)


def check_data(settings: Settings, uri: str, known: set[tuple[str, str]]) -> None:
    """Raise BadInput when a data volume that is there and not `known` to Pulumi's state (kind, name) has the
    name of one to be made: an earlier host's, that was kept."""
    assert settings.libvirt  # noqa: S101
    pool = topology.common_name(settings.environment)
    hosts = [host for host in topology.hosts(settings) if place(settings.libvirt, host) == uri]
    new = {volume_name(host): host for host in hosts if ("volume", volume_name(host)) not in known}
    for name in sorted(new.keys() & set(virsh.volumes(uri, pool))) if new else []:
        raise BadInput(
            f"the data of an earlier {new[name].name} is still there, in the volume {name} of pool {pool}",
            where=uri,
            fix=f"to begin with an empty one: virsh -c {uri} vol-delete {name} --pool {pool}",
        )


def sweep(
    settings: Settings, uri: str, known: set[tuple[str, str]], begun: set[tuple[str, str]], data: bool
) -> list[str]:
    """Remove what carries the mark but is not `known` to Pulumi's state (kind, name): a killed run's orphans.

    Of data volumes only those go whose making was `begun` and not ended, unless `data` says that all may.
    Returns what was removed.
    """
    common = topology.common_name(settings.environment)
    removed = []

    def orphans(kind: str, beginning: str) -> list[str]:
        word = "net" if kind == "network" else kind
        return [
            name
            for name in sorted(virsh.names(uri, word))
            if name.startswith(beginning) and (kind, name) not in known and is_ours(settings, uri, word, name)
        ]

    # Not only those of the settings: a host may have been on its way out of them.
    for name in orphans("domain", f"{settings.environment}-"):
        _stop(uri, "destroy", name)
        virsh.run(uri, "undefine", name, "--nvram")
        removed.append(f"domain {name}")
    if common in orphans("network", common):
        _stop(uri, "net-destroy", common)
        virsh.run(uri, "net-undefine", common)
        removed.append(f"network {common}")
    if common in virsh.names(uri, "pool") and is_ours(settings, uri, "pool", common):
        for name in virsh.volumes(uri, common):
            keeps = name.endswith(DATA) and ("volume", name) not in begun and not data
            if ("volume", name) not in known and not keeps:
                virsh.run(uri, "vol-delete", name, "--pool", common)
                removed.append(f"volume {name}")
        if ("pool", common) not in known:
            _stop(uri, "pool-destroy", common)
            with suppress(Failure):  # the folder goes unless it holds data
                virsh.run(uri, "pool-delete", common)
            virsh.run(uri, "pool-undefine", common)
            removed.append(f"pool {common}")
    return removed


def _stop(uri: str, command: str, name: str) -> None:
    """What is not running cannot be stopped, and need not be."""
    try:
        virsh.run(uri, command, name)
    except Failure as error:
        if "not running" not in error.what and "not active" not in error.what:
            raise
