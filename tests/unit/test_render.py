"""Rendering: the files of the golden folder, and what must hold whatever they look like."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application, paths, secrets
from hostwright.application import Application
from hostwright.errors import BadInput
from hostwright.render import Environment, GatewayOptions, render, write

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"  # UPDATE_GOLDEN=1 pytest tests/unit/test_render.py

ENVIRONMENTS = {
    "development": Environment(),
    "production": Environment(
        name="prod",
        images={
            "auth": "registry.example.com/auth:1@sha256:" + "a" * 64,
            "orders": "registry.example.com/orders:1",
        },
        names=("shop.example.com", "192.0.2.10", "2001:db8::10"),
        replicas={"orders": 3},
        settings={"orders": {"LOG_LEVEL": "warning", "PRICE": "$5"}},
        digests={"auth": "1", "orders": "2", "gateway": "3", "orders-db": "4"},
        trusted_proxies=("198.51.100.0/24",),
        network=IPv4Network("10.20.30.0/24"),
        ipv6=False,
    ),
    "observed": Environment(
        name="prod",
        names=("shop.example.com", "192.0.2.10"),
        replicas={"orders": 2},
        settings={"alertmanager": {"webhook": "https://alerts.example.com/hook"}},
        network=IPv4Network("10.20.30.0/24"),
        ipv6=False,
    ),
}
COMPONENTS = {"observed": "all"}


@functools.cache
def loaded(components: str = "", name: str = "warehouse") -> Application:
    found = application.load(name, components=components or ())
    # The golden files are the same wherever the checkout is.
    return dataclasses.replace(found, source=Path(f"services/apps/{name}.yml"))


@pytest.fixture(params=ENVIRONMENTS)
def named(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def environment(named: str) -> Environment:
    return ENVIRONMENTS[named]


@pytest.fixture
def warehouse(request: pytest.FixtureRequest) -> Application:
    """As the environment has it, where the test is of one."""
    named = request.getfixturevalue("named") if "named" in request.fixturenames else ""
    return loaded(COMPONENTS.get(named, ""))


@pytest.fixture
def compose(warehouse: Application, environment: Environment) -> dict[str, Any]:
    return load(render(warehouse, environment))


def load(files: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files["compose.yaml"])
    return found


def hold(folder: Path, files: dict[str, str]) -> None:
    """The files are those of the folder."""
    if UPDATE:
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
        for path_, text in files.items():
            (folder / path_).parent.mkdir(parents=True, exist_ok=True)
            (folder / path_).write_text(text)
    held = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files == held, "if that is meant: UPDATE_GOLDEN=1 pytest tests/unit/test_render.py"


def test_golden(warehouse: Application, named: str) -> None:
    files = render(warehouse, ENVIRONMENTS[named])
    # One service's dashboard stands for those of all.
    twins = [path for path in files if re.match(r"grafana/dashboards/service-(?!orders)", path)]
    hold(GOLDEN / "warehouse" / named, {path: text for path, text in files.items() if path not in twins})


@pytest.mark.parametrize("name", sorted({*application.names()} - {"warehouse"}))
def test_golden_of_others(name: str) -> None:
    """As a developer has them: what an environment adds, the warehouse's show."""
    hold(GOLDEN / name / "development", render(loaded(name=name), Environment()))


def test_the_same_twice(warehouse: Application, named: str) -> None:
    again = application.load("warehouse", components=COMPONENTS.get(named, ()))
    assert render(warehouse, ENVIRONMENTS[named]) == render(again, ENVIRONMENTS[named])


def test_a_job_is_not_asked_how_it_is(compose: dict[str, Any]) -> None:
    jobs = {name: each for name, each in compose["services"].items() if each.get("restart") == "no"}
    assert {"auth-migrate", "orders-migrate"} <= {*jobs}
    for name, job in jobs.items():
        assert job["healthcheck"] == {"disable": True}, name


def test_a_slow_host_is_asked_seldom(warehouse: Application) -> None:
    def checks(patience: int) -> list[dict[str, str]]:
        services = load(render(warehouse, Environment(patience=patience)))["services"].values()
        return [check for each in services if "interval" in (check := each.get("healthcheck", {}))]

    usual, slow = checks(1), checks(12)
    for timing in ("interval", "timeout", "start_period", "start_interval"):
        for quick, patient in zip(usual, slow, strict=True):
            assert int(patient[timing].rstrip("s")) == 12 * int(quick[timing].rstrip("s"))
    assert len(usual) > 10


