"""The application's containers: healthy, from the images asked for, with no more rights than needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hostwright.application import Application
from hostwright.proof.wanted import Machine

pytestmark = pytest.mark.app_compose

AREA = "Application"
Detail = Callable[[object], None]


def health(application: Application, part: str) -> str:
    """What the engine says of a container that is well; of some it cannot know."""
    component = application.components.get(part)
    return "healthy" if component is None or component.file.health.command else ""


@pytest.fixture
def containers(machine: Machine, seen: dict[str, Any], case: str) -> list[dict[str, Any]]:
    """The containers of that name; one, as a rule."""
    found = [each for each in seen["containers"]["containers"] if each["service"] == case]
    assert found, f"there is no container of {case}"
    return found


@pytest.mark.each(cases=lambda machine: list(machine.instances))
def test_runs(machine: Machine, containers: list[dict[str, Any]], case: str, detail: Detail) -> None:
    """{case} runs and is healthy, and starts again by itself"""
    detail(", ".join(f"{each['name']} since {each['started'][:19]}Z" for each in containers))
    for each in containers:
        assert machine.application
        well = health(machine.application, machine.instances[case])
        assert (each["state"], each["health"]) == ("running", well), (
            f"container {each['name']} is {each['state']}, {each['health'] or 'without health'}"
        )
        assert each["restart"] in ("unless-stopped", "always")


@pytest.mark.each(cases=lambda machine: machine.absent)
def test_deployed(machine: Machine, case: str) -> None:
    """{case} is deployed"""
    assert machine.declared
    # The operator chose a mirror without it: a row of its own, "not deployed", neither held nor failed.
    pytest.skip(f"the mirror does not hold its image, {machine.declared.components[case].file.image}")


@pytest.mark.each(cases=lambda machine: machine.jobs)
def test_job_has_run(containers: list[dict[str, Any]], case: str) -> None:
    """{case} has run to its end"""
    for each in containers:
        assert (each["state"], each["exit"]) == ("exited", 0), (
            f"{each['name']}: {each['state']}, {each['exit']}"
        )


@pytest.mark.each(cases=lambda machine: list(machine.instances))
def test_image(
    machine: Machine, seen: dict[str, Any], containers: list[dict[str, Any]], case: str, detail: Detail
) -> None:
    """{case} runs the image that was asked for, by its digest"""
    asked = machine.image(machine.instances[case])
    detail(asked)
    for each in containers:
        assert each["image"] == asked
        if "@" in asked:
            held = seen["containers"]["images"][each["image_id"]]["digests"]
            assert asked.partition("@")[2] in {digest.partition("@")[2] for digest in held}


@pytest.mark.each(cases=lambda machine: list(machine.instances))
def test_rights(machine: Machine, containers: list[dict[str, Any]], case: str, detail: Detail) -> None:
    """{case} runs as its own user on a read-only root, without capabilities, within its memory"""
    for each in containers:
        assert each["state"] == "running", f"container {each['name']} is {each['state']}"
        detail(f"uid {each['uid']}, {each['memory'] // 2**20} MiB")
        own = machine.uid(machine.instances[case])
        assert each["uid"] == own, f"it runs as uid {each['uid']}, and not as its own, {own}"
        assert each["read_only"], "its root can be written to"
        assert each["capabilities"] == "0", f"it could have capabilities {each['capabilities']}"
        assert each["no_new_privileges"], "it could gain rights by setuid programs"
        assert not each["privileged"]
        assert each["memory"] > 0, "its memory has no limit"
        writable = [mount["to"] for mount in each["mounts"] if mount["rw"] and mount["from"].startswith("/")]
        assert writable == [], f"it can write to the host's folders {writable}"


def databases(machine: Machine) -> list[tuple[str, str, str]]:
    """Database, its store, and the role that it is for."""
    stores = machine.application.stores if machine.application else {}
    return [(name, store, role) for store, each in stores.items() for name, role in each.databases.items()]


@pytest.mark.app_kubernetes
@pytest.mark.each(cases=databases)
def test_database(machine: Machine, case: tuple[str, str, str]) -> None:
    """{case[0]} of {case[1]} is there for {case[2]} alone, and has its tables"""
    name, store, role = case
    owner = "SELECT pg_get_userbyid(datdba), datacl::text !~ '[{,]=' FROM pg_database WHERE datname = "
    assert machine.sql(store, "postgres", f"{owner}'{name}'") == f"{role}|t"
    tables = "SELECT count(*) > 0 FROM pg_tables WHERE schemaname = 'public' AND tableowner = "
    assert machine.sql(store, name, f"{tables}'{role}'") == "t"


def accounts(machine: Machine) -> list[tuple[str, str]]:
    """Store and database of who keeps accounts, the first admin's among them."""
    services = machine.application.services.values() if machine.application else ()
    return [
        (each.database.store, each.database.name)
        for each in services
        if each.database and "admin_password" in each.file.secrets
    ]


@pytest.mark.app_kubernetes
@pytest.mark.each(cases=accounts)
def test_passwords(machine: Machine, case: tuple[str, str], detail: Detail) -> None:
    """passwords are kept as hashes of argon2id, or of bcrypt until their owner logs in"""
    query = "SELECT DISTINCT split_part(password_hash, '$', 2) FROM users ORDER BY 1"
    kinds = machine.sql(*case, query).splitlines()
    detail(", ".join(kinds))
    assert "argon2id" in kinds  # the first admin's
    assert set(kinds) <= {"argon2id", "2a", "2b", "2y"}


def services(machine: Machine) -> list[str]:
    """Instances of images that are built here."""
    services = machine.application.services.items() if machine.application else ()
    built = {name for name, each in services if each.file.build}
    return [instance for instance, part in machine.instances.items() if part in built]


BUILDING = (
    "ls -d /build /venv/bin/pip 2>/dev/null; for each in gcc make git uv; do command -v $each; done; true"
)


@pytest.mark.app_kubernetes
@pytest.mark.each(cases=services)
def test_image_is_of_the_last_stage(machine: Machine, case: str) -> None:
    """nothing that built {case} is in its image"""
    assert machine.inside(case, "sh", "-c", BUILDING) == ""


@pytest.mark.each(cases=lambda machine: [machine.application.name] if machine.application else [])
def test_nothing_else_runs(machine: Machine, seen: dict[str, Any], case: str, detail: Detail) -> None:
    """no container runs that {case} does not declare"""
    known = {*machine.instances, *machine.jobs}
    found = seen["containers"]["containers"]
    detail(f"{len(found)} containers")
    others = [each["name"] for each in found if each["project"] != case or each["service"] not in known]
    assert others == [], f"undeclared: {', '.join(others)}"
