"""A real Kubernetes in place of the state machine, in a snap that has its programs.

One daemon runs what MicroK8s has in one process: API, controllers, scheduler, kubelet and proxy. Pods reach
one another over VXLAN, as with Calico; policies between them are enforced by kube-router.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from . import etcd, objects, tls
from .database import NoLeader
from .node import API, KUBELET, Node

POD_NETWORK, SERVICE_NETWORK = "10.1.0.0/16", "10.152.183.0/24"
VXLAN, BRIDGE, PORT = "vxlan.calico", "cali0", 4789
CNI = "args/cni-network/10-standin.conflist"  # what containerd knows of the network of this node's pods
DAEMONS = ("containerd", "k8s-dqlite", "kubelite")
ADDONS = ("dns", "metrics-server", "ingress")
ALWAYS = "network"  # is there without being enabled
SANDBOX = "registry.k8s.io/pause:3.10"
CONTAINERD = """version = 2
root = "{common}/var/lib/containerd"
state = "{common}/run/containerd"
[grpc]
address = "{common}/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox}"
# A container within a container may not lower it.
restrict_oom_score_adj = true
# What serves DNS is nobody's root.
enable_unprivileged_ports = true
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{data}/args/certs.d"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{snap}/usr/lib/cni"
conf_dir = "{data}/args/cni-network"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def run(node: Node, daemon: str) -> None:
    """Run one of its daemons until it ends."""
    match daemon:
        case "containerd":
            _containerd(node)
        case "k8s-dqlite":
            etcd.run(node)
        case "kubelite":
            _kubelite(node)


def kubectl(node: Node, words: list[str]) -> int:
    """The real one, as administrator of this node."""
    return subprocess.run([*_kubectl(node), *words], env=_environment(node), check=False).returncode


def disable(node: Node, name: str) -> None:
    """Take away what an addon brought."""
    if name in ADDONS:
        _ask(node, "delete", "--ignore-not-found", "-f", "-", text=_addon(node, name))


def service_account(node: Node) -> str:
    """The key that tokens of pods are signed with; every server has the same."""
    place = node.data / "certs/serviceaccount.key"
    if not place.exists():
        made = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, text=True, check=True)
        node.write("certs/serviceaccount.key", made.stdout)
    return place.read_text()


# --- daemons ---


def _environment(node: Node) -> dict[str, str]:
    programs = [node.snap / each for each in ("usr/sbin", "usr/bin")]
    return {
        **os.environ,
        "PATH": ":".join([*map(str, programs), "/usr/sbin:/usr/bin"]),
        "LD_LIBRARY_PATH": str(node.snap / "usr/lib/x86_64-linux-gnu"),
    }


def _containerd(node: Node) -> None:
    folders = {"snap": node.snap, "data": node.data, "common": node.common}
    node.write("args/containerd.toml", CONTAINERD.format(**folders, sandbox=SANDBOX))
    (node.data / "args/cni-network").mkdir(parents=True, exist_ok=True)
    _run_all(node, [["containerd", f"--config={node.data}/args/containerd.toml"]])


def _kubelite(node: Node) -> None:
    """When the database and the containers' daemon are there: all components, until one of them ends."""
    _until(lambda: (node.common / "run/containerd.sock").exists())
    if not node.worker:
        _until(etcd.Etcd(node).answers)
    _prepare_host(node)
    kubeconfig = node.kubeconfig("127.0.0.1")
    node.write("credentials/client.config", json.dumps(kubeconfig))
    first, rest = [], [_kubelet(node), _proxy(node)]
    if not node.worker:
        service_account(node)
        # The others end where they find no API.
        first, rest = [_apiserver(node)], [_controllers(node), _scheduler(node), *rest]
    for task in (_network, *(() if node.worker else (_addons,))):
        threading.Thread(target=_repeat, args=(task, node), daemon=True).start()
    programs = [[[str(node.snap / "kubernetes"), *words] for words in each] for each in (first, rest)]
    _run_all(node, *programs, ready=partial(_answers, node))


def _apiserver(node: Node) -> list[str]:
    certs = node.data / "certs"
    return [
        "kube-apiserver",
        f"--etcd-servers={etcd.CLIENT}",
        f"--secure-port={API}",
        f"--advertise-address={node.address}",
        f"--service-cluster-ip-range={networks(node)[1]}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--token-auth-file={node.data}/credentials/known_tokens.csv",
        f"--client-ca-file={certs}/ca.crt",
        f"--tls-cert-file={certs}/server.crt",
        f"--tls-private-key-file={certs}/server.key",
        f"--kubelet-client-certificate={certs}/server.crt",
        f"--kubelet-client-key={certs}/server.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={certs}/serviceaccount.key",
        f"--service-account-signing-key-file={certs}/serviceaccount.key",
        f"--requestheader-client-ca-file={certs}/ca.crt",
        # The subject of server.crt, which the aggregator shows.
        "--requestheader-allowed-names=127.0.0.1",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={certs}/server.crt",
        f"--proxy-client-key-file={certs}/server.key",
        "--enable-aggregator-routing=true",
    ]


