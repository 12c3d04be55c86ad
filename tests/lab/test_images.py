"""The mirror's images, run for real: what users of upstream's images expect, and how little they may do."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from hostwright import application
from lab import images, registry, servers
from lab.publish import publish
from tests.live import inside

LOCKED_DOWN = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
CORRECT = "correct horse"
TMPFS = {"/tmp": "", "/run": ""}  # noqa: S108 # inside the container

Start = Callable[..., Container]


@pytest.fixture(scope="module")
def bases() -> dict[str, str]:
    """Name of a base image -> reference in the registry, all of them built, pushed and served."""
    servers.serve()
    return {name: images.pushed(name) for name in images.BASES}


@pytest.fixture
def start(bases: dict[str, str], volume: str) -> Iterator[Start]:
    """`start("postgres", **options of docker run)`; the containers are gone afterwards, before `volume`."""
    engine = docker.from_env()
    started: list[Container] = []

    def run(image: str, command: Any = None, **options: Any) -> Container:
        reference = f"{servers.HOST}:{servers.PORT}/{bases[image]}" if image in bases else image
        started.append(engine.containers.run(reference, command, detach=True, **options))
        return started[-1]

    yield run
    for container in started:
        container.remove(force=True, v=True)


@pytest.fixture
def volume() -> Iterator[str]:
    made = docker.from_env().volumes.create()
    yield str(made.id)
    made.remove(force=True)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{CORRECT}\n")
    path.chmod(0o444)
    return path


def test_components_have_an_image_of_the_tag_they_ask_for() -> None:
    """But for Grafana, which Debian has not."""
    every = application.load("warehouse", components="all")
    asked = {each.image: str(each.file.image) for each in every.components.values()}
    held = {name: str(images.recipe(name)["tag"]) for name in images.COMPONENTS}
    assert {
        name: reference.rpartition(":")[2] for name, reference in asked.items() if name != "grafana"
    } == held


@pytest.mark.slow
def test_postgres_takes_its_password_from_a_file_and_keeps_its_data(
    start: Start, volume: str, secret: Path, tmp_path: Path
) -> None:
    scripts = tmp_path / "initdb"
    scripts.mkdir()
    (scripts / "1.sql").write_text("CREATE TABLE made_by_sql (id int);")
    (scripts / "2.sh").write_text("psql -c \"CREATE TABLE made_by_sh AS SELECT '$POSTGRES_DB' AS name\"")
    database = start(
        "postgres",
        user="999:999",
        tmpfs=TMPFS,
        environment={
            "POSTGRES_PASSWORD_FILE": "/run/secrets/password",
            "POSTGRES_USER": "orders",
            "POSTGRES_DB": "orders_db",
            "POSTGRES_INITDB_ARGS": "--data-checksums --locale-provider=icu --icu-locale='de-DE'",
        },
        volumes=[
            f"{volume}:/var/lib/postgresql/data",
            f"{secret}:/run/secrets/password:ro",
            f"{scripts}:/docker-entrypoint-initdb.d:ro",
        ],
        **LOCKED_DOWN,
    )

    def query(sql: str, password: str = CORRECT) -> tuple[int, str]:
        return _exec(
            database,
            ["psql", "-qtA", "-h", "127.0.0.1", "-U", "orders", "-d", "orders_db", "-c", sql],
            PGPASSWORD=password,
        )

    _until(lambda: query("SELECT 1")[0] == 0)
    assert query("SELECT 1", "wrong") != (0, "1")
    assert query("SELECT name FROM made_by_sh, pg_tables WHERE tablename = 'made_by_sql'") == (0, "orders_db")
    assert query("SHOW data_checksums") == (0, "on")
    assert query("SELECT usename FROM pg_user WHERE usesuper") == (0, "orders")
    query("INSERT INTO made_by_sql VALUES (42)")

    database.stop(timeout=60)
    database.reload()
    assert database.attrs["State"]["ExitCode"] == 0
    assert "received fast shutdown request" in database.logs().decode()
    database.start()
    _until(lambda: query("SELECT id FROM made_by_sql") == (0, "42"))

    assert _exec(database, ["stat", "-c", "%u %g %a", "/var/lib/postgresql/data"]) == (0, "999 999 700")
    told = _exec(database, ["sh", "-c", "tr '\\0' '\\n' < /proc/1/environ"])[1]
    assert CORRECT not in told + json.dumps(database.attrs) + database.logs().decode()


@pytest.mark.slow
def test_postgres_started_as_root_gives_root_up(start: Start, volume: str) -> None:
    database = start(
        "postgres",
        ["-c", "max_connections=17"],
        environment={"POSTGRES_PASSWORD": "secret"},
        volumes=[f"{volume}:/var/lib/postgresql/data"],
    )
    _until(lambda: _exec(database, ["pg_isready", "-h", "127.0.0.1"])[0] == 0)
    assert _exec(database, ["stat", "-c", "%u", "/proc/1"]) == (0, "999")
    assert _exec(database, ["psql", "-U", "postgres", "-tAc", "SHOW max_connections"]) == (0, "17")


@pytest.mark.slow
def test_postgres_killed_in_its_first_start_begins_again(start: Start, volume: str, tmp_path: Path) -> None:
    script = tmp_path / "slow.sh"
    script.write_text("psql -c 'CREATE TABLE half_done ()'\ntouch /tmp/reached\nsleep 600\n")
    mounted = f"{volume}:/var/lib/postgresql/data"
    password = {"POSTGRES_PASSWORD": "secret"}
    first = start(
        "postgres",
        environment=password,
        volumes=[mounted, f"{script}:/docker-entrypoint-initdb.d/slow.sh:ro"],
    )
    _until(lambda: _exec(first, ["test", "-e", "/tmp/reached"])[0] == 0)  # noqa: S108
    first.kill("SIGKILL")
    second = start("postgres", environment=password, volumes=[mounted])
    _until(lambda: _exec(second, ["pg_isready", "-h", "127.0.0.1"])[0] == 0)
    tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'half_done'"
    assert _exec(second, ["psql", "-U", "postgres", "-tAc", tables]) == (0, "0")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "no superuser password: set POSTGRES_PASSWORD_FILE"),
        ({"POSTGRES_PASSWORD": "a", "POSTGRES_PASSWORD_FILE": "/b"}, "both POSTGRES_PASSWORD and"),
        ({"POSTGRES_PASSWORD_FILE": "/missing"}, "/missing, which uid 999 cannot read"),
    ],
)
def test_postgres_says_what_is_wrong_with_its_password(
    start: Start, environment: dict[str, str], said: str
) -> None:
    database = start("postgres", environment=environment)
    assert database.wait(timeout=120)["StatusCode"] == 1
    assert said in database.logs().decode()


@pytest.mark.slow
def test_rabbitmq_makes_the_user_it_is_told_and_keeps_it(start: Start, volume: str, secret: Path) -> None:
    broker = start(
        "rabbitmq",
        user="999:999",
        hostname="first",
        tmpfs=TMPFS,
        environment={
            "RABBITMQ_DEFAULT_USER": "orders",
            "RABBITMQ_DEFAULT_PASS_FILE": "/run/secrets/password",
            "RABBITMQ_DEFAULT_VHOST": "warehouse",
        },
        volumes=[f"{volume}:/var/lib/rabbitmq", f"{secret}:/run/secrets/password:ro"],
        **LOCKED_DOWN,
    )

    def ctl(*words: str) -> tuple[int, str]:
        return _exec(broker, ["rabbitmqctl", "--quiet", *words])

    _until(lambda: "Server startup complete" in broker.logs().decode())
    assert ctl("authenticate_user", "orders", CORRECT)[0] == 0
    assert ctl("authenticate_user", "orders", "wrong")[0] != 0
    assert ctl("list_users", "--no-table-headers") == (0, "orders\t[administrator]")
    assert ctl("list_vhosts", "--no-table-headers") == (0, "warehouse")
    # Only AMQP can be reached from elsewhere: Erlang's own ports are on loopback.
    assert _listening(broker) == {5672}
    assert ctl("add_user", "kept", "for good")[0] == 0

    broker.stop(timeout=60)
    broker.reload()
    assert broker.attrs["State"]["ExitCode"] == 0
    again = start(
        "rabbitmq", user="999:999", hostname="second", tmpfs=TMPFS, volumes=[f"{volume}:/var/lib/rabbitmq"],
        **LOCKED_DOWN,
    )  # fmt: skip
    _until(lambda: "Server startup complete" in again.logs().decode())
    assert _exec(again, ["rabbitmq-diagnostics", "--quiet", "check_running"])[0] == 0
    users = _exec(again, ["rabbitmqctl", "--quiet", "list_users", "--no-table-headers"])[1]
    assert sorted(users.splitlines()) == ["kept\t[]", "orders\t[administrator]"]
    assert CORRECT not in json.dumps(broker.attrs) + broker.logs().decode()


@pytest.mark.slow
def test_rabbitmq_reads_conf_d(start: Start, tmp_path: Path) -> None:
    settings = tmp_path / "20.conf"
    settings.write_text("listeners.tcp.default = 5673\n")
    broker = start("rabbitmq", volumes=[f"{settings}:/etc/rabbitmq/conf.d/20.conf:ro"])
    _until(lambda: "Server startup complete" in broker.logs().decode())
    assert _listening(broker) == {5673}


def test_nginx_serves_without_root_and_without_a_writable_disk(start: Start, tmp_path: Path) -> None:
    settings = tmp_path / "nginx.conf"
    settings.write_text(
        "include /etc/nginx/modules-enabled/*.conf;\n"
        "pid /run/nginx.pid;\nevents {}\n"
        "stream { server { listen 9000; return through; } }\n"
        "http { set_real_ip_from 10.0.0.0/8; server { listen 80; return 200 over-http; } }\n"
    )
    script = tmp_path / "10-said.sh"
    script.write_text("#!/bin/sh\necho said before nginx\n")
    script.chmod(0o755)
    server = start(
        "nginx",
        user="101:101",
        tmpfs={**TMPFS, "/var/cache/nginx": ""},
        volumes=[
            f"{settings}:/etc/nginx/nginx.conf:ro",
            f"{script}:/docker-entrypoint.d/10-said.sh:ro",
        ],
        **LOCKED_DOWN,
    )
    _until(lambda: _fetch(server, 80, b"GET / HTTP/1.0\r\n\r\n").endswith("over-http"))
    assert _fetch(server, 9000, b"") == "through"
    assert "said before nginx" in server.logs().decode()
    server.stop(timeout=60)
    server.reload()
    assert server.attrs["State"]["ExitCode"] == 0


def test_nginx_serves_its_default_page(start: Start) -> None:
    server = start("nginx", user="101:101", tmpfs={**TMPFS, "/var/cache/nginx": ""}, **LOCKED_DOWN)
    _until(lambda: "200 OK" in _fetch(server, 80, b"GET / HTTP/1.0\r\n\r\n"))
    _until(lambda: '"GET / HTTP/1.0" 200' in server.logs().decode())


def test_haproxy_routes_without_root_and_without_a_writable_disk(start: Start, tmp_path: Path) -> None:
    """With what the gateway is made of: Lua, its client of HTTP, tokens, metrics for Prometheus, a reload."""
    settings = tmp_path / "haproxy.cfg"
    settings.write_text(
        "global\n    lua-load /usr/local/etc/haproxy/said.lua\n"
        "    stats socket /tmp/haproxy.sock level admin expose-fd listeners\n"
        "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n"
        "frontend main\n    bind :8080\n    option idle-close-on-response\n"
        "    http-request set-var(txn.good) str(x),jwt_verify(HS256,y)\n"
        "    http-request use-service prometheus-exporter if { path /metrics }\n"
        "    http-request use-service lua.said\n"
    )
    (tmp_path / "said.lua").write_text(
        "assert(core.httpclient)\n"
        'core.register_service("said", "http", function(applet)\n'
        '  applet:set_status(200)\n  applet:start_response()\n  applet:send("over Lua")\nend)\n'
    )
    tmp_path.chmod(0o755)  # whoever it runs as is not who made it
    server = start(
        "haproxy",
        user="101:101",
        tmpfs=TMPFS,
        volumes=[f"{tmp_path}:/usr/local/etc/haproxy:ro"],
        **LOCKED_DOWN,
    )
    _until(lambda: _fetch(server, 8080, b"GET / HTTP/1.0\r\n\r\n").endswith("over Lua"))
    assert "haproxy_process_" in _fetch(server, 8080, b"GET /metrics HTTP/1.0\r\n\r\n")

    def reloaded() -> bool:
        """Asked more than once: the master may hear nothing while it begins, though its worker serves."""
        if server.logs().decode().count("Loading success") > 1:
            return True
        server.kill("USR2")
        time.sleep(1)
        return False

    _until(reloaded)
    assert _fetch(server, 8080, b"GET / HTTP/1.0\r\n\r\n").endswith("over Lua")
    server.stop(timeout=60)
    server.reload()
    assert server.attrs["State"]["ExitCode"] == 0


def test_python_is_the_one_wheels_are_fetched_for(start: Start) -> None:
    code = "import sqlite3, ssl, sys; print(*sys.version_info[:2], ssl.get_default_verify_paths().cafile)"
    container = start("python", ["python", "-c", code], user="10001", **LOCKED_DOWN)
    assert container.wait(timeout=120)["StatusCode"] == 0, container.logs().decode()
    assert container.logs().decode().split()[:2] == ["3", "13"]


def test_what_is_recorded_is_what_hosts_pull(bases: dict[str, str]) -> None:
    trusting = ssl.create_default_context(cadata=servers.ca_pem())
    first_layers = set()
    for reference in bases.values():
        image, digest = reference.split("@")
        name, tag = image.split(":")
        request = urllib.request.Request(  # noqa: S310 # https, to ourselves
            f"{servers.URL}/v2/{name}/manifests/{tag}",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        )
        with urllib.request.urlopen(request, context=trusting) as answer:  # noqa: S310
            content = answer.read()
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}" == registry.held(name, tag)
        first_layers.add(json.loads(content)["layers"][0]["digest"])
    assert len(first_layers) == 1, "the base layer is shared by all images"


def test_no_image_holds_a_secret(start: Start) -> None:
    for name in images.BASES:
        search = "find / -xdev ( -name *.key -o -name .erlang.cookie -o -name ssl-cert-snakeoil* ) -type f"
        container = start(name, search.split(), entrypoint=[], user="0")
        container.wait(timeout=120)
        assert container.logs(stderr=False).decode().strip() == ""


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder like services/ with two tiny services, of whose images nothing stays."""
    folder = tmp_path_factory.mktemp("services")
    ours = images.paths.toolkit() / "services"
    for name in ("Dockerfile", ".dockerignore", "requirements.lock"):
        (folder / name).write_bytes((ours / name).read_bytes())
    (folder / "kit").mkdir()
    (folder / "kit" / "__init__.py").touch()
    for name, uid in (("trial-one", 10901), ("trial-two", 10902)):
        package = folder / name.replace("-", "_")
        (package / "tests").mkdir(parents=True)
        (package / "tests" / "test_it.py").touch()
        (package / "__init__.py").touch()
        (package / "service.yml").write_text(f"name: {package.name}\nbuild: python\nuid: {uid}\n")
        (package / "app.py").write_text(
            "from fastapi import FastAPI\napp = FastAPI()\n"
            f"@app.get('/')\ndef name() -> str: return '{name} {time.time_ns()}'\n"
        )
    yield folder
    engine = docker.from_env()
    for image in engine.images.list():
        names = [*image.tags, *image.attrs["RepoDigests"]]
        if any(f"/{images.PROJECT}/trial_{which}" in name for which in ("one", "two") for name in names):
            engine.images.remove(image.id, force=True)
    for name in ("trial_one", "trial_two"):
        for tag in registry.tags(f"{images.PROJECT}/{name}"):
            registry.remove(f"{images.PROJECT}/{name}", tag)


