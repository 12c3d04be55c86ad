"""Ask a gateway without pause until a file appears; then say, as JSON, which answers were no service's.

Reads go over a connection that is kept, and writes over one of their own: a reload ends what is idle, and a
request may be on its way just then. Who reads asks again (RFC 9110, 9.2.2), who writes could not.
usage: load.py HOST:PORT STOP-FILE
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import time
from pathlib import Path

place, stop = sys.argv[1], Path(sys.argv[2])
kept = http.client.HTTPConnection(place, timeout=60)
asked, failures = 0, []


def ask(connection: http.client.HTTPConnection, method: str) -> int:
    """The answer's status."""
    connection.request(method, "/nothing", b"{}" if method == "POST" else None)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def read() -> int:
    """Over the connection that is kept, or a new one where it was ended before an answer began."""
    was_kept = kept.sock is not None
    try:
        return ask(kept, "GET")
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        kept.close()
        if not was_kept:
            raise
        return ask(kept, "GET")


for method in itertools.cycle(("GET", "POST")):
    if stop.exists():
        break
    asked += 1
    own = http.client.HTTPConnection(place, timeout=60)
    try:
        status = read() if method == "GET" else ask(own, method)
    except (OSError, http.client.HTTPException) as error:
        kept.close()
        status = repr(error)
    finally:
        own.close()
    if status != 404:  # what the service says of a path that it has not
        failures.append(f"{time.strftime('%H:%M:%S')} {method} {status}")
    time.sleep(0.02)
print(json.dumps({"asked": asked, "failures": failures}))
