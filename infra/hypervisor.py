"""What infra/ knows of a libvirt hypervisor beside its resources: names and marks, and what it can do."""

from __future__ import annotations

from urllib.parse import urlsplit

from hostwright.errors import BadInput, Failure
from hostwright.hosts import kvm, virsh
from infra import topology
from infra.config import Libvirt, Settings

POOLS = "/var/lib/libvirt/images"  # labelled for guests by SELinux and AppArmor rules of every distribution
DATA = "-data.qcow2"  # how the names of data volumes end


def pool_path(settings: Settings) -> str:
    """The folder of the environment's volumes, which also is the mark of its pool."""
    folder = (settings.libvirt.pool if settings.libvirt else "") or POOLS
    return f"{folder.rstrip('/')}/hostwright-{settings.environment}"


def network_domain(settings: Settings) -> str:
    """The DNS domain of the environment's network, which also is its mark."""
    return f"{settings.environment}.hostwright.internal"


def is_local(uri: str) -> bool:
    """Whether the hypervisor is this machine."""
    return not urlsplit(uri).hostname


def domain_type(libvirt: Libvirt) -> tuple[str, str]:
    """`kvm` or `qemu`, and what the operator should know of the choice (may be empty)."""
    if libvirt.type != "auto":
        return libvirt.type, ""
    if is_local(libvirt.uri):
        verdict = kvm.usable()
        usable, reason = verdict.usable, verdict.detail
    else:
        # A guest cannot be tried from here; the hypervisor's own word must do.
        try:
            virsh.run(libvirt.uri, "domcapabilities", "--virttype", "kvm")
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
    uri = settings.libvirt.uri
    common = f"hostwright-{settings.environment}"
    wanted = [("domain", host.name) for host in topology.hosts(settings)]
    wanted += [("pool", common)] + ([("net", common)] if settings.network.mode == "nat" else [])
    for kind, name in wanted:
        if name in virsh.names(uri, kind) and not is_ours(settings, kind, name):
            raise BadInput(
                f"the libvirt {kind} {name} exists already and is not of environment {settings.environment}",
                where=uri,
                fix="choose another environment name, or remove it yourself if nobody needs it",
            )


def is_ours(settings: Settings, kind: str, name: str) -> bool:
    """Whether a domain, network or pool carries the environment's mark."""
    assert settings.libvirt  # noqa: S101
    document = virsh.document(settings.libvirt.uri, kind, name)
    if kind == "domain":
        return document.findtext("description", "").strip() == settings.mark
    if kind == "net":
        domain = document.find("domain")
        return domain is not None and domain.get("name") == network_domain(settings)
    return document.findtext("target/path") == pool_path(settings)


def sweep(
    settings: Settings, known: set[tuple[str, str]], begun: set[tuple[str, str]], data: bool
) -> list[str]:
    """Remove what carries the mark but is not `known` to Pulumi's state (kind, name): a killed run's orphans.

    Of data volumes only those go whose making was `begun` and not ended, unless `data` says that all may.
    Returns what was removed.
    """
    assert settings.libvirt  # noqa: S101
    uri = settings.libvirt.uri
    common = f"hostwright-{settings.environment}"
    removed = []

    def orphan(kind: str, name: str) -> bool:
        word = "net" if kind == "network" else kind
        return (kind, name) not in known and name in virsh.names(uri, word) and is_ours(settings, word, name)

    for host in topology.hosts(settings):
        if orphan("domain", host.name):
            _stop(uri, "destroy", host.name)
            virsh.run(uri, "undefine", host.name, "--nvram")
            removed.append(f"domain {host.name}")
    if orphan("network", common):
        _stop(uri, "net-destroy", common)
        virsh.run(uri, "net-undefine", common)
        removed.append(f"network {common}")
    if common in virsh.names(uri, "pool") and is_ours(settings, "pool", common):
        for name in virsh.volumes(uri, common):
            keeps = name.endswith(DATA) and ("volume", name) not in begun and not data
            if ("volume", name) not in known and not keeps:
                virsh.run(uri, "vol-delete", name, "--pool", common)
                removed.append(f"volume {name}")
        if ("pool", common) not in known:
            _stop(uri, "pool-destroy", common)
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