def test_services_are_built_once_and_share_their_packages(
    start: Start, bases: dict[str, str], trial: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(2) as pool:  # as two processes that ask at once
        built, other = pool.map(lambda _: images.services(bases, trial), range(2))
    assert other == built
    assert capsys.readouterr().err.count("image trial_one built") == 1

    changed = trial / "trial_one" / "app.py"
    changed.write_text(changed.read_text() + "# changed\n")
    rebuilt = images.services(bases, trial)
    assert rebuilt["trial_one"] != built["trial_one"]
    assert rebuilt["trial_two"] == built["trial_two"]

    engine = docker.from_env()
    layers = []
    for reference in rebuilt.values():
        image = engine.images.pull(f"{servers.HOST}:{servers.PORT}/{reference}")
        layers.append(image.attrs["RootFS"]["Layers"])
    assert [len(set(level)) for level in zip(*layers, strict=True)][:4] == [1, 1, 1, 1]

    service = start(
        f"{servers.HOST}:{servers.PORT}/{rebuilt['trial_one']}",
        environment={"PORT": "8181"},
        tmpfs={"/tmp": ""},  # noqa: S108
        **LOCKED_DOWN,
    )
    _until(lambda: "trial-one" in _fetch(service, 8181, b"GET / HTTP/1.0\r\n\r\n"))
    assert _exec(service, ["id", "-u"]) == (0, "10901")
    assert _exec(service, ["sh", "-c", "find /app /venv -name 'test*' -path '/app/*' -o -name pip"]) == (
        0,
        "",
    )
    service.stop(timeout=60)
    service.reload()
    assert service.attrs["State"]["ExitCode"] == 0, "it ends when it is told to, and is not killed"


def test_a_release_pushes_and_names_digests(bases: dict[str, str], trial: Path) -> None:
    """As into any registry, from a folder that has its own wheels."""
    place = f"{registry.ADDRESS}/{images.PROJECT}"
    standing = {name: f"{registry.ADDRESS}/{bases[name]}" for name in ("python",)}
    with images._context(trial) as context:
        held = publish(place, "v9", context, standing, ["PIP_NO_INDEX=1"])
    assert sorted(held) == ["trial_one", "trial_two"]
    for name, reference in held.items():
        assert reference == f"{place}/{name}:v9@{registry.held(f'{images.PROJECT}/{name}', 'v9')}"


OURS = {each["name"]: each for each in images.described(images.paths.toolkit() / "services")}
TOOLS = "pip pip3 ensurepip cc gcc c++ ld make git curl wget dpkg-buildpackage Python.h"
NAMES = " -o ".join(f"-name {each}" for each in TOOLS.split())
LOOK = f"find / -xdev ( {NAMES} ) -not -path /proc/* -not -path /usr/share/*"
LARGEST = 300 << 20  # bytes, unpacked


@pytest.fixture(scope="module")
def built(bases: dict[str, str]) -> dict[str, str]:
    return bases | images.services(bases)


@pytest.mark.parametrize("name", OURS)
def test_an_image_of_ours_holds_what_runs_and_no_more(
    start: Start, built: dict[str, str], name: str, record_property: Callable[[str, object], None]
) -> None:
    engine = docker.from_env()
    described = OURS[name]
    image = engine.images.pull(f"{servers.HOST}:{servers.PORT}/{built[name]}")
    config = image.attrs["Config"]
    assert config["User"] == f"{described['uid']}:{described['uid']}"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert described["health"]["ready"] in config["Healthcheck"]["Test"][-1]
    assert config["Labels"]["org.opencontainers.image.title"] == name
    assert config["Labels"]["org.opencontainers.image.revision"] in built[name]
    assert not [each for each in config["Env"] if re.search("(?i)password|secret|token|key", each)]

    beneath = engine.images.pull(
        f"{servers.HOST}:{servers.PORT}/{built[images.KINDS[described['build']][2][-1]]}"
    )
    layers = [each.attrs["RootFS"]["Layers"] for each in (beneath, image)]
    assert layers[1][: len(layers[0])] == layers[0], "the base is the one that the lock names"

    record_property("size", image.attrs["Size"])
    print(f"{name}: {image.attrs['Size'] >> 20} MiB, of them {beneath.attrs['Size'] >> 20} its base")
    assert image.attrs["Size"] < LARGEST

    container = start(image.id, LOOK.split(), entrypoint=[], user="0", **LOCKED_DOWN)
    container.wait(timeout=120)
    assert container.logs(stderr=False).decode() == ""


def _exec(container: Container, command: list[str], **environment: str) -> tuple[int, str]:
    """Exit status and standard output of a command in a container; status 255 while it is not running."""
    assigned = [f"{name}={value}" for name, value in environment.items()]
    try:
        status, said = inside(container, "sh", "-c", '"$@" 2> /dev/null', "sh", "env", *assigned, *command)
    except docker.errors.APIError:
        container.reload()
        assert container.status != "exited", container.logs().decode()
        return 255, ""
    return status, said.strip()


def _fetch(container: Container, port: int, request: bytes) -> str:
    """What a port of the container answers to `request`, empty when it does not."""
    container.reload()
    address = container.attrs["NetworkSettings"]["IPAddress"]
    try:
        with socket.create_connection((address, port), timeout=60) as connection:
            connection.sendall(request)
            answer = b""
            while block := connection.recv(4096):
                answer += block
    except OSError:
        assert container.status == "running", container.logs().decode()
        return ""
    return answer.decode().strip()


def _listening(container: Container) -> set[int]:
    """TCP ports that listen on other addresses than loopback."""
    found = set()
    for line in _exec(container, ["sh", "-c", "cat /proc/net/tcp /proc/net/tcp6"])[1].splitlines():
        words = line.split()
        if words[3] == "0A" and words[1].split(":")[0] not in (
            "0100007F",
            "00000000000000000000000001000000",
        ):
            found.add(int(words[1].split(":")[1], 16))
    return found


def _until(holds: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
