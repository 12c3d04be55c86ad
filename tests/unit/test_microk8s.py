"""What is to be done about a MicroK8s cluster, decided from what was seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.append(str(Path(__file__).parents[2] / ".collections"))
from ansible_collections.hostwright.hostwright.plugins.module_utils import microk8s
from ansible_collections.hostwright.hostwright.plugins.module_utils.microk8s import Step, Unfit, plan

ADDRESSES = {f"k{number}": f"192.0.2.{number}" for number in range(1, 6)}
SELECTOR = {"matchLabels": {"k8s-app": "kube-dns"}}
LIST = """Name      Version    Rev    Tracking       Publisher    Notes
core22    20260101   1908   latest/stable  canonical**  base
microk8s  v1.35.2    8500   1.35/stable    canonical**  classic,held
"""
STATUS = """microk8s:
   running: True
high-availability:
   enabled: True
   nodes:
    - address: 192.0.2.1:19001
      role: voter
    - address: 192.0.2.2:19001
      role: standby
addons:
    - name: dns
      repository: core
      description: CoreDNS
      version: 1.13.1
      status: enabled
    - name: cert-manager
      repository: core
      description: Cloud native certificate management
      version: 1.19.1
      status: disabled
    - name: rbac
      repository: core
      description: Role-Based Access Control for authorisation
      version:
      status: enabled
"""


def listing(*names: str) -> dict[str, Any]:
    return {
        name: {"address": ADDRESSES[name], "ready": True, "version": "v1.35.0", "cordoned": False}
        for name in names
    }


def seen(name: str, *nodes: str, group: str = "servers", **other: Any) -> dict[str, Any]:
    """What was seen of a host; without nodes its API does not answer."""
    members = {f"{ADDRESSES[each]}:19001": "voter" for each in nodes} if len(nodes) > 1 else {}
    found = {
        "group": group,
        "address": ADDRESSES[name],
        "worker": False,
        "joining": False,
        "members": members,
        "used": False,
    }
    return found | {"nodes": listing(*nodes) if nodes else None} | other


def worker(name: str, **other: Any) -> dict[str, Any]:
    return seen(name, group="workers", worker=True) | other


# --- the snap ---


def test_versions_and_channels_have_a_minor() -> None:
    assert [microk8s.minor(text) for text in ("1.35/stable", "v1.35.4", "1.9/edge", "v1.36")] == [
        35,
        35,
        9,
        36,
    ]
    for text in ("latest/stable", "1.x/stable", "2.0/stable", ""):
        with pytest.raises(Unfit, match="is no version of MicroK8s"):
            microk8s.minor(text)


def test_rows_of_snap_list() -> None:
    found = microk8s.snaps(LIST)
    assert found["microk8s"]["version"] == "v1.35.2"
    assert found["microk8s"]["notes"].split(",") == ["classic", "held"]
    assert microk8s.snaps("") == {}


@pytest.mark.parametrize(
    ("tracking", "channel", "upgrade", "offline", "revision", "verb"),
    [
        ("1.35/stable", "1.35/stable", False, False, "", None),
        ("1.35/stable", "1.35/candidate", False, False, "", "refresh"),
        ("-", "1.35/stable", False, True, "", None),
        ("1.35/stable", "1.35/stable", True, False, "8500", None),
        ("1.35/stable", "1.35/stable", True, False, "8501", "refresh"),
        ("1.35/stable", "1.35/candidate", True, False, "8500", "refresh"),
        ("-", "1.35/stable", True, True, "8500", None),
        ("-", "1.35/stable", True, True, "8501", "refresh"),
        ("-", "1.35/stable", True, True, "", "refresh"),
        ("1.35/stable", "1.36/stable", True, False, "8600", "refresh"),
        ("-", "1.36/stable", True, True, "8600", "refresh"),
    ],
)
def test_what_brings_a_snap_to_its_channel(
    tracking: str, channel: str, upgrade: bool, offline: bool, revision: str, verb: str | None
) -> None:
    installed = {"version": "v1.35.2", "tracking": tracking, "rev": "8500"}
    found = microk8s.step(installed, channel, upgrade, offline, lambda: revision)
    assert (found and found.verb) == verb


INFO = """name:      microk8s
tracking:     1.35/stable
channels:
  1.36/stable:           v1.36.0         2026-05-20 (8600) 181MB classic
  1.36/candidate:        ^
  1.35/stable:           v1.35.4         2026-06-01 (8501) 181MB classic
  1.35/candidate:        v1.35.5         2026-06-09 (8512) 181MB classic
  1.35/beta:             \u2191
  1.34/stable:           --
  1.35-strict/stable:    v1.35.4         2026-06-01 (8502) 181MB -
