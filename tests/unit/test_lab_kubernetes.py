"""The stand-in's real Kubernetes: how its programs are told of a node, and who is let into etcd."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright.proof.namespace import ENFORCERS
from lab.images import ADDONS, recipe
from lab.snaps.microk8s.standin import daemons, etcd, kubernetes, launch, objects
from lab.snaps.microk8s.standin.database import NoLeader
from lab.snaps.microk8s.standin.etcd import Etcd
from lab.snaps.microk8s.standin.node import Node

Make = Callable[..., Node]
NETWORKS = {"IPv4_CLUSTER_CIDR": "10.2.0.0/16", "IPv4_SERVICE_CIDR": "10.153.0.0/24"}


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """Makes a node that was installed, in a snap that has a Kubernetes unless it is told otherwise."""

    def make(number: int = 1, real: bool = True, **config: Any) -> Node:
        root = tmp_path / str(number)
        (root / "snap/meta").mkdir(parents=True)
        (root / "snap/meta/snap.yaml").write_text(json.dumps({"version": "v1.35.8"}))
        if real:
            (root / "snap/kubernetes").touch()
        node = Node(root / "snap", root / "data", root / "common", f"node-{number}", f"192.0.2.{number}")
        node.install(launch.load(json.dumps({"version": "0.1.0", **config})))
        return node

    return make


def options(words: list[str]) -> dict[str, str]:
    """`--name=value` by name; one without a value is "true"."""
    parted = (word.removeprefix("--").partition("=") for word in words if word.startswith("--"))
    return {name: value if equals else "true" for name, equals, value in parted}


# --- etcd as a program ---


def test_a_node_alone_founds_an_etcd_on_loopback(made: Make) -> None:
    node = made()
    words = etcd.command(node)
    told = options(words)
    assert words[:2] == [str(node.snap / "kubernetes"), "etcd"]
    assert told["initial-cluster"] == "node-1=https://127.0.0.1:19001"
    assert told["initial-cluster-state"] == "new"
    assert told["listen-peer-urls"] == told["initial-advertise-peer-urls"] == "https://127.0.0.1:19001"
    assert told["listen-client-urls"] == "http://127.0.0.1:12379", "it asks for no password"


def test_who_has_data_is_told_of_no_cluster(made: Make) -> None:
    """etcd knows its members; what it was founded as may be long ago."""
    node = made()
    (node.backend / "etcd/member").mkdir(parents=True)
    assert not [name for name in options(etcd.command(node)) if name.startswith("initial-cluster")]


def test_who_joins_is_told_of_the_members_that_let_it_in(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    node = made()
    node.write("var/kubernetes/backend/info.yaml", json.dumps({"Address": "192.0.2.1:19001"}))
    told = {"Cluster": ["192.0.2.2:19001"], "Address": "192.0.2.1:19001"}
    node.write("var/kubernetes/backend/init.yaml", json.dumps(told))
    asked: list[Any] = []

    def ask(*words: Any, **options: Any) -> list[str]:
        asked.append((*words, options["token"]))
        return ["node-2=https://192.0.2.2:19001", "node-1=https://192.0.2.1:19001"]

    monkeypatch.setattr(etcd.tls, "ask", ask)
    found = options(etcd.command(node))
    assert found["initial-cluster"] == "node-2=https://192.0.2.2:19001,node-1=https://192.0.2.1:19001"
    assert found["initial-cluster-state"] == "existing"
    body = {"name": "node-1", "address": "192.0.2.1:19001"}
    key = node.read("var/kubernetes/backend/cluster.key")
    assert asked == [("POST", "192.0.2.2:25000", "/standin/members", body, key)]


def test_nobody_who_lets_it_in_is_no_leader(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(etcd.tls, "ask", nobody)
    with pytest.raises(NoLeader):
        Etcd(made()).join(["192.0.2.2:19001", "192.0.2.3:19001"], "192.0.2.1:19001")


# --- etcd's members, answered by a document in its place ---


class Answers:
    """What etcd's gateway answers, of members that are listed and one key that is kept."""

    def __init__(self, *members: dict[str, Any]) -> None:
        self.members = list(members)
        self.kept: list[dict[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, path: str, body: Any) -> Any:
        self.asked.append((path, body))
        match path:
            case "cluster/member/list":
                return {"members": self.members}
            case "cluster/member/add":
                self.members.append({"ID": "9", "name": "", **body})
            case "cluster/member/remove":
                self.members = [each for each in self.members if each["ID"] != body["ID"]]
            case "kv/range":
                return {"kvs": self.kept}
            case "kv/txn":
                compared, put = body["compare"][0], body["success"][0]["requestPut"]
                revision = str(self.kept[0]["mod_revision"]) if self.kept else "0"
                if compared["modRevision"] != revision:
                    return {}
                self.kept = [{"value": put["value"], "mod_revision": int(revision) + 1}]
                return {"succeeded": True}
        return {}


def member(number: int, **more: Any) -> dict[str, Any]:
    url = f"https://192.0.2.{number}:19001"
    return {"ID": str(number), "name": f"node-{number}", "peerURLs": [url], **more}


@pytest.fixture
def database(made: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Etcd, Answers]]:
    def make(*members: dict[str, Any]) -> tuple[Etcd, Answers]:
        found, answers = Etcd(made()), Answers(*members)
        monkeypatch.setattr(found, "_post", answers)
        return found, answers

    return make


