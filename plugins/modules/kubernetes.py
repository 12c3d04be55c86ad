#!/usr/bin/python
"""Bring an application's namespace to what its folder of manifests says, and do nothing when it is there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes
short_description: Bring a namespace to what a folder of manifests says
description:
  - Decides from what is seen, so that a run that was killed is taken up by the next. Where the cluster finds
    no difference, nothing is unwanted and everything is well, nothing is touched.
  - Applies on the server's side, phase after phase, C(0-namespace) first. Stores are ready before migrations
    run, and these are complete before anything is rolled out that may need them.
  - A rollout that does not end well, of a store too, is undone where there was one before, and the message
    has the events and the last lines of what is not well. Mended, it goes on where nothing was before.
  - A Service of type LoadBalancer that names nodes has the addresses of these, as where nothing else would
    give it one; the cluster's own proxy answers there.
  - Pods of a Deployment that are all on one node, where several take pods, are made anew, as when a node was
    added, or emptied and filled again. Where they come together again, that is not repeated for these nodes.
    With O(spread) that alone is done.
  - With O(restart) that alone is made anew, and nothing else is looked at.
  - What carries the application's labels and is not in the folder goes last, when everything else is there;
    an autoscaler first, as it would set back what the folder says.
    Volumes and their claims never do, as data goes with nobody but its owner.
options:
  directory:
    description: The folder, with a folder a phase and C(secrets).
    type: path
    required: true
  namespace:
    description: The application's.
    type: str
    required: true
  timeout:
    description: Seconds within which what one phase brings must be well.
    type: int
    default: 900
  kubectl:
    description: The command.
    type: list
    elements: str
    default: [/snap/bin/microk8s, kubectl]
  restart:
    description:
      - Names of services, stores and components whose pods are made anew, one after the other, stores first.
        A name that there is not ends the module before anything is touched.
    type: list
    elements: str
    default: []
  spread:
    description: Deployments that are on one node and could be on several are made anew, and that is all.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The content of a Secret is never shown.
author: [hostwright maintainers (@hostwright)]
"""

EXAMPLES = r"""
- name: Run the application
  hostwright.hostwright.kubernetes:
    directory: /etc/hostwright/warehouse
    namespace: warehouse-prod

- name: Restart a service
  hostwright.hostwright.kubernetes:
    directory: /etc/hostwright/warehouse
    namespace: warehouse-prod
    restart: [orders]
"""

RETURN = r"""
reasons:
  description: What was not as the folder says, or was asked for, object to what was wrong.
  returned: always
  type: dict
removed:
  description: Objects that nobody wants any more.
  returned: always
  type: list
  elements: str
"""

import json  # noqa: E402  (Ansible wants the documentation first)
from pathlib import Path  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.hostwright.hostwright.plugins.module_utils.kubectl import (  # noqa: E402
    INSTANCE,
    MANAGED,
    NAME,
    NODES,
    PRUNED,
    SCALER,
    TRIED,
    Kubectl,
    addressed,
    changed,
    crowded,
    reference,
    states,
    taking,
    wait,
)

# Each is applied when what the one before brought is well.
STEPS = (("0-namespace",), ("secrets", "1-base", "2-stores"), ("3-jobs",), ("4-workloads",))
# What can be restarted; stores first, as others ask them.
LASTING = ("StatefulSet", "Deployment", "DaemonSet")
ROLLED = "deployments,statefulsets,daemonsets"
RUNNING = f"{ROLLED},jobs,horizontalpodautoscalers"
WAITED = (*LASTING, "Job", SCALER)
OURS = ("--server-side", "--force-conflicts", "--field-manager", "hostwright")
ASKED = "asked for"
REVISION = "controller-revision-hash"  # of a store's pod
TAIL = "20"


