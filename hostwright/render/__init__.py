"""What runs, as text: one pure function from an application and an environment to files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hostwright import secrets
from hostwright.application import Application, Service
from hostwright.application.gateway import OWN
from hostwright.errors import BadInput
from hostwright.render import compose, kubernetes
from hostwright.render.environment import OVERLAYS, Cluster, Environment, GatewayOptions, gateway_options
from hostwright.render.kubernetes import Volume, pinned, secret_files, volumes
from hostwright.render.manifests import PHASES

__all__ = [
    "OVERLAYS",
    "PHASES",
    "Cluster",
    "Environment",
    "GatewayOptions",
    "Volume",
    "gateway_options",
    "pinned",
    "render",
    "secret_files",
    "volumes",
    "write",
    "write_manifests",
]


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
    values = _values(folder, application, Environment())
    environment = Environment(
        images=images or {},
        sources={
            service.name: str(service.folder.parent)
            for service in application.services.values()
            if service.file.build and service.image not in (images or {})
        },
        digests=secrets.digests(application, values),
    )
    written = _written(folder, render(application, environment))
    return written + secrets.write(folder / "secrets", application, values)


def write_manifests(folder: Path, application: Application, environment: Environment) -> list[Path]:
    """What `kubectl apply` takes, phase by phase, and in `secrets` those it names, made on the spot.

    Secrets that are there stay. The environment is of the topology `cluster`. Manifests of what the
    application no longer has are removed. Returns the files.
    """
    values = _values(folder, application, environment)
    environment = replace(environment, digests=secrets.digests(application, values))
    texts = render(application, environment)
    own = {Path(path).name: text for path, text in secret_files(application, environment, values).items()}
    wanted = {folder / path for path in texts} | {folder / "secrets" / name for name in own}
    for phase in (*PHASES, "secrets"):
        for path in set((folder / phase).glob("*.yaml")) - wanted:
            path.unlink()
    return _written(folder, texts) + secrets.keep(folder / "secrets", values, own)


def _values(folder: Path, application: Application, environment: Environment) -> dict[str, str]:
    held = secrets.stored(folder / "secrets")
    return secrets.complete(application, held, environment.name, environment.names)


def _written(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def _check(application: Application, environment: Environment) -> None:
    configured = [*application.services, *application.declared]
    if application.gateway.kind == "haproxy":
        configured.append(OWN)
    for what, given, known in (
        ("replicas", environment.replicas, list(application.services)),
        ("settings", environment.settings, configured),
    ):
        for name in given:
            if name not in known:
                fix = f"one of: {', '.join(known)}"
                raise BadInput(f"{what} of unknown service {name!r}", where=environment.name, fix=fix)
    for service in application.services.values():
        _heard(application, environment, service)
    for name, number in environment.replicas.items():
        most = application.services[name].most
        if not 1 <= number <= most:
            fix = f"1 to {most}" if most > 1 else "1: what it knows is in its own memory"
            raise BadInput(f"{number} replicas of {name}", where=environment.name, fix=fix)
    if not 1 <= environment.gateway.timeout <= 600:
        what = f"a gateway that waits {environment.gateway.timeout} s for answers"
        raise BadInput(what, where=environment.name, fix="timeout: 1 to 600")
    if environment.patience < 1:
        raise BadInput(f"patience of {environment.patience}", where=environment.name, fix="1 or more")
    if environment.gateway.hsts < 0:
        raise BadInput(f"hsts of {environment.gateway.hsts} s", where=environment.name, fix="0 or more")
    if environment.network and environment.network.prefixlen != 24:
        raise BadInput(f"network {environment.network}", where=environment.name, fix="give a /24")


def _heard(application: Application, environment: Environment, service: Service) -> None:
    """Raise BadInput for a setting of a service of ours that others go by too, and would not hear of."""
    if service.file.build != "python":
        return
    secret = {
        reader.file: each.name
        for each in application.secrets()
        for reader in each.readers
        if reader.owner == service.name
    }
    given = environment.settings.get(service.name, {})
    for where, settings in ((str(application.source), service.settings), (environment.name, given)):
        for name, value in settings.items():
            what = f"{name} as a setting of {service.name}"
            if name.upper() == "PORT" and str(value) != str(service.file.port):
                fix = f"take it out: the port of its service.yml is {service.file.port}, where others ask"
                raise BadInput(f"{what}, where nobody would look for it", where=where, fix=fix)
            if name.lower() in secret:
                fix = f"in infra/: pulumi config set --secret secret-{secret[name.lower()]}"
                raise BadInput(f"{what}, and it is a secret that others have too", where=where, fix=fix)