Database = Callable[..., tuple[Etcd, Answers]]


def test_who_is_let_in_learns_before_it_votes(database: Database) -> None:
    found, answers = database(member(1))
    known = ["node-1=https://192.0.2.1:19001", "node-2=https://192.0.2.2:19001"]
    assert found.admit("node-2", "192.0.2.2:19001") == known
    added = [body for path, body in answers.asked if path == "cluster/member/add"]
    assert added == [{"peerURLs": ["https://192.0.2.2:19001"], "isLearner": True}]
    assert found.admit("node-2", "192.0.2.2:19001") == known, "asked again, it is the same member"
    assert len(answers.members) == 2
    assert [each["role"] for each in found._members()] == ["voter", "standby"]


def test_who_has_begun_is_asked_to_vote(database: Database) -> None:
    found, answers = database(member(1), member(2, isLearner=True), member(3, isLearner=True, name=""))
    found.promote()
    promoted = [body["ID"] for path, body in answers.asked if path == "cluster/member/promote"]
    assert promoted == ["2"], "the third is a member, and has never been there"


def test_who_is_removed_is_known_by_its_address(database: Database) -> None:
    found, answers = database(member(1), member(12))
    found.remove("192.0.2.1:19001")
    assert [each["ID"] for each in answers.members] == ["12"]


def test_a_change_that_another_one_overtook_is_made_again(database: Database) -> None:
    found, answers = database(member(1))
    overtaken = []

    def enable(document: dict[str, Any]) -> None:
        if not overtaken:
            overtaken.append(True)
            other = base64.b64encode(json.dumps({"addons": {"rbac": 35}, "nodes": {}}).encode()).decode()
            answers.kept = [{"value": other, "mod_revision": 5}]
        document["addons"]["dns"] = 35

    assert found.change(enable)["addons"] == {"rbac": 35, "dns": 35}
    assert found._stored() == ({"addons": {"rbac": 35, "dns": 35}, "nodes": {}}, "6")


