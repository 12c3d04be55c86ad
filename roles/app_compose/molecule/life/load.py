"""Ask a gateway without pause until a file appears; then say, as JSON, which answers were no service's.

Reads and writes in turn, over a connection that is kept. usage: load.py HOST:PORT STOP-FILE
"""

from __future__ import annotations

import http.client
import itertools
import json
import select
import sys
import time
from pathlib import Path

place, stop = sys.argv[1], Path(sys.argv[2])
kept = http.client.HTTPConnection(place, timeout=60)
asked, failures = 0, []
for method in itertools.cycle(("GET", "POST")):
    if stop.exists():
        break
    asked += 1
    if kept.sock and select.select([kept.sock], [], [], 0)[0]:
        kept.close()  # the gateway has ended it while it was idle, as it does for a reload
    try:
        kept.request(method, "/nothing", b"{}" if method == "POST" else None)
        answer = kept.getresponse()
        answer.read()
        status = answer.status
    except (OSError, http.client.HTTPException) as error:
        kept.close()
        status = repr(error)
    if status != 404:  # what the service says of a path that it has not
        failures.append(f"{time.strftime('%H:%M:%S')} {method} {status}")
    time.sleep(0.02)
print(json.dumps({"asked": asked, "failures": failures}))