def test_every_container_is_confined(compose: dict[str, Any]) -> None:
    uids = {}
    for name, each in compose["services"].items():
        assert each["read_only"] is True, name
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert each["mem_limit"].endswith("m"), name
        assert each["pids_limit"] > 0, name
        limits = {"max-size": "10m", "max-file": "3"}
        assert limits.items() <= each["logging"]["options"].items(), name
        assert all(mount.endswith(":ro,z") for mount in each.get("volumes", []) if mount.startswith("."))
        uid, gid = each["user"].split(":")
        assert uid == gid
        if uid == "0":  # of the host's files it reads those that are root's alone
            assert name == "otel-collector"
            mounts = [mount for mount in each["volumes"] if mount.startswith("/")]
            assert mounts == ["/var/lib/docker/containers:/var/lib/docker/containers:ro"]
        uids[name] = int(uid)
    assert uids["auth"] != uids["orders"] != uids["gateway"]


def test_all_but_jobs_restart_and_are_watched(warehouse: Application, compose: dict[str, Any]) -> None:
    dumb = {name for name, each in warehouse.components.items() if not each.file.health.command}
    for name, each in compose["services"].items():
        if name.endswith("-migrate"):
            assert each["restart"] == "no"
        else:
            assert each["restart"] == "unless-stopped"
            # One that says it has none is waited for in vain: Compose wants it to say nothing.
            assert ("healthcheck" in each) != (name in dumb), name
            assert name in dumb or each["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_ports_are_published_as_their_scope_says(
    warehouse: Application, environment: Environment, compose: dict[str, Any]
) -> None:
    reach = {"public": ["0.0.0.0", "[::]"], "host": ["127.0.0.1", "[::1]"]}  # noqa: S104
    wanted = {
        (port.owner, f"{address}:{port.number}:{port.container_port}")
        for port in warehouse.ports()
        for address in reach.get(port.scope, [])[: 2 if environment.ipv6 else 1]
    }
    published = {(name, port) for name, each in compose["services"].items() for port in each.get("ports", [])}
    assert published == wanted


