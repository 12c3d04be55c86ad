"""What is to be done about a MicroK8s cluster: decided from what was seen, without touching anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

TRAEFIK = 35  # the first minor whose ingress is Traefik
NGINX = "ingress/nginx-ingress-microk8s-controller"
# What an addon runs: NAMESPACE/NAME of its workload. MicroK8s calls it enabled before that answers.
WORKLOADS = {
    "dns": "kube-system/coredns",
    "metrics-server": "kube-system/metrics-server",
    "hostpath-storage": "kube-system/hostpath-provisioner",
}
DNS = WORKLOADS["dns"]
NETWORK = ("kube-system/calico-node", "kube-system/calico-kube-controllers")
VOTERS = 3
RESOLVERS = 2  # pods of the cluster's DNS, where there are as many nodes
HOSTNAME = "kubernetes.io/hostname"  # the label that volumes of one node name it by
EVERYONE = ["0.0.0.0/0", "::/0"]
OURS = ("app.kubernetes.io/managed-by", "hostwright")  # the label of what hostwright deploys


class Unfit(Exception):
    """What was seen cannot be brought to what is wanted: what is wrong, where, and what to do."""


class Step(NamedTuple):
    """What brings a snap to its channel: `install`, `refresh`, or nothing."""

    verb: str
    reason: str


def minor(text: str) -> int:
    """35 of `1.35/stable` and of `v1.35.4`."""
    found = re.match(r"v?1\.(\d+)(?:[./]|$)", text)
    if not found:
        raise Unfit(f"{text!r} is no version of MicroK8s: channels are named as 1.35/stable")
    return int(found[1])


def step(
    installed: dict[str, str] | None,
    channel: str,
    upgrade: bool,
    offline: bool,
    revision: Callable[[], str] = str,
) -> Step | None:
    """What brings an installed snap (a row of `snap list`) to the channel. Raises Unfit for a jump.

    Kubernetes goes up one minor at a time, and only where that is asked for; it never goes down. A file
    tells no channel, so that offline the minor alone counts. `revision` asks which one the channel, or the
    file, has, and raises Unfit where there is none: an upgrade leaves a node alone that has it.
    """
    if installed is None:
        return Step("install", "is not installed")
    now, wanted = minor(installed["version"]), minor(channel)
    if wanted == now:
        other = not offline and installed["tracking"] not in ("-", channel)
        if other:
            return Step("refresh", f"follows {installed['tracking']}")
        newer = upgrade and revision() != installed["rev"]  # where none is known there may be one
        return Step("refresh", f"has revision {installed['rev']}") if newer else None
    if wanted < now:
        raise Unfit(
            f"runs 1.{now}, and microk8s_channel asks for 1.{wanted}: Kubernetes does not go down again"
        )
    if wanted > now + 1:
        raise Unfit(
            f"runs 1.{now}, and microk8s_channel asks for 1.{wanted}: Kubernetes goes up one minor at a "
            f"time. Upgrade to 1.{now + 1} first"
        )
    if not upgrade:
        raise Unfit(
            f"runs 1.{now}, and microk8s_channel asks for 1.{wanted}: an upgrade is asked for "
            "by hostwright upgrade"
        )
    revision()  # one that does not exist is refused before a node is emptied for it
    return Step("refresh", f"runs 1.{now}")


def offered(text: str, channel: str) -> str:
    """The revision of a channel in `snap info`; one without its own follows the one above. Raises Unfit."""
    revision = ""
    for name, said in re.findall(r"^\s+(1\.\d+/\w+):\s+(.*)$", text, re.M):
        found = re.search(r"\((\d+)\)", said)
        if name.partition("/")[0] != channel.partition("/")[0]:
            continue
        revision = found[1] if found else revision
        if name == channel and revision:
            return revision
    raise Unfit(f"the store has no MicroK8s at {channel}: `snap info microk8s` says what there is")


def asserted(text: str) -> str:
    """The revision of a snap's file, of its assertion; none where it says none."""
    found = re.search(r"^snap-revision: (\d+)$", text, re.M)
    return found[1] if found else ""


