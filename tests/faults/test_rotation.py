"""Secrets made anew: the next `up` delivers them, stores take them with their data, the old open nothing."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from tests import environment
from tests.environment import Account
from tests.host import Node

pytestmark = pytest.mark.slow  # an `up` with its proof; that secrets are rotated is tested without a host too

# Runs beside a container of orders: what database and broker say to the password of each.
KNOCK = """
import asyncio, json, os, sys
import aio_pika, psycopg

def told(kind):
    return [os.environ[f"{kind}_{name}"] for name in ("HOST", "PORT", "USER")]

async def main(database, broker):
    said = {"database": "welcome", "broker": "welcome"}
    host, port, user = told("DATABASE")
    try:
        psycopg.connect(
            host=host, port=port, user=user, password=database, dbname=os.environ["DATABASE_NAME"]
        ).close()
    except psycopg.OperationalError as error:
        said["database"] = str(error)
    host, port, user = told("BROKER")
    try:
        await (await aio_pika.connect(host=host, port=int(port), login=user, password=broker)).close()
    except aio_pika.exceptions.AMQPConnectionError as error:
        said["broker"] = str(error)
    print(json.dumps(said))

asyncio.run(main(*sys.argv[1:]))
"""
ORDER = {"customer_name": "Iga", "customer_email": "iga@example.com", "source": "manual", "total_amount": 3.5}


def knock(node: Node, secrets: dict[str, str]) -> dict[str, str]:
    """What the stores say to who brings these secrets."""
    given = [secrets["orders_database_password"], secrets["rabbitmq_password"]]
    answer: dict[str, str] = json.loads(node.beside("orders", KNOCK, *given).splitlines()[-1])
    return answer


def test_rotated_secrets_replace_the_old_ones(
    live: Any, node: Node, http: httpx2.Client, customer: Account
) -> None:
    order = customer.ask("POST", "/api/orders", json=ORDER).json()
    old, untouched = environment.secrets(live), [node.service(name) for name in ("gateway", "auth-db")]
    welcome = {"database": "welcome", "broker": "welcome"}
    assert knock(node, old) == welcome

    names = ["orders-db_password", "orders_database_password", "rabbitmq_password", "token_private_key"]
    done = live.hostwright("rotate", *names)
    assert done.stdout.split() == [*names, "token_public_key"]
    new = environment.secrets(live)
    assert {name for name in new if new[name] != old[name]} == {*names, "token_public_key"}
    assert knock(node, old) == welcome, "nothing has changed on the host yet"
    assert customer.ask("GET", f"/api/orders/{order['id']}").json() == order

    live.hostwright("up")  # ends well only when everything has been proved
    assert knock(node, new) == welcome
    refused = knock(node, old)
    assert "password authentication failed" in refused["database"]
    assert "ACCESS_REFUSED" in refused["broker"]
    assert customer.ask("GET", f"/api/orders/{order['id']}").status_code == 401, "of the old key"
    back = environment.login(http, customer.email, customer.password)
    assert back.id == customer.id
    assert back.ask("GET", f"/api/orders/{order['id']}").json() == order
    assert [node.service(name) for name in ("gateway", "auth-db")] == untouched
