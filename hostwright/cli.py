"""The command `hostwright`: a Fabric program whose verbs string the tools together and add nothing."""

from __future__ import annotations

import itertools
import json as jsonlib
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fabric import Config
from fabric.main import Fab
from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import ParseError
from invoke.executor import Executor
from invoke.tasks import task
from rich.console import Console
from rich.table import Table

from hostwright import __version__
from hostwright.errors import BadInput, Failure, HostwrightError, writing
from hostwright.later import Later

if TYPE_CHECKING:
    from hostwright import (
        application,
        deploy,
        doctor,
        environments,
        graph,
        loglines,
        paths,
        promote,
        proof,
        reached,
        releases,
        remote,
        render,
        scaffold,
        secrets,
        status,
        support,
        toolchain,
        upkeep,
    )
    from hostwright.environments import Environment
    from hostwright.hosts import engine
    from hostwright.hosts.record import HostRecord
else:
    # No verb waits for what others need: Pulumi's SDK and the engine's take a second between them.
    application = Later("hostwright.application")
    deploy = Later("hostwright.deploy")
    doctor = Later("hostwright.doctor")
    engine = Later("hostwright.hosts.engine")
    environments = Later("hostwright.environments")
    graph = Later("hostwright.graph")
    loglines = Later("hostwright.loglines")
    paths = Later("hostwright.paths")
    promote = Later("hostwright.promote")
    proof = Later("hostwright.proof")
    reached = Later("hostwright.reached")
    releases = Later("hostwright.releases")
    remote = Later("hostwright.remote")
    render = Later("hostwright.render")
    scaffold = Later("hostwright.scaffold")
    secrets = Later("hostwright.secrets")
    status = Later("hostwright.status")
    support = Later("hostwright.support")
    toolchain = Later("hostwright.toolchain")
    upkeep = Later("hostwright.upkeep")

ENVIRONMENT = "the environment (default: $HOSTWRIGHT_ENVIRONMENT, or the only one of the project)"
JSON = "print JSON for a program to read"


@task(
    name="init",
    positional=["directory"],
    iterable=["host"],
    help={
        "directory": "where the project goes; an existing one gains the environment",
        "environment": "name of the environment",
        "driver": "where hosts come from: libvirt, container, static",
        "topology": "single (a host with Docker Compose) or cluster (MicroK8s on several)",
        "servers": "how many hosts of a cluster are servers: 1 or 3 (default: 3)",
        "workers": "how many hosts of a cluster are workers (default: 0)",
        "app": "the application: a name or the path of an application file",
        "host": "static driver: NAME=ADDRESS of a machine that exists; once a host, servers first",
        "user": "login user of the hosts",
        "mirror": "a YAML file of variables that say where artefacts come from",
        "components": "what watches the application: names with commas between, or all",
        "image": "libvirt driver: what hosts start from, a path or an https URL",
        "sha256": "libvirt driver: the image's SHA-256 digest",
    },
)
def init(
    _: Context,
    directory: str,
    environment: str = "prod",
    driver: str = "libvirt",
    topology: str = "single",
    app: str = "warehouse",
    host: Sequence[str] | None = None,
    user: str = "opensuse",
    mirror: str = "",
    components: str = "",
    servers: str = "",
    workers: str = "",
    image: str = "",
    sha256: str = "",
) -> None:
    """Make a project of your own: hostwright init shop --driver static --host web1=192.0.2.10"""
    target = paths.expanded(directory).resolve()
    written = scaffold.create(
        target,
        environment,
        driver,
        topology,
        app,
        host or (),
        user,
        paths.expanded(mirror) if mirror else None,
        _listed(components),
        _count(servers, "--servers"),
        _count(workers, "--workers"),
        image,
        sha256,
    )
    for path in written:
        print(path)
    if scaffold.passphrase() in written:
        say(f"keep a copy of {scaffold.passphrase()} elsewhere: nothing else opens the environment's secrets")
    if (environments.load(environment, target).settings.get("libvirt") or {}).get("sha256") == "":
        say(
            f"fill in sha256, and a dated image: {target}/infra/Pulumi.{environment}.yaml, hostwright:libvirt"
        )
    key = paths.state(environment) / "id_ed25519.pub"
    say(f"next: cd {directory}; hostwright doctor; hostwright up   (hosts must accept the key {key})")


