"""What runs, as text: one pure function from an application and an environment to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hostwright import secrets
from hostwright.application import Application
from hostwright.errors import BadInput
from hostwright.render import compose, kubernetes
from hostwright.render.environment import Cluster, Environment, GatewayOptions, gateway_options

__all__ = ["Cluster", "Environment", "GatewayOptions", "gateway_options", "render", "write"]


def render(application: Application, environment: Environment) -> dict[str, str]:
    """Path -> text of every file that runs the application there; none of them holds a secret.

    A Compose project, or for the topology `cluster` the manifests of a Kubernetes, a folder a phase. Raises
    BadInput when the environment names what the application has not, or the topology cannot run it.
    """
    _check(application, environment)
    topologies = {"single": compose.files, "cluster": kubernetes.files}
    return topologies[environment.topology](application, environment)


def write(folder: Path, application: Application, images: Mapping[str, str] | None = None) -> list[Path]:
    """A developer's environment, which `docker compose up` runs: secrets and TLS are made on the spot.

    Secrets that are there stay. Images of ours that are not given are built. Returns the files.
    """
    held = {path.name: path.read_text() for path in (folder / "secrets" / ".store").glob("*")}
    values = secrets.complete(application, held, Environment.name, Environment.names)
    environment = Environment(
        images=images or {},
        sources={
            service.name: str(service.folder.parent)
            for service in application.services.values()
            if service.file.build and service.image not in (images or {})
        },
        digests=secrets.digests(application, values),
    )
    written = []
    for name, text in render(application, environment).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written + secrets.write(folder / "secrets", application, values)


def _check(application: Application, environment: Environment) -> None:
    configured = [*application.services, *application.declared]
    for what, given, known in (
        ("replicas", environment.replicas, list(application.services)),
        ("settings", environment.settings, configured),
    ):
        for name in given:
            if name not in known:
                fix = f"one of: {', '.join(known)}"
                raise BadInput(f"{what} of unknown service {name!r}", where=environment.name, fix=fix)
    for name, number in environment.replicas.items():
        most = application.services[name].most
        if not 1 <= number <= most:
            fix = f"1 to {most}" if most > 1 else "1: what it knows is in its own memory"
            raise BadInput(f"{number} replicas of {name}", where=environment.name, fix=fix)
    if not 1 <= environment.gateway.timeout <= 600:
        what = f"a gateway that waits {environment.gateway.timeout} s for answers"
        raise BadInput(what, where=environment.name, fix="timeout: 1 to 600")
    if environment.gateway.hsts < 0:
        raise BadInput(f"hsts of {environment.gateway.hsts} s", where=environment.name, fix="0 or more")
    if environment.network and environment.network.prefixlen != 24:
        raise BadInput(f"network {environment.network}", where=environment.name, fix="give a /24")
