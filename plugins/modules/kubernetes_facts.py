#!/usr/bin/python
"""What an application's rendering has to know of the cluster that it goes to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_facts
short_description: Which nodes there are, and which has the data of which store
description:
  - A store's data is on one node and nowhere else. Whoever renders an application again must pin it to the
    node that has it.
options:
  namespace:
    description: The application's.
    type: str
    required: true
  kubectl:
    description: The command.
    type: list
    elements: str
    default: [/snap/bin/microk8s, kubectl]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: [hostwright maintainers (@hostwright)]
"""

EXAMPLES = r"""
- name: See where the data is
  hostwright.hostwright.kubernetes_facts:
    namespace: warehouse-prod
  register: __cluster
"""

RETURN = r"""
nodes:
  description: Nodes that are ready and take pods, by name.
  returned: always
  type: list
  elements: str
promote:
  description: How far C(hostwright promote) is with the namespace, a state and whose data it is, if at all.
  returned: always
  type: str
pins:
  description: Store or component to the node that has its data.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402  (Ansible wants the documentation first)
from ansible_collections.hostwright.hostwright.plugins.module_utils.kubectl import (  # noqa: E402
    INSTANCE,
    MANAGED,
    PROMOTE,
    Kubectl,
    pins,
    ready,
)


def main() -> None:
    """Entry point of Ansible."""
    spec = {
        "namespace": {"type": "str", "required": True},
        "kubectl": {"type": "list", "elements": "str", "default": ["/snap/bin/microk8s", "kubectl"]},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    kubectl = Kubectl(module, module.params["kubectl"])
    if module.check_mode and not module.get_bin_path(kubectl.command[0]):
        module.exit_json(changed=False, nodes=[], pins={}, promote="")
    ours = f"{INSTANCE}={module.params['namespace']},{MANAGED}"
    spaces = kubectl.objects("namespace", module.params["namespace"])
    module.exit_json(
        changed=False,
        promote=spaces[0]["metadata"].get("annotations", {}).get(PROMOTE, "") if spaces else "",
        nodes=sorted(each["metadata"]["name"] for each in kubectl.objects("nodes") if ready(each)),
        pins=pins(kubectl.objects("persistentvolumes", "--selector", ours)),
    )


if __name__ == "__main__":
    main()
