"""The log lines of one request, whichever services and hosts wrote them, in the order of time."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from paramiko import SSHException

from hostwright import application, forwarded, reached, remote, scaffold
from hostwright.environments import Environment
from hostwright.errors import BadInput, Failure
from hostwright.hosts.record import HostRecord
from hostwright.proof.namespace import owner
from hostwright.reached import Cluster

VALID = re.compile(r"[A-Za-z0-9._-]{8,128}")  # as the gateway takes it from a client
NAMES = ("request_id", "trace_id")  # fields of a line by which it belongs to a request
SAID = ("timestamp", "level", "message", "service", "exception")  # shown in places of their own
COMPOSE = re.compile(r"(?P<container>\S+)\s+\| (?P<time>\S+) (?P<text>.*)")
POD = re.compile(r"\[pod/(?P<pod>[^/\]]+)/(?P<part>[^\]]+)\] (?P<time>\S+) ?(?P<text>.*)")
MOST = 5000  # lines that Loki gives at once
RANGES = "/loki/api/v1/query_range"
RANGE = "720h"  # that Loki looks back: the longest that it takes for one question
PATIENCE = 30  # seconds for its answer


@dataclass(frozen=True)
class Line:
    """What a service wrote: `time` in UTC to the nanosecond, `text` as it stands."""

    time: str
    host: str
    service: str
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """Of a line of JSON; empty for another."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def as_dict(self) -> dict[str, Any]:
        return {
            "time": self.time,
            "host": self.host,
            "service": self.service,
            "line": self.fields or self.text,
        }

    def __str__(self) -> str:
        fields = self.fields
        more = " ".join(
            f"{name}={value}"
            for name, value in fields.items()
            if name not in (*SAID, *NAMES) and value not in ("", None)
        )
        said = f"{fields.get('level', ''):7} {fields.get('message', '')}  {more}" if fields else self.text
        below = "".join(f"\n    {each}" for each in str(fields.get("exception", "")).splitlines())
        return f"{self.time} {self.service:12} {said.rstrip()}{below}"


def find(environment: Environment, hosts: Sequence[HostRecord], request: str) -> Iterator[Line]:
    """Lines of the request with this id, or of this trace: from Loki where it runs, else from containers.

    Of a cluster `host` of a line is the node, and containers are those of its pods.

    Raises BadInput for what is no id, Failure when a host does not answer.
    """
    if not VALID.fullmatch(request):
        raise BadInput(
            f"{request!r} is no id of a request",
            fix="give what an answer's X-Request-ID says, or a trace's id",
        )
    if environment.clustered and hosts:
        found = _in(reached.cluster(environment, hosts), request)
    else:
        found = [line for host in hosts for line in _on(environment, host, request)]
    return iter(sorted(found, key=lambda line: line.time))


def of_cluster(cluster: Cluster, service: str, tail: int | None, follow: bool) -> Iterator[str]:
    """What all pods wrote, or those of a service, as it is shown of a host. Raises BadInput, Failure."""
    pods = {pod["metadata"]["name"]: owner(pod) for pod in cluster.items("pods")}
    if service:
        scaffold.check_choice("service", service, sorted({*pods.values()}))
    width = max((len(name) for name, part in pods.items() if service in ("", part)), default=0)
    for line in cluster.lines(*cluster.logs(service, tail, follow)):
        yield as_on_a_host(line, width)


def _on(environment: Environment, host: HostRecord, request: str) -> list[Line]:
    app = application.load(environment.application, environment.project, environment.components)
    loki = app.components.get("loki")
    if loki and loki.port and (answer := _asked(environment, host, loki.port, query(app.name, request))):
        return of_loki(answer, host.name)
    output = remote.compose(environment, host, ["logs", "--timestamps", "--no-color"], matching=request)
    return of_containers(output, host.name, request)


def _in(cluster: Cluster, request: str) -> list[Line]:
    loki = cluster.application.components.get("loki")
    if loki:
        wanted = urlencode(asked(query(cluster.application.name, request)))
        with contextlib.suppress(Failure):  # where it does not run, for whatever reason, nodes are asked
            return of_loki(forwarded.ask(cluster, loki.name, loki.file.port, f"{RANGES}?{wanted}"))
    nodes = {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in cluster.items("pods")}
    return of_pods(cluster.run(*remote.only(cluster.logs(), request)), nodes, request)


def _asked(environment: Environment, host: HostRecord, port: int, wanted: str) -> dict[str, Any] | None:
    """Loki's answer, over SSH from the host's loopback; None where it does not run, for whatever reason."""
    with remote.connect(environment, host) as connection:
        try:
            connection.open()
            way = connection.transport.open_channel(
                "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=PATIENCE
            )
            way.settimeout(PATIENCE)
            with contextlib.closing(HTTPConnection("127.0.0.1", port)) as http:
                http.sock = way
                http.request("GET", f"{RANGES}?{urlencode(asked(wanted))}")
                answer = http.getresponse()
                text = answer.read()
        except (OSError, HTTPException, SSHException):
            return None
    return dict(json.loads(text)) if answer.status == 200 else None


def of_containers(output: str, host: str, request: str) -> list[Line]:
    """From what `docker compose logs --timestamps` prints; lines that only quote the id are not its own."""
    return _own(
        (
            Line(match["time"], host, re.sub(r"-\d+$", "", match["container"]), match["text"])
            for each in output.replace(remote.CLEAR, "").splitlines()
            if (match := COMPOSE.fullmatch(each))
        ),
        request,
    )


def of_pods(output: str, nodes: Mapping[str, str], request: str) -> list[Line]:
    """The same from what Cluster.logs prints. `nodes`: pod -> its node."""
    return _own(
        (
            Line(_utc(match["time"]), nodes.get(match["pod"], ""), match["part"], match["text"])
            for each in output.splitlines()
            if (match := POD.fullmatch(each))
        ),
        request,
    )


def _own(lines: Iterable[Line], request: str) -> list[Line]:
    """Those of the request, by the service that they name themselves."""
    found = []
    for line in lines:
        fields = line.fields
        if request in (fields.get(name) for name in NAMES):
            found.append(replace(line, service=fields.get("service", line.service)))
    return found


def as_on_a_host(line: str, width: int) -> str:
    """A line of Cluster.logs as Compose prints it, `NAME | TIME TEXT`, names being `width` wide."""
    match = POD.fullmatch(line)
    return f"{match['pod']:{width}}  | {_utc(match['time'])} {match['text']}" if match else line


def _utc(time: str) -> str:
    """A moment, in UTC: containerd writes the node's own time, with nine digits of a second."""
    if time.endswith("Z"):
        return time
    moment = datetime.fromisoformat(time).astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time[20:29]}Z"


def of_loki(answer: Mapping[str, Any], host: str = "") -> list[Line]:
    """From Loki's answer to a query over a range of time; on a cluster the collector names the node."""
    return [
        Line(
            _time(int(nanoseconds)),
            stream["stream"].get("k8s_node_name", host),
            stream["stream"].get("service_name", ""),
            text,
        )
        for stream in answer["data"]["result"]
        for nanoseconds, text, *_ in stream["values"]
    ]


def asked(wanted: str) -> dict[str, str]:
    """What Loki is asked with a query."""
    return {"query": wanted, "limit": str(MOST), "direction": "forward", "since": RANGE}


def query(namespace: str, request: str) -> str:
    """Of an application's lines those of the request, in Loki's language."""
    wanted = " or ".join(f'{name}="{request}"' for name in NAMES)
    return f'{{service_namespace="{namespace}"}} | {wanted}'


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