@task(name="doctor", help={"environment": ENVIRONMENT, "json": JSON})
def doctor_(_: Context, environment: str = "", json: bool = False) -> None:
    """Say of each need whether it is there and works, and how to get it: hostwright doctor"""
    try:
        known = environments.names(paths.project())
    except BadInput:  # before there is a project it is the lab's needs that are told
        known = []
    chosen = environments.load(environment) if known or environment else None
    needs = list(doctor.examine(chosen))
    if json:
        print(jsonlib.dumps([need.as_dict() for need in needs], indent=2))
    else:
        rows = [
            (
                need.name,
                "yes" if need.present else "no",
                "yes" if need.usable else ("no" if need.required else "no (optional)"),
                need.detail,
                need.fix,
            )
            for need in needs
        ]
        table(("need", "present", "usable", "detail", "how to get it"), rows)
    if lacking := [need.name for need in needs if need.required and not need.usable]:
        raise Failure(f"not usable: {', '.join(lacking)}", fix="see the last column")


@task(name="toolchain", help={"exports": "print lines for eval, so that plain pulumi works in this shell"})
def toolchain_(_: Context, exports: bool = False) -> None:
    """Get Pulumi and its plug-ins at their pinned versions: eval "$(hostwright toolchain --exports)\""""
    folder = toolchain.ensure(say)
    print(toolchain.exports() if exports else folder)


@task(
    name="lab",
    help={
        "topology": "single or cluster",
        "driver": "container or libvirt",
        "app": "the application",
        "only-mirror": "build and serve the mirror, and stop there",
        "observability": "with all that watches the application",
    },
)
def lab(
    _: Context,
    topology: str = "single",
    driver: str = "container",
    app: str = "warehouse",
    only_mirror: bool = False,
    observability: bool = False,
) -> None:
    """Build a mirror and a proven environment on this machine, from nothing: hostwright lab"""
    deploy.lab(topology, driver, application.located(app), only_mirror, observability)


@task(
    name="up",
    help={
        "environment": ENVIRONMENT,
        "verbose": "show Ansible's output as it comes",
        "yes": "do not ask before another application is replaced",
    },
)
def up(_: Context, environment: str = "", verbose: bool = False, yes: bool = False) -> None:
    """Build the hosts, bring them to the application, prove it: hostwright up -e prod"""
    chosen = environments.load(environment)

    def replace(names: Sequence[str]) -> None:
        if not yes:
            _ask(chosen, "up", f"stops and removes the application {', '.join(names)} (its data stays)")

    deploy.up(chosen, verbose, replace=replace)


@task(name="plan", help={"environment": ENVIRONMENT})
def plan(_: Context, environment: str = "") -> None:
    """Show what `up` would change, and change nothing: hostwright plan"""
    deploy.plan(environments.load(environment))


@task(
    name="render",
    positional=[],
    help={
        "app": "the application: a name or a path",
        "format": "compose or kubernetes",
        "out": "where to (default: build/compose, build/kubernetes/OVERLAY); makes secrets there, mode 0600",
        "image": "NAME=REFERENCE of an image, in place of the default; repeatable",
        "components": "what watches the application: names with commas between, or all",
        "overlay": "kubernetes: dev, staging or prod",
        "node": "kubernetes: a node that keeps data; stores are dealt out over all of them; repeatable",
        "name": "kubernetes: a name or address by which others reach it; repeatable",
        "ingress-class": "kubernetes: of the Ingress controller",
    },
    iterable=["image", "node", "name"],
)
def render_(
    _: Context,
    app: str = "warehouse",
    format: str = "compose",
    out: str = "",
    image: Sequence[str] | None = None,
    components: str = "",
    overlay: str = "prod",
    node: Sequence[str] | None = None,
    name: Sequence[str] | None = None,
    ingress_class: str = "public",
) -> None:
    """Write what would run, for Compose or a cluster: hostwright render --format kubernetes --overlay dev"""
    scaffold.check_choice("format", format, ("compose", "kubernetes"))
    scaffold.check_choice("overlay", overlay, tuple(render.OVERLAYS))
    given = image or ()
    images = dict(pair.split("=", 1) for pair in given if "=" in pair)
    if len(images) != len(given):
        raise BadInput("an image without a name", where="--image", fix="--image NAME=REFERENCE")
    chosen = application.load(application.located(app), components=_listed(components))
    with writing("give another --out"):
        if format == "compose":
            written = render.write(Path(out or "build/compose"), chosen, images)
        else:
            if not node:
                say("volumes are pinned to node-1: give --node NAME")
            pins = render.pinned(chosen, node or ["node-1"])
            written = render.write_manifests(
                Path(out or f"build/kubernetes/{overlay}"),
                chosen,
                render.Environment(
                    name=overlay,
                    topology="cluster",
                    images=images,
                    names=tuple(name or render.Environment.names),
                    cluster=render.Cluster(overlay=overlay, pins=pins, ingress_class=ingress_class),
                ),
            )
    for path in written:
        print(path)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _count(given: str, option: str) -> int | None:
    """The number that an option was given; invoke itself meets what is none with a traceback."""
    if given and not given.isdecimal():
        raise BadInput(f"{given!r} is no number", where=option, fix=f"{option} 3, for instance")
    return int(given) if given else None


