"""etcd in place of the state machine's document: who is a member, and which addons there are."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import objects, tls
from .database import Database, Document, NoLeader, give_roles
from .node import AGENT, Node

CLIENT = "http://127.0.0.1:12379"
KEY = "standin"


class Etcd(Database):
    """What the commands ask of a database, of the etcd of this node."""

    def held(self) -> Document | None:
        """What this node knows, whether or not the others agree."""
        try:
            return {"members": self._members(linearizable=False), "addons": {}, "nodes": {}}
        except NoLeader:
            return None

    def read(self) -> Document:
        found, _ = self._stored()
        return found | {"members": self._members(), "nodes": self._nodes()}

    def change(self, apply: Callable[[Document], None]) -> Document:
        """Change which addons there are. Raises NoLeader."""
        for _ in range(20):
            document, revision = self._stored()
            apply(document)
            put = {"requestPut": {"key": _encoded(KEY), "value": _encoded(json.dumps(document))}}
            compare = {"key": _encoded(KEY), "target": "MOD", "result": "EQUAL", "modRevision": revision}
            if self._post("kv/txn", {"compare": [compare], "success": [put]}).get("succeeded"):
                return document
        raise NoLeader

    def forget(self, name: str) -> None:
        with suppress(tls.Refused):
            objects.request(self.node, "DELETE", f"/api/v1/nodes/{name}")

    def move(self, address: str) -> None:
        """Have the only member listen where others reach it, and wait until it does."""
        (member,) = self._listed()
        self._post("cluster/member/update", {"ID": member["ID"], "peerURLs": [f"https://{address}"]})
        self.node.write("var/kubernetes/backend/info.yaml", json.dumps({"Address": address}))
        wait_for(self.node.data / "var/lock/etcd", address)
        for _ in range(60):
            with suppress(NoLeader):
                self._members()
                return
            time.sleep(0.5)
        raise NoLeader

    def join(self, voters: list[str], address: str) -> list[str]:
        """Be let in by one of the voters; NAME=URL of all members, as etcd is told. Raises NoLeader."""
        key = self.node.read("var/kubernetes/backend/cluster.key")
        told = {"name": self.node.name, "address": address}
        for voter in voters:
            agent = f"{voter.rpartition(':')[0]}:{AGENT}"
            with suppress(OSError, tls.Refused):
                found: list[str] = tls.ask("POST", agent, "/standin/members", told, token=key, timeout=20)
                return found
        raise NoLeader

    def admit(self, name: str, address: str) -> list[str]:
        """Make an address a member; what `join` gives. It learns before it votes, in case it never comes."""
        url = f"https://{address}"
        if url not in [each["peerURLs"][0] for each in self._listed()]:
            self._post("cluster/member/add", {"peerURLs": [url], "isLearner": True})
        return [
            f"{name if each['peerURLs'][0] == url else each['name']}={each['peerURLs'][0]}"
            for each in self._listed()
        ]

    def remove(self, address: str) -> None:
        for each in self._listed():
            if each["peerURLs"] == [f"https://{address}"]:
                self._post("cluster/member/remove", {"ID": each["ID"]})

    def promote(self) -> None:
        """Let vote whoever has learnt enough."""
        for each in self._listed():
            if each.get("isLearner") and each.get("name"):
                with suppress(NoLeader):
                    self._post("cluster/member/promote", {"ID": each["ID"]})

    def begin(self) -> None:
        """Take over which addons the cluster was founded with."""
        founded = self.node.backend / "database"
        if founded.exists() and self._stored()[1] == "0":
            addons = json.loads(founded.read_text())["addons"]
            self.change(lambda document: document.update(addons=addons))

    def answers(self) -> bool:
        """Whether it can be written: it has a leader, and this member votes."""
        try:
            self._stored()
        except NoLeader:
            return False
        return True

    # --- asking ---

    def _stored(self) -> tuple[Document, str]:
        """The document, and the revision in which it was written."""
        found = self._post("kv/range", {"key": _encoded(KEY)}).get("kvs")
        if not found:
            return {"addons": {}, "nodes": {}}, "0"
        return json.loads(base64.b64decode(found[0]["value"])), str(found[0]["mod_revision"])

    def _members(self, *, linearizable: bool = True) -> list[dict[str, str]]:
        listed = self._listed(linearizable=linearizable)
        document = {
            "members": [
                {
                    "address": each["peerURLs"][0].removeprefix("https://"),
                    "role": "standby" if each.get("isLearner") else "voter",
                }
                for each in listed
            ]
        }
        give_roles(document)
        return document["members"]

    def _listed(self, *, linearizable: bool = True) -> list[dict[str, Any]]:
        members: list[dict[str, Any]] = self._post("cluster/member/list", {"linearizable": linearizable})[
            "members"
        ]
        return members

    def _nodes(self) -> dict[str, Any]:
        try:
            items = objects.request(self.node, "GET", "/api/v1/nodes")["items"]
        except (OSError, tls.Refused):
            raise NoLeader from None
        return {
            each["metadata"]["name"]: {
                "address": next(
                    address["address"]
                    for address in each["status"]["addresses"]
                    if address["type"] == "InternalIP"
                )
            }
            for each in items
        }

    def _post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310
            f"{CLIENT}/v3/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return json.loads(answer.read())
        except (OSError, ValueError):
            raise NoLeader from None


def of(node: Node) -> Database:
    """The database of a node, whichever it has."""
    return Etcd(node) if node.real else Database(node)


def command(node: Node) -> list[str]:
    """etcd as it is to run now, on the address that this node is a member by."""
    address, data = node.bind_address, node.backend / "etcd"
    url = f"https://{address}"
    words = [
        str(node.snap / "kubernetes"),
        "etcd",
        f"--name={node.name}",
        f"--data-dir={data}",
        "--peer-auto-tls",
        f"--listen-client-urls={CLIENT}",
        f"--advertise-client-urls={CLIENT}",
        f"--listen-peer-urls={url}",
        f"--initial-advertise-peer-urls={url}",
        # A node that loses its power loses its container's disk cache too; a lab's speed counts for more.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
    if (data / "member").exists():
        return words
    init = node.backend / "init.yaml"
    if not init.exists():
        return [*words, f"--initial-cluster={node.name}={url}", "--initial-cluster-state=new"]
    told = json.loads(init.read_text())
    known = Etcd(node).join(told["Cluster"], told["Address"])
    return [*words, f"--initial-cluster={','.join(known)}", "--initial-cluster-state=existing"]


def run(node: Node) -> None:
    """Run etcd until it ends; anew where its address changes. Raises NoLeader where nobody lets it in."""
    database = Etcd(node)
    while True:
        address = node.bind_address
        try:
            words = command(node)
        except NoLeader:
            time.sleep(1)
            continue
        with subprocess.Popen(words) as process:
            begun = False
            node.write("var/lock/etcd", address)
            try:
                while process.poll() is None and node.bind_address == address:
                    with suppress(NoLeader):
                        if not begun:
                            database.begin()
                            (node.backend / "init.yaml").unlink(missing_ok=True)
                            begun = True
                        database.promote()
                    time.sleep(0.5)
            finally:
                process.terminate()
            if node.bind_address == address:
                raise SystemExit(process.wait() or 1)


def wait_for(file: Path, text: str) -> None:
    """Until a file says so, at most half a minute."""
    for _ in range(60):
        if file.exists() and file.read_text() == text:
            return
        time.sleep(0.5)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
