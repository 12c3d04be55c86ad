"""What routes of every contract ask for: the use cases."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from orders.orders import Orders


async def _orders(request: Request) -> Orders:
    found: Orders = request.state.orders
    return found


UseCases = Annotated[Orders, Depends(_orders)]