def snaps(text: str) -> dict[str, dict[str, str]]:
    """Rows of `snap list` by name."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    keys = [word.lower() for word in lines[0]] if lines else []
    return {row[0]: dict(zip(keys, row, strict=False)) for row in lines[1:]}


def nodes(text: str) -> dict[str, dict[str, Any]] | None:
    """Name -> address, Ready, version and whether pods may go there, of `kubectl get nodes -o json`.

    None where the output is none of the API's: on a worker `microk8s kubectl` ends well, with a sentence.
    """
    try:
        items = json.loads(text)["items"]
    except (ValueError, KeyError, TypeError):
        return None
    return {item["metadata"]["name"]: _node(item) for item in items}


def _node(item: dict[str, Any]) -> dict[str, Any]:
    status = item["status"]
    conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
    addresses = [each["address"] for each in status.get("addresses", []) if each["type"] == "InternalIP"]
    return {
        "address": addresses[0] if addresses else "",
        "ready": conditions.get("Ready") == "True",
        "version": status["nodeInfo"]["kubeletVersion"],
        "cordoned": bool(item["spec"].get("unschedulable")),
    }


def used(text: str) -> bool:
    """Whether `kubectl get persistentvolumes,namespaces -o json` has a volume, or an application of ours."""
    return any(
        each["kind"] == "PersistentVolume" or OURS in each["metadata"].get("labels", {}).items()
        for each in json.loads(text)["items"]
    )


def status(text: str) -> dict[str, Any] | None:
    """Members of the database (address -> role) and enabled addons, of `status --format yaml`.

    Read by its lines, as hosts need not have a YAML parser. None where it says no such thing.
    """
    if not re.search(r"^\s*running:\s*True\s*$", text, re.M):
        return None
    members = dict(re.findall(r"^\s*-?\s*address:\s*(\S+)\s*\n\s*role:\s*(\S+)", text, re.M))
    addons = re.findall(r"^\s*-\s*name:\s*(\S+)((?:\n(?!\s*-\s).*)*)", text, re.M)
    enabled = [name for name, rest in addons if re.search(r"^\s*status:\s*enabled\s*$", rest, re.M)]
    return {"members": members, "addons": enabled}


# --- membership ---


def plan(hosts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Who leads, who is to join it, and what has to go before. Raises Unfit.

    `hosts`: name of the node -> `group` (servers or workers), `address`, and what was seen of it: `worker`
    (its lock says so), `joining` (a join was begun and not ended), `nodes` (what its API lists, None where
    it does not answer, as on workers), `members` (of its database), `used` (whether a node that is alone has
    what must not be lost).

    Answer: `leader`, `joining` (name -> `again`, whether it has to be installed anew first), `gone` (what the
    leader has to forget: names of nodes, and addresses its database alone knows), and who is to be upgraded,
    servers first (`upgrading`).
    """
    servers = {name: each for name, each in hosts.items() if each["group"] == "servers"}
    for name, each in hosts.items():
        _check_group(name, each)
    leader = _leader(servers)
    known, members = servers[leader]["nodes"], servers[leader]["members"]
    joining, gone = {}, []
    for name, each in hosts.items():
        if name == leader or _belongs(name, each, leader, known):
            continue
        joining[name] = {"again": _again(name, each, leader)}
        if name in known:
            gone.append(name)
        elif any(member.rpartition(":")[0] == each["address"] for member in members):
            gone.append(each["address"])
    order = sorted(hosts, key=lambda name: hosts[name]["group"] != "servers")
    upgrading = [name for name in order if hosts[name].get("upgrading") and name not in joining]
    return {"leader": leader, "joining": joining, "gone": gone, "upgrading": upgrading}