def main() -> None:
    """Entry point of Ansible."""
    spec = {
        "directory": {"type": "path", "required": True},
        "namespace": {"type": "str", "required": True},
        "timeout": {"type": "int", "default": 900},
        "kubectl": {"type": "list", "elements": "str", "default": ["/snap/bin/microk8s", "kubectl"]},
        "restart": {"type": "list", "elements": "str", "default": []},
        "spread": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    if module.params["restart"]:
        rollout = Rollout(module)
        asked = rollout.asked(module.params["restart"])
        if not module.check_mode:
            rollout.restart(asked)
        module.exit_json(changed=True, reasons=dict.fromkeys(asked, ASKED), removed=[])
    if module.params["spread"]:
        rollout = Rollout(module)
        # What was on a node that was emptied last may not be there again yet.
        wait(lambda: states(rollout.mine("deployments")), rollout.timeout)
        together = rollout.spread()
        module.exit_json(changed=bool(together), reasons=together, removed=[])
    if module.check_mode and not Path(module.params["directory"], STEPS[0][0]).is_dir():
        module.exit_json(changed=True, reasons={"manifests": "not there yet"}, removed=[])
    rollout = Rollout(module)
    diff, differing = rollout.differences()
    unwanted = rollout.unwanted()
    unwell = rollout.unwell()
    moved = rollout.unaddressed()
    if not module.check_mode:
        if differing or unwell:
            # An autoscaler would set back how many the folder says there are.
            rollout.remove([each for each in unwanted if each.startswith(f"{SCALER.lower()}/")])
            rollout.apply()
            rollout.publish(rollout.unaddressed())  # what was applied may be new, and elsewhere
        else:
            rollout.publish(moved)
        rollout.remove(unwanted)
    together = rollout.spread()
    reasons = dict.fromkeys(moved, "not at its nodes' addresses") | differing
    reasons |= dict.fromkeys(unwanted, "nobody wants it") | together
    module.exit_json(
        changed=bool(reasons or unwell),
        reasons=reasons | {name: str(state) for name, state in unwell.items()},
        removed=unwanted,
        diff={"prepared": diff},
    )


class Rollout:
    """What there is of the application, against what its folder says."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.kubectl = Kubectl(module, module.params["kubectl"])
        self.folder = module.params["directory"]
        self.namespace = module.params["namespace"]
        self.timeout = module.params["timeout"]
        self.labels = f"{INSTANCE}={self.namespace},{MANAGED}"

    def differences(self) -> tuple:
        """What would change, as text, and object -> why."""
        if not self.kubectl.objects("namespace", self.namespace):
            return "", {f"namespace/{self.namespace}": "not there yet"}
        code, out, err = self.kubectl.ask("diff", *OURS, "-R", "-f", self.folder)
        if code not in (0, 1):
            self.module.fail_json(msg=err.strip() or out.strip(), rc=code)
        return out, dict.fromkeys(changed(out), "not as the folder says")

    def unwell(self) -> dict:
        return states(self.mine(RUNNING))

    def mine(self, kinds: str) -> list:
        """All there is of the application, of these kinds."""
        return self.kubectl.objects(kinds, "--namespace", self.namespace, "--selector", self.labels)

    def unwanted(self) -> list:
        """Objects of the application that are not in the folder."""
        there = {reference(each) for each in self.mine(PRUNED)}
        return sorted(there - {reference(each) for each in self.kubectl.objects("-R", "-f", self.folder)})

    def unaddressed(self) -> dict:
        """Services that are not at the addresses of their nodes -> these."""
        named = [each for each in self.mine("services") if NODES in each["metadata"].get("annotations", {})]
        return addressed(named, self.kubectl.objects("nodes")) if named else {}

    def publish(self, services: dict) -> None:
        """What a balancer would do, where there is none: tell proxies at which addresses to answer."""
        for name, addresses in services.items():
            status = {"loadBalancer": {"ingress": [{"ip": each} for each in addresses]}}
            words = ("--subresource=status", "--type=merge", f"--patch={json.dumps({'status': status})}")
            self.kubectl("patch", name, "--namespace", self.namespace, *words)

    def apply(self) -> None:
        """Step by step, waiting for what each brings."""
        before = {reference(each): each for each in self.mine(ROLLED)}
        self.begin_again()
        for step in STEPS:
            folders = [Path(self.folder, each) for each in step if Path(self.folder, each).is_dir()]
            if not folders:
                continue
            files = [word for each in folders for word in ("-f", str(each))]
            self.kubectl("apply", *OURS, *files)
            names = [reference(each) for each in self.kubectl.objects(*files) if each["kind"] in WAITED]
            if names:
                unwell = self.settled(names)
                if unwell:
                    self.fail(unwell, before)

    def asked(self, names: list) -> dict:
        """KIND/NAME -> what is to be restarted, as it is."""
        there = self.mine(ROLLED)
        unknown = sorted({*names} - {each["metadata"]["name"] for each in there})
        if unknown:
            self.module.fail_json(msg="nothing of that name can be restarted: {}".format(", ".join(unknown)))
        return {reference(each): each for each in there if each["metadata"]["name"] in names}

    def restart(self, before: dict) -> None:
        """Make their pods anew, as kubectl does, one object after the other.

        All that start at once would take the CPU from those that serve meanwhile, and after one that does not
        become well the others stay as they are.
        """
        for name in sorted(before, key=lambda each: (LASTING.index(before[each]["kind"]), each)):
            self.kubectl("rollout", "restart", name, "--namespace", self.namespace)
            unwell = self.settled([name])
            if unwell:
                self.fail(unwell, before)

    def crowded(self) -> dict:
        """Deployments whose pods are all on one node, and need not be -> their pods."""
        return crowded(self.mine("deployments,pods"), self.kubectl.objects("nodes"))

    def spread(self) -> dict:
        """Have the scheduler place these anew, and mark what comes together again; object -> why."""
        together = self.crowded()
        if together and not self.module.check_mode:
            self.restart({reference(each): each for each in self.there(sorted(together))})
            again = [pod for name, pods in self.crowded().items() if name in together for pod in pods]
            if again:
                tried = f"{TRIED}={','.join(taking(self.kubectl.objects('nodes')))}"
                pods = [f"pod/{each}" for each in again]
                self.kubectl("annotate", *pods, "--overwrite", "--namespace", self.namespace, tried)
        return dict.fromkeys(together, "all of it is on one node")

    def settled(self, names: list) -> dict:
        """What of these is not well when all are, or the time is over."""
        return wait(lambda: self.look(names), self.timeout)

    def look(self, names: list) -> dict:
        """What of these is not well. Of a store, pods of before that are not well either are let go of."""
        there = self.there(names)
        found = states(there)
        for each in there:
            wanted = each.get("status", {}).get("updateRevision")  # of stores alone
            if wanted and reference(each) in found:
                self.let_go(reference(each), wanted)
        return found

    def begin_again(self) -> None:
        """What has given up does not try again by itself, whatever has been mended meanwhile."""
        for name, state in self.unwell().items():
            if state.final:
                verb = ("delete",) if name.startswith("job/") else ("rollout", "restart")
                self.kubectl(*verb, name, "--namespace", self.namespace)

    def there(self, names: list) -> list:
        return self.kubectl.objects(*names, "--namespace", self.namespace) if names else []

    def fail(self, unwell: dict, before: dict) -> None:
        """Return to what ran, and end with what is wrong and what it said."""
        said = [f"{name}: {state}\n{self.story(name)}" for name, state in sorted(unwell.items())]
        undone = []
        for each in self.there(sorted(before)):
            name = reference(each)
            # Of what an autoscaler alone has changed the revision before is an older release.
            if name in unwell and each["spec"]["template"] != before[name]["spec"]["template"]:
                self.undo(name)
                undone.append(name)
        if undone:
            said.append("undone: {}".format(", ".join(undone)))
        self.module.fail_json(msg="\n".join(["not well:", *said]), reasons=dict(unwell), undone=undone)

    def undo(self, name: str) -> None:
        """Return to what there was before."""
        self.kubectl("rollout", "undo", name, "--namespace", self.namespace)
        if name.startswith("statefulset/"):
            self.let_go(name)

    def let_go(self, name: str, kept: str = "") -> None:
        """Remove a store's pods that are not well, but for those of the revision that is kept.

        Its controller would wait until one of another revision is ready, which it does not become.
        """
        stuck = [pod["metadata"] for pod, _ in self.unwell_pods(name)]
        others = [each for each in stuck if each.get("labels", {}).get(REVISION) != kept]
        self.remove([f"pod/{each['name']}" for each in others if "deletionTimestamp" not in each])

    def unwell_pods(self, name: str) -> list:
        """Those of an object that are not well, and what each waits for."""
        (item,) = self.there([name]) or [{}]
        labels = item.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
        chosen = f"{INSTANCE}={self.namespace},{NAME}={labels.get(NAME, '')}"
        found = self.kubectl.objects("pods", "--namespace", self.namespace, "--selector", chosen)
        return [(pod, waits) for pod in found if (waits := waiting(pod)) is not None]

    def story(self, name: str) -> str:
        """What an object's pods that are not well wait for, and their last lines."""
        lines = []
        for pod, waits in self.unwell_pods(name):
            title = pod["metadata"]["name"]
            lines.append(f"--- pod {title} on {pod['spec'].get('nodeName', 'no node')}: {waits}")
            arguments = ("logs", title, "--namespace", self.namespace, "--tail", TAIL)
            code, out, _ = self.kubectl.ask(*arguments)
            if code == 0:
                lines.append(out.rstrip())
        return "\n".join(lines)

    def remove(self, names: list) -> None:
        if names:
            self.kubectl(
                "delete", *names, "--namespace", self.namespace, "--ignore-not-found", "--wait=false"
            )


def waiting(pod: dict) -> str | None:
    """What a pod waits for or ended with; nothing when it is well."""
    status = pod.get("status", {})
    for each in status.get("containerStatuses", []):
        state = each.get("state", {})
        for kind in ("waiting", "terminated"):
            if kind in state and state[kind].get("reason") != "Completed":
                return " ".join(filter(None, (state[kind].get("reason"), state[kind].get("message"))))
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    if conditions.get("PodScheduled", {}).get("status") == "False":
        return str(conditions["PodScheduled"].get("message", "on no node"))
    if status.get("phase") == "Succeeded" or conditions.get("Ready", {}).get("status") == "True":
        return None
    return str(conditions.get("Ready", {}).get("message") or status.get("phase", "not there yet"))


if __name__ == "__main__":
    main()