def test_migrations_come_before_their_service_and_after_their_store(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["orders-migrate"]["depends_on"] == {"orders-db": {"condition": "service_healthy"}}
    condition = services["orders"]["depends_on"]["orders-migrate"]
    assert condition == {"condition": "service_completed_successfully"}


def test_instances_have_fixed_addresses_outside_of_dockers_own_range(
    warehouse: Application, environment: Environment, compose: dict[str, Any]
) -> None:
    config = compose["networks"]["application"]["ipam"]["config"][0]
    fixed = {
        name: ip_address(each["networks"]["application"]["ipv4_address"])
        for name, each in compose["services"].items()
        if isinstance(each["networks"], dict)
    }
    assert len(set(fixed.values())) == len(fixed)
    for address in fixed.values():
        assert address in ip_network(config["subnet"])
        assert address not in ip_network(config["ip_range"])
    gateway = render(warehouse, environment)["gateway/nginx.conf"]
    for name, address in fixed.items():
        assert (f"server {address}:8080" in gateway) == (name != "gateway")


def test_scaling_leaves_everybody_where_they_are(warehouse: Application) -> None:
    one, three = (
        load(render(warehouse, Environment(replicas={"orders": many})))["services"] for many in (1, 3)
    )
    assert set(three) ^ set(one) == {"orders-2", "orders-3", "orders-spare"}
    assert all(three[name] == one[name] for name in {*one} & {*three})


def test_replicas_are_those_of_the_file_where_the_environment_has_none(
    warehouse: Application, tmp_path: Path
) -> None:
    document = yaml.safe_load((paths.toolkit() / warehouse.source).read_text())
    document["services"]["orders"]["replicas"] = 3
    file = tmp_path / warehouse.source.name
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    three = dataclasses.replace(application.load(file), source=warehouse.source)
    assert render(three, Environment()) == render(warehouse, Environment(replicas={"orders": 3}))
    assert render(three, Environment(replicas={"orders": 1})) == render(warehouse, Environment())


def test_who_is_alone_has_a_spare_that_only_stands_in(warehouse: Application) -> None:
    files = render(warehouse, Environment(replicas={"orders": 2}))
    services = load(files)["services"]
    spares = {name for name, each in services.items() if each.get("profiles") == ["spare"]}
    assert spares == {f"{name}-spare" for name in warehouse.services if name != "orders"}
    for name in spares:
        alone = services[name.removesuffix("-spare")]
        differing = {key for key in services[name] if services[name][key] != alone.get(key)}
        assert differing == {"profiles", "networks"}
        assert (
            services[name]["networks"]["application"]["aliases"]
            == alone["networks"]["application"]["aliases"]
        )


def test_the_gateway_asks_last_who_is_set_aside(warehouse: Application) -> None:
    text = render(warehouse, Environment(replicas={"orders": 2}))["gateway/nginx.conf"]
    pools = {
        match[1]: re.findall(r"server (\S+):8080 ?(.*);", match[2])
        for match in re.finditer(r"upstream (\S+) {(.*?)\n    }", text, re.DOTALL)
    }
    one, two = (address for address, _ in pools["orders"])
    passive = "max_fails=2 fail_timeout=5s"
    assert pools["orders"] == [(one, passive), (two, passive)]
    assert pools["orders.aside"] == [(one, "backup"), (two, passive)]
    assert pools["orders-2.aside"] == [(one, passive), (two, "backup")]
    ((alone, _),) = pools["auth"]
    assert [(address == alone, how) for address, how in pools["auth.aside"]] == [
        (True, "backup"),
        (False, "max_fails=0"),
    ]


def test_options_of_the_gateway(warehouse: Application) -> None:
    options = GatewayOptions(timeout=7, compression=False, hsts=0)
    text = render(warehouse, Environment(name="prod", gateway=options))["gateway/nginx.conf"]
    assert "proxy_read_timeout 7s;" in text
    assert "gzip on;" not in text
    assert 'https "";' in text


@pytest.mark.parametrize("seconds", [1, 7, 30, 600])
def test_services_give_up_before_the_gateway_does(warehouse: Application, seconds: int) -> None:
    environment = Environment(gateway=GatewayOptions(timeout=seconds))
    services = load(render(warehouse, environment))["services"]
    patience = int(services["orders"]["environment"]["ANSWER_TIMEOUT"])
    assert 0 < patience < max(seconds, 2)
    assert "ANSWER_TIMEOUT" not in services["storefront"].get("environment", {})


def test_a_new_service_at_the_end_leaves_everybody_where_they_are(warehouse: Application) -> None:
    auth = warehouse.services["auth"]
    more = dataclasses.replace(auth, name="more", file=auth.file.model_copy(update={"name": "more"}), place=2)
    wider = dataclasses.replace(warehouse, services={**warehouse.services, "more": more})
    old, new = (load(render(each, Environment()))["services"] for each in (warehouse, wider))
    assert {name: new[name] for name in old} == old


def test_changed_secrets_make_their_readers_anew_but_reload_the_gateway(warehouse: Application) -> None:
    def rendered(**digests: str) -> dict[str, str]:
        return render(warehouse, Environment(digests=digests))

    def changed(owner: str) -> tuple[set[str], set[str]]:
        old, new = rendered(), rendered(**{owner: "x"})
        services = [load(each)["services"] for each in (old, new)]
        return (
            {name for name in services[0] if services[0][name] != services[1][name]},
            {path for path in old if old[path] != new[path] and path != "compose.yaml"},
        )

    assert changed("orders") == ({"orders", "orders-migrate", "orders-spare"}, set())
    assert changed("orders-db") == ({"orders-db"}, set())
    assert changed("gateway") == (set(), {"gateway/nginx.conf", "gateway/digest"})


def test_settings_of_the_environment_win_and_are_not_interpolated(warehouse: Application) -> None:
    environment = ENVIRONMENTS["production"]
    found = load(render(warehouse, environment))["services"]["orders"]["environment"]
    assert found["LOG_LEVEL"] == "warning"
    assert found["PRICE"] == "$$5"  # for Compose: a dollar
    assert found["AUTH_URL"] == "http://auth:8080"
    assert found["TRUSTED_PROXIES"] == '["10.20.30.2/32"]'
    assert found["CORS_ORIGINS"] == (
        '["https://shop.example.com", "https://192.0.2.10", "https://[2001:db8::10]"]'
    )


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        (Environment(replicas={"fax": 2}), "replicas of unknown service 'fax'"),
        (Environment(replicas={"orders": 0}), "0 replicas of orders"),
        (Environment(replicas={"orders": 9}), "9 replicas of orders"),
        (Environment(settings={"fax": {}}), "settings of unknown service 'fax'"),
        (Environment(settings={"orders": {"PORT": 9000}}), "PORT as a setting of orders, where nobody would"),
        (Environment(settings={"auth": {"port": "9000"}}), "port as a setting of auth, where nobody would"),
        (
            Environment(settings={"orders": {"SERVICE_KEY": "x" * 40}}),
            "SERVICE_KEY as a setting of orders, and",
        ),
        (Environment(network=IPv4Network("10.0.0.0/16")), "network 10.0.0.0/16"),
        (Environment(gateway=GatewayOptions(timeout=0)), "a gateway that waits 0 s for answers"),
        (Environment(gateway=GatewayOptions(hsts=-1)), "hsts of -1 s"),
        (Environment(patience=0), "patience of 0"),
    ],
)
def test_what_the_application_has_not_is_refused(
    warehouse: Application, environment: Environment, what: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(what)):
        render(warehouse, environment)