installed:               v1.35.2                    (8500) 181MB classic,held
"""


@pytest.mark.parametrize(
    ("channel", "revision"),
    [("1.36/stable", "8600"), ("1.36/candidate", "8600"), ("1.35/stable", "8501"), ("1.35/beta", "8512")],
)
def test_the_store_says_which_revision_a_channel_has(channel: str, revision: str) -> None:
    assert microk8s.offered(INFO, channel) == revision


@pytest.mark.parametrize("channel", ["1.34/stable", "1.37/stable", "1.36/edge"])
def test_a_channel_that_has_nothing_is_said(channel: str) -> None:
    with pytest.raises(Unfit, match="the store has no MicroK8s at"):
        microk8s.offered(INFO, channel)


def test_a_files_assertion_says_its_revision() -> None:
    assert microk8s.asserted("type: snap-revision\nsnap-size: 1\nsnap-revision: 8500\n\nsigned") == "8500"
    assert microk8s.asserted("type: snap-revision\n") == ""


def test_what_is_not_there_is_installed() -> None:
    assert microk8s.step(None, "1.35/stable", False, False) == Step("install", "is not installed")


@pytest.mark.parametrize(
    ("channel", "upgrade", "words"),
    [
        ("1.36/stable", False, "an upgrade is asked for by hostwright upgrade"),
        ("1.37/stable", True, "one minor at a time. Upgrade to 1.36 first"),
        ("1.34/stable", True, "Kubernetes does not go down again"),
        ("1.36/stable", True, "the store has no MicroK8s at 1.36/stable"),
    ],
)
def test_no_minor_is_skipped_and_none_taken_unasked(channel: str, upgrade: bool, words: str) -> None:
    """What the store lacks is refused too, after what would be wrong wherever it were."""
    installed = {"version": "v1.35.2", "tracking": "1.35/stable", "rev": "1"}
    with pytest.raises(Unfit, match=words):
        microk8s.step(installed, channel, upgrade, False, lambda: microk8s.offered("", channel))


# --- what commands say ---


def test_nodes_are_read_by_their_exact_names() -> None:
    def node(name: str, ready: str) -> dict[str, Any]:
        return {
            "metadata": {"name": name},
            "spec": {"unschedulable": True},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": name},
                    {"type": "InternalIP", "address": "192.0.2.1"},
                ],
                "conditions": [
                    {"type": "DiskPressure", "status": "False"},
                    {"type": "Ready", "status": ready},
                ],
                "nodeInfo": {"kubeletVersion": "v1.35.0"},
            },
        }

    found = microk8s.nodes(json.dumps({"items": [node("k1", "True"), node("k10", "Unknown")]}))
    assert found == {
        "k1": {"address": "192.0.2.1", "ready": True, "version": "v1.35.0", "cordoned": True},
        "k10": {"address": "192.0.2.1", "ready": False, "version": "v1.35.0", "cordoned": True},
    }


@pytest.mark.parametrize(
    "text", ["This MicroK8s deployment is acting as a node in a cluster.", "", "[]", "{}"]
)
def test_a_sentence_is_no_list_of_nodes(text: str) -> None:
    assert microk8s.nodes(text) is None


def test_status_is_read_by_its_lines() -> None:
    assert microk8s.status(STATUS) == {
        "members": {"192.0.2.1:19001": "voter", "192.0.2.2:19001": "standby"},
        "addons": ["dns", "rbac"],
    }
    assert microk8s.status("microk8s is not running, try microk8s start") is None


# --- membership ---


def test_the_first_of_fresh_servers_leads_and_all_others_join() -> None:
    hosts = {name: seen(name, name) for name in ("k1", "k2", "k3")} | {
        "k4": seen("k4", "k4", group="workers")
    }
    assert plan(hosts) == {
        "leader": "k1",
        "joining": {name: {"again": False} for name in ("k2", "k3", "k4")},
        "gone": [],
        "upgrading": [],
    }


@pytest.mark.parametrize("order", [("k1", "k2", "k3"), ("k3", "k2", "k1"), ("k2", "k1", "k3")])
def test_a_cluster_that_is_used_leads_wherever_it_is_listed(order: tuple[str, ...]) -> None:
    hosts = {name: seen(name, name, used=name == "k2") for name in order}
    found = plan(hosts)
    assert found["leader"] == "k2"
    assert found["joining"] == {name: {"again": False} for name in order if name != "k2"}


def test_what_is_used_has_a_volume_or_an_application() -> None:
    labelled = {"kubernetes.io/metadata.name": "shop-prod", "app.kubernetes.io/managed-by": "hostwright"}
    system = {"kind": "Namespace", "metadata": {"name": "kube-system"}}
    stranger = {
        "kind": "Namespace",
        "metadata": {"name": "other", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
    }
    assert not microk8s.used(json.dumps({"items": []}))
    assert not microk8s.used(json.dumps({"items": [system, stranger]}))
    for each in (
        {"kind": "PersistentVolume", **volume("pv-1", "k1")},
        {"kind": "Namespace", "metadata": {"name": "shop-prod", "labels": labelled}},
    ):
        assert microk8s.used(json.dumps({"items": [system, each]}))


def test_namespaces_of_ours_have_the_label_that_is_looked_for() -> None:
    place = "golden/warehouse/cluster/0-namespace/namespace-warehouse-prod.yaml"
    namespace = yaml.safe_load((Path(__file__).parents[1] / place).read_text())
    assert microk8s.used(json.dumps({"items": [namespace]}))


def test_who_is_in_stays_in() -> None:
    names = ("k1", "k2", "k3", "k4")
    hosts = {name: seen(name, *names) for name in names[:3]} | {"k4": worker("k4")}
    assert plan(hosts) == {"leader": "k1", "joining": {}, "gone": [], "upgrading": []}


def test_a_new_worker_joins_alone() -> None:
    hosts = {"k1": seen("k1", "k1"), "k2": seen("k2", "k2", group="workers")}
    assert plan(hosts) == {"leader": "k1", "joining": {"k2": {"again": False}}, "gone": [], "upgrading": []}


def test_a_reinstalled_first_server_founds_no_second_cluster() -> None:
    hosts = {"k1": seen("k1", "k1"), "k2": seen("k2", "k1", "k2", "k3"), "k3": seen("k3", "k1", "k2", "k3")}
    assert plan(hosts) == {
        "leader": "k2",
        "joining": {"k1": {"again": False}},
        "gone": ["k1"],
        "upgrading": [],
    }


def test_a_member_that_is_away_is_waited_for() -> None:
    hosts = {"k1": seen("k1"), "k2": seen("k2", "k1", "k2", "k3"), "k3": seen("k3", "k1", "k2", "k3")}
    assert plan(hosts) == {"leader": "k2", "joining": {}, "gone": [], "upgrading": []}


def test_a_join_that_was_cut_off_begins_anew() -> None:
    hosts = {"k1": seen("k1", "k1"), "k2": seen("k2", joining=True), "k3": seen("k3", "k3")}
    assert plan(hosts)["joining"] == {"k2": {"again": True}, "k3": {"again": False}}
    # The database has it already, of which the API knows no node.
    hosts["k1"]["members"] = {"192.0.2.1:19001": "voter", "192.0.2.2:19001": "standby"}
    assert plan(hosts)["gone"] == ["192.0.2.2"]
    # It is a node already, and its lock is there still.
    hosts["k1"]["nodes"] = listing("k1", "k2")
    assert plan(hosts) == {
        "leader": "k1",
        "joining": {"k2": {"again": True}, "k3": {"again": False}},
        "gone": ["k2"],
        "upgrading": [],
    }


def test_servers_are_upgraded_before_workers() -> None:
    hosts = {"k2": worker("k2", upgrading=True), "k1": seen("k1", "k1", "k2", upgrading=True)}
    assert plan(hosts)["upgrading"] == ["k1", "k2"]


def test_a_worker_that_no_server_lists_begins_anew() -> None:
    assert plan({"k1": seen("k1", "k1"), "k2": worker("k2")})["joining"] == {"k2": {"again": True}}


def test_an_address_of_another_host_counts_for_nothing() -> None:
    """192.0.2.1 is the beginning of 192.0.2.10, and k1 of k10: neither makes one the other."""
    hosts = {"k1": seen("k1", "k1"), "k2": seen("k2", "k2")}
    hosts["k1"]["members"] = {"192.0.2.1:19001": "voter", "192.0.2.20:19001": "standby"}
    assert plan(hosts)["gone"] == []
    hosts["k1"]["nodes"] = listing("k1") | {"k20": listing("k2")["k2"]}
    assert plan(hosts)["joining"] == {"k2": {"again": False}}


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ({"k1": seen("k1"), "k2": seen("k2")}, r"no server has an API that answers \(k1, k2\)"),
        ({"k1": seen("k1", "k1"), "k2": seen("k2")}, "k2 does not answer, and k1 does not know it"),
        (
            {"k1": seen("k1", "k1", "k2"), "k2": seen("k2", "k1", "k2"), "k3": seen("k3", "k3", "k4")},
            "there are two clusters: k1, k2; and k3, k4",
        ),
        (
            {"k1": seen("k1", "k1"), "k2": seen("k2", worker=True)},
            "k2 is a worker, and its group says server",
        ),
        (
            {"k1": seen("k1", "k1", used=True), "k2": seen("k2", "k2", used=True)},
            "k2 has a cluster of its own that is used: .* would be lost if it joined k1",
        ),
        (
            {"k1": seen("k1", "k1"), "k2": seen("k2", "k2", group="workers", used=True)},
            "k2 has a cluster of its own that is used: .* list it in the group servers",
        ),
        (
            {
                "k1": seen("k1", "k1", used=True),
                "k2": seen("k2", "k2", "k3"),
                "k3": seen("k3", "k2", "k3"),
            },
            "k1 has a cluster of its own that is used: .* if it joined k2",
        ),
        (
            {"k1": seen("k1", "k1", "k2"), "k2": seen("k2", "k1", "k2", group="workers")},
            "k2 is a server of k1, k2, and its group says worker",
        ),
    ],
)
def test_what_nobody_can_decide_is_said_and_left_alone(hosts: dict[str, Any], words: str) -> None:
    with pytest.raises(Unfit, match=words):
        plan(hosts)


# --- who leaves ---


def volume(name: str, *places: str, key: str = "kubernetes.io/hostname", claim: str = "") -> dict[str, Any]:
    """A PersistentVolume of these nodes; of any without them."""
    expressions = [{"key": key, "operator": "In", "values": [*places]}]
    affinity = {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}}}
    bound = {"claimRef": {"namespace": "shop", "name": claim}} if claim else {}
    return {"metadata": {"name": name}, "spec": {**bound, **(affinity if places else {})}}


MEMBERS = {"192.0.2.1:19001": "voter"}


def test_a_host_that_goes_is_known_by_its_address_and_else_by_its_name() -> None:
    listed = listing("k1", "k2", "k3")
    listed["k3"]["ready"] = False
    hosts = {"web-2": "192.0.2.2", "k3": "", "k4": "192.0.2.4"}
    assert microk8s.leaving(hosts, listed, MEMBERS, []) == [
        {"host": "web-2", "node": "k2", "ready": True},
        {"host": "k3", "node": "k3", "ready": False},
        {"host": "k4", "node": None, "ready": False},
    ]


def test_a_server_does_not_go() -> None:
    with pytest.raises(Unfit, match="k1 is a server, whose database would go with it"):
        microk8s.leaving({"web-1": "192.0.2.1"}, listing("k1", "k2"), MEMBERS, [])


def test_who_has_the_only_copy_of_a_volume_does_not_go() -> None:
    listed, going = listing("k1", "k2", "k3"), {"k2": "192.0.2.2", "k3": "192.0.2.3"}
    elsewhere = [volume("a", "k1"), volume("b", "k1", "k2"), volume("c"), volume("d", "k2", key="zone")]
    assert len(microk8s.leaving(going, listed, MEMBERS, elsewhere)) == 2
    lost = [volume("pvc-1", "k2", claim="data"), volume("pvc-2", "k3", "k2"), volume("pvc-0", "k3")]
    with pytest.raises(Unfit, match="k2 has pvc-1 of shop/data, pvc-2; k3 has pvc-0, pvc-2"):
        microk8s.leaving(going, listed, MEMBERS, elsewhere + lost)


# --- what must run ---


def test_nodes_that_are_missing_away_or_old_are_named() -> None:
    listed = listing("k1", "k2", "k3")
    listed["k2"]["ready"] = False
    listed["k3"]["version"] = "v1.34.9"
    assert microk8s.unready(listed, ["k1", "k2", "k3", "k4"], 35) == [
        "k2 is not Ready",
        "k4 is not among the nodes",
        "k3 runs v1.34.9",
    ]
    assert microk8s.away(listed, ["k1", "k3"]) == []


def test_three_servers_vote() -> None:
    members = {"a:19001": "voter", "b:19001": "voter", "c:19001": "spare"}
    assert microk8s.too_few_voters(members, 3) == ["2 of 3 servers vote"]
    assert microk8s.too_few_voters(members, 1) == []
    assert microk8s.too_few_voters(dict.fromkeys(members, "voter"), 3) == []


def test_the_ingress_is_traefik_from_1_35() -> None:
    assert microk8s.workloads(34, ["ingress"])[-1] == "ingress/nginx-ingress-microk8s-controller"
    assert microk8s.workloads(35, ["ingress"])[-1] == "ingress/traefik"
    assert microk8s.workloads(35, ["rbac"]) == [*microk8s.NETWORK]


def test_what_is_not_rolled_out_is_named() -> None:
    def item(name: str, generation: int = 1, **status: int) -> dict[str, Any]:
        metadata = {"namespace": "kube-system", "name": name, "generation": generation}
        return {"metadata": metadata, "spec": {"replicas": 2}, "status": {"observedGeneration": 1, **status}}

    items = [
        item("coredns", availableReplicas=1, updatedReplicas=2),
        item("calico-node", desiredNumberScheduled=3, numberAvailable=3, updatedNumberScheduled=3),
        item("metrics-server", generation=2, availableReplicas=2, updatedReplicas=2),
    ]
    wanted = [f"kube-system/{name}" for name in ("coredns", "calico-node", "metrics-server", "other")]
    assert microk8s.unavailable(json.dumps({"items": items}), wanted) == [
        "kube-system/coredns has 1 of 2 pods",
        "kube-system/metrics-server is about to change",
        "kube-system/other is not there",
    ]


def dns(replicas: int | None = None, apart: bool = False) -> str:
    """What is listed of a cluster whose DNS is MicroK8s' own, or is kept apart already."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": SELECTOR}
    rule = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    spec = {"selector": SELECTOR, "template": {"spec": {"affinity": rule} if apart else {}}}
    metadata = {"namespace": "kube-system", "name": "coredns"}
    other = {"metadata": {"namespace": "other", "name": "coredns"}, "spec": {}}
    item = {"metadata": metadata, "spec": spec | ({} if replicas is None else {"replicas": replicas})}
    return json.dumps({"items": [other, item]})


