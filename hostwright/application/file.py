"""Application files and service.yml: what may be written, read with the place of every mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from hostwright.application.base import (
    File,
    Folder,
    HttpPath,
    Identifier,
    Mebibytes,
    Name,
    Number,
    Protocol,
    Queue,
    Scope,
    Setting,
    image_name,
)
from hostwright.application.gateway import Gateway, Limit, Way
from hostwright.errors import BadInput

Needs = dict[Literal["database", "broker"], Literal["postgres", "rabbitmq"]]
SecretFile = Literal[
    "token_private_key",
    "token_public_key",
    "jwt_secret",
    "admin_email",
    "admin_password",
    "service_key",
    "webhook_key",
    "smtp_password",
    "grafana_password",
    "ca_certificate",
    "certificate",
]

DOCKERFILES = {"python": "Dockerfile", "static": "Dockerfile.static"}  # in services/, by what is built
MOST_SERVICES = 22
MOST_COMPONENTS = 22
MOST_REPLICAS = 8
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")  # in the command of a component: a setting
WATCHER = "monitor"  # the role by which components look at a PostgreSQL


class Health(File):
    live: HttpPath
    """Answers 200 while the process serves; touches no dependency."""
    ready: HttpPath
    """Answers 200 when the dependencies answer too."""
    command: tuple[str, ...] | None = None
    """How the container asks itself whether it is ready; somebody else's image must say, ours know.

    A component's image may hold nothing to ask with. Then it is not asked, and others see whether it answers.
    """


class Door(File):
    port: Number
    protocol: Protocol


class ContractNeeds(File):
    """What a service with one of its contracts needs beyond what it needs with any."""

    needs: Needs = Field(default={})
    calls: tuple[Name, ...] = ()
    publishes: tuple[Queue, ...] = ()
    consumes: tuple[Queue, ...] = ()
    secrets: tuple[SecretFile, ...] = ()


CONTRACTED = ("calls", "publishes", "consumes", "secrets")  # lists that a contract may add to


class ServiceFile(File):
    """services/NAME/service.yml: what a service is, whatever application uses it."""

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    title: str = Field(min_length=1)
    build: Literal["python", "static"] | None = None
    """Our own image, made from this folder: a Python service, or pages that nginx serves."""
    image: str | None = None
    """Somebody else's image, with its tag."""
    uid: Annotated[int, Field(ge=0, le=65534)]
    """Whom the container runs as; of this service alone. 100 or more, or 0 for what `sees` root's files."""
    port: Number
    """Where the container listens for HTTP."""
    also: tuple[Door, ...] = ()
    """Where else it listens, for the application's network."""
    health: Health
    metrics: HttpPath | None = None
    routes: tuple[Way, ...] = ()
    """Its way in at the gateway, for applications that have no route to it themselves."""
    limit: Limit | None = None
    """Of HAProxy: what its own routes together let a client ask, where they name no other limit."""
    command: tuple[str, ...] | None = None
    """In place of the image's own."""
    migrate: tuple[str, ...] | None = None
    """Command of the job that runs, with the same settings and secrets, before the service starts."""
    used: str | None = None
    """SQL that counts in its database what people made, and no proof: what may not be overwritten unasked.

    Not needed where all that it has follows from others' events.
    """
    needs: Needs = Field(default={})
    """Which kind of store an application must give."""
    calls: tuple[Name, ...] = ()
    """Services it calls over HTTP: of each it is told the address, as NAME_URL. Or components."""
    publishes: tuple[Queue, ...] = ()
    consumes: tuple[Queue, ...] = ()
    """Queues of the broker."""
    secrets: tuple[SecretFile, ...] = ()
    """Secret files beyond the passwords of its stores; with `certificate` comes its private_key."""
    contracts: dict[Identifier, ContractNeeds] = Field(default={})
    """What it needs besides with one of its contracts, by the contract's name."""
    settings: dict[str, Setting] = Field(default={})
    memory: Mebibytes = 160
    """Limit in MiB."""
    background: bool = False
    """Nobody waits for what it does: while one host has too little CPU for all, the others come first."""
    alone: bool = False
    """What it knows is in its own memory, so that there is one instance of it and never more."""
    watches: Literal["gateway", "postgres"] | None = None
    """Of a component: one for each of these, whose name {watched} stands for in command and settings."""
    data: Folder | None = None
    """Of a component: the folder that is kept, in a volume; its image makes it for the uid."""
    sees: dict[Folder, Folder] = Field(default={})
    """Of a component: path of the host -> where its container can read it. On a cluster: of each node."""
    nodes: dict[Folder, Folder] = Field(default={})
    """Of a component: on a cluster, in place of what it `sees` on a host."""
    tells: dict[str, Setting] = Field(default={})
    """Of a component: settings that every Python service has while it is deployed."""

    def under(self, contract: str | None) -> ServiceFile:
        """The service as it is with this contract: what the contract needs is added to its own."""
        more = self.contracts.get(contract or "", ContractNeeds())
        found = {name: (*getattr(self, name), *getattr(more, name)) for name in CONTRACTED}
        return self.model_copy(update={"needs": {**self.needs, **more.needs}, "contracts": {}, **found})

    @model_validator(mode="after")
    def _one_image(self) -> ServiceFile:
        if (self.build is None) == (self.image is None):
            raise ValueError("exactly one of build and image is needed")
        return self

    @model_validator(mode="after")
    def _no_root(self) -> ServiceFile:
        if self.uid < 100 and not (self.uid == 0 and self.sees):
            raise ValueError(
                "uid must be 100 or more; only a component that `sees` the host's files may be 0"
            )
        return self


