"""Requests without a client of their own, with patience: httpx2 itself gives an answer five seconds.

Where many tests share few cores any process may stand still for longer.
"""

from __future__ import annotations

from functools import partial

import httpx2

PATIENCE = 60.0  # seconds

request = partial(httpx2.request, timeout=PATIENCE)
get = partial(httpx2.get, timeout=PATIENCE)
post = partial(httpx2.post, timeout=PATIENCE)
put = partial(httpx2.put, timeout=PATIENCE)
patch = partial(httpx2.patch, timeout=PATIENCE)