@task(
    name="graph",
    help={"app": "the application: a name or a path", "format": "svg or mermaid", "out": "file to write"},
)
def graph_(_: Context, app: str = "warehouse", format: str = "svg", out: str = "") -> None:
    """Draw services, ports and stores: hostwright graph --out warehouse.svg"""
    scaffold.check_choice("format", format, ("svg", "mermaid"))
    picture = graph.graph(application.load(application.located(app)), format)
    if out:
        with writing("give another --out"):
            Path(out).write_text(picture)
        print(out)
    else:
        print(picture)


@task(
    name="proof",
    help={
        "environment": ENVIRONMENT,
        "json": JSON,
        "contracts": "run the application's contract tests too; the users and orders that they make stay",
    },
)
def proof_(_: Context, environment: str = "", json: bool = False, contracts: bool = False) -> None:
    """Prove every host and every port: hostwright proof [--contracts]"""
    result = proof.run(environments.load(environment), quiet=json, contracts=contracts)
    if json:
        print(jsonlib.dumps(result.as_dict(), indent=2))
    result.check()


@task(name="status", help={"environment": ENVIRONMENT, "json": JSON})
def status_(_: Context, environment: str = "", json: bool = False) -> None:
    """Show hosts, containers or pods, and firing alerts: hostwright status"""
    chosen = environments.load(environment)
    found = status.look(chosen, engine.outputs(chosen))
    if json:
        print(jsonlib.dumps(found.as_dict(), indent=2))
    else:
        for columns, rows in found.tables():
            table(columns, rows)
    found.require_well()


@task(
    name="logs",
    help={
        "environment": ENVIRONMENT,
        "service": "one service only",
        "follow": "keep printing",
        "tail": "last lines of each: a number, or all",
        "request": "all that was written about one request, by the id that its answer has as X-Request-ID",
        "json": f"with --request: {JSON}",
    },
)
def logs(
    _: Context,
    environment: str = "",
    service: str = "",
    follow: bool = False,
    tail: str = "100",
    request: str = "",
    json: bool = False,
) -> None:
    """Print the application's logs: hostwright logs --service orders --follow"""
    chosen = environments.load(environment)
    if request and follow:
        raise BadInput("a request is over: there is nothing to follow", fix="take --follow or --request out")
    if json and not request:
        raise BadInput("--json is for the lines of one request", fix="add --request ID, or take --json out")
    last = None if tail == "all" else _count(tail, "--tail")
    hosts = engine.outputs(chosen)
    upkeep.require_hosts(hosts)
    if request:
        _logs_of_request(chosen, hosts, request, service, json)
        return
    if chosen.clustered:
        for line in loglines.of_cluster(reached.cluster(chosen, hosts), service, last, follow):
            print(line, flush=True)
        return
    if service:
        _check_services(chosen, hosts, [service])
    for host in hosts:
        arguments = [
            "logs",
            "--timestamps",
            f"--tail={'all' if last is None else last}",
            *(["--follow"] if follow else []),
            *([service] if service else []),
        ]
        remote.compose(chosen, host, arguments, stream=True)


