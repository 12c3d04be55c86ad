"""As much of `microk8s kubectl` as is asked for: nodes, workloads, drain and uncordon, the kubeconfig."""

from __future__ import annotations

import json
import sys
from typing import Any

from . import objects, tls
from .node import Node

GROUPS = {
    "nodes": "/api/v1/nodes",
    "deployments": "/apis/apps/v1/deployments",
    "daemonsets": "/apis/apps/v1/daemonsets",
    "persistentvolumes": "/api/v1/persistentvolumes",
    "namespaces": "/api/v1/namespaces",
}
ALIASES = {
    "node": "nodes",
    "no": "nodes",
    "deployment": "deployments",
    "daemonset": "daemonsets",
    "ds": "daemonsets",
    "pv": "persistentvolumes",
    "namespace": "namespaces",
    "ns": "namespaces",
}


def run(node: Node, words: list[str]) -> int:
    """One command; what the stand-in does not know is refused and not guessed."""
    plain, options = _options(words)
    try:
        match plain:
            case ["get", kinds]:
                return _get(node, kinds.split(","), "", options)
            case ["get", kind, name]:
                return _get(node, [kind], name, options)
            case ["drain" | "cordon" | "uncordon" as verb, name]:
                return _schedule(node, name, verb)
            case ["delete", "node" | "nodes" | "no", name]:
                objects.request(node, "DELETE", f"/api/v1/nodes/{name}")
                print(f'node "{name}" deleted')
                return 0
            case ["patch", "deployment", name]:
                place = f"/apis/apps/v1/namespaces/{options['namespace']}/deployments/{name}"
                objects.request(node, "PATCH", place, json.loads(options["patch"]))
                print(f"deployment.apps/{name} patched")
                return 0
            case ["config", "view"]:
                print(json.dumps(node.kubeconfig(node.here), indent=4))
                return 0
    except tls.Refused as error:
        print(f"Error from server: {json.loads(str(error)).get('message', error)}", file=sys.stderr)
        return 1
    except OSError as error:
        refused = "The connection to the server 127.0.0.1:16443 was refused"
        print(f"{refused} - did you specify the right host or port? {error}", file=sys.stderr)
        return 1
    print(f"error: the stand-in has no 'kubectl {' '.join(words)}'", file=sys.stderr)
    return 1


def _options(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Words and options; `-o json` and `--output=json` alike."""
    plain, options, rest = [], {"namespace": "default"}, iter(words)
    for word in rest:
        if word in ("-o", "--output", "-n", "--namespace"):
            name = "o" if word.endswith(("-o", "output")) else "namespace"
            options[name] = next(rest, "")
        elif word.startswith("-"):
            name, _, value = word.lstrip("-").partition("=")
            options["o" if name == "output" else name] = value
        else:
            plain.append(word)
    return plain, options


def _get(node: Node, kinds: list[str], name: str, options: dict[str, str]) -> int:
    kinds = [ALIASES.get(kind, kind) for kind in kinds]
    if unknown := [kind for kind in kinds if kind not in GROUPS]:
        print(f'error: the server doesn\'t have a resource type "{unknown[0]}"', file=sys.stderr)
        return 1
    if name:
        found = objects.request(node, "GET", f"{GROUPS[kinds[0]]}/{name}")
        items = [found]
    else:
        answers = [objects.request(node, "GET", GROUPS[kind]) for kind in kinds]
        items = [
            item
            | {
                "kind": item.get(
                    "kind", kind.removesuffix("s").capitalize().replace("Daemonset", "DaemonSet")
                )
            }
            for kind, answer in zip(kinds, answers, strict=True)
            for item in answer["items"]
        ]
        found = {"apiVersion": "v1", "kind": "List", "items": items}
    if options.get("o") == "json":
        print(json.dumps(found, indent=4))
    else:
        print("\n".join(["NAME STATUS VERSION", *map(_line, items)]))
    return 0


def _line(item: dict[str, Any]) -> str:
    status = item.get("status", {})
    if "conditions" not in status:
        return f"{item['metadata']['name']} {item['metadata'].get('namespace', '')}".rstrip()
    ready = "Ready" if status["conditions"][0]["status"] == "True" else "NotReady"
    held = ",SchedulingDisabled" if item["spec"].get("unschedulable") else ""
    return f"{item['metadata']['name']} {ready}{held} {status['nodeInfo']['kubeletVersion']}"


def _schedule(node: Node, name: str, verb: str) -> int:
    away = verb != "uncordon"
    objects.request(node, "PATCH", f"/api/v1/nodes/{name}", {"spec": {"unschedulable": away}})
    print(f"node/{name} {verb}ed" if verb != "drain" else f"node/{name} cordoned\nnode/{name} drained")
    return 0
