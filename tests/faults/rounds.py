"""One round: something fails while a shop is at work, and every order is followed to its end."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx2

from tests.faults.faults import Fault
from tests.faults.load import ATTEMPT, MAX_PAGE, Load, Order, People, client

SETTLE = 90.0  # seconds in which an event comes, or no more do: one that failed waits for 5 s, then for 30 s
NO_ANSWER = (AssertionError, IndexError, ValueError, httpx2.HTTPError)  # or half of one, from a busy engine
CALM = 1.0  # seconds of work before the fault, and after the recovery


@dataclass(frozen=True)
class Row:
    """What became of a round. `recovery` in seconds, from the moment from which all could be well again.

    `unrelated` are the requests that the fault is no excuse for, `errors` those of them that failed;
    `retried` are the failures of the others, after which their clients tried again. `complaints` are about
    what the fault itself should have left behind, or not. `patience`: seconds that `recovery` may take.
    """

    name: str
    fault: str
    accepted: int
    lost: int
    twice: int
    recovery: float | None
    unrelated: int
    errors: int
    retried: int
    patience: float = Fault.patience
    complaints: tuple[str, ...] = ()
    details: tuple[str, ...] = field(default=(), repr=False)

    @property
    def kept(self) -> bool:
        """Whether nothing was lost and nothing happened twice, however slow the machine is."""
        return self.accepted > 0 and not (self.lost or self.twice or self.complaints)

    @property
    def good(self) -> bool:
        """And it was back in time, and disturbed nobody else meanwhile: for a machine that is idle."""
        return self.kept and self.recovery is not None and self.recovery <= self.patience and not self.errors


@dataclass(frozen=True)
class Traces:
    """What the orders of a round have left behind; `mails` by recipient and template.

    `received` are mails by recipient and subject in the mail sink, as far as it remembers.
    """

    orders: dict[str, list[dict[str, Any]]]
    notified: Counter[tuple[int, str]]
    mails: Counter[tuple[str, str]]
    received: Counter[tuple[str, str]]
    counted: int
    amount: float

    def of(self, order: Order) -> list[str]:
        """What is missing of an accepted order."""
        found = self.orders.get(order.email, [])
        # Nobody knows about one whose confirmation was sent, and never answered.
        statuses = {"confirmed"} if order.confirmed else {"new", "confirmed"}
        wanted = {
            "the order": any(
                each["id"] == order.id and each["status"] in statuses and each["total_amount"] == order.amount
                for each in found
            ),
            "its notification": self.notified[order.id or 0, "new"],
            "its mail": self.mails[order.email, "order_placed"],
        }
        if order.confirmed:
            wanted["the notification of its status"] = self.notified[order.id or 0, "confirmed"]
            wanted["the mail about its status"] = self.mails[order.email, "status_changed"]
        return [f"order {order.id}: {what} is missing" for what, there in wanted.items() if not there]

    def missing(self, orders: Sequence[Order]) -> list[str]:
        """Of all of them: an event that analytics has not counted is one of nobody in particular."""
        listed = [each for found in self.orders.values() for each in found]
        lost = [each for order in orders for each in self.of(order)]
        if self.counted < len(listed):
            lost.append(f"analytics counted {self.counted} of {len(listed)} orders")
        elif self.counted == len(listed) and self.amount != sum(each["total_amount"] for each in listed):
            lost.append(f"analytics has another amount: {self.amount}")
        return lost

    def repeated(self) -> list[str]:
        """What is there more than once."""
        found = [f"{email}: {len(each)} orders" for email, each in self.orders.items() if len(each) > 1]
        for what, counts in (
            ("notified", self.notified),
            ("mailed", self.mails),
            ("received", self.received),
        ):
            found += [f"{what} {number} times: {key}" for key, number in counts.items() if number > 1]
        listed = sum(map(len, self.orders.values()))
        if self.counted > listed:
            found.append(f"analytics counted {self.counted} of {listed} orders")
        return found


async def run(way: Fault, rate: float = 0, attempt: float = ATTEMPT) -> Row:
    """Whatever happens in between, all is back as it was.

    `rate`: orders a second, if not the fault's own. `attempt`: seconds after which a request has failed.
    """
    with way.staged():
        people = way.shop.people
        async with client(people.gateway) as http:
            watch = await Watch.begun(people, http)
            async with Load.running(people, rate or way.rate, attempt) as load:
                await asyncio.sleep(CALM)
                await asyncio.to_thread(way.begin)
                try:
                    await asyncio.sleep(way.hold)
                finally:
                    ended = time.monotonic()
                    await asyncio.to_thread(way.end)
                back = await watch.recovered(load, way, since=time.monotonic())
                await asyncio.sleep(CALM)
            traces = await watch.settled(load, sink=way.mails_once)
        complaints = await asyncio.to_thread(way.complaints)
    back = back and back - ended
    return _row(way, load, traces, back, ended, complaints)


def _row(
    way: Fault, load: Load, traces: Traces, back: float | None, ended: float, complaints: list[str]
) -> Row:
    excused = {each: way.excuses(each) for each in load.attempts}
    failed = [each for each in load.attempts if each.problem]
    wrong = [each for each in failed if not excused[each]]
    late = [each.at - ended for each in failed if excused[each]]
    lost, twice = traces.missing(load.accepted), traces.repeated()
    refused = [f"never accepted: {each.email}" for each in load.orders if each.id is None]
    return Row(
        name=way.name,
        fault=way.kind,
        accepted=len(load.accepted),
        lost=len(lost),
        twice=len(twice),
        recovery=None if back is None else round(max([back, *late]), 1),
        unrelated=sum(not each for each in excused.values()),
        errors=len(wrong),
        retried=len(late),
        patience=way.patience,
        complaints=(*complaints, *load.refused),
        details=(*complaints, *load.refused, *lost, *twice, *refused, *(str(each.problem) for each in wrong)),
    )


class Watch:
    """Looks at the shop from the side, with requests that are no part of the load."""

    def __init__(self, people: People, http: httpx2.AsyncClient, since: datetime, newest: int) -> None:
        self._people = people
        self._http = http
        self._since = since
        self._newest = newest  # notification, of before the round

    @classmethod
    async def begun(cls, people: People, http: httpx2.AsyncClient) -> Watch:
        watch = cls(people, http, datetime.now(UTC), 0)
        for newest in await watch._get("/api/notifications?limit=1"):
            watch._newest = newest["id"]
        return watch

    async def recovered(self, load: Load, way: Fault, since: float) -> float | None:
        """When (monotonic seconds) it was healthy and an order placed since had gone all the way, if ever."""
        while (now := time.monotonic()) < since + 2 * way.patience:
            try:
                fresh = [each for each in load.accepted if each.accepted_at - since > 0 and each.confirmed]
                healthy = await asyncio.to_thread(way.healthy)
                if healthy and fresh:
                    traces = await self.traces(load)
                    if traces.counted and any(not traces.of(each) for each in fresh):
                        return now
            except NO_ANSWER:
                pass
            await asyncio.sleep(0.3)
        return None

    async def settled(self, load: Load, *, sink: bool) -> Traces:
        """The traces when nothing is missing of them, or when for SETTLE nothing more has come."""
        least, deadline = math.inf, time.monotonic() + SETTLE
        while True:
            try:
                traces = await self.traces(load)
                missing = len(traces.missing(load.accepted))
                if missing < least:
                    least, deadline = missing, time.monotonic() + SETTLE
                if not missing or time.monotonic() > deadline:
                    return replace(traces, received=await self._received(load)) if sink else traces
            except NO_ANSWER:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.5)

    async def traces(self, load: Load) -> Traces:
        since = self._since.isoformat().replace("+00:00", "Z")
        ours = {each.email for each in load.orders}
        orders: dict[str, list[dict[str, Any]]] = {}
        for each in await self._get(f"/api/orders?created_from={since}&limit={MAX_PAGE}"):
            if each["customer_email"] in ours:
                orders.setdefault(each["customer_email"], []).append(each)
        numbers = {each["id"] for found in orders.values() for each in found}
        told = await self._get(f"/api/notifications?after={self._newest}&limit={MAX_PAGE}")
        mails = await self._get(f"/api/mail?status=sent&created_from={since}&limit={MAX_PAGE}")
        stats = await self._get(f"/api/reports/stats?start={since}")
        return Traces(
            orders=orders,
            notified=Counter((e["order_id"], e["status"]) for e in told if e["order_id"] in numbers),
            mails=Counter(
                (each["recipient"], each["template"]) for each in mails if each["recipient"] in ours
            ),
            received=Counter(),
            counted=stats["total_orders"],
            amount=stats["total_amount"],
        )

    async def _received(self, load: Load) -> Counter[tuple[str, str]]:
        ours = {each.email for each in load.orders}
        mails = [
            (each["recipients"][0], each["subject"])
            for each in await self._get(f"/messages?limit={MAX_PAGE}")
        ]
        return Counter(each for each in mails if each[0] in ours)

    async def _get(self, path: str) -> Any:
        answer = await self._http.get(path, headers=self._people.admin.bearer)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:200]}"
        return answer.json()


def table(rows: Sequence[Row]) -> str:
    head = ("what", "fault", "accepted", "lost", "twice", "back after", "unrelated errors", "retried")
    lines = [
        (
            each.name,
            each.fault,
            str(each.accepted),
            str(each.lost),
            str(each.twice),
            "never" if each.recovery is None else f"{each.recovery:.1f} s",
            f"{each.errors} of {each.unrelated}",
            str(each.retried),
        )
        for each in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    forms = [f"{{:{'<' if at < 2 else '>'}{width}}}" for at, width in enumerate(widths)]
    return "\n".join("  ".join(forms).format(*line) for line in (head, *lines))