def test_the_dns_of_several_nodes_is_on_two_of_them() -> None:
    patch = microk8s.spread(dns(), 3)
    assert patch is not None
    assert patch["spec"]["replicas"] == 2
    assert patch["spec"]["strategy"] == {"rollingUpdate": {"maxUnavailable": 1}}
    (term,) = patch["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term == {"topologyKey": "kubernetes.io/hostname", "labelSelector": SELECTOR}
    assert microk8s.spread(dns(2, apart=True), 2) is None, "once is enough"


@pytest.mark.parametrize(
    ("text", "nodes", "replicas"),
    [
        (dns(1), 1, None),  # alone it is as MicroK8s has it
        (dns(3), 1, None),  # or as somebody has asked for
        (dns(3), 3, 3),
        (dns(3, apart=True), 3, None),
        (dns(2, apart=True), 1, 1),  # the second has no node any more
        (dns(1, apart=True), 3, 2),
        (dns(5, apart=True), 3, 3),
        ('{"items": []}', 3, None),  # without the addon
    ],
)
def test_more_pods_of_the_dns_stay_where_each_has_a_node(text: str, nodes: int, replicas: int | None) -> None:
    patch = microk8s.spread(text, nodes)
    assert (patch["spec"]["replicas"] if patch else None) == replicas


# --- what others are told ---


def test_a_kubeconfig_has_a_context_a_server() -> None:
    view = {
        "clusters": [
            {"cluster": {"certificate-authority-data": "Q0E=", "server": "https://127.0.0.1:16443"}}
        ],
        "users": [{"user": {"token": "x"}}],
    }
    found = microk8s.kubeconfig(view, {"k1": "192.0.2.1", "k2": "2001:db8::2"}, "prod", "")
    assert [each["cluster"]["server"] for each in found["clusters"]] == [
        "https://192.0.2.1:16443",
        "https://[2001:db8::2]:16443",
    ]
    assert found["current-context"] == "k1"
    assert {each["context"]["user"] for each in found["contexts"]} == {"prod-admin"}
    found = microk8s.kubeconfig(view, {"k1": "192.0.2.1"}, "prod", "api.example.com:443")
    assert (found["current-context"], found["clusters"][0]["cluster"]["server"]) == (
        "prod",
        "https://api.example.com:443",
    )


def test_ports_are_those_of_the_reference_and_no_others() -> None:
    servers, workers = ["192.0.2.1", "192.0.2.2", "192.0.2.3"], ["192.0.2.4"]
    everybody = [f"192.0.2.{number}/32" for number in range(1, 5)]
    found = microk8s.ports("servers", servers, workers, ["198.51.100.0/24"])
    assert {(each["port"], each["protocol"]): each["sources"] for each in found} == {
        (4789, "udp"): everybody,
        (10250, "tcp"): everybody,
        (16443, "tcp"): ["198.51.100.0/24", *everybody],
        (19001, "tcp"): everybody[:3],
        (25000, "tcp"): everybody,
    }
    (api,) = [each for each in microk8s.ports("servers", servers, workers, []) if each["port"] == 16443]
    assert api["sources"] == everybody
    balanced = microk8s.ports("workers", servers, workers, [], ["dns", "metallb"])
    speakers = [(each["protocol"], each["sources"]) for each in balanced if each["port"] == 7946]
    assert speakers == [("tcp", everybody), ("udp", everybody)]
    of_a_worker = microk8s.ports("workers", servers, workers, microk8s.EVERYONE)
    assert [each["port"] for each in of_a_worker] == [4789, 10250, 25000]
    alone = microk8s.ports("servers", [servers[0], "2001:db8::1"], [], microk8s.EVERYONE)
    assert [each["port"] for each in alone] == [4789, 10250, 16443, 25000]
    assert alone[2]["sources"] == microk8s.EVERYONE
    assert alone[1]["sources"] == ["192.0.2.1/32", "2001:db8::1/128"]
