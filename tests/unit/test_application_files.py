"""The action `application_files` and the lookups, as Ansible runs them; the numbers are their order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostwright import application, environments, secrets, toolchain

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SPEAKERS = ("analytics", "auth", "mail", "notification", "orders")  # who has the broker's password


class Play:
    """A project with one environment, and a folder of this machine that stands for a host's."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env
        self.target = folder / "target" / "warehouse"
        self.project = folder / "project"
        (self.project / "infra").mkdir(parents=True)
        (self.project / "infra" / "Pulumi.yaml").write_text("name: hostwright\nruntime: python\n")
        (self.project / "infra" / "Pulumi.trial.yaml").write_text("config: {}\n")

    def run(
        self, *options: str, tasks: list[dict[str, Any]] | None = None, **arguments: Any
    ) -> tuple[str, dict[str, Any]]:
        """Ansible's whole output, and the first task's result."""
        given = {
            "application": "warehouse",
            "environment": "trial",
            "directory": str(self.target),
            "names": ["192.0.2.10"],
            **arguments,
        }
        first: dict[str, Any] = {"hostwright.hostwright.application_files": given, "register": "found"}
        keep = {
            "ansible.builtin.copy": {
                "content": "{{ found | to_json }}",
                "dest": str(self.folder / "result.json"),
                "mode": "0600",
            },
            "check_mode": False,
            "diff": False,
            "no_log": True,
        }
        variables = {"hostwright_environment": {"name": "trial", "application": "warehouse"}}
        play = {"hosts": "all", "gather_facts": False, "vars": variables, "tasks": tasks or [first, keep]}
        (self.folder / "play.yml").write_text(yaml.safe_dump([play]))
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"here": host}}}))
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", self.folder / "hosts.yml", self.folder / "play.yml", *options],
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        result = self.folder / "result.json"
        return output, json.loads(result.read_text()) if result.exists() else {}


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    folder = tmp_path_factory.mktemp("play")
    toolchain.ensure()
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
        "PULUMI_BACKEND_URL": f"file://{folder}",
        "PULUMI_CONFIG_PASSPHRASE": "of the tests only",
        "XDG_STATE_HOME": str(folder / "state"),
    }
    return Play(folder, env)


@pytest.fixture
def values(play: Play, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, play.env[name])
    return secrets.read(environments.load("trial", play.project))


def test_1_a_first_check_says_what_would_be_and_makes_nothing(play: Play) -> None:
    output, result = play.run("--check", "--diff")
    assert result["changed"]
    assert "compose.yaml" in result["written"]
    assert "secrets/orders/database_password" in result["written"]
    assert not play.target.exists()
    assert "secrets" not in (play.project / "infra" / "Pulumi.trial.yaml").read_text()
    assert "+name: warehouse" in output
    assert "+(another secret)" in output


def test_2_applied_every_file_has_its_owner_and_mode(play: Play) -> None:
    _, result = play.run()
    assert result["changed"]
    app = application.load("warehouse")
    jobs = [f"{name}-migrate" for name, service in app.services.items() if service.file.migrate]
    assert result["services"] == sorted(["gateway", *app.services, *jobs, *app.stores])
    secret = (play.target / "secrets" / "orders" / "database_password").stat()
    assert (secret.st_uid, secret.st_mode & 0o777) == (10002, 0o400)
    folder = (play.target / "secrets" / "orders").stat()
    assert (folder.st_uid, folder.st_mode & 0o777) == (10002, 0o500)
    assert (play.target / "compose.yaml").stat().st_mode & 0o777 == 0o644
    assert not list(play.target.rglob(".new-*"))


def test_3_again_nothing_changes(play: Play) -> None:
    _, result = play.run()
    assert not result["changed"]
    assert (result["written"], result["removed"], result["services"]) == ([], [], [])


def test_4_a_change_is_what_it_is_and_no_more(play: Play) -> None:
    for options in (("--check", "--diff"), ()):
        _, result = play.run(*options, replicas={"orders": 2})
        assert result["written"] == ["gateway/digest", "gateway/nginx.conf", "compose.yaml"]
        assert result["services"] == ["gateway", "orders-2"]
    assert "orders-2" in (play.target / "compose.yaml").read_text()


def test_5_what_was_spoiled_is_mended_what_is_unwanted_goes_and_a_strangers_file_stays(play: Play) -> None:
    play.run()
    opened = play.target / "secrets" / "orders" / "database_password"
    opened.chmod(0o644)
    spoiled = play.target / "secrets" / "auth" / "database_password"
    good = spoiled.read_text()
    spoiled.write_text("spoiled")
    manifest = play.target / ".hostwright"
    old = play.target / "gone" / "config.yml"
    old.parent.mkdir()
    old.write_text("of an earlier release\n")
    manifest.write_text(manifest.read_text() + "gone/config.yml\n")
    stranger = play.target / "notes.txt"
    stranger.write_text("mine\n")

    _, result = play.run("--check")
    assert (result["written"], result["removed"]) == (["secrets/auth/database_password"], ["gone/config.yml"])
    assert old.exists()
    assert spoiled.read_text() == "spoiled"

    _, result = play.run()
    assert result["services"] == ["auth", "gone"]
    assert opened.stat().st_mode & 0o777 == 0o400
    assert spoiled.read_text() == good
    assert not old.parent.exists()
    assert stranger.read_text() == "mine\n"
    assert not play.run()[1]["changed"]


