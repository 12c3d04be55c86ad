"""The lab's image registry: what it is told to be, pushing into it, asking it what it holds."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

import yaml

from lab import oci
from lab.parts import run, store

# On loopback, where every engine pushes without TLS; hosts pull through the mirror's HTTPS address.
ADDRESS = "127.0.0.1:5087"
CONFIGURATION = "registry.yml"

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def configure(folder: Path) -> bool:
    """Write CONFIGURATION in `folder`, keeping the secret that is there; whether it was another before."""
    path = folder / CONFIGURATION
    before = path.read_text() if path.exists() else ""
    known = yaml.safe_load(before)["http"]["secret"] if before else secrets.token_hex(16)
    settings = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(store() / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": ADDRESS, "secret": known, "relativeurls": True},
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(settings))
    return path.read_text() != before


def push(layout: Path, name: str, tag: str) -> str:
    """Bring the image of an OCI layout into the registry unless it is there, and give its digest."""
    digest = oci.digest(layout)
    if held(name, tag) != digest:
        run(
            "skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false",
            f"oci:{layout}", f"docker://{ADDRESS}/{name}:{tag}",
        )  # fmt: skip
    return digest


def held(name: str, reference: str) -> str | None:
    """The digest of the image under a tag or digest, or None if the registry has none."""
    answer = _ask(f"{name}/manifests/{reference}", "HEAD")
    return None if answer is None else str(answer.headers["Docker-Content-Digest"])


def tags(name: str) -> list[str]:
    """The tags under which the registry holds images of this name."""
    answer = _ask(f"{name}/tags/list")
    return [] if answer is None else json.load(answer)["tags"] or []


def remove(name: str, tag: str) -> None:
    """Forget an image; its layers go with the registry's next garbage collection."""
    if digest := held(name, tag):
        _ask(f"{name}/manifests/{digest}", "DELETE")


def answers() -> bool:
    """Whether a registry listens at our address."""
    try:
        return (answer := _ask("")) is not None and json.load(answer) == {}
    except (OSError, ValueError):
        return False


def _ask(path: str, method: str = "GET") -> HTTPResponse | None:
    """The registry's answer, or None if there is no such thing."""
    request = urllib.request.Request(
        f"http://{ADDRESS}/v2/{path}", method=method, headers={"Accept": ", ".join(_MANIFESTS)}
    )
    try:
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=10)  # noqa: S310 # http, to ourselves
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    return answer
