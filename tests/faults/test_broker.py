"""RabbitMQ away: orders are taken all the same, and it is told of each exactly once when it is back."""

from __future__ import annotations

import uuid
from collections import Counter

from tests.environment import Account
from tests.host import Node, until


def notified(boss: Account, orders: list[int]) -> Counter[int]:
    """How many notifications there are of each of these new orders."""
    answer = boss.ask("GET", "/api/notifications?limit=1000")
    assert answer.status_code == 200, answer.text
    return Counter(
        each["order_id"] for each in answer.json() if each["status"] == "new" and each["order_id"] in orders
    )


def mailed(boss: Account, recipient: str) -> Counter[str]:
    """How many mails about a new order went to somebody, by what became of them."""
    answer = boss.ask("GET", f"/api/mail?template=order_placed&recipient={recipient}&limit=1000")
    assert answer.status_code == 200, answer.text
    return Counter(each["status"] for each in answer.json())


def place(who: Account, recipient: str, number: int) -> int:
    body = {"customer_name": f"Ola {number}", "customer_email": recipient, "total_amount": number}
    answer = who.ask("POST", "/api/orders", json=body)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def test_orders_go_on_without_rabbitmq(node: Node, customer: Account, admin: Account) -> None:
    """Notifications come by webhook meanwhile and their twins by RabbitMQ later; mails by RabbitMQ alone."""
    recipient = f"ola-{uuid.uuid4().hex}@example.com"
    broker, orders = node.service("rabbitmq"), node.service("orders")
    placed = [place(customer, recipient, 1)]
    until(lambda: mailed(admin, recipient) == {"sent": 1}, 90, "events flow")
    node.run("docker", "stop", "--time", "30", broker)
    try:
        placed += [place(customer, recipient, number) for number in range(2, 8)]
        # Those who wait for the broker must survive as well.
        since = node.inspect(orders, "{{.State.StartedAt}}")
        node.run("kill", "-9", node.inspect(orders, "{{.State.Pid}}"))
        until(lambda: node.inspect(orders, "{{.State.StartedAt}}") != since, 90, "orders is started again")
        until(lambda: node.healthy("orders"), 90, "orders is healthy without its broker")
        placed += [place(customer, recipient, number) for number in range(8, 11)]
        until(lambda: notified(admin, placed) == Counter(placed), 90, "staff is notified without the broker")
        assert mailed(admin, recipient) == {"sent": 1}
    finally:
        node.run("docker", "start", broker)
    until(lambda: node.healthy("rabbitmq"), 90, "rabbitmq is healthy")
    until(lambda: mailed(admin, recipient)["sent"] >= len(placed), 300, "every event arrives")
    assert mailed(admin, recipient) == {"sent": len(placed)}, "none lost, none twice"
    assert notified(admin, placed) == Counter(placed), "and the twins changed nothing"