def _controllers(node: Node) -> list[str]:
    certs, (pods, services) = node.data / "certs", networks(node)
    return [
        "kube-controller-manager",
        *_client(node),
        "--use-service-account-credentials",
        f"--root-ca-file={certs}/ca.crt",
        f"--service-account-private-key-file={certs}/serviceaccount.key",
        f"--cluster-signing-cert-file={certs}/ca.crt",
        f"--cluster-signing-key-file={certs}/ca.key",
        "--allocate-node-cidrs",
        f"--cluster-cidr={pods}",
        f"--service-cluster-ip-range={services}",
        f"--cert-dir={node.data}/certs/controllers",
        f"--flex-volume-plugin-dir={node.common}/volume-plugins",
        "--node-monitor-grace-period=20s",
        "--horizontal-pod-autoscaler-sync-period=5s",
    ]


def _scheduler(node: Node) -> list[str]:
    return ["kube-scheduler", *_client(node), f"--cert-dir={node.data}/certs/scheduler"]


def _client(node: Node) -> list[str]:
    options = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return [f"--{each}={node.data}/credentials/client.config" for each in options]


def _kubelet(node: Node) -> list[str]:
    certs, kind = node.data / "certs", "worker" if node.worker else "controlplane"
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "port": KUBELET,
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        **_cgroup(),
        "containerRuntimeEndpoint": f"unix://{node.common}/run/containerd.sock",
        "clusterDNS": [dns(node)],
        "clusterDomain": "cluster.local",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{certs}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{certs}/server.crt",
        "tlsPrivateKeyFile": f"{certs}/server.key",
        "failSwapOn": False,
        "volumePluginDir": f"{node.common}/volume-plugins",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "nodeStatusUpdateFrequency": "4s",
        # A lab has no resolver that a pod could be told of beyond the cluster's.
        "resolvConf": "",
    }
    node.write("args/kubelet.json", json.dumps(config, indent=2))
    return [
        "kubelet",
        f"--config={node.data}/args/kubelet.json",
        f"--kubeconfig={node.data}/credentials/client.config",
        f"--root-dir={node.common}/var/lib/kubelet",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--node-labels=node.kubernetes.io/microk8s-{kind}=microk8s-{kind}",
        f"--cert-dir={node.data}/certs/kubelet",
    ]


