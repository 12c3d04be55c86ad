"""RabbitMQ away: orders are taken all the same, and it is told of each exactly once when it is back."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hostwright.proof.wanted import BESIDE
from tests.environment import Account
from tests.faults.conftest import Node, until

# Runs beside a container of orders: every message of the queue, put back untouched when the connection ends.
MESSAGES = """
import asyncio, json
import aio_pika
from kit.broker import url
from kit.settings import load
from orders.settings import OrdersSettings

async def main():
    found = []
    async with await aio_pika.connect(str(url(load(OrdersSettings)))) as connection:
        queue = await (await connection.channel()).declare_queue("order_notifications", passive=True)
        while message := await queue.get(fail=False):
            found.append([message.message_id, json.loads(message.body)])
    print(json.dumps(found))

asyncio.run(main())
"""


def messages(node: Node) -> list[tuple[str, dict[str, Any]]]:
    """Message id and body of all that wait in the queue, the oldest first."""
    found = node.run("sh", "-c", BESIDE, "sh", node.service("orders"), MESSAGES)
    return [(name, body) for name, body in json.loads(found.splitlines()[-1])]


def place(who: Account, number: int) -> int:
    body = {"customer_name": f"Ola {number}", "customer_email": "ola@example.com", "total_amount": number}
    answer = who.ask("POST", "/api/orders", json=body)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def test_orders_go_on_without_rabbitmq(node: Node, customer: Account) -> None:
    broker, orders = node.service("rabbitmq"), node.service("orders")
    first = place(customer, 1)
    until(lambda: first in [body["order_id"] for _, body in messages(node)], 30, "events flow")
    node.run("docker", "stop", "--time", "30", broker)
    try:
        placed = [place(customer, number) for number in range(2, 8)]
        # Those who wait for the broker must survive as well.
        node.run("kill", "-9", node.inspect(orders, "{{.State.Pid}}"))
        until(lambda: node.healthy("orders"), 90, "orders is healthy without its broker")
        placed += [place(customer, number) for number in range(8, 11)]
    finally:
        node.run("docker", "start", broker)
    until(lambda: node.healthy("rabbitmq"), 90, "rabbitmq is healthy")

    def arrived() -> bool:
        return {first, *placed} <= {body["order_id"] for _, body in messages(node)}

    until(arrived, 60, "every event arrives")
    ours = [(name, body) for name, body in messages(node) if body["order_id"] in {first, *placed}]
    assert Counter(body["order_id"] for _, body in ours) == Counter([first, *placed]), "none lost, none twice"
    assert len({name for name, _ in ours}) == len(ours), "each has an id of its own"
    for _, body in ours:
        assert body.keys() == {"order_id", "customer_name", "status", "total_amount", "timestamp"}
        assert body["status"] == "new"