class Store(File):
    kind: Literal["postgres", "rabbitmq"]
    image: str
    scope: Scope = "internal"
    port: Number | None = None
    """On the host, where the scope is wider than internal."""
    sources: tuple[str, ...] = ()
    databases: dict[Identifier, Identifier] = Field(default={})
    """Database -> the role that owns it."""
    memory: Mebibytes | None = None

    @property
    def image_name(self) -> str:
        return image_name(self.image)

    @property
    def traits(self) -> StoreKind:
        """What it has in common with its kind."""
        return KINDS[self.kind]


class Use(File):
    contract: Identifier | None = None
    replicas: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] = 1
    database: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*(/[a-z][a-z0-9_]*)?$")] | None = None
    """STORE/DATABASE; or STORE alone, for a database there, and its role, of the service's own name."""
    broker: Name | None = None
    settings: dict[str, Setting] = Field(default={})


class ComponentUse(File):
    """What watches the application, where an environment switches it on; not part of what it does."""

    port: Number | None = None
    """On the host; without one only the application's network reaches it."""
    scope: Literal["public", "host"] = "host"
    sources: tuple[str, ...] = ()
    settings: dict[str, Setting] = Field(default={})
    """In capitals: environment variables. Others: for its configuration, and for {NAME} in its command."""


class ApplicationFile(File):
    """services/apps/NAME.yml: which services, on which stores, behind which gateway."""

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    title: str = Field(min_length=1)
    gateway: Gateway
    stores: dict[Name, Store] = Field(default={})
    services: dict[Name, Use] = Field(min_length=1, max_length=MOST_SERVICES)
    components: dict[Name, ComponentUse] = Field(default={}, max_length=MOST_COMPONENTS)


@dataclass(frozen=True)
class StoreKind:
    """What all stores of a kind have in common; ports are the container's."""

    protocol: Protocol
    port: int
    uid: int
    memory: int
    need: Literal["database", "broker"]
    metrics: int | None = None
    """Where it is scraped, when somebody does."""


KINDS: dict[str, StoreKind] = {
    "postgres": StoreKind("postgres", 5432, 999, 256, "database"),
    "rabbitmq": StoreKind("amqp", 5672, 999, 320, "broker", metrics=15692),
}


SCHEMAS: dict[type[File], str] = {ApplicationFile: "application", ServiceFile: "service"}


def schemas() -> dict[str, str]:
    """File name -> JSON Schema (text); committed in hostwright/application/schema."""
    return {
        f"{name}.json": json.dumps(model.model_json_schema(by_alias=True), indent=2) + "\n"
        for model, name in SCHEMAS.items()
    }


M = TypeVar("M", bound=File)


@dataclass(frozen=True)
class Document(Generic[M]):
    """A file as it was read."""

    path: Path
    model: M
    nodes: yaml.Node | None

    def bad(self, keys: Sequence[str | int], what: str, fix: str) -> BadInput:
        """The error for a mistake at a key, with its place as FILE:LINE: key.path[index]."""
        return _bad(self.path, self.nodes, keys, what, fix)


def read(model: type[M], path: Path) -> Document[M]:
    """The file, validated. Raises BadInput for the first mistake."""
    try:
        text = path.read_text()
        document, nodes = yaml.load(text, _Loader), yaml.compose(text, yaml.SafeLoader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise BadInput(
            f"not YAML: {getattr(error, 'problem', None) or error}",
            where=f"{path}:{mark.line + 1}" if mark else str(path),
            fix="mend the file",
        ) from None
    try:
        # As JSON, because strict validation knows lists there, and YAML's tuples nowhere.
        return Document(path, model.model_validate_json(json.dumps(document, default=str)), nodes)
    except ValidationError as error:
        found = error.errors(include_url=False)
        first = found[0]
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = f"unknown key {first['loc'][-1]!r}"
        elif first["type"] == "missing":
            what = f"{first['loc'][-1]!r} is missing"
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        fix = f"see hostwright/application/schema/{SCHEMAS[model]}.json"
        raise _bad(path, nodes, first["loc"], what + more, fix) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML would silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key.value!r} is there twice", key.start_mark
            )
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _bad(path: Path, nodes: yaml.Node | None, keys: Sequence[str | int], what: str, fix: str) -> BadInput:
    node, line, key = nodes, 1, ""
    for step in keys:
        key += f"[{step}]" if isinstance(step, int) else f".{step}" if key else step
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == step), None)
            node, line = (pair[1], pair[0].start_mark.line + 1) if pair else (None, line)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return BadInput(what, where=f"{path}:{line}" + (f": {key}" if key else ""), fix=fix)


if __name__ == "__main__":
    from hostwright.application import file

    # Of the module as it is imported: what docstrings say is not found from __main__.
    for _name, _text in file.schemas().items():
        (Path(__file__).parent / "schema" / _name).write_text(_text)