def _proxy(node: Node) -> list[str]:
    return [
        "kube-proxy",
        f"--kubeconfig={node.data}/credentials/client.config",
        f"--hostname-override={node.name}",
        f"--cluster-cidr={networks(node)[0]}",
        "--proxy-mode=iptables",
        "--metrics-bind-address=127.0.0.1:10249",
        "--healthz-bind-address=127.0.0.1:10256",
        # They are the machine's, and not a node's to set.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]


def _answers(node: Node) -> bool:
    """Whether the node's API does."""
    try:
        objects.request(node, "GET", "/version")
    except (OSError, tls.Refused):
        return False
    return True


def _prepare_host(node: Node) -> None:
    """What a machine has, and a node in a container may lack."""
    for place in ("/", node.common):
        _run("mount", "--make-rshared", str(place))
    if not Path("/dev/kmsg").exists():
        Path("/dev/kmsg").symlink_to("/dev/null")


def _cgroup() -> dict[str, str]:
    """Where pods are counted: below this host's own group, which a node in a container shares a tree with."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return {}
    lines = (line.split(":", 2) for line in Path("/proc/1/cgroup").read_text().splitlines())
    own = {controller: path for _, names, path in lines for controller in names.split(",")}
    # systemd is in init.scope, or above it; the hierarchies of all controllers must have the same path.
    below = (
        Path(own.get("memory", "/")).parent
        if own.get("memory", "/").endswith("init.scope")
        else Path(own.get("memory", "/"))
    )
    path = below / "kubelet"
    for hierarchy in root.iterdir():
        if not hierarchy.is_dir() or hierarchy.is_symlink() or hierarchy.name == "unified":
            continue
        place = hierarchy / str(path).lstrip("/")
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
        if (place / "cpuset.cpus").exists():
            _fill_cpusets(hierarchy, place)
    return {"cgroupRoot": str(path)}


def _fill_cpusets(root: Path, place: Path) -> None:
    """A group takes tasks only when it and all above it name CPUs and memory."""
    for folder in [*reversed(place.relative_to(root).parents), place.relative_to(root)]:
        for file in ("cpuset.cpus", "cpuset.mems"):
            target = root / folder / file
            if not target.read_text().strip():
                target.write_text((target.parent.parent / file).read_text())


def _run_all(
    node: Node, first: list[list[str]], rest: Sequence[list[str]] = (), ready: Callable[[], bool] = bool
) -> None:
    """Run them side by side, the rest when the first are ready; end with all when one does, or when asked."""
    env = _environment(node)
    running = [subprocess.Popen(words, env=env) for words in first]

    def stop(*_: Any) -> None:
        for each in running:
            each.terminate()
        end = time.monotonic() + 2  # an API without its database hangs on its port
        for each in running:
            with suppress(subprocess.TimeoutExpired):
                each.wait(max(0, end - time.monotonic()))
            each.kill()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    left = list(rest)
    while not (ended := [each for each in running if each.poll() is not None]):
        if left and (not first or ready()):
            running += [subprocess.Popen(words, env=env) for words in left]
            left = []
        time.sleep(0.3)
    for each in running:
        each.kill()
    time.sleep(3)  # systemd gives up on who ends five times within ten seconds
    sys.exit(f"{ended[0].args} ended with {ended[0].returncode}")


# --- the network of pods ---


def networks(node: Node) -> tuple[str, str]:
    """Of pods and of services, as the launch configuration has them."""
    try:
        told = json.loads(node.read("args/cni-env"))
    except FileNotFoundError:
        told = {}
    return told.get("IPv4_CLUSTER_CIDR", POD_NETWORK), told.get("IPv4_SERVICE_CIDR", SERVICE_NETWORK)


def dns(node: Node) -> str:
    """The address of the cluster's DNS."""
    return str(ipaddress.ip_network(networks(node)[1])[10])


def _network(node: Node) -> None:
    """Give this node's pods their bridge, and a way to those of every other node."""
    ways = {}
    for each in objects.request(node, "GET", "/api/v1/nodes")["items"]:
        addresses = {one["type"]: one["address"] for one in each["status"]["addresses"]}
        if pods := each["spec"].get("podCIDR"):
            ways[each["metadata"]["name"]] = (pods, addresses["InternalIP"])
    if node.name not in ways:
        return
    own, _ = ways.pop(node.name)
    if _write_cni(node, own):
        # What a node had before it joined, and its pods with it, is of another network.
        _ip(f"link delete {BRIDGE}")
        _ip(f"link delete {VXLAN}")
    if not Path("/sys/class/net", VXLAN).exists():
        _ip(f"link add {VXLAN} type vxlan id 4096 dstport {PORT} local {node.address} nolearning")
    _ip(f"link set {VXLAN} address {_mac(node.address)} up")
    _ip(f"address replace {_first(own)}/32 dev {VXLAN}")
    for pods, address in ways.values():
        _ip(f"neighbour replace {_first(pods)} lladdr {_mac(address)} dev {VXLAN} nud permanent")
        _run("bridge", "fdb", "replace", _mac(address), "dev", VXLAN, "dst", address)
        _ip(f"route replace {pods} via {_first(pods)} dev {VXLAN} onlink")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    leaving = ("POSTROUTING", "-s", own, "!", "-d", networks(node)[0], "-j", "MASQUERADE")
    if _run("iptables", "-t", "nat", "-C", *leaving):
        _run("iptables", "-t", "nat", "-A", *leaving)


def _write_cni(node: Node, pods: str) -> bool:
    """Tell containerd of this node's pods; whether that is news."""
    ways = [{"dst": "0.0.0.0/0"}]
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": pods}]],
        "routes": ways,
        "dataDir": f"{node.common}/var/lib/cni",
    }
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "mtu": 1450,
        "ipam": ipam,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    text = json.dumps(
        {"cniVersion": "0.4.0", "name": "k8s-pod-network", "plugins": [bridge, ports]}, indent=2
    )
    place = node.data / CNI
    if place.exists() and place.read_text() == text:
        return False
    node.write(CNI, text)
    return True


def _mac(address: str) -> str:
    """One that follows from a node's address, so that nobody has to be asked for it."""
    return "66:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(address).packed)


def _first(network: str) -> str:
    """The address of a node in the network of its pods."""
    return str(ipaddress.ip_network(network)[0])


def _ip(words: str) -> None:
    _run("ip", *words.split())


def _run(*words: str) -> int:
    return subprocess.run(words, capture_output=True, check=False).returncode


# --- addons ---


def _addons(node: Node) -> None:
    """Bring what the enabled addons are; as often as asked, for it changes nothing then."""
    enabled = etcd.Etcd(node).read()["addons"] | {ALWAYS: node.minor}
    for name in (ALWAYS, *ADDONS):
        if enabled.get(name) == _APPLIED.get(name):
            continue
        apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        if name not in enabled:
            del _APPLIED[name]
        elif _ask(node, *apply, text=_addon(node, name)) == 0:
            _APPLIED[name] = enabled[name]


_APPLIED: dict[str, int] = {}


def _addon(node: Node, name: str) -> str:
    text = (node.snap / "addons" / f"{name}.yaml").read_text()
    return text.replace("DNS_ADDRESS", dns(node)).replace("SERVICE_NETWORK", networks(node)[1])


def _ask(node: Node, *words: str, text: str) -> int:
    done = subprocess.run(
        [*_kubectl(node), *words],
        env=_environment(node),
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr, flush=True)
    return done.returncode


def _kubectl(node: Node) -> list[str]:
    node.write("credentials/client.config", json.dumps(node.kubeconfig(node.here)))
    return [str(node.snap / "kubernetes"), "kubectl", f"--kubeconfig={node.data}/credentials/client.config"]


def _until(see: Callable[[], bool]) -> None:
    while not see():
        time.sleep(0.3)


def _repeat(task: Any, node: Node) -> None:
    while True:
        with suppress(OSError, tls.Refused, NoLeader, KeyError):
            task(node)
        time.sleep(2)
