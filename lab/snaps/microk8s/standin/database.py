"""What all of a cluster's servers know alike, in place of dqlite: one document, copied to each of them.

It can be read and written while more than half of the voters answer. Who was away takes the newest copy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from . import tls
from .node import DATABASE, Node

VOTERS = 3
Document = dict[str, Any]


class NoLeader(Exception):
    """Too few of the voters answer."""

    def __init__(self) -> None:
        super().__init__("no available dqlite leader server found")


class Database:
    def __init__(self, node: Node) -> None:
        self.node = node

    def held(self) -> Document | None:
        """The copy on this node."""
        try:
            document: Document = json.loads((self.node.backend / "database").read_text())
        except FileNotFoundError:
            return None
        return document

    def take(self, document: Document) -> bool:
        """Keep a copy that is newer than the one on this node."""
        held = self.held()
        if held and held["revision"] >= document["revision"]:
            return False
        self.node.write("var/kubernetes/backend/database", json.dumps(document))
        return True

    def read(self) -> Document:
        """The newest copy. Raises NoLeader."""
        held = self.held()
        if held is None:
            raise NoLeader
        copies = {each["address"]: self._copy(each["address"]) for each in held["members"]}
        newest = max(
            (copy for copy in copies.values() if copy), key=lambda copy: copy["revision"], default=held
        )
        for each in newest["members"]:
            if each["address"] not in copies:
                copies[each["address"]] = self._copy(each["address"])
        if not enough(newest, [address for address, copy in copies.items() if copy]):
            raise NoLeader
        if not any(self._own(each["address"]) for each in newest["members"]):
            raise NoLeader  # the others have removed this one
        return newest

    def change(self, apply: Callable[[Document], None]) -> Document:
        """Change the document everywhere, and give it. Raises NoLeader."""
        for _ in range(20):
            document = self.read()
            apply(document)
            document["revision"] += 1
            give_roles(document)
            took = [each["address"] for each in document["members"] if self._give(each["address"], document)]
            if enough(document, took):
                return document
            time.sleep(0.05)  # somebody else was faster, or is gone
        raise NoLeader

    def move(self, address: str) -> None:
        """Give the only member an address that others reach."""
        document = self.read()
        document["members"] = [{"address": address, "role": "voter"}]
        document["revision"] += 1
        self.node.write("var/kubernetes/backend/info.yaml", json.dumps({"Address": address}))
        self.take(document)

    def join(self, voters: list[str], address: str) -> None:
        """Become a member of a cluster whose voters are known. Raises NoLeader."""
        for voter in voters:
            try:
                self.take(self._ask("POST", voter, "/members", {"address": address}))
                return
            except (OSError, tls.Refused):
                continue
        raise NoLeader

    def add(self, address: str) -> Document:
        """Make an address a member, and give the document that says so."""

        def apply(document: Document) -> None:
            if address not in [each["address"] for each in document["members"]]:
                document["members"].append({"address": address, "role": "standby"})

        return self.change(apply)

    def remove(self, address: str) -> None:
        def apply(document: Document) -> None:
            document["members"] = [each for each in document["members"] if each["address"] != address]

        self.change(apply)

    def forget(self, name: str) -> None:
        """Take a node out, if it is there."""
        self.change(lambda document: document["nodes"].pop(name, None))

    def _own(self, address: str) -> bool:
        return address in (f"127.0.0.1:{DATABASE}", f"{self.node.address}:{DATABASE}")

    def _copy(self, address: str) -> Document | None:
        if self._own(address):
            return self.held()
        try:
            document: Document = self._ask("GET", address, "/database")
        except (OSError, tls.Refused):
            return None
        return document

    def _give(self, address: str, document: Document) -> bool:
        if self._own(address):
            return self.take(document)
        try:
            return bool(self._ask("POST", address, "/database", document))
        except (OSError, tls.Refused):
            return False

    def _ask(self, method: str, address: str, path: str, body: Any = None) -> Any:
        key = self.node.read("var/kubernetes/backend/cluster.key")
        return tls.ask(method, address, path, body, token=key, timeout=2)


def give_roles(document: Document) -> None:
    """Three vote; of two the second only follows. Who voted goes on voting."""
    members = sorted(document["members"], key=lambda each: each["role"] != "voter")
    voting = VOTERS if len(members) >= VOTERS else 1
    for number, each in enumerate(members):
        each["role"] = "voter" if number < voting else "standby"


def enough(document: Document, answering: list[str]) -> bool:
    """Whether more than half of the voters are among those."""
    voters = [each["address"] for each in document["members"] if each["role"] == "voter"]
    return 2 * len({*voters} & {*answering}) > len(voters)
