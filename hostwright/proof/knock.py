"""What answers on a port, and as what: one probe a protocol, and a complete TCP scan.

Only the standard library: the same file runs on the controller and, sent over SSH, on a host and inside the
networks of its containers. As a program it reads a request as JSON and prints the answers as JSON.
"""

from __future__ import annotations

import contextlib
import errno
import json
import random
import resource
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ALL_PORTS = range(1, 65536)
POSTGRES_SSL_REQUEST = struct.pack("!II", 8, 80877103)  # PostgreSQL, protocol-message-formats: SSLRequest
PATIENCE = 20.0  # seconds for an answer: who has accepted is there, and may be an emulated guest
CANARY_EVERY = 16384  # ports
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1, section 4.2.2


def main() -> None:
    """`{"knock": [...]}` or `{"scan": {...}}` on standard input; a list of answers, or of open ports.

    With `"resolve": [...]` beside `knock` it is `{"knocks": answers, "names": see resolve}`.
    """
    request = json.load(sys.stdin)
    if "scan" in request:
        json.dump(scan(**request["scan"]), sys.stdout)
    elif "resolve" in request:
        found = {"knocks": knock_all(request["knock"]), "names": resolve(request["resolve"])}
        json.dump(found, sys.stdout)
    else:
        json.dump(knock_all(request["knock"]), sys.stdout)


def knock_all(targets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers to several knocks at once, in their order.

    Who accepts and then does not speak is asked once more: a machine that is short of time may answer few.
    """
    if not targets:
        return []
    with ThreadPoolExecutor(min(16, len(targets))) as pool:

        def ask(which: Sequence[int]) -> list[dict[str, Any]]:
            return list(pool.map(lambda at: knock(**targets[at]), which))

        answers = ask(range(len(targets)))
        deaf = [at for at, each in enumerate(answers) if each["state"] == "open" and not each["speaks"]]
        for at, answer in zip(deaf, ask(deaf), strict=True):
            answers[at] = answer
    return answers


def resolve(names: Sequence[str]) -> dict[str, list[str]]:
    """Name -> its addresses, as any program here finds them; of a name that is not known, none."""

    def addresses(name: str) -> list[str]:
        try:
            return sorted({str(each[4][0]) for each in socket.getaddrinfo(name, None)})
        except OSError:
            return []

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(names, pool.map(addresses, names), strict=True))


def knock(
    address: str,
    port: int,
    protocol: str = "tcp",
    ca: str = "",
    name: str = "",
    host: str = "",
    header: str = "",
    timeout: float = 3.0,
) -> dict[str, Any]:
    """Connect within `timeout` seconds and speak the protocol: tcp, ssh, http, https, postgres, amqp, smtp.

    `ca`: PEM of those of whom one must be in an https certificate's chain; `name`: the name or address that
    the certificate must be for (default: it is not compared); `host`: whom http asks for; `header`: what its
    answer must have unless it redirects, as no other's has it. Answers `state`: open, refused, rejected (by a
    firewall that says so) or filtered (silence); `speaks`: it is that protocol, and no 5xx (a gateway with
    nothing behind it); `detail`: what was seen; `seconds`.
    """
    started = time.monotonic()
    answer: dict[str, Any] = {"state": "open", "speaks": False, "detail": ""}
    try:
        with socket.create_connection((address, port), timeout) as connection:
            connection.settimeout(PATIENCE)
            try:
                if protocol == "https":
                    answer["detail"] = _https(connection, ca, name, host, header)
                elif protocol == "http":
                    answer["detail"] = _http(connection, host, header)
                else:
                    answer["detail"] = SPEAKERS[protocol](connection)
                answer["speaks"] = True
            except (OSError, ValueError, IndexError) as error:
                answer["detail"] = f"does not serve {protocol}: {error or type(error).__name__}"
    except OSError as error:
        answer["state"] = state_of(error)
        answer["detail"] = str(error)
    answer["seconds"] = round(time.monotonic() - started, 4)
    return answer


def trusting(ca: str) -> ssl.SSLContext:
    """Of a client that trusts these certificates (PEM) and no others; without any, the system's.

    One that is no root is enough, the server's own too, as it is for curl; and what a certificate has beyond
    what it needs is not found fault with, as Pythons from 3.13 on do.
    """
    context = ssl.create_default_context(cadata=ca or None)
    context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    return context


def scan(
    address: str,
    ports: Iterable[int] = ALL_PORTS,
    canary: int = 0,
    timeout: float = 1.2,
    window: int = 0,
) -> list[int]:
    """The TCP ports that accept a connection, sorted.

    A port that says nothing costs the whole timeout (seconds; longer than the kernel's first retransmission
    after one), so up to `window` are asked at a time (default: as many as open files allow). A port known to
    be open is the canary: asked again and again on the way; when it is silent then packets were lost, and all
    is done again with a quarter of the window. Raises OSError when there is no way to the address at all.
    """
    window = window or _files() - 256
    order = list(ports)
    random.shuffle(order)
    while True:
        found, alive = _sweep(address, order, canary, timeout, window)
        if alive:
            return sorted(found)
        if window <= 64:
            raise TimeoutError(f"{address}: port {canary}, known to be open, stopped answering")
        window //= 4


def _sweep(
    address: str, ports: Sequence[int], canary: int, timeout: float, window: int
) -> tuple[set[int], bool]:
    """What is open, and whether the canary answered every time."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    order = list(ports)
    if canary:
        for at in range(len(order), 0, -CANARY_EVERY):
            order.insert(at, canary)
    found: list[int] = []
    waiting: dict[int, tuple[socket.socket, int, float]] = {}  # by descriptor, the oldest first
    poll = select.epoll()
    try:
        for count, port in enumerate(order):
            while len(waiting) >= window or (waiting and count % 128 == 0):
                _collect(poll, waiting, found, timeout if len(waiting) >= window else 0.0)
                if len(waiting) < window:
                    break
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            code = connection.connect_ex((address, port))
            if code == errno.EINPROGRESS:
                poll.register(connection, select.EPOLLOUT | select.EPOLLONESHOT)
                waiting[connection.fileno()] = (connection, port, time.monotonic() + timeout)
            elif code in (0, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES):
                _settle(connection, port, code, found)
            else:
                connection.close()
                raise OSError(code, f"cannot ask port {port}: {errno.errorcode[code]}")
        while waiting:
            _collect(poll, waiting, found, timeout)
    finally:
        poll.close()
        for connection, _, _ in waiting.values():
            connection.close()
    return set(found), found.count(canary) >= order.count(canary)


