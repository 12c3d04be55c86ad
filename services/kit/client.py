"""Where a request really comes from: only declared proxies are believed."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from starlette.requests import HTTPConnection

from kit.settings import Network


def address(connection: HTTPConnection, trusted: Iterable[Network]) -> str:
    """The client's address: the right-most `X-Forwarded-For` entry that is not one of the `trusted` proxies.

    A header from anybody else is ignored, so nobody can choose their own address.
    """
    found = connection.client.host if connection.client else ""
    networks = tuple(trusted)
    hops = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")
    while hops and within(found, networks):
        hop = hops.pop().strip()
        if not _is_address(hop):
            break
        found = hop
    return found


def within(text: str, networks: Iterable[Network]) -> bool:
    """Whether an address is of one of the networks; not for what is no address at all."""
    return _is_address(text) and any(ip_address(text) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