def _check_group(name: str, seen: dict[str, Any]) -> None:
    server = seen["group"] == "servers"
    if seen["worker"] and server and not seen["joining"]:
        raise Unfit(
            f"{name} is a worker, and its group says server. Take it out of the cluster first: drain it, "
            "`microk8s leave` on it, `microk8s remove-node` on a server"
        )
    if not server and seen["nodes"] and len(seen["nodes"]) > 1 and not seen["joining"]:
        raise Unfit(
            f"{name} is a server of {', '.join(sorted(seen['nodes']))}, and its group says worker. Take it "
            "out of the cluster first: drain it, `microk8s leave` on it, `microk8s remove-node` on a server"
        )


def _leader(servers: dict[str, dict[str, Any]]) -> str:
    """The server whose cluster the others are to be in: the largest, of which there may be one only; where
    all are alone, one that is used."""
    sound = {name: each for name, each in servers.items() if each["nodes"] and not each["joining"]}
    large = {frozenset(each["nodes"]) for each in sound.values() if len(each["nodes"]) > 1}
    apart = [(one, other) for one in large for other in large if not one & other]
    if apart:
        one, other = (", ".join(sorted(each)) for each in sorted(apart[0], key=sorted))
        raise Unfit(
            f"there are two clusters: {one}; and {other}. Decide which one to keep, and reset the other"
        )
    if not sound:
        silent = ", ".join(servers)
        raise Unfit(
            f"no server has an API that answers ({silent}). After a power cut more than half of the servers "
            "must be up; `microk8s inspect` on them says more"
        )
    return max(sound, key=lambda name: (len(sound[name]["nodes"]), sound[name]["used"]))


def _belongs(name: str, seen: dict[str, Any], leader: str, known: dict[str, Any]) -> bool:
    """Whether the node is in the leader's cluster by both their words."""
    if name not in known or seen["joining"] or not _same(seen["address"], known[name]["address"]):
        return False
    if seen["group"] == "workers":
        return bool(seen["worker"])
    # A server whose API is away is one still: it comes back by itself, or its failure is told.
    return seen["nodes"] is None or leader in seen["nodes"]


def _same(one: str, other: str) -> bool:
    return not other or one == other


def _again(name: str, seen: dict[str, Any], leader: str) -> bool:
    """Whether a node must be installed anew before it can join; a fresh one need not. Raises Unfit."""
    if seen["joining"] or seen["worker"]:
        return True
    if seen["nodes"] is None:
        raise Unfit(
            f"{name} does not answer, and {leader} does not know it. It may hold a database that nobody "
            "else has, so it is left alone. If it does not: `install -D /dev/null "
            f"/var/lib/hostwright/microk8s-joining` on {name}, which has it installed anew, and run again"
        )
    if set(seen["nodes"]) - {name}:
        others = ", ".join(sorted(seen["nodes"]))
        raise Unfit(
            f"{name} is in another cluster ({others}) than {leader}. `microk8s leave` on it, and run again"
        )
    if seen["used"]:
        raise Unfit(
            f"{name} has a cluster of its own that is used: its volumes, or its application, would be lost "
            f"if it joined {leader}. If it is to be kept, list it in the group servers, and beside it none "
            f"that is used or has a cluster. If not, `microk8s reset` on {name}, and run again"
        )
    return False


# --- who leaves ---


