"""`python -m kit.dead QUEUE [--return]`: shows events that were given up, or gives them another chance."""

from __future__ import annotations

import argparse
import asyncio
import sys

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity

from kit import broker
from kit.consumer import ERROR
from kit.settings import BrokerSettings, load


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: each dead event is a line on standard output, and back in its queue if that was asked;
    1: RabbitMQ is away or refuses, and standard error says why; 2: no such queue, or wrong arguments.
    """
    parser = argparse.ArgumentParser(
        prog="python -m kit.dead",
        description=__doc__,
        epilog="example: hostwright exec analytics -- python -m kit.dead order_analytics",
    )
    parser.add_argument("queue", metavar="QUEUE", help="one that this service takes events from")
    parser.add_argument("--return", dest="back", action="store_true", help="put them back into their queue")
    found = parser.parse_args(arguments)
    settings = load(BrokerSettings)
    try:
        count = asyncio.run(_each(settings, found.queue, back=found.back))
    except ChannelNotFoundEntity:
        print(
            f"error: there is no queue {found.queue}.dead; give the name of the living one", file=sys.stderr
        )
        return 2
    except (AMQPError, OSError, TimeoutError) as error:
        where = f"{settings.broker_host}:{settings.broker_port}"
        print(f"error: RabbitMQ at {where}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{count} returned to {found.queue}" if found.back else f"{count} in {found.queue}.dead")
    return 0


async def _each(settings: BrokerSettings, queue: str, *, back: bool) -> int:
    """Prints those there are; how many. One that dies again meanwhile is not returned again."""
    async with await aio_pika.connect(str(broker.url(settings)), timeout=broker.TIMEOUT) as connection:
        channel = await connection.channel(on_return_raises=True)
        dead = await channel.get_queue(f"{queue}.dead")
        count = 0
        for _ in range(dead.declaration_result.message_count or 0):
            # What is only looked at goes back to its place when the channel closes.
            message = await dead.get(fail=False, timeout=broker.TIMEOUT)
            if message is None:
                break
            if back:
                await put_back(channel, queue, message)
            time, reason = message.headers.get("cloudEvents:time"), str(message.headers.get(ERROR))
            print(time, message.message_id, message.type, " ".join(reason.split()), flush=True)
            count += 1
        return count


async def put_back(channel: AbstractChannel, queue: str, message: AbstractIncomingMessage) -> None:
    """To its queue, without what was noted of its failures; raises what the broker does.

    Published before it is taken out: a crash in between makes a twin, which the inbox drops.
    """
    again = aio_pika.Message(
        message.body,
        headers={name: value for name, value in message.headers.items() if not name.startswith("x-")},
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
    )
    await channel.default_exchange.publish(again, queue, mandatory=True, timeout=broker.TIMEOUT)
    await message.ack()


if __name__ == "__main__":
    sys.exit(main())