def test_what_a_setting_may_be_is_told(warehouse: Application) -> None:
    assert render(warehouse, Environment(settings={"orders": {"PORT": "8080"}}))["compose.yaml"]
    given = Environment(name="prod", settings={"auth": {"JWT_SECRET": "x" * 40}})
    with pytest.raises(BadInput) as told:
        render(loaded(name="starter"), given)
    assert (told.value.where, told.value.fix) == (
        "prod",
        "in infra/: pulumi config set --secret secret-jwt_secret",
    )
    services = loaded().services
    other = {**services, "auth": dataclasses.replace(services["auth"], settings={"PORT": 9000})}
    with pytest.raises(BadInput) as told:
        render(dataclasses.replace(loaded(), services=other), Environment())
    assert told.value.where == "services/apps/warehouse.yml"


def test_what_a_component_tells_reaches_who_understands_it(warehouse: Application) -> None:
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector:4318"}
    services = load(render(loaded("all"), Environment()))["services"]
    hears = {name for name, each in services.items() if told.items() <= each.get("environment", {}).items()}
    python = {name for name, service in warehouse.services.items() if service.file.build == "python"}
    assert {name for name in hears if not name.endswith(("-migrate", "-spare"))} == python


def test_settings_of_a_component_fill_its_command_or_its_environment() -> None:
    given = {"prometheus": {"retention": "1d"}, "grafana": {"GF_LOG_LEVEL": "warn", "theme": "dark"}}
    services = load(render(loaded("all"), Environment(settings=given)))["services"]
    assert "--storage.tsdb.retention.time=1d" in services["prometheus"]["command"]
    assert "environment" not in services["prometheus"]
    found = services["grafana"]["environment"]
    assert (found["GF_LOG_LEVEL"], "theme" in found) == ("warn", False)
    for name in ("orders-db", "auth-db"):
        uri = services[f"postgres-exporter-{name}"]["environment"]["DATA_SOURCE_URI"]
        assert uri.startswith(f"{name}:5432/")


def test_components_move_nobody(warehouse: Application) -> None:
    """And nobody is made anew for them but who is watched, or told; the gateway reads its files again."""
    every = loaded("all")
    told = {name for name, each in every.components.items() if each.file.tells}
    others = {name: each for name, each in every.components.items() if name not in told}
    plain, observed = (
        load(render(each, Environment()))["services"]
        for each in (warehouse, dataclasses.replace(every, components=others))
    )
    assert {name for name in plain if plain[name] != observed[name]} == {"rabbitmq"}


def test_idle_memory_is_bounded(compose: dict[str, Any], named: str) -> None:
    """Limits, not use, and only the bound that a host of the default size (4 GiB) must hold."""
    lasting = [
        each
        for name, each in compose["services"].items()
        if not name.endswith("-migrate") and "profiles" not in each
    ]
    most = 4096 if named in COMPONENTS else 2600
    assert sum(int(each["mem_limit"].removesuffix("m")) for each in lasting) < most


def test_a_written_folder_is_complete_and_keeps_its_secrets(warehouse: Application, tmp_path: Path) -> None:
    written = write(tmp_path, warehouse)
    assert tmp_path / "compose.yaml" in written
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    for each in load({"compose.yaml": (tmp_path / "compose.yaml").read_text()})["services"].values():
        for mount in each.get("volumes", []):
            source = mount.partition(":")[0]
            assert not source.startswith(".") or (tmp_path / source).is_dir(), mount
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    write(tmp_path, warehouse)
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_developer_builds_what_is_ours_unless_an_image_is_given(
    warehouse: Application, tmp_path: Path
) -> None:
    write(tmp_path, warehouse, {"auth": "registry.example.com/auth:1"})
    services = load({"compose.yaml": (tmp_path / "compose.yaml").read_text()})["services"]
    built = {name: each["build"] for name, each in services.items() if "build" in each}
    assert set(built) == {*warehouse.services} - {"auth"}
    assert built["orders"]["args"] == {"SERVICE": "orders", "UID": "10002"}
    assert built["orders"]["dockerfile"] != built["panel"]["dockerfile"]
    assert all((Path(build["context"]) / build["dockerfile"]).is_file() for build in built.values())