def _collect(
    poll: select.epoll, waiting: dict[int, tuple[socket.socket, int, float]], found: list[int], wait: float
) -> None:
    """Take what was answered, waiting for it no longer than until the oldest is given up."""
    oldest = next(iter(waiting.values()))[2]
    for descriptor, _ in poll.poll(max(0.0, min(wait, oldest - time.monotonic())), 4096):
        connection, port, _ = waiting.pop(descriptor)
        _settle(connection, port, connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), found)
    now = time.monotonic()
    while waiting:
        descriptor, (connection, _, deadline) = next(iter(waiting.items()))
        if deadline > now:
            break
        del waiting[descriptor]
        connection.close()


def _settle(connection: socket.socket, port: int, code: int, found: list[int]) -> None:
    if code == 0:
        # A connection to an ephemeral port of one's own machine can meet itself; nobody listens there.
        if connection.getsockname() != connection.getpeername():
            found.append(port)
        # Leave with a reset, so that the other side is not left with a half-closed connection.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _files() -> int:
    """How many files this process may have open, after asking for all it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 20000 if hard == resource.RLIM_INFINITY else min(hard, 20000)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def state_of(error: OSError) -> str:
    """In a word, why there is no connection."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return "filtered"
    return "refused" if error.errno == errno.ECONNREFUSED else "rejected"


def _https(connection: socket.socket, ca: str, name: str, host: str, header: str) -> str:
    context = trusting(ca)
    context.check_hostname = bool(name)
    with context.wrap_socket(connection, server_hostname=name or None) as secured:
        return f"{secured.version()}, {_http(secured, host, header)}"


def _http(connection: socket.socket, host: str, header: str) -> str:
    host = host or "proof.invalid"
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    line = _read(connection, 12).decode("latin-1")
    if not line.startswith("HTTP/1."):
        raise ValueError(f"answered {line!r}")
    status = int(line[9:12])
    if status >= 500:
        raise ValueError(f"answered HTTP {status}")
    if header and not 300 <= status < 400 and header.lower() not in _headers(connection):
        raise ValueError(f"answered HTTP {status} without {header}: somebody else answers")
    return f"HTTP {status}"


def _headers(connection: socket.socket) -> set[str]:
    """Names of the headers that follow, in small letters."""
    data = b""
    while b"\r\n\r\n" not in data and (part := connection.recv(4096)):
        data += part
    lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").splitlines()
    return {line.partition(":")[0].lower() for line in lines}


def _postgres(connection: socket.socket) -> str:
    connection.sendall(POSTGRES_SSL_REQUEST)
    reply = _read(connection, 1)
    if reply not in (b"S", b"N"):
        raise ValueError(f"answered {reply!r} to SSLRequest")
    return "PostgreSQL, " + ("offers TLS" if reply == b"S" else "plain")


def _amqp(connection: socket.socket) -> str:
    connection.sendall(AMQP_HEADER)
    kind, _, size = struct.unpack("!BHI", _read(connection, 7))
    frame = _read(connection, min(size, 4096))
    if kind != 1 or struct.unpack("!HH", frame[:4]) != (10, 10):
        raise ValueError("no Connection.Start")
    product, version = _amqp_text(frame, b"product"), _amqp_text(frame, b"version")
    return f"AMQP 0-9-1, {product} {version}".rstrip()


def _amqp_text(frame: bytes, key: bytes) -> str:
    """The text of a server property: short string key, `S`, long string value."""
    at = frame.find(bytes([len(key)]) + key + b"S")
    if at < 0:
        return ""
    at += len(key) + 2
    size = struct.unpack("!I", frame[at : at + 4])[0]
    return frame[at + 4 : at + 4 + size].decode("utf-8", "replace")


def _ssh(connection: socket.socket) -> str:
    line = _read(connection, 8).decode("latin-1")
    if not line.startswith("SSH-2.0-"):
        raise ValueError(f"answered {line!r}")
    connection.sendall(b"SSH-2.0-hostwright-proof\r\n")
    return "SSH-2.0"


def _smtp(connection: socket.socket) -> str:
    line = _read(connection, 4).decode("latin-1")
    if line[:3] != "220":
        raise ValueError(f"answered {line!r}")
    return "SMTP 220"


def _tcp(_: socket.socket) -> str:
    return "accepts"


def _read(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ValueError("closed without an answer")
        data += part
    return data


SPEAKERS: dict[str, Callable[[socket.socket], str]] = {
    "tcp": _tcp,
    "ssh": _ssh,
    "postgres": _postgres,
    "amqp": _amqp,
    "smtp": _smtp,
}


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
