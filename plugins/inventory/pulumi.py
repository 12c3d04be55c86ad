"""Inventory plugin: the host records of a Pulumi stack are Ansible's hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError  # type: ignore[import-untyped]
from ansible.inventory.data import InventoryData  # type: ignore[import-untyped]
from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]
from ansible.plugins.inventory import BaseInventoryPlugin  # type: ignore[import-untyped]

from hostwright import paths
from hostwright.environments import Environment, load
from hostwright.errors import Failure, HostwrightError
from hostwright.hosts import ssh, stack
from hostwright.hosts.record import GROUPS, EnvironmentRecord, HostRecord

DOCUMENTATION = r"""
name: pulumi
short_description: Hosts from the outputs of a Pulumi stack
description:
  - Reads the outputs C(hosts) and C(environment) of the environment's Pulumi stack; a record is a host.
  - Every host gets how to connect to it, its groups (C(single), or C(cluster) and one of C(servers) and
    C(workers), which are there without hosts too), and the variables C(hostwright_host) (its record) and
    C(hostwright_environment) (name, topology, driver, application, and a cluster's C(pod_network) and
    C(service_network)).
  - The environment's SSH key and its own list of known hosts are used.
author: hostwright
options:
  plugin:
    description: Must be C(hostwright.hostwright.pulumi).
    required: true
    choices: [hostwright.hostwright.pulumi]
  environment:
    description: Name of the environment, which is the name of its Pulumi stack.
    required: true
    type: str
  project_dir:
    description:
      - The project, the folder that holds C(infra/Pulumi.yaml).
      - By default the nearest such folder above the inventory file.
    type: path
"""

EXAMPLES = r"""
# inventories/prod/pulumi.yml
plugin: hostwright.hostwright.pulumi
environment: prod
"""


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]
    """Hosts from the outputs of a Pulumi stack."""

    NAME = "hostwright.hostwright.pulumi"
    # The records come from a program of the operator's own.
    trusted_by_default = True

    def verify_file(self, path: str) -> bool:
        """Only files named pulumi.yml or pulumi.yaml are ours."""
        return bool(super().verify_file(path)) and Path(path).name in ("pulumi.yml", "pulumi.yaml")

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Fill the inventory. Raises AnsibleParserError with what is wrong, where, and what to do."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            given = self.get_option("project_dir")
            project = Path(given) if given else paths.project(Path(path).parent)
            environment = load(self.get_option("environment"), project)
            outputs = stack.outputs(environment)
            if not outputs.get("hosts"):
                raise Failure(f"{environment.name} has no hosts yet", where=path, fix="hostwright up")
            record = EnvironmentRecord.model_validate(outputs["environment"])
            for groups in GROUPS.values():
                # Also those without hosts, and of the other topology: plays and roles name them.
                for group in groups:
                    self.inventory.add_group(group)
            for host in outputs["hosts"]:
                self._add(environment, record, HostRecord.model_validate(host))
        except HostwrightError as error:
            raise AnsibleParserError(str(error)) from error

    def _add(self, environment: Environment, record: EnvironmentRecord, host: HostRecord) -> None:
        self.inventory.add_host(host.name)
        for group in host.groups:
            self.inventory.add_group(group)
            self.inventory.add_child(group, host.name)
        for name, value in variables(environment, record, host).items():
            self.inventory.set_variable(host.name, name, value)


def variables(environment: Environment, record: EnvironmentRecord, host: HostRecord) -> dict[str, Any]:
    """What Ansible is told of one host."""
    known_hosts = environment.state / "known_hosts"
    return {
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": host.user,
        "ansible_ssh_private_key_file": str(environment.key),
        "ansible_ssh_common_args": " ".join(ssh.trust(known_hosts)),
        "hostwright_host": host.model_dump(),
        "hostwright_environment": record.model_dump(),
    }