def test_what_a_cluster_was_founded_with_is_taken_over_once(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, answers = Etcd(made(addons=[{"name": "dns"}, {"name": "rbac"}])), Answers(member(1))
    monkeypatch.setattr(found, "_post", answers)
    found.begin()
    assert found._stored()[0]["addons"] == {"dns": 35, "rbac": 35}
    found.change(lambda document: document["addons"].pop("rbac"))
    found.begin()
    assert found._stored()[0]["addons"] == {"dns": 35}


def test_nodes_are_those_of_the_api(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = database(member(1))
    addresses = [{"type": "Hostname", "address": "node-1"}, {"type": "InternalIP", "address": "192.0.2.1"}]
    items = [{"metadata": {"name": "node-1"}, "status": {"addresses": addresses}}]
    monkeypatch.setattr(objects, "request", lambda *_: {"items": items})
    assert found.read()["nodes"] == {"node-1": {"address": "192.0.2.1"}}


def test_which_database_a_node_has(made: Make) -> None:
    assert isinstance(etcd.of(made(1)), Etcd)
    assert not isinstance(etcd.of(made(2, real=False)), Etcd)


def test_members_are_asked_for_with_the_clusters_key_alone(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(Etcd, "admit", lambda _, name, address: asked.append((name, address)) or ["known"])
    node, body = made(), {"name": "node-2", "address": "192.0.2.2:19001"}

    def ask(of: Node, token: str) -> tuple[int, Any]:
        return daemons._agent(of, "POST", "/standin/members", body, token, "192.0.2.2")

    assert ask(node, "guessed")[0] == 403
    assert asked == []
    assert ask(node, node.read("var/kubernetes/backend/cluster.key")) == (200, ["known"])
    machine = made(2, real=False)
    assert ask(machine, machine.read("var/kubernetes/backend/cluster.key"))[0] == 404


# --- the programs ---


def test_networks_are_those_of_the_launch_configuration(made: Make) -> None:
    assert kubernetes.networks(made(1)) == ("10.1.0.0/16", "10.152.183.0/24")
    assert kubernetes.dns(made(2)) == "10.152.183.10"
    node = made(3, extraCNIEnv=NETWORKS)
    assert kubernetes.networks(node) == ("10.2.0.0/16", "10.153.0.0/24")
    assert kubernetes.dns(node) == "10.153.0.10"
    api, controllers = options(kubernetes._apiserver(node)), options(kubernetes._controllers(node))
    assert api["service-cluster-ip-range"] == controllers["service-cluster-ip-range"] == "10.153.0.0/24"
    assert controllers["cluster-cidr"] == options(kubernetes._proxy(node))["cluster-cidr"] == "10.2.0.0/16"


def test_the_api_lets_in_who_is_known_and_may(made: Make) -> None:
    node = made()
    told = options(kubernetes._apiserver(node))
    assert told["authorization-mode"] == "Node,RBAC"
    assert told["etcd-servers"] == etcd.CLIENT
    assert (told["secure-port"], told["advertise-address"]) == ("16443", "192.0.2.1")
    for option in ("tls-cert-file", "tls-private-key-file", "client-ca-file", "token-auth-file"):
        assert Path(told[option]).is_file(), option


def test_a_kubelet_asks_the_api_who_asks_it(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "_cgroup", dict)  # this machine's groups are not the test's to change
    node = made()
    told = options(kubernetes._kubelet(node))
    config = json.loads(Path(told["config"]).read_text())
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["port"] == 10250
    assert config["clusterDNS"] == ["10.152.183.10"]
    assert config["containerRuntimeEndpoint"] == f"unix://{node.common}/run/containerd.sock"
    assert Path(told["root-dir"]).is_relative_to(node.common), "what pods have outlives a refresh"
    assert (told["hostname-override"], told["node-ip"]) == ("node-1", "192.0.2.1")
    assert told["node-labels"] == "node.kubernetes.io/microk8s-controlplane=microk8s-controlplane"
    node.mark("clustered.lock")
    assert (
        options(kubernetes._kubelet(node))["node-labels"]
        == "node.kubernetes.io/microk8s-worker=microk8s-worker"
    )


def test_the_proxy_keeps_to_loopback_and_leaves_the_machine_as_it_is(made: Make) -> None:
    told = options(kubernetes._proxy(made()))
    for name in ("metrics-bind-address", "healthz-bind-address"):
        assert told[name].startswith("127.0.0.1:")
    assert {value for name, value in told.items() if name.startswith("conntrack-")} == {"0"}


def test_every_client_has_the_same_credentials(made: Make) -> None:
    node = made()
    for words in (kubernetes._controllers(node), kubernetes._scheduler(node)):
        told = options(words)
        found = {told[f"{each}kubeconfig"] for each in ("", "authentication-", "authorization-")}
        assert found == {f"{node.data}/credentials/client.config"}


def test_containerd_is_told_of_the_snap_alone(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    node = made()
    ran: list[Any] = []
    monkeypatch.setattr(kubernetes, "_run_all", lambda _, words: ran.extend(words))
    kubernetes.run(node, "containerd")
    file = node.data / "args/containerd.toml"
    assert ran == [["containerd", f"--config={file}"]]
    text = file.read_text()
    assert f'bin_dir = "{node.snap}/usr/lib/cni"' in text
    assert f'config_path = "{node.data}/args/certs.d"' in text
    assert f'address = "{node.common}/run/containerd.sock"' in text
    assert (node.data / "args/cni-network").is_dir()


def test_the_network_is_written_once_and_again_when_it_is_another(made: Make) -> None:
    node = made()
    assert kubernetes._write_cni(node, "10.1.2.0/24")
    assert not kubernetes._write_cni(node, "10.1.2.0/24")
    assert kubernetes._write_cni(node, "10.1.3.0/24")
    bridge, ports = json.loads(node.read("args/cni-network/10-standin.conflist"))["plugins"]
    assert (bridge["bridge"], bridge["ipam"]["ranges"]) == ("cali0", [[{"subnet": "10.1.3.0/24"}]])
    assert ports["type"] == "portmap"


def test_the_key_of_pods_tokens_is_made_once(made: Make) -> None:
    node = made()
    key = kubernetes.service_account(node)
    assert key.startswith("-----BEGIN")
    assert kubernetes.service_account(node) == key
    assert (node.data / "certs/serviceaccount.key").stat().st_mode & 0o777 == 0o600


def test_a_hardware_address_follows_from_the_nodes(made: Make) -> None:
    assert kubernetes._mac("192.0.2.17") == "66:00:c0:00:02:11"
    assert kubernetes._first("10.1.2.0/24") == "10.1.2.0"


# --- addons ---


def test_addons_are_brought_once_and_again_when_they_are_enabled_again(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = made()
    (node.snap / "addons").mkdir()
    for name in ("network", *kubernetes.ADDONS):
        (node.snap / "addons" / f"{name}.yaml").write_text(f"# {name} at DNS_ADDRESS")
    enabled = {"dns": 35, "rbac": 35}
    asked: list[str] = []
    refused = {"# dns at 10.152.183.10"}
    monkeypatch.setattr(kubernetes, "_APPLIED", {})
    monkeypatch.setattr(Etcd, "read", lambda _: {"addons": dict(enabled)})
    monkeypatch.setattr(kubernetes, "_ask", lambda *_, text: asked.append(text) or int(text in refused))
    kubernetes._addons(node)
    assert asked == ["# network at 10.152.183.10", "# dns at 10.152.183.10"]
    refused.clear()
    kubernetes._addons(node)
    kubernetes._addons(node)
    assert asked[2:] == ["# dns at 10.152.183.10"], "tried again until the API takes it"
    del enabled["dns"]
    kubernetes._addons(node)
    enabled["dns"] = 35
    kubernetes._addons(node)
    assert asked[3:] == ["# dns at 10.152.183.10"]


def test_what_enforces_policies_is_known_to_the_proof_and_knows_the_services(
    made: Make,
) -> None:
    node = made(extraCNIEnv=NETWORKS)
    (node.snap / "addons").symlink_to(Path(kubernetes.__file__).parents[1] / "addons")
    items = list(yaml.safe_load_all(kubernetes._addon(node, "network")))
    (found,) = [each for each in items if each["kind"] == "DaemonSet"]
    pod = found["spec"]["template"]
    assert pod["metadata"]["labels"]["k8s-app"] in ENFORCERS
    assert "--service-cluster-ip-range=10.153.0.0/24" in pod["spec"]["containers"][0]["args"]


def test_every_image_of_an_addon_is_in_the_mirror() -> None:
    """as registries that the mirror stands for have it, by the tag that is built"""
    built = {f"{place}:{recipe(name)['tag']}" for name, place in ADDONS.items()}
    asked = {kubernetes.SANDBOX.removeprefix("registry.k8s.io/")}
    for file in Path(kubernetes.__file__).parents[1].glob("addons/*.yaml"):
        for name in re.findall(r"image: \"?([^\"\s}]+)", file.read_text()):
            place = name.removeprefix("registry.k8s.io/")
            asked.add(f"library/{name}" if "/" not in name else place)
    assert asked == built
