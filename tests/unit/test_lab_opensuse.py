"""The table of openSUSE's names: well formed, sourced, obeyed when files are renamed, and all roles know."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from hostwright import paths
from hostwright.errors import Failure
from lab import opensuse
from lab.opensuse import OVERLAY, UNITS, Package

PACKAGES = opensuse.table().values()
ROLES = paths.toolkit() / "roles"


def test_every_package_says_where_its_names_are_written_down() -> None:
    assert [each.name for each in PACKAGES if not re.fullmatch(r"SPEC [A-Za-z0-9./-]+", each.source)] == []


def test_names_have_the_form_of_what_they_name() -> None:
    for package in PACKAGES:
        assert all(
            re.fullmatch(r"[\w@.-]+\.(service|socket|timer|target|path)", unit) for unit in package.units
        )
        assert all(re.fullmatch(r"[a-z_][a-z0-9_-]*", name) for name in (*package.users, *package.groups))
        absolute = (*package.paths, *package.modes, *package.links, *package.edits, *package.drop)
        assert all(path.startswith("/") and not path.endswith("/") for path in absolute), package.name
        assert all(re.fullmatch(r"\d{4} \S+ \S+", mode) for mode in package.modes.values()), package.name


def test_a_debian_package_becomes_part_of_one_package_only() -> None:
    origins = [deb for each in PACKAGES for deb in each.origin]
    assert len(origins) == len(set(origins))


def test_requirements_are_packages_of_the_table_or_provided_by_one() -> None:
    known = {each.name for each in PACKAGES} | {
        name.split()[0] for each in PACKAGES for name in each.provides
    }
    assert {name for each in PACKAGES for name in each.requires} - known == set()


def test_every_overlay_belongs_to_a_package_and_brings_what_the_table_says() -> None:
    names = {each.name for each in opensuse.offered()}
    assert {each.name for each in OVERLAY.iterdir()} - names == {"node", "container", "machine"}
    for package in opensuse.offered():
        brought = [path for path, was in package.paths.items() if was == "overlay"]
        brought += [f"/{UNITS}/{unit}" for unit, was in package.units.items() if was == "overlay"]
        assert all(opensuse.under(OVERLAY / package.name, path).is_file() for path in brought), package.name


def test_renaming_gives_debians_files_opensuses_names(tmp_path: Path) -> None:
    chrony = opensuse.table()["chrony"]
    for path in (
        "usr/bin/chronyc", "usr/sbin/chronyd", "usr/share/chrony/chrony.keys",
        "usr/share/chrony/chrony.conf", "usr/share/doc/chrony/copyright",
        "etc/chrony/conf.d/README", "etc/default/chrony", "etc/init.d/chrony",
        "usr/lib/systemd/ntp-units.d/50-chrony.list", "var/lib/chrony/keep", *(
            f"{UNITS}/{unit}" for unit in ("chrony.service", "chronyd-restricted.service")
        ),
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / UNITS / "chrony-wait.service").write_text("After=chrony.service\nRequires=chrony.service\n")

    opensuse.rename(chrony, tmp_path)

    left = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()}
    assert left == {
        "usr/bin/chronyc", "usr/sbin/chronyd", "etc/chrony.conf", "etc/chrony.keys", "etc/sysconfig/chronyd",
        f"{UNITS}/chronyd.service", f"{UNITS}/chrony-wait.service", "var/lib/chrony/keep",
        "usr/lib/sysusers.d/system-user-chrony.conf", "usr/lib/tmpfiles.d/chrony.conf",
    }  # fmt: skip
    assert (tmp_path / "etc/chrony.keys").read_text() == "usr/share/chrony/chrony.keys"
    assert (tmp_path / "etc/chrony.d").is_dir()
    assert not (tmp_path / "etc/chrony").exists()
    wait = (tmp_path / UNITS / "chrony-wait.service").read_text()
    assert wait == "After=chronyd.service\nRequires=chronyd.service\n"


@pytest.mark.parametrize(
    ("promise", "missing"),
    [
        ({"paths": {"/usr/bin/thing": "same"}}, "/usr/bin/thing"),
        ({"units": {"thing.service": "same"}}, f"/{UNITS}/thing.service"),
        ({"users": {"thing": "same"}}, "thing"),
    ],
)
def test_a_promise_that_is_not_kept_ends_the_build(
    tmp_path: Path, promise: dict[str, dict[str, str]], missing: str
) -> None:
    package = dataclasses.replace(Package(name="unknown", source=""), **promise)  # type: ignore[arg-type]
    with pytest.raises(Failure, match=re.escape(f"unknown lacks what the table promises: {missing}")):
        opensuse.rename(package, tmp_path)


def test_roles_use_no_package_and_no_unit_that_is_not_in_the_table() -> None:
    units = {unit for each in PACKAGES for unit in each.units}
    used_packages: set[str] = set()
    used_units: set[str] = set()
    for file in (*ROLES.glob("*/vars/*.yml"), *ROLES.glob("*/defaults/*.yml")):
        for name, value in (yaml.safe_load(file.read_text()) or {}).items():
            if name.endswith("_packages"):
                used_packages |= set(value)
            if name.endswith(("_service", "_services")):
                used_units |= {value} if isinstance(value, str) else set(value)
    assert {"docker", "chrony", "firewalld"} <= used_packages
    assert used_packages - set(opensuse.table()) == set()
    ours = {unit for unit in used_units if unit.startswith("hostwright-")}
    assert {"docker.service", "chronyd.service"} <= used_units
    assert used_units - ours - units == set()