def test_no_secret_is_rendered(warehouse: Application, tmp_path: Path) -> None:
    write(tmp_path, warehouse)
    values = [path.read_text().strip() for path in (tmp_path / "secrets" / ".store").iterdir()]
    assert len(values) == len(warehouse.secrets())
    for path in tmp_path.rglob("*"):
        if path.is_file() and "secrets" not in path.relative_to(tmp_path).parts:
            assert not [value for value in values if value in path.read_text()], path


def test_files_of_a_developer_are_for_their_service_alone(warehouse: Application, tmp_path: Path) -> None:
    write(tmp_path, warehouse)
    for secret in warehouse.secrets():
        for reader in secret.readers:
            held = (tmp_path / "secrets" / reader.owner / reader.file).stat()
            if os.geteuid() == 0:
                assert (held.st_uid, held.st_mode & 0o777) == (reader.uid, 0o400)
            else:
                assert held.st_mode & 0o777 == 0o444  # behind a folder that nobody else can enter
        assert (tmp_path / "secrets" / ".store" / secret.name).stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_kept_is_not_written_again(warehouse: Application, tmp_path: Path) -> None:
    """A disk that is full, or a run that is killed, takes none away."""
    write(tmp_path, warehouse)
    store = tmp_path / "secrets" / ".store"
    files = [path for path in (tmp_path / "secrets").rglob("*") if path.is_file()]
    before = {path: path.lstat() for path in files}
    write(tmp_path, warehouse)
    for path in files:
        assert (path.lstat().st_ino, path.lstat().st_ctime_ns) == (
            before[path].st_ino,
            before[path].st_ctime_ns,
        )

    (store / "smtp_password").write_text("of my own")
    other = (tmp_path / "secrets/mail/smtp_password").lstat().st_ino
    with resource_limit(resource.RLIMIT_FSIZE, 4), pytest.raises(OSError, match="File too large"):
        secrets.write(tmp_path / "secrets", warehouse, secrets.stored(tmp_path / "secrets"))
    reader = tmp_path / "secrets/mail/smtp_password"
    assert reader.lstat().st_ino == other, "what was there is there until the new one is whole"
    assert reader.read_text() not in ("", "of my own"[:4])
    write(tmp_path, warehouse)
    assert reader.read_text() == "of my own"
    left = [path for path in (tmp_path / "secrets").rglob("*") if path.is_file()]
    assert sorted(left) == sorted(files), "what it had begun is gone"
    changed = {path for path in files if path.lstat().st_ino != before[path].st_ino}
    assert changed == {reader, tmp_path / "secrets/mailsink/smtp_password"}


def test_an_empty_file_is_no_secret(warehouse: Application, tmp_path: Path) -> None:
    write(tmp_path, warehouse)
    store = tmp_path / "secrets" / ".store"
    before = {path.name: path.read_text() for path in store.iterdir()}
    for name in ("orders_database_password", "gateway_certificate"):
        (store / name).write_text("")
    write(tmp_path, warehouse)
    after = {path.name: path.read_text() for path in store.iterdir()}
    assert len(after["orders_database_password"]) == 32
    assert {name for name in after if after[name] != before[name]} == {
        "gateway_certificate", "gateway_private_key", "orders_database_password"
    }  # fmt: skip


@contextmanager
def resource_limit(what: int, most: int) -> Iterator[None]:
    """Files cannot become longer than so many bytes, as on a full disk."""
    before = resource.getrlimit(what)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(what, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_shell_scripts_are_valid(warehouse: Application, tmp_path: Path) -> None:
    for name, text in render(warehouse, Environment()).items():
        if name.endswith(".sh"):
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_digests_follow_the_content_of_secrets(warehouse: Application) -> None:
    values = secrets.complete(warehouse, {}, "trial")
    one = secrets.digests(warehouse, values)
    other = secrets.digests(warehouse, values | {"orders_database_password": "another"})
    assert {owner for owner in one if one[owner] != other[owner]} == {"orders", "orders-db"}
