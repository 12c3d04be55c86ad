"""A neighbour in the hosts' network who knows the application's addresses and sends his packets there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker

from hostwright.proof import knock
from tests.host import Node
from tests.live import inside


def test_containers_are_not_reached_through_their_host(live: Any, node: Node) -> None:
    """A host with containers routes; what it does not publish it must not pass on either."""
    host = live.hosts()[0]
    names = ("gateway", "auth", "orders", "auth-db", "orders-db", "rabbitmq")
    what = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}} {{end}}"
    addresses = [each for name in names for each in node.inspect(node.service(name), what).split()]
    assert len(addresses) == 2 * len(names)
    ports = (5432, 5672, 8080, 8081, 10080, 10443)
    knocks = [{"address": each, "port": port, "timeout": 1.0} for each in addresses for port in ports]
    via = {each: host["address6" if ":" in each else "address"] for each in addresses}
    ways = "; ".join(f"ip route replace {each} via {gate}" for each, gate in via.items())
    engine = docker.from_env()
    neighbour = engine.containers.run(
        node.container.image.id,
        ["sleep", "600"],
        network=f"hostwright-{live.name}",
        cap_add=["NET_ADMIN"],
        sysctls={"net.ipv6.conf.all.disable_ipv6": "0"},
        labels={"hostwright.environment": f"{live.name}-neighbour"},
        detach=True,
        init=True,
    )
    try:
        code, said = inside(neighbour, "sh", "-c", ways)
        assert code == 0, said
        program = f"PROGRAM={Path(knock.__file__).read_text()}"
        request = json.dumps({"knock": [*knocks, {"address": host["address"], "port": 443}]})
        ask = f"echo '{request}' | python3 -c \"$PROGRAM\""
        code, said = inside(neighbour, "env", program, "sh", "-c", ask)
        assert code == 0, said
        *answers, gateway = json.loads(said)
        assert gateway["state"] == "open", "the neighbour is a neighbour"
        reached = [knocks[at] for at, answer in enumerate(answers) if answer["state"] == "open"]
        assert reached == []
    finally:
        neighbour.remove(force=True)
