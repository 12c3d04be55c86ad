"""The commands of `microk8s`, with the outputs and exit codes of the real ones, also where those mislead."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from io import BytesIO
from typing import Any, Protocol

from . import etcd, kubectl, kubernetes, objects, tls
from .database import Document, NoLeader
from .node import AGENT, DAEMONS, DATABASE, Node

ON_A_WORKER = "This MicroK8s deployment is acting as a node in a cluster.\nPlease use the control plane node."
STOPPED = "microk8s is not running, try microk8s start"
NOT_READY = "microk8s is not running. Use microk8s inspect for a deeper inspection."
TOKEN_LENGTH = 32
PEER_LENGTH = 12


class Services(Protocol):
    """What starts and stops the node's daemons."""

    def start(self, *daemons: str) -> None: ...
    def stop(self, *daemons: str) -> None: ...
    def active(self, daemon: str) -> bool: ...


class Microk8s:
    """The commands of one node; each prints, and gives its exit status."""

    def __init__(self, node: Node, services: Services, pause: float = 2) -> None:
        self.node = node
        self.services = services
        self.database = etcd.of(node)
        # MicroK8s waits ten seconds where it stops and starts its database.
        self.pause = pause

    def run(self, words: Sequence[str]) -> int:
        commands: dict[str, Callable[[list[str]], int]] = {
            "status": self.status,
            "add-node": self.add_node,
            "join": self.join,
            "leave": self.leave,
            "remove-node": self.remove_node,
            "enable": self.enable,
            "disable": self.disable,
            "config": self.config,
            "kubectl": self.kubectl,
            "inspect": self.inspect,
            "refresh-certs": self.refresh_certs,
            "stop": self.stop,
            "start": self.start,
            "version": self.version,
        }
        name = words[0] if words else "help"
        if name not in commands:
            print(f"'{name}' is not a valid MicroK8s subcommand.")
            print("Available subcommands are:\n\t" + "\n\t".join(sorted(commands)))
            return 1
        try:
            return commands[name](list(words[1:]))
        except SystemExit as end:  # argparse's
            return int(end.code or 0)
        except NoLeader as error:
            print(f"Error from server: rpc error: code = Unknown desc = {error}", file=sys.stderr)
            return 1

    # --- looking ---

    def status(self, words: list[str]) -> int:
        parser = argparse.ArgumentParser("microk8s status")
        parser.add_argument("-w", "--wait-ready", action="store_true")
        parser.add_argument("-t", "--timeout", type=int, default=0)
        parser.add_argument("-a", "--addon", default="all")
        parser.add_argument("--format", choices=("pretty", "yaml", "short"), default="pretty")
        asked = parser.parse_args(words)
        if self.node.has("stopped.lock"):
            print(STOPPED)
            return 0
        if self.node.worker:
            print(ON_A_WORKER)
            return 0
        end = time.monotonic() + asked.timeout if asked.timeout else float("inf")
        while not (ready := self._ready()) and asked.wait_ready and time.monotonic() < end:
            time.sleep(0.5)
        if not ready:
            print(
                f"microk8s:\n   running: False\n   message: {NOT_READY}"
                if asked.format == "yaml"
                else NOT_READY
            )
            return 1
        document = self.database.read()
        enabled = {*document["addons"], *objects.ALWAYS}
        if asked.addon != "all":
            print("enabled" if asked.addon in enabled else "disabled")
        elif asked.format == "yaml":
            print(_yaml(document, enabled))
        else:
            print(_pretty(document, enabled, short=asked.format == "short"))
        return 0

    def config(self, words: list[str]) -> int:
        if self.node.worker:
            print(ON_A_WORKER)
            return 0
        print(json.dumps(self.node.kubeconfig("127.0.0.1" if "-l" in words else self.node.address), indent=2))
        return 0

    def kubectl(self, words: list[str]) -> int:
        if self.node.worker:
            print(f"{ON_A_WORKER.splitlines()[0]} Please use the microk8s kubectl on the master.")
            return 0
        if self.node.has("stopped.lock"):
            print(STOPPED)
            return 0
        return kubernetes.kubectl(self.node, words) if self.node.real else kubectl.run(self.node, words)

    def version(self, _: list[str]) -> int:
        print(f"MicroK8s {self.node.version} revision {self.node.snap.resolve().name}")
        return 0

    def inspect(self, _: list[str]) -> int:
        failed = [each for each in DAEMONS if self.node.expects(each) and not self.services.active(each)]
        print("Inspecting system\nInspecting Certificates\nInspecting services")
        for daemon in DAEMONS:
            if not self.node.expects(daemon):
                continue
            if daemon in failed:
                print(f" FAIL:  Service snap.microk8s.daemon-{daemon} is not running")
                print(f"For more details look at: sudo journalctl -u snap.microk8s.daemon-{daemon}")
            else:
                print(f"  Service snap.microk8s.daemon-{daemon} is running")
        report = self.node.data.resolve() / f"inspection-report-{datetime.now():%Y%m%d_%H%M%S}.tar.gz"
        with tarfile.open(report, "w:gz") as tar:
            text = json.dumps({"node": self.node.name, "failed": failed, "database": self.database.held()})
            entry = tarfile.TarInfo("inspection-report/standin.json")
            entry.size = len(text.encode())
            tar.addfile(entry, BytesIO(text.encode()))
        print(f"\nBuilding the report tarball\n  Report tarball is at {report}")
        return 1 if failed else 0

    # --- membership ---

    def add_node(self, words: list[str]) -> int:
        parser = argparse.ArgumentParser("microk8s add-node")
        parser.add_argument("--token-ttl", "-l", type=int, default=-1)
        parser.add_argument("--token", "-t")
        forms = ("pretty", "short", "token", "token-check", "json", "yaml")
        parser.add_argument("--format", choices=forms, default="pretty")
        asked = parser.parse_args(words)
        if self.node.worker:
            print(ON_A_WORKER)
            return 1
        token = asked.token or secrets.token_hex(TOKEN_LENGTH // 2)
        if len(token) < TOKEN_LENGTH:
            print("Invalid token size.  It must be 32 characters long.")
            return 1
        end = "" if asked.token_ttl == -1 else f"|{int(time.time()) + asked.token_ttl}"
        path = "credentials/cluster-tokens.txt"
        held = self.node.read(path) if (self.node.data / path).exists() else ""
        self.node.write(path, f"{held}{token}{end}\n")
        check = tls.fingerprint(self.node.data / "certs/server.crt")[:PEER_LENGTH]
        url = f"{self.node.address}:{AGENT}/{token}/{check}"
        match asked.format:
            case "json":
                print(json.dumps({"token": f"{token}/{check}", "urls": [url]}, indent=2))
            case "yaml":
                print(f"token: {token}/{check}\nurls:\n- {url}")
            case "token":
                print(token)
            case "token-check":
                print(f"{token}/{check}")
            case "short":
                print(f"microk8s join {url}")
            case _:
                print("From the node you wish to join to this cluster, run the following:")
                print(f"microk8s join {url}\n")
        return 0

    def join(self, words: list[str]) -> int:
        parser = argparse.ArgumentParser("microk8s join")
        parser.add_argument("connection")
        parser.add_argument("--worker", action="store_true")
        for option in ("--controlplane", "--skip-verify", "--disable-low-memory-guard"):
            parser.add_argument(option, action="store_true")
        asked = parser.parse_args(words)
        endpoint, _, rest = asked.connection.partition("/")
        token, _, peer = rest.partition("/")
        if not token or ":" not in endpoint:
            print(f"Error: invalid connection {asked.connection}")
            return 1
        self.node.mark("join-in-progress")
        print(f"Contacting cluster at {endpoint.rpartition(':')[0]}", flush=True)
        body = {"token": token, "hostname": self.node.name, "port": str(AGENT), "worker": asked.worker}
        try:
            told = tls.ask(
                "POST",
                endpoint,
                "/cluster/api/v2.0/join",
                body,
                peer="" if asked.skip_verify else peer,
                timeout=30,
                source=self.node.address,
            )
        except PermissionError as error:
            print(f"Joining cluster failed. Could not verify the identity of {error}.")
            return 4
        except OSError as error:
            print(f"Please ensure the master node is reachable. {error}")
            return 1
        except tls.Refused as error:
            said = json.loads(str(error))
            print(f"Connection failed. {said.get('error') or said.get('message')} ({error.status}).")
            return 6
        if asked.worker:
            self._become_worker(told)
        else:
            self._become_server(told)
        self.node.unmark("join-in-progress")
        return 0

    def _become_server(self, told: dict[str, Any]) -> None:
        self._take(told, "ca.key", told["ca_key"])
        if self.node.real:
            self.node.write("certs/serviceaccount.key", told["service_account_key"])
        self.services.stop("kubelite", "k8s-dqlite")
        time.sleep(self.pause)
        self._empty_backend()
        self.node.certify()
        address = f"{told['hostname_override']}:{DATABASE}"
        self.node.write("var/kubernetes/backend/cluster.key", told["cluster_key"])
        self.node.write("var/kubernetes/backend/info.yaml", json.dumps({"Address": address}))
        init = {"Cluster": told["voters"], "Address": address}
        self.node.write("var/kubernetes/backend/init.yaml", json.dumps(init))
        self.services.start("k8s-dqlite", "kubelite")
        print("Waiting for this node to finish joining the cluster.", end=" ", flush=True)
        for _ in range(10):
            held = self.database.held()
            if held and address in [each["address"] for each in held["members"]]:
                break
            print(".", end=" ", flush=True)
            time.sleep(self.pause / 4)
        # It says so whether or not it has: who wants to know asks for the nodes.
        print(" \nSuccessfully joined the cluster.")
        self._restart()

    def _become_worker(self, told: dict[str, Any]) -> None:
        self._take(told, "ca.crt", told["ca"])
        self.services.stop("kubelite", "k8s-dqlite")
        time.sleep(self.pause)
        self._empty_backend()
        self.node.write("args/traefik/provider.yaml", json.dumps(told["servers"]))
        self.node.unmark("no-apiserver-proxy")
        self.node.mark("no-k8s-dqlite")
        self.node.mark("clustered.lock")
        self._restart()
        print("\nSuccessfully joined the cluster.")
        print("The node has joined the cluster and will appear in the nodes list in a few seconds.\n")

    def _take(self, told: dict[str, Any], name: str, text: str) -> None:
        self.node.write("certs/ca.crt", told["ca"])
        self.node.write(f"certs/{name}", text)
        self.node.write(
            "credentials/known_tokens.csv", f'{told["admin_token"]},admin,admin,"system:masters"\n'
        )

    def _empty_backend(self) -> None:
        backup = self.node.backend.with_name("backend.backup")
        shutil.rmtree(backup, ignore_errors=True)
        self.node.backend.rename(backup)
        self.node.backend.mkdir()
        # MicroK8s asks it for the database's port, and ends here when an earlier join was cut off.
        (backup / "info.yaml").read_text()
        # The next pod would be in the network that this node's had before.
        (self.node.data / kubernetes.CNI).unlink(missing_ok=True)

    def leave(self, _: list[str]) -> int:
        if self.node.worker:
            print("Configuring services.\nGenerating new cluster certificates.", flush=True)
        else:
            document = self.database.read()
            voters = [each["address"] for each in document["members"] if each["role"] == "voter"]
            own = self.node.bind_address
            if voters == [own] and len(document["members"]) > 1:
                print("This node currently holds the only copy of the Kubernetes database ", end="")
                print("so it cannot leave the cluster.")
                return 3
            if len(document["members"]) > 1:
                self.database.remove(own)
            print("Generating new cluster certificates.", flush=True)
        self.services.stop("kubelite", "k8s-dqlite")
        time.sleep(self.pause)
        self.node.found([])
        print("Waiting for node to start.  ")
        self._restart()
        return 0

    def remove_node(self, words: list[str]) -> int:
        parser = argparse.ArgumentParser("microk8s remove-node")
        parser.add_argument("node")
        parser.add_argument("--force", action="store_true")
        asked = parser.parse_args(words)
        if self.node.worker:
            print(ON_A_WORKER)
            return 1
        document = self.database.read()
        nodes = document["nodes"]
        name = next((name for name, each in nodes.items() if each["address"] == asked.node), asked.node)
        member = f"{nodes[name]['address'] if name in nodes else asked.node}:{DATABASE}"
        registered = member in [each["address"] for each in document["members"]]
        if name not in nodes:
            print(f"Node {asked.node} does not exist in Kubernetes.")
            if asked.force:
                print(f"Attempting to remove {asked.node} from dqlite.")
                if registered:
                    print("Removing node entry found in dqlite.")
                    self.database.remove(member)
            return 1  # also where it has removed it
        if registered and not asked.force:
            print(f"Removal failed. Node {name} is registered with dqlite. ", end="")
            print("Please, run first 'microk8s leave' on the departing node. ")
            print("If the node is not available anymore and will never attempt to join the cluster ", end="")
            print("in the future use the '--force' flag \nto unregister the node while removing it.")
            return 1
        if registered:
            self.database.remove(member)
        self.database.forget(name)
        return 0

    # --- addons ---

    def enable(self, words: list[str]) -> int:
        if self.node.worker:
            print(ON_A_WORKER)
            return 1
        names = [word for word in words if not word.startswith("-")]
        if len(names) > 1:
            print("WARNING: Do not enable or disable multiple addons in one command.")
        for word in names:
            name, _, options = word.partition(":")
            if "/" in name:
                repository, _, name = name.partition("/")
                if repository != "core" or name not in objects.ADDONS:
                    print(f"Addon {repository}/{name} not found")
                    continue  # and that is no failure
            if name not in objects.ADDONS:
                print(f"Addon {name} was not found in any repository")
                return 1
            if name in self.database.read()["addons"]:
                print(f"Addon core/{name} is already enabled")
                continue  # with whichever options it was enabled
            print(f"Infer repository core for addon {name}")
            if name == "metallb" and not options:
                options = input("Enter each IP address range delimited by comma: ")
            self.database.change(partial(_set_addon, name, self.node.minor))
            print(f"{name} is enabled")
        return 0

    def disable(self, words: list[str]) -> int:
        for word in words:
            name = word.rpartition("/")[2]
            if self.node.real:
                kubernetes.disable(self.node, name)
            self.database.change(partial(_set_addon, name, None))
            print(f"{name} is disabled")
        return 0

    # --- the rest ---

    def refresh_certs(self, words: list[str]) -> int:
        parser = argparse.ArgumentParser("microk8s refresh-certs")
        parser.add_argument("-c", "--check", action="store_true")
        parser.add_argument("-e", "--cert", choices=("ca.crt", "server.crt", "front-proxy-client.crt"))
        asked = parser.parse_args(words)
        certificates = self.node.data / "certs"
        if asked.check:
            print(f"The CA certificate will expire in {tls.days_left(certificates / 'ca.crt')} days.")
            if not self.node.worker:
                days = tls.days_left(certificates / "server.crt")
                print(f"The server certificate will expire in {days} days.")
            return 0
        if not asked.cert:
            print("Please use the '--cert' option to select the certificate you need refreshed.")
            return 3
        if asked.cert == "ca.crt":
            tls.make_authority(certificates)
        self.node.certify()
        self._restart()
        return 0

    def stop(self, _: list[str]) -> int:
        self.node.mark("stopped.lock")
        self.services.stop(*DAEMONS)
        print("Stopped.")
        return 0

    def start(self, _: list[str]) -> int:
        self.node.unmark("stopped.lock")
        self._restart()
        print("Started.")
        return 0

    def _restart(self) -> None:
        self.services.stop(*DAEMONS)
        self.services.start(*(each for each in DAEMONS if self.node.expects(each)))

    def _ready(self) -> bool:
        """The API answers, and one node is Ready; pods are not looked at."""
        try:
            items = objects.request(self.node, "GET", "/api/v1/nodes")["items"]
        except (OSError, tls.Refused):
            return False
        conditions = [each for item in items for each in item["status"].get("conditions", [])]
        return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def _set_addon(name: str, minor: int | None, document: Document) -> None:
    """Of which minor an addon is, as later ones bring others; None takes it away."""
    document["addons"].pop(name, None)
    if minor:
        document["addons"][name] = minor
    elif name in objects.WORKLOADS:
        document.get("patched", {}).pop(objects.WORKLOADS[name][2], None)


def _yaml(document: Document, enabled: set[str]) -> str:
    lines = ["microk8s:", "   running: True", "high-availability:", "   enabled: True", "   nodes:"]
    for each in document["members"]:
        lines += [f"    - address: {each['address']}", f"      role: {each['role']}"]
    lines.append("addons:")
    for name, (description, version) in objects.ADDONS.items():
        lines += [f"    - name: {name}", "      repository: core", f"      description: {description}"]
        lines += [
            f"      version: {version}",
            f"      status: {'enabled' if name in enabled else 'disabled'}",
        ]
    return "\n".join(lines)


def _pretty(document: Document, enabled: set[str], short: bool) -> str:
    voters = [each["address"] for each in document["members"] if each["role"] == "voter"]
    others = [each["address"] for each in document["members"] if each["role"] != "voter"]
    lines = ["microk8s is running", f"high-availability: {'yes' if len(voters) > 2 else 'no'}"]
    lines += [f"  datastore master nodes: {' '.join(voters)}"]
    lines += [f"  datastore standby nodes: {' '.join(others) or 'none'}", "addons:"]
    for state in ("enabled", "disabled"):
        lines += [] if short else [f"  {state}:"]
        for name, (description, _) in objects.ADDONS.items():
            if (name in enabled) == (state == "enabled"):
                lines.append(f"core/{name}: {state}" if short else f"    {name:<20} # (core) {description}")
    return "\n".join(lines)
