"""Day two: which hosts go, and what is refused before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import paths, scaffold, upkeep
from hostwright.environments import Environment, load
from hostwright.errors import BadInput
from hostwright.hosts import typed
from hostwright.hosts.record import HostRecord

HOSTS = [
    HostRecord(name=f"prod-{group}-{number}", address="192.0.2.1", groups=["cluster", f"{group}s"])
    for group, count in {"server": 3, "worker": 2}.items()
    for number in range(1, count + 1)
]
NAMES = [host.name for host in HOSTS]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `hostwright init` makes of a driver, a topology and more."""
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))

    def make(driver: str, topology: str, *hosts: str, **counts: int) -> Environment:
        scaffold.create(tmp_path / "shop", "prod", driver, topology, "warehouse", hosts, **counts)
        return load("prod", tmp_path / "shop")

    return make


def test_the_last_workers_go() -> None:
    assert upkeep.going(HOSTS, NAMES) == []
    assert upkeep.going(HOSTS, NAMES[:4]) == ["prod-worker-2"]
    assert upkeep.going(HOSTS, [*NAMES[:3], "prod-worker-3"]) == ["prod-worker-1", "prod-worker-2"]


def test_a_server_never_goes() -> None:
    with pytest.raises(BadInput, match="prod-server-2, prod-server-3 would go too") as refused:
        upkeep.going(HOSTS, ["prod-server-1", "prod-worker-1"])
    assert refused.value.where == "hostwright:cluster.servers"


def test_before_the_first_hosts_nothing_is_scaled() -> None:
    with pytest.raises(BadInput, match="no hosts yet"):
        upkeep.going([], NAMES)


def test_a_single_host_has_no_workers(made: Any) -> None:
    with pytest.raises(BadInput, match="prod is one host, and no cluster") as refused:
        upkeep.leaving(made("container", "single"), 1)
    assert "app_compose_replicas" in refused.value.fix


def test_machines_that_exist_are_counted_where_they_are_listed(made: Any) -> None:
    with pytest.raises(BadInput, match="counted where they are listed") as refused:
        upkeep.leaving(made("static", "cluster", "k1=192.0.2.1", servers=1), 1)
    assert "hostwright.hostwright.leave" in refused.value.fix


def test_more_than_the_network_has_room_for_is_refused(made: Any) -> None:
    with pytest.raises(BadInput, match="ends before number"):
        upkeep.leaving(made("container", "cluster"), 300)


@pytest.mark.parametrize(
    "channel", ["latest/stable", "1.36", "1.27/stable", "1.36-strict/stable", "v1.36/stable"]
)
def test_a_channel_is_pinned(made: Any, channel: str) -> None:
    with pytest.raises(BadInput, match="is no channel") as refused:
        upkeep.upgrade(made("container", "cluster"), channel)
    assert refused.value.where == "--channel"


def test_the_role_takes_the_same_channels() -> None:
    tasks = yaml.safe_load((paths.toolkit() / "roles/microk8s/tasks/main.yml").read_text())
    [checked] = [task for task in tasks if task["name"] == "Check that the channel is pinned"]
    asserted = checked["ansible.builtin.assert"]["that"]
    assert asserted == f"microk8s_channel is match('^{upkeep.CHANNEL.pattern}$')"


def test_the_channel_that_is_meant_is_the_inventorys_or_else_the_roles(made: Any) -> None:
    environment = made("container", "cluster")
    upkeep.require_channel(environment, {"microk8s_channel": "1.36/stable"}, "1.36/stable")
    upkeep.require_channel(environment, {}, "1.35/stable")
    with pytest.raises(BadInput, match=r"asks for 1\.35/stable") as refused:
        upkeep.require_channel(environment, {}, "1.36/stable")
    assert "microk8s_channel: 1.36/stable" in refused.value.fix


def test_settings_with_another_number_of_workers_keep_all_else(made: Any) -> None:
    environment = made("container", "cluster", servers=1, workers=1)
    names = [host.name for host in typed.hosts(upkeep._with(environment, 3))]
    assert names == ["prod-server-1", "prod-worker-1", "prod-worker-2", "prod-worker-3"]
    assert environment.settings["cluster"] == {"servers": 1, "workers": 1}