def _logs_of_request(
    environment: Environment, hosts: Sequence[HostRecord], request: str, service: str, json: bool
) -> None:
    found = loglines.find(environment, hosts, request)
    lines = [line for line in found if service in ("", line.service)]
    if json:
        print(jsonlib.dumps([line.as_dict() for line in lines], indent=2))
    else:
        for line in lines:
            print(line)
    if not lines:
        raise Failure(
            f"no log line of request {request}", fix="is it the X-Request-ID of an answer, and not too old?"
        )


def _check_services(environment: Environment, hosts: Sequence[HostRecord], names: Iterable[str]) -> None:
    """Raise BadInput unless there is each of the services, on every host or on the cluster."""
    if environment.clustered:
        known = [sorted(reached.cluster(environment, hosts).kinds())]
    else:
        known = [sorted({row["service"] for row in remote.containers(environment, host)}) for host in hosts]
    for name, there in itertools.product(names, known):
        scaffold.check_choice("service", name, there)


@task(
    name="support-bundle",
    help={"environment": ENVIRONMENT, "out": "the archive to write (default: here, by name and time)"},
)
def support_bundle(_: Context, environment: str = "", out: str = "") -> None:
    """Gather what a maintainer asks for, secrets removed: hostwright support-bundle"""
    path = support.write(environments.load(environment), paths.expanded(out) if out else None, say)
    print(path)
    say("secrets are removed; names and addresses of people and machines are not: look before you send it")


@task(
    name="restart",
    aliases=["redeploy"],
    positional=["services"],
    help={"services": "the services", "environment": ENVIRONMENT},
)
def restart(_: Context, services: str, environment: str = "") -> None:
    """Restart services, instance by instance, until all are healthy: hostwright restart orders auth"""
    chosen, names = environments.load(environment), _listed(services)
    hosts = engine.outputs(chosen)
    upkeep.require_hosts(hosts)
    _check_services(chosen, hosts, names)
    releases.restart(chosen, hosts, names)
    for name in names:
        print(f"{chosen.name}: {name} restarted")


@task(name="releases", help={"environment": ENVIRONMENT, "json": JSON})
def releases_(_: Context, environment: str = "", json: bool = False) -> None:
    """List what ran well and can be returned to: hostwright releases"""
    chosen = environments.load(environment)
    releases.require_kept(chosen)
    rows = [
        {"host": host.name, **each}
        for host in engine.outputs(chosen)
        for each in releases.known(chosen, host)
    ]
    if json:
        print(jsonlib.dumps(rows, indent=2))
        return
    table(
        ("host", "release", "deployed", "state", "digest", "other images than in the one before"),
        [
            (
                row["host"],
                str(row["release"] or "-"),
                row["deployed"][:19].replace("T", " "),
                row["state"],
                row["digest"],
                ", ".join(releases.changed(rows, row)),
            )
            for row in rows
        ],
    )


@task(
    name="rollback",
    help={
        "release": "its number (default: the last that ran well, which is the one before when all is well)",
        "force": "although databases have been migrated since; they stay as they are",
        "environment": ENVIRONMENT,
    },
)
def rollback(_: Context, release: str = "", force: bool = False, environment: str = "") -> None:
    """Return to a release that ran well, and drop no request: hostwright rollback 6"""
    chosen, asked = environments.load(environment), releases.number(release)
    releases.require_kept(chosen)
    hosts = engine.outputs(chosen)
    releases.rollback(chosen, hosts, asked, force)
    for host in hosts:
        current = next(each for each in releases.known(chosen, host) if each["state"] == "current")
        print(f"{host.name}: release {current['release']} of {current['deployed'][:19].replace('T', ' ')}")
    say("databases stay as they are: migrations only go forward; hostwright up goes forward again")


@task(
    name="rotate",
    positional=["names"],
    help={"names": "the secrets, by name; an unknown one says which there are", "environment": ENVIRONMENT},
)
def rotate(_: Context, names: str, environment: str = "") -> None:
    """Make secrets anew, for the next `up` to deliver: hostwright rotate rabbitmq_password"""
    chosen = environments.load(environment)
    app = application.load(chosen.application, chosen.project, chosen.components)
    for name in secrets.rotate(chosen, app, names.split(",")):
        print(name)
    say("next: hostwright up delivers them; until then the hosts go on with the old ones")


