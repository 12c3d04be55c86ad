"""Hosts as virtual machines of a libvirt hypervisor. No other module knows libvirt's resource types."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_libvirt as lv
from pulumi.dynamic import Resource

from hostwright.hosts.dynamic import ReservationProvider
from hostwright.hosts.record import HostRecord
from infra import cloud_init, hypervisor, image, topology
from infra.config import Libvirt, Settings, machine
from infra.drivers import ready

GIB = 2**30
TIMEOUT = {"kvm": 300, "qemu": 900}

# QEMU 7.2 corrupts the flags on cmpxchg16b when it emulates, so the processor must not have it.
EMULATED = """<?xml version="1.0"?>
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output omit-xml-declaration="yes" indent="yes"/>
  <xsl:template match="node()|@*">
    <xsl:copy><xsl:apply-templates select="node()|@*"/></xsl:copy>
  </xsl:template>
  <xsl:template match="/domain/cpu">
    <cpu mode="custom" match="exact" check="none">
      <model fallback="forbid">Nehalem</model><feature policy="disable" name="cx16"/>
    </cpu>
  </xsl:template>
</xsl:stylesheet>
"""


class Reservation(Resource, module="libvirt", name="Reservation"):
    """A host's fixed address in its network's DHCP service."""


def build(settings: Settings) -> list[pulumi.Output[dict[str, Any]]]:
    """Pool, network and base image of the environment on each hypervisor, and volumes, cloud-init data and a
    domain a host. Raises BadInput, see topology.hosts."""
    assert settings.libvirt  # noqa: S101  (config.parse saw to it)
    hypervisors = {
        # The first one's resources were there before others came, and have no address in their names.
        uri: _Hypervisor(settings, settings.libvirt, uri, f"@{machine(uri)}" if number else "")
        for number, uri in enumerate(settings.libvirt.uris)
    }
    return [
        hypervisors[hypervisor.place(settings.libvirt, spec)].host(spec) for spec in topology.hosts(settings)
    ]


class _Hypervisor:
    """One hypervisor's part of an environment; `suffix` tells its resources from another one's."""

    def __init__(self, settings: Settings, libvirt: Libvirt, uri: str, suffix: str) -> None:
        self.settings = settings
        self.libvirt = libvirt
        self.uri = uri
        self.kind, remark = hypervisor.domain_type(libvirt, uri)
        if remark:
            pulumi.log.warn(remark)
        self.provider = lv.Provider(f"libvirt{suffix}", uri=uri)
        self.pool = lv.Pool(
            f"{topology.common_name(settings.environment)}{suffix}",
            name=topology.common_name(settings.environment),
            type="dir",
            target=lv.PoolTargetArgs(path=hypervisor.pool_path(settings)),
            opts=self._opts(),
        )
        self.network = self._network() if settings.network.mode == "nat" else None
        self.base = lv.Volume(
            f"base{suffix}",
            name=hypervisor.base_name(self.libvirt),
            pool=self.pool.name,
            source=str(image.verified(self.libvirt.image, self.libvirt.sha256, "hostwright:libvirt.image")),
            format="qcow2",
            # The name has the digest; where the file is differs from operator to operator.
            opts=self._opts(ignore_changes=["source"]),
        )

    def _opts(self, **more: Any) -> pulumi.ResourceOptions:
        """Names are fixed, so the old must go before the new comes."""
        return pulumi.ResourceOptions(provider=self.provider, delete_before_replace=True, **more)

    def _network(self) -> lv.Network:
        settings = self.settings
        cidrs = [cidr for cidr in (settings.network.cidr, settings.network.cidr6) if cidr]
        return lv.Network(
            topology.common_name(settings.environment),
            name=topology.common_name(settings.environment),
            mode="nat",
            bridge=topology.bridge(settings.environment, "libvirt"),
            domain=hypervisor.network_domain(settings),
            addresses=[str(cidr) for cidr in cidrs],
            dhcp=lv.NetworkDhcpArgs(enabled=True),
            autostart=True,
            opts=self._opts(),
        )

    def host(self, spec: topology.HostSpec) -> pulumi.Output[dict[str, Any]]:
        settings = self.settings
        root = lv.Volume(
            spec.name,
            name=hypervisor.root_name(spec),
            pool=self.pool.name,
            base_volume_id=self.base.id,
            size=spec.disk * GIB,
            opts=self._opts(),
        )
        data = lv.Volume(
            f"{spec.name}-data",
            name=hypervisor.volume_name(spec),
            pool=self.pool.name,
            size=spec.data * GIB,
            format="qcow2",
            opts=self._opts(protect=settings.keep_data),
        )
        # Not the provider's CloudInitDisk: it reads itself back through a stream that its client library
        # deadlocks on every other time (digitalocean/go-libvirt#241).
        seed = cloud_init.image(settings, spec)
        cloud = lv.Volume(
            f"{spec.name}-cloud-init",
            name=seed.name,
            pool=self.pool.name,
            source=str(seed),
            format="raw",  # libvirt finds out that it is an ISO image and says so from then on
            opts=self._opts(ignore_changes=["source", "format"]),
        )
        before: list[pulumi.Resource] = []
        if self.network is not None:
            before.append(self._reservation(spec, self.network))
        domain = lv.Domain(
            spec.name,
            name=spec.name,
            description=settings.mark,
            type=self.kind,
            memory=spec.memory,
            vcpu=spec.cpus,
            autostart=True,
            disks=[lv.DomainDiskArgs(volume_id=volume.id) for volume in (root, data, cloud)],
            network_interfaces=[self._interface(spec)],
            consoles=[
                lv.DomainConsoleArgs(type="pty", target_type="serial", target_port="0"),
                lv.DomainConsoleArgs(type="pty", target_type="virtio", target_port="1"),
            ],
            opts=self._opts(
                depends_on=before,
                # New cloud-init data is read at a first boot only.
                replace_on_changes=["disks"],
                # A domain that runs is not made anew because a later test of KVM ends otherwise.
                ignore_changes=["type", "machine", "cpu", "xml"] if self.libvirt.type == "auto" else [],
            ),
            **self._processor(),
        )
        record = HostRecord(
            name=spec.name,
            address=str(spec.address),
            address6=str(spec.address6) if spec.address6 else None,
            user=settings.ssh.user,
            groups=spec.groups,
            facts={"driver": "libvirt", "uri": self.uri, "domain": spec.name, "mac": spec.mac},
        )
        # As the domain is, whatever a later test of KVM says.
        told = ready.record(settings, record, domain.id, TIMEOUT[self.kind])
        return pulumi.Output.all(told, domain.type).apply(
            lambda both: {**both[0], "facts": {**both[0]["facts"], "emulated": both[1] == "qemu"}}
        )

    def _reservation(self, spec: topology.HostSpec, network: lv.Network) -> Reservation:
        """By virsh: an address given to the domain would show as changed until its first lease."""
        return Reservation(
            ReservationProvider(),
            spec.name,
            {
                "uri": self.uri,
                "network": network.name,
                "networkId": network.id,
                "name": spec.name,
                "mac": spec.mac,
                "address": str(spec.address),
            },
        )

    def _interface(self, spec: topology.HostSpec) -> lv.DomainNetworkInterfaceArgs:
        if self.network is None:
            return lv.DomainNetworkInterfaceArgs(
                bridge=self.settings.network.bridge, mac=spec.mac.upper(), wait_for_lease=False
            )
        return lv.DomainNetworkInterfaceArgs(
            network_id=self.network.id, mac=spec.mac.upper(), hostname=spec.name, wait_for_lease=False
        )

    def _processor(self) -> dict[str, Any]:
        if self.kind == "kvm":
            return {"cpu": lv.DomainCpuArgs(mode="host-passthrough")}
        return {
            "machine": "q35",
            "cpu": lv.DomainCpuArgs(mode="custom"),
            "xml": lv.DomainXmlArgs(xslt=EMULATED),
        }
