"""A developer takes an application along: rendered to a folder, and started by Compose alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application
from tests.environment import fresh_email
from tests.host import Node
from tests.live import SHOP, Live

pytestmark = pytest.mark.slow  # another application, from nothing

PLACE = "/root/rendered"
COMPOSE = ("env", f"--chdir={PLACE}", "docker", "compose")
# What the host has of each; nothing of the folder's is left in the end.
KINDS = (("ps", "--all", "--no-trunc"), ("network", "ls", "--no-trunc"), ("volume", "ls"))
MOVED = 20000  # by so much the ports are others than those of the application that runs there
GATEWAY = f"https://localhost:{443 + MOVED}"
CA = f"{PLACE}/secrets/.store/ca_certificate"


@pytest.fixture
def node(live: Live) -> Node:
    return Node(live.hosts()[0]["name"])


@pytest.fixture
def rendered(live: Live, tmp_path: Path) -> Path:
    """The small application, whose project and network are of its own name, with the images of the host's."""
    document = yaml.safe_load(SHOP.read_text())
    for each in (*document["gateway"]["listeners"], *document["stores"].values()):
        each["port"] += MOVED
    file = tmp_path / SHOP.name
    file.write_text(yaml.safe_dump(document))
    images = yaml.safe_load(live.variables.read_text())["app_compose_images"]
    given = [f"--image={name}={images[name]}" for name in application.load(file).images()]
    live.hostwright("render", f"--app={file}", f"--out={tmp_path / 'compose'}", *given)
    return tmp_path / "compose"


def test_plain_compose_starts_what_is_rendered(node: Node, rendered: Path) -> None:
    before = things(node)
    node.run("mkdir", PLACE)
    try:
        bring(rendered, node)
        node.run(*COMPOSE, "up", "--wait", "--wait-timeout", "600")
        states = [json.loads(line) for line in node.run(*COMPOSE, "ps", "--format=json").splitlines()]
        assert {each["Service"]: each["Health"] for each in states} == dict.fromkeys(
            ("gateway", "db", "rabbitmq", "auth", "orders", "notification"), "healthy"
        )
        account = {"email": fresh_email(), "password": "rower-5d0c81f2ab94"}
        made = ask(node, "/api/auth/register", account)
        login = ask(node, "/api/auth/login", account)
        assert login["user"]["id"] == made["user_id"]
        order = {"customer_name": "Jan", "customer_email": account["email"], "total_amount": 19.9}
        assert ask(node, "/api/orders", order, f"Authorization: Bearer {login['token']}")["status"] == "new"
    finally:
        node.run(*COMPOSE, "down", "--volumes")
        node.run("rm", "--recursive", PLACE)
    assert things(node) == before


def things(node: Node) -> list[list[str]]:
    return [sorted(node.run("docker", *words, "--quiet").split()) for words in KINDS]


def bring(folder: Path, node: Node) -> None:
    """As it is, each file its owner's: the secrets are for one service each."""
    packing = ["tar", "--create", "--numeric-owner", f"--directory={folder}", "."]
    packed = subprocess.run(packing, check=True, capture_output=True).stdout
    there = ["tar", "--extract", "--numeric-owner", "--preserve-permissions", f"--directory={PLACE}"]
    inside = ["docker", "exec", "--interactive", node.name, *there]
    subprocess.run(inside, input=packed, check=True, capture_output=True)


def ask(node: Node, path: str, body: dict[str, Any], *headers: str) -> Any:
    """What the gateway answers on the host itself, where its ports are let in."""
    given = [word for each in headers for word in ("--header", each)]
    quiet = ("--silent", "--show-error", "--fail-with-body")
    url = GATEWAY + path
    return json.loads(node.run("curl", *quiet, "--cacert", CA, *given, "--json", json.dumps(body), url))