def test_6_a_rotated_secret_reaches_its_readers(play: Play, values: dict[str, str]) -> None:
    environment = environments.load("trial", play.project)
    secrets.rotate(environment, application.load("warehouse"), ["rabbitmq_password"])
    output, result = play.run("--diff")
    assert set(result["written"]) == {
        "compose.yaml",
        *(f"secrets/{name}/broker_password" for name in SPEAKERS),
        "secrets/rabbitmq/password",
    }
    assert result["services"] == sorted(["rabbitmq", *SPEAKERS, *(f"{name}-migrate" for name in SPEAKERS)])
    assert "(another secret)" in output


def test_7_no_output_shows_a_secret(play: Play, values: dict[str, str]) -> None:
    assert values
    for path in play.target.rglob("*_password"):
        path.write_text("spoiled")
    (play.target / "compose.yaml").write_text("spoiled")
    output, result = play.run("--diff", "-vvvvv")
    assert result["changed"]
    lookup = {
        "ansible.builtin.set_fact": {"x": "{{ lookup('hostwright.hostwright.secrets', 'admin_password') }}"},
        "no_log": True,
    }
    facts = {
        "ansible.builtin.debug": {"msg": "{{ lookup('hostwright.hostwright.secrets') | length }}"},
        "no_log": True,
    }
    output += play.run("-vvvvv", tasks=[lookup, facts])[0]
    for name, value in values.items():
        if name not in ("ca_certificate", "gateway_certificate", "token_public_key"):
            for line in value.strip().splitlines():
                assert line.startswith("-----") or line not in output, name


def test_8_lookups_say_what_is_there(play: Play, values: dict[str, str]) -> None:
    tasks = [
        {
            "ansible.builtin.assert": {
                "that": "lookup('hostwright.hostwright.application', 'name') == 'warehouse'"
            }
        },
        {
            "ansible.builtin.assert": {
                "that": "lookup('hostwright.hostwright.application', 'firewall') | map(attribute='port') "
                "== [443, 80]"
            }
        },
        {
            "ansible.builtin.assert": {
                "that": "lookup('hostwright.hostwright.secrets', 'admin_email') == 'admin@warehouse.example'"
            }
        },
        {
            "ansible.builtin.assert": {
                "that": f"lookup('hostwright.hostwright.secrets') | length == {len(values)}"
            }
        },
        {
            "ansible.builtin.debug": {"msg": "{{ lookup('hostwright.hostwright.secrets', 'nope') }}"},
            "register": "failed_one",
            "ignore_errors": True,
        },
        {"ansible.builtin.assert": {"that": "\"has no secret 'nope'\" in failed_one.msg"}},
    ]
    play.run(tasks=tasks)


def test_9_a_release_is_brought_back_with_the_secrets_that_are_there(play: Play, tmp_path: Path) -> None:
    def held(folder: Path, *left_out: str) -> dict[str, tuple[str, int, int]]:
        return {
            str(path.relative_to(folder)): (path.read_text(), path.stat().st_uid, path.stat().st_mode)
            for path in folder.rglob("*")
            if path.is_file() and path.relative_to(folder).parts[0] not in (".lock", *left_out)
        }

    play.run()
    now, secret = held(play.target), held(play.target / "secrets")
    release = {
        path: text for path, (text, _, _) in held(play.target, "secrets", ".hostwright", "notes.txt").items()
    }
    del release["rabbitmq/start.sh"]
    release["compose.yaml"] = release["compose.yaml"].replace("mem_limit: 192m", "mem_limit: 191m")
    release["older/config.yml"] = "of another time\n"
    for path, text in release.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    _, result = play.run("--check", release=str(tmp_path))
    assert (result["written"], result["removed"]) == (
        ["older/config.yml", "compose.yaml"],
        ["rabbitmq/start.sh"],
    )
    assert held(play.target) == now
    _, result = play.run(release=str(tmp_path))
    assert result["services"] == ["analytics", "analytics-migrate", "older", "rabbitmq"]
    there = held(play.target, "secrets", ".hostwright", "notes.txt")
    assert {path: text for path, (text, _, _) in there.items()} == release
    assert held(play.target / "secrets") == secret
    assert not play.run(release=str(tmp_path))[1]["changed"]
    play.run()
    assert held(play.target) == now, "forward again"


def test_10_an_option_that_the_gateway_has_not_is_refused(play: Play) -> None:
    for gateway, what in (({"speed": 9}, "has no option 'speed'"), ({"timeout": "9"}, "not of type int")):
        given = {"application": "warehouse", "environment": "trial", "directory": str(play.target)}
        tried = {
            "hostwright.hostwright.application_files": given | {"gateway": gateway},
            "register": "failed",
            "ignore_errors": True,
        }
        play.run(tasks=[tried, {"ansible.builtin.assert": {"that": f"{what!r} in failed.msg"}}])


def test_11_components_without_an_image_are_left_out(play: Play) -> None:
    held = {"prometheus": "mirror.example.com/prometheus:1", "postgres-exporter": "mirror.example.com/pg:1"}
    _, result = play.run("--check", components=["all"], exclusive=True, images=held)
    assert {"grafana", "alertmanager", "node-exporter"} <= set(result["not_deployed"])
    assert not {"prometheus", "postgres-exporter-auth-db"} & set(result["not_deployed"])
    written = set(result["written"])
    assert {"prometheus/rules.yml", "secrets/postgres-exporter-auth-db/database_password"} <= written
    assert not [path for path in written if "grafana" in path]
