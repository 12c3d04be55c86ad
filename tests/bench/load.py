"""wrk: one request, sent again and again over a number of connections."""

from __future__ import annotations

import json
import secrets
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

NEW_ORDER = {
    "customer_name": "Jan Kowalski",
    "customer_email": "jan@example.com",
    "source": "website",
    "total_amount": 299.99,
}
NUMBER = "{number}"  # in the body of a request without a token: another text in each


@dataclass(frozen=True)
class Case:
    """The request; `service` answers it."""

    name: str
    service: str
    method: str
    path: str
    body: Mapping[str, object] | None = None
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
local tokens, pause, numbered = { %(tokens)s }, %(pause)s, %(numbered)s
local requests, at = {}, 0
wrk.method = "%(method)s"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %(body)s
function init()
  for each, token in ipairs(tokens) do
    wrk.headers["Authorization"] = "Bearer " .. token
    requests[each] = wrk.format()
  end
  requests[1] = requests[1] or wrk.format()
end
function request()
  at = at + 1
  if numbered then
    return wrk.format(nil, nil, nil, (wrk.body:gsub("%(number)s", "%(run)s" .. at)))
  end
  return requests[at %% #requests + 1]
end
-- Whole milliseconds, `pause` on average, as if strangers came: at any moment with the same chance.
delay = pause and function()
  return math.floor(math.random() - pause * math.log(1 - math.random()))
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %%d, "seconds": %%f, "p50_ms": %%f, "p99_ms": %%f, "errors": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def wrk(case: Case, url: str, tokens: Sequence[str], seconds: float, rate: float = inf) -> Load:
    """At least a second of it, with each token in turn, or none; a certificate of `url` is not looked at.

    `rate` is how many requests a second there are to be: about that, and fewer where answers take long.
    """
    body = json.dumps(case.body) if case.body else ""
    values = {
        "method": case.method,
        "tokens": ", ".join(f'"{each}"' for each in tokens),
        "body": f"[==[{body}]==]" if body else "nil",
        "numbered": str(NUMBER in body).lower(),
        "number": NUMBER,
        "run": f"{secrets.token_hex(4)}-",
        "pause": "nil" if rate == inf else f"{case.connections / rate * 1000:f}",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % values)
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