def leaving(
    hosts: dict[str, str],
    listed: dict[str, dict[str, Any]],
    members: dict[str, str],
    volumes: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Hosts (name in the inventory -> address) as they are to be taken away. Raises Unfit.

    A row each: `host`, `node` (its name, None when it is listed no more) and whether that is `ready`. A node
    is known by the host's address, else by its name. `members` are the database's, `volumes` the
    PersistentVolumes, of which none may be on what goes alone.
    """
    known = {each["address"]: name for name, each in listed.items()}
    nodes = {host: known.get(address) or _listed(host, listed) for host, address in hosts.items()}
    served = {member.rpartition(":")[0] for member in members}
    for node in filter(None, nodes.values()):
        if listed[node]["address"] in served:
            raise Unfit(f"{node} is a server, whose database would go with it: only workers are taken away")
    _check_volumes({node for node in nodes.values() if node}, volumes)
    return [
        {"host": host, "node": node, "ready": bool(node and listed[node]["ready"])}
        for host, node in nodes.items()
    ]


def _listed(host: str, listed: dict[str, dict[str, Any]]) -> str | None:
    return host if host in listed else None


def _check_volumes(nodes: set[str], volumes: list[dict[str, Any]]) -> None:
    """Raise Unfit when a volume is on these nodes and can be on no other."""
    kept: dict[str, list[str]] = {}
    for volume in volumes:
        for node in sorted(places(volume) & nodes if places(volume) <= nodes else ()):
            claim = volume["spec"].get("claimRef") or {}
            owner = f" of {claim['namespace']}/{claim['name']}" if claim else ""
            kept.setdefault(node, []).append(f"{volume['metadata']['name']}{owner}")
    if kept:
        found = "; ".join(f"{node} has {', '.join(sorted(names))}" for node, names in sorted(kept.items()))
        raise Unfit(
            f"the only copy of these volumes would be lost: {found}. Move their data to another node, delete "
            "the PersistentVolume of what is moved or needed no more, and run again"
        )


def places(volume: dict[str, Any]) -> set[str]:
    """Names of the nodes that a PersistentVolume is bound to; none when it may be anywhere."""
    affinity = (volume["spec"].get("nodeAffinity") or {}).get("required") or {}
    return {
        node
        for term in affinity.get("nodeSelectorTerms", [])
        for wanted in term.get("matchExpressions", [])
        if wanted["key"] == HOSTNAME and wanted["operator"] == "In"
        for node in wanted["values"]
    }


# --- what must run ---


def unready(listed: dict[str, dict[str, Any]], wanted: list[str], wanted_minor: int) -> list[str]:
    """What is not yet as it should be of the wanted nodes, in words."""
    there = [name for name in wanted if name in listed and listed[name]["ready"]]
    others = [name for name in there if minor(listed[name]["version"]) != wanted_minor]
    return away(listed, wanted) + [f"{name} runs {listed[name]['version']}" for name in others]


def away(listed: dict[str, dict[str, Any]], wanted: list[str]) -> list[str]:
    """Who of the wanted nodes is not there or not Ready, in words."""
    found = []
    for name in wanted:
        if name not in listed:
            found.append(f"{name} is not among the nodes")
        elif not listed[name]["ready"]:
            found.append(f"{name} is not Ready")
    return found


def too_few_voters(members: dict[str, str], servers: int) -> list[str]:
    """Three servers vote, or the loss of one stops the cluster."""
    voters = sum(role == "voter" for role in members.values())
    return [f"{voters} of {VOTERS} servers vote"] if servers >= VOTERS and voters < VOTERS else []


def workloads(wanted_minor: int, addons: list[str]) -> list[str]:
    """NAMESPACE/NAME of all that must be available with these addons."""
    return [*NETWORK, *filter(None, (workload(wanted_minor, name) for name in addons))]


def workload(wanted_minor: int, addon: str) -> str | None:
    if addon == "ingress":
        return "ingress/traefik" if wanted_minor >= TRAEFIK else NGINX
    return WORKLOADS.get(addon)


def unavailable(text: str, wanted: list[str]) -> list[str]:
    """What is not rolled out, of `kubectl get deployments,daemonsets -A -o json`."""
    items = json.loads(text)["items"]
    states = {f"{each['metadata']['namespace']}/{each['metadata']['name']}": each for each in items}
    return [f"{name} {_lack(states.get(name))}" for name in wanted if _lack(states.get(name))]


def spread(text: str, nodes: int) -> dict[str, Any] | None:
    """What the Deployment of the cluster's DNS is to be patched with; None where it is as it should be.

    MicroK8s runs one pod of it: with its node every name is lost, until the pod is given up and started
    elsewhere, which takes minutes. So there are two, never on one node: what is only preferred is forgotten
    when nodes come back one after another. More that somebody asked for stay, where each has a node. `text`
    as of `unavailable`; `nodes`: how many there are.
    """
    items = json.loads(text)["items"]
    found = [each for each in items if f"{each['metadata']['namespace']}/{each['metadata']['name']}" == DNS]
    if not found:
        return None
    spec = found[0]["spec"]
    affinity = spec["template"]["spec"].get("affinity", {}).get("podAntiAffinity", {})
    apart = bool(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    wanted = min(max(spec.get("replicas", 1), RESOLVERS), nodes)
    if apart:
        return None if spec.get("replicas", 1) == wanted else {"spec": {"replicas": wanted}}
    if nodes < RESOLVERS:
        return None
    term = {"topologyKey": HOSTNAME, "labelSelector": spec["selector"]}
    rule = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    # On as many nodes as there are pods a new one has room only where an old one has gone.
    strategy = {"rollingUpdate": {"maxUnavailable": 1}}
    return {"spec": {"replicas": wanted, "strategy": strategy, "template": {"spec": {"affinity": rule}}}}


def _lack(item: dict[str, Any] | None) -> str:
    if item is None:
        return "is not there"
    now = item.get("status", {})
    wanted = now.get("desiredNumberScheduled", item.get("spec", {}).get("replicas", 1))
    available = now.get("numberAvailable", now.get("availableReplicas", 0))
    updated = now.get("updatedNumberScheduled", now.get("updatedReplicas", 0))
    if now.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return "is about to change"
    if min(available, updated) < wanted:
        return f"has {min(available, updated)} of {wanted} pods"
    return ""


# --- what others are told ---


def kubeconfig(
    view: dict[str, Any], servers: dict[str, str], environment: str, endpoint: str
) -> dict[str, Any]:
    """A kubeconfig with a context a server, and one for an endpoint that stands before all of them.

    A cluster's entry has one address. So each server has its own, all with the same user; the first context
    is the one that is used.
    """
    authority = view["clusters"][0]["cluster"]["certificate-authority-data"]
    places = {**({environment: endpoint} if endpoint else {}), **servers}
    user = f"{environment}-admin"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": f"https://{_bracketed(place)}",
                    "certificate-authority-data": authority,
                },
            }
            for name, place in places.items()
        ],
        "users": [{"name": user, "user": view["users"][0]["user"]}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}} for name in places],
        "current-context": next(iter(places)),
    }


def _bracketed(place: str) -> str:
    """HOST:PORT, the port being MicroK8s' own unless another is given."""
    if place.count(":") > 1 and not place.startswith("["):
        return f"[{place}]:16443"
    return place if re.search(r":\d+$", place) else f"{place}:16443"


def ports(
    group: str, servers: list[str], workers: list[str], operators: list[str], addons: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """What a node lets in, as the role firewall takes it; addresses are those of the nodes, one or two each.

    The API for operators and nodes, the cluster agent and kubelet for nodes, the database among servers, and
    pods' packets (VXLAN) among nodes; with the addon metallb its speakers, who tell each other that they are
    there, among nodes. All else is asked on loopback only.
    """
    everybody, only_servers = networks(servers + workers), networks(servers)
    found: list[dict[str, Any]] = [
        {"port": 10250, "protocol": "tcp", "sources": everybody},
        {"port": 25000, "protocol": "tcp", "sources": everybody},
        {"port": 4789, "protocol": "udp", "sources": everybody},
    ]
    if "metallb" in addons:
        found += [{"port": 7946, "protocol": each, "sources": everybody} for each in ("tcp", "udp")]
    if group == "servers":
        api = EVERYONE if {*EVERYONE} <= {*operators} else list(dict.fromkeys([*operators, *everybody]))
        found.append({"port": 16443, "protocol": "tcp", "sources": api})
        if sum(":" not in address for address in servers) > 1:  # of which each server has one
            found.append({"port": 19001, "protocol": "tcp", "sources": only_servers})
    return sorted(found, key=lambda each: int(each["port"]))


def networks(addresses: list[str]) -> list[str]:
    """Single addresses as networks."""
    return [f"{address}/{128 if ':' in address else 32}" for address in addresses]
