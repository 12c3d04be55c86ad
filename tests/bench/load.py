"""wrk: one request, sent again and again over a number of connections."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass

NEW_ORDER = {
    "customer_name": "Jan Kowalski",
    "customer_email": "jan@example.com",
    "source": "website",
    "total_amount": 299.99,
}


@dataclass(frozen=True)
class Case:
    """The request; `service` answers it."""

    name: str
    service: str
    method: str
    path: str
    body: dict[str, object] | None = None
    connections: int = 32


@dataclass(frozen=True)
class Load:
    """What wrk counted and measured; latencies in milliseconds."""

    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds


SCRIPT = """
wrk.method = "%(method)s"
wrk.headers["Authorization"] = "Bearer %(token)s"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %(body)s
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %%d, "seconds": %%f, "p50_ms": %%f, "p99_ms": %%f, "errors": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def wrk(case: Case, url: str, token: str, seconds: float) -> Load:
    """At least a second of it; `url` may be https, whose certificate is not looked at."""
    body = "nil" if case.body is None else f"[[{json.dumps(case.body)}]]"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % {"method": case.method, "token": token, "body": body})
        script.flush()
        done = subprocess.run(
            [
                *("wrk", "--threads", "1", "--connections", str(case.connections), "--timeout", "30s"),
                *("--duration", f"{max(seconds, 1):.0f}s", "--script", script.name, url + case.path),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
    return Load(**json.loads(done.stdout.splitlines()[-1]))