@task(
    name="promote",
    help={
        "from": "the environment that runs now, on one host",
        "to": "the cluster that takes its place; up has been there",
        "overwrite": "although the cluster has data of its own: that goes",
        "confirm": "all is well there: end it",
        "abort": "the one of before serves again",
    },
)
def promote_(
    _: Context,
    from_: str = "",
    to: str = "",
    overwrite: bool = False,
    confirm: bool = False,
    abort: bool = False,
) -> None:
    """Move an application with its data to a cluster: hostwright promote --from prod --to prod-cluster"""
    if not (from_ and to):
        raise BadInput("from where, and to where?", fix="hostwright promote --from ENVIRONMENT --to CLUSTER")
    if overwrite + confirm + abort > 1:
        raise BadInput("--overwrite, --confirm and --abort are one at a time", fix="take two of them out")
    source, target = environments.load(from_), environments.load(to)
    if confirm:
        lines = promote.confirm(source, target)
    elif abort:
        lines = promote.abort(source, target)
    else:
        lines = promote.promote(source, target, overwrite)
    print("\n".join(lines))


@task(name="ssh", help={"host": "the host (default: the only one)", "environment": ENVIRONMENT})
def ssh(_: Context, host: str = "", environment: str = "") -> None:
    """Log in, or run a command: hostwright ssh -- uptime"""
    chosen = environments.load(environment)
    words = Hostwright.after
    line = words[0] if len(words) == 1 else shlex.join(words)  # one word is a line, as ssh takes it
    remote.interactive(chosen, remote.choose(engine.outputs(chosen), host), line)


@task(
    name="exec",
    positional=["service"],
    help={"service": "the service", "environment": ENVIRONMENT},
)
def exec_(_: Context, service: str, environment: str = "") -> None:
    """Run a command in a container of a service: hostwright exec rabbitmq -- rabbitmqctl list_queues"""
    command = Hostwright.after
    if not command:
        raise BadInput("which command?", where="--", fix=f"hostwright exec {service} -- sh, for instance")
    chosen = environments.load(environment)
    hosts = engine.outputs(chosen)
    upkeep.require_hosts(hosts)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if chosen.clustered:
        there = reached.cluster(chosen, hosts)
        kinds = there.kinds()
        scaffold.check_choice("service", service, sorted(kinds))
        words = ["sudo", *there.exec(f"{kinds[service]}/{service}", command, terminal)]
        remote.interactive(chosen, there.host, shlex.join(words), terminal)
    _check_services(chosen, hosts, [service])
    options = [] if terminal else ["-T"]
    words = remote.project(chosen, "exec", *options, service, *command)
    remote.interactive(chosen, remote.choose(hosts), shlex.join(words), terminal)


@task(
    name="scale",
    help={
        "workers": "how many workers the cluster is to have; those with the highest numbers go",
        "environment": ENVIRONMENT,
        "yes": "do not ask before hosts are removed",
    },
)
def scale(_: Context, workers: str = "", environment: str = "", yes: bool = False) -> None:
    """Give a cluster more workers, or fewer, which are emptied before: hostwright scale --workers 2"""
    chosen, asked = environments.load(environment), _count(workers, "--workers")
    if asked is None:
        raise BadInput("how many workers?", where="--workers", fix="--workers 3, for instance; or 0")
    names = upkeep.leaving(chosen, asked)
    if names and not yes:
        _ask(chosen, "scale", f"empties and removes {', '.join(names)} (data volumes stay)")
    upkeep.scale(chosen, asked, names)


@task(
    name="upgrade",
    help={
        "channel": "the channel that is meant, as 1.36/stable; it must be microk8s_channel of the inventory",
        "environment": ENVIRONMENT,
    },
)
def upgrade(_: Context, channel: str = "", environment: str = "") -> None:
    """Bring a cluster's Kubernetes to its channel, node by node: hostwright upgrade --channel 1.36/stable"""
    upkeep.upgrade(environments.load(environment), channel)


@task(name="patch", help={"environment": ENVIRONMENT})
def patch(_: Context, environment: str = "") -> None:
    """Bring hosts their system's updates, one at a time, and reboot where that is due: hostwright patch"""
    upkeep.patch(environments.load(environment))


