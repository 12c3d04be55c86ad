"""The servers themselves: they start, keep what they should, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aio_pika
import psycopg
import pytest
from testing.postgres import Postgres
from testing.process import free_port, listens, until
from testing.rabbitmq import RabbitMQ

NewDatabase = Callable[..., dict[str, str | int]]


def test_a_copy_has_what_its_template_has(postgres: Postgres, new_database: NewDatabase) -> None:
    first = str(new_database()["database_name"])
    with psycopg.connect(postgres.dsn(first)) as connection:
        connection.execute("CREATE TABLE things (id int)")
    second = postgres.create(first)
    with psycopg.connect(postgres.dsn(second)) as connection:
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
    postgres.drop(second)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(postgres.dsn(second))


def test_a_password_is_needed(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn("postgres").replace(postgres.password, "wrong"))


async def test_a_crashed_broker_keeps_confirmed_messages(rabbitmq: RabbitMQ) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("kept", durable=True)
        message = aio_pika.Message(b"here", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue.name)
    rabbitmq.stop()
    assert not listens(rabbitmq.port)
    rabbitmq.start()
    async with await aio_pika.connect(rabbitmq.url) as connection:
        queue = await (await connection.channel()).get_queue("kept")
        assert (await queue.get()).body == b"here"
        await queue.delete(if_empty=False)


async def test_a_virtual_host_has_nothing_of_another(rabbitmq: RabbitMQ) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        await (await connection.channel()).declare_queue("outside", durable=True)
    with rabbitmq.vhost() as inside:
        async with await aio_pika.connect(inside.url) as connection:
            with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
                await (await connection.channel()).get_queue("outside")
        inside.stop()
    with pytest.raises(aio_pika.exceptions.AMQPError, match=r"Connection\.Close"):  # it went all the same
        await aio_pika.connect(inside.url)
    async with await aio_pika.connect(rabbitmq.url) as connection:
        await (await connection.channel()).get_queue("outside")


def test_a_port_is_of_one_process_and_not_what_the_kernel_gives_to_anybody() -> None:
    """A server that is stopped for a while finds its port as it left it."""
    own = [free_port() for _ in range(200)]
    script = "from testing.process import free_port; print(*(free_port() for _ in range(200)))"
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    others = [int(port) for port in told.split()]
    assert len({*own, *others}) == 400
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert max(own + others) < first


def test_servers_end_with_a_killed_test_process(tmp_path: Path) -> None:
    script = tmp_path / "holder.py"
    script.write_text(
        "import time\n"
        "from testing.postgres import Postgres\n"
        "with Postgres.running() as server:\n"
        "    print(server.port, server.directory, flush=True)\n"
        "    time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": "/tmp"},  # noqa: S108
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    port, directory = holder.stdout.readline().split()
    assert listens(int(port))
    holder.send_signal(signal.SIGKILL)  # and PostgreSQL does not outlive its owner
    holder.wait()
    until(lambda: not listens(int(port)))
    subprocess.run(["rm", "-r", directory], check=True)
