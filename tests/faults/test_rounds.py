"""A container fails while a shop is at work. All containers and all faults, and more work: `make faults`."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.faults import rounds
from tests.faults.faults import Kill
from tests.faults.load import Shop

RATE = 2.0  # orders a second, as other tests have the machine too


def test_no_order_is_lost_and_none_counts_twice(live: Any) -> None:
    row = asyncio.run(rounds.run(Kill(Shop.of(live), "orders"), RATE))
    assert row.kept, f"{rounds.table([row])}\n" + "\n".join(row.details)