@task(
    name="down",
    help={
        "environment": ENVIRONMENT,
        "data": "remove the data volumes and the secrets that open them, too",
        "yes": "do not ask",
    },
)
def down(_: Context, environment: str = "", data: bool = False, yes: bool = False) -> None:
    """Remove what `up` made, and nothing else: hostwright down -e staging"""
    chosen = environments.load(environment)
    if not yes:
        deed = "removes the hosts AND DATA" if data else "removes the hosts (data volumes stay)"
        if chosen.driver == "static":
            deed = "forgets the hosts (the machines stay as they are)"
        _ask(chosen, "down", deed)
    deploy.down(chosen, data)


def _ask(environment: Environment, verb: str, deed: str) -> None:
    """Have the person type the environment's name. Raises BadInput where that is not done."""
    if not sys.stdin.isatty():
        raise BadInput(f"{verb} asks before it removes", fix="add --yes to answer beforehand")
    try:
        answer = input(f"This {deed} of {environment.name!r}. Type its name to go on: ")
    except EOFError:
        print()
        answer = ""
    if answer.strip() != environment.name:
        raise BadInput(
            "the name does not match; nothing was removed", fix=f"type {environment.name} to go on"
        )


def say(text: str) -> None:
    """A remark for the person, not for a program: standard error."""
    print(text, file=sys.stderr)


def table(columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    """A table on a terminal; tab-separated lines elsewhere."""
    columns, rows = tuple(columns), tuple(rows)
    console = Console()
    if console.is_terminal:
        grid = Table(*columns)
        for row in rows:
            grid.add_row(*row)
        console.print(grid)
    else:
        for row in (columns, *rows):
            print("\t".join(row))


class Hostwright(Fab):  # type: ignore[misc]  # fabric has no types
    """Fabric's program under our name: our verbs, our exit statuses, errors as messages."""

    after: Sequence[str] = ()  # what stands after --, word by word: invoke would join it

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
        arguments = _gathered(list(sys.argv if argv is None else argv))
        Hostwright.after = [*itertools.dropwhile("--".__ne__, arguments)][1:]
        try:
            super().run(arguments, exit=exit)
        except SystemExit as stop:
            # invoke ends with 1 for a command line it does not understand; ours is 2, as everywhere.
            raise SystemExit(2 if isinstance(stop.__context__, ParseError) else stop.code) from None
        except HostwrightError as error:
            print(error, file=sys.stderr)
            raise SystemExit(error.exit_status) from None
        except BrokenPipeError:
            # Whoever reads, as `head`, has had enough. Python would complain once more as it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None


def _gathered(arguments: list[str]) -> list[str]:
    """A command line as invoke can take it.

    `rotate A B -e C` as `rotate A,B -e C`, for it takes one value at a place, and the next for a verb;
    `rollback 6` as `rollback --release=6`, since a value that may be left out has no place for it; and
    `rotate --help` as `--help rotate`, or that would be what is rotated.
    """
    if arguments[2:3] == ["--help"]:
        return [arguments[0], "--help", arguments[1]]
    if arguments[1:2] == ["rollback"] and arguments[2:3] and not arguments[2].startswith("-"):
        return [*arguments[:2], f"--release={arguments[2]}", *arguments[3:]]
    if not {"rotate", "restart", "redeploy"} & {*arguments[1:2]}:
        return arguments
    names, options = [], []
    rest = iter(arguments[2:])
    for each in rest:
        if each.startswith("-"):
            options += [each, *itertools.islice(rest, int(each in ("-e", "--environment")))]
        else:
            names.append(each)
    return [*arguments[:2], *([",".join(names)] if names else []), *options]


def main() -> None:
    """Entry point of the command."""
    verbs = Collection(
        init, doctor_, toolchain_, lab, up, plan, render_, graph_,
        proof_, status_, logs, support_bundle, restart, releases_, rollback, rotate, exec_,
        scale, upgrade, patch, promote_, ssh, down,
    )  # fmt: skip
    Hostwright(
        name="hostwright",
        version=__version__,
        namespace=verbs,
        executor_class=Executor,
        config_class=Config,
    ).run()


if __name__ == "__main__":
    main()
