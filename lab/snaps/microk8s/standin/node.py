"""One node as its files say it: where it is, what it is, which of its locks are there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import tls

AGENT, API, KUBELET, DATABASE = 25000, 16443, 10250, 19001
DAEMONS = ("containerd", "k8s-dqlite", "kubelite", "cluster-agent", "apiserver-proxy")
# Whose lock says that it is not to run on this node.
NOT_HERE = {"k8s-dqlite": "no-k8s-dqlite", "apiserver-proxy": "no-apiserver-proxy"}
SERVICE_ADDRESS = "10.152.183.1"


@dataclass(frozen=True)
class Node:
    """Folders as snapd names them ($SNAP, $SNAP_DATA, $SNAP_COMMON), the host's name and its address.

    `bind` and `here` are where servers listen and where the node finds its own.
    """

    snap: Path
    data: Path
    common: Path
    name: str
    address: str
    bind: str = "0.0.0.0"  # noqa: S104  (as MicroK8s does)
    here: str = "127.0.0.1"

    @property
    def version(self) -> str:
        """`v1.35.0`, of the revision that runs."""
        return str(json.loads((self.snap / "meta/snap.yaml").read_text())["version"])

    @property
    def minor(self) -> int:
        return int(self.version.split(".")[1])

    @property
    def worker(self) -> bool:
        return self.has("clustered.lock")

    @property
    def real(self) -> bool:
        """Whether the snap has a Kubernetes, in whose place a state machine stands else."""
        return (self.snap / "kubernetes").exists()

    @property
    def backend(self) -> Path:
        return self.data / "var/kubernetes/backend"

    def lock(self, name: str) -> Path:
        return self.data / "var/lock" / name

    def has(self, name: str) -> bool:
        return self.lock(name).exists()

    def mark(self, name: str) -> None:
        self.lock(name).parent.mkdir(parents=True, exist_ok=True)
        self.lock(name).touch()

    def unmark(self, name: str) -> None:
        self.lock(name).unlink(missing_ok=True)

    def expects(self, daemon: str) -> bool:
        """Whether the daemon is to run here."""
        return daemon not in NOT_HERE or not self.has(NOT_HERE[daemon])

    # --- what it knows ---

    def read(self, path: str) -> str:
        return (self.data / path).read_text()

    def write(self, path: str, text: str) -> None:
        """Write a file in one step, readable by root alone."""
        place = self.data / path
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.rename(place)

    @property
    def admin_token(self) -> str:
        return self.read("credentials/known_tokens.csv").split(",")[0]

    @property
    def bind_address(self) -> str:
        """Where its database is: on loopback until somebody joins."""
        return str(json.loads((self.backend / "info.yaml").read_text())["Address"])

    def kubeconfig(self, address: str) -> dict[str, Any]:
        """As `microk8s config` has it, for one address of the API."""
        authority = tls.encoded(self.data / "certs/ca.crt")
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "microk8s-cluster",
                    "cluster": {
                        "certificate-authority-data": authority,
                        "server": f"https://{address}:{API}",
                    },
                }
            ],
            "contexts": [{"name": "microk8s", "context": {"cluster": "microk8s-cluster", "user": "admin"}}],
            "current-context": "microk8s",
            "preferences": {},
            "users": [{"name": "admin", "user": {"token": self.admin_token}}],
        }

    # --- becoming one ---

    def install(self, config: dict[str, Any]) -> None:
        """What the snap's install hook does, by a launch configuration."""
        self.write("var/lock/installed.lock", "")
        self.mark("ha-cluster")
        self.write("args/extra-sans", "\n".join(config.get("extraSANs", [])))
        for registry, text in config.get("containerdRegistryConfigs", {}).items():
            self.write(f"args/certs.d/{registry}/hosts.toml", text)
        if networks := config.get("extraCNIEnv"):
            self.write("args/cni-env", json.dumps(networks))
        if token := config.get("persistentClusterToken"):
            self.write("credentials/persistent-cluster-token", token)
        self.found([each["name"] for each in config.get("addons", [])])

    def found(self, addons: list[str]) -> None:
        """A cluster of this node alone, with an authority and a database of its own."""
        tls.make_authority(self.data / "certs")
        self.certify()
        self.write("credentials/known_tokens.csv", f'{secrets.token_hex(16)},admin,admin,"system:masters"\n')
        shutil.rmtree(self.backend, ignore_errors=True)
        self.backend.mkdir(parents=True)
        (self.data / "certs/serviceaccount.key").unlink(missing_ok=True)
        self.mark("no-apiserver-proxy")
        self.unmark("no-k8s-dqlite")
        self.unmark("clustered.lock")
        address = f"127.0.0.1:{DATABASE}"
        self.write("var/kubernetes/backend/cluster.key", secrets.token_hex(16))
        self.write("var/kubernetes/backend/info.yaml", json.dumps({"Address": address}))
        database = {
            "revision": 1,
            "members": [{"address": address, "role": "voter"}],
            "nodes": {},
            "addons": dict.fromkeys(addons, self.minor),
        }
        self.write("var/kubernetes/backend/database", json.dumps(database))

    def certify(self) -> None:
        """A certificate for every name and address by which the node is asked."""
        names = ["kubernetes", "kubernetes.default", self.name]
        addresses = ["127.0.0.1", self.here, self.address, SERVICE_ADDRESS]
        extra = self.read("args/extra-sans").split() if (self.data / "args/extra-sans").exists() else []
        tls.make_certificate(self.data / "certs", [*names, *addresses, *extra])


class Systemd:
    """The node's services, as snapd made them: units of systemd."""

    def start(self, *daemons: str) -> None:
        self._control("start", daemons)

    def stop(self, *daemons: str) -> None:
        self._control("stop", daemons)

    def active(self, daemon: str) -> bool:
        return (
            subprocess.run(["systemctl", "is-active", "--quiet", _unit(daemon)], check=False).returncode == 0
        )

    def _control(self, verb: str, daemons: tuple[str, ...]) -> None:
        subprocess.run(["systemctl", verb, *map(_unit, daemons)], check=True)


def here() -> Node:
    """This host's node, as snapd's environment tells it."""
    snap, data, common = (Path(os.environ[name]) for name in ("SNAP", "SNAP_DATA", "SNAP_COMMON"))
    return Node(snap, data.parent / "current", common, socket.gethostname().lower(), default_address())


def default_address() -> str:
    """The address of the interface with the default route; waits for one, as containerd does."""
    while True:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect(("192.0.2.1", 9))  # sends nothing, only chooses the way
                return str(probe.getsockname()[0])
        except OSError:
            time.sleep(1)


def _unit(daemon: str) -> str:
    return f"snap.microk8s.daemon-{daemon}.service"
