"""A container fails while a shop is at work. All containers and all faults: `make faults`."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.faults import rounds
from tests.faults.faults import Kill
from tests.faults.load import Shop


def test_no_order_is_lost_and_none_counts_twice(live: Any) -> None:
    row = asyncio.run(rounds.run(Kill(Shop.of(live), "orders")))
    assert row.kept, f"{rounds.table([row])}\n" + "\n".join(row.details)
