"""The command as a person meets it: help, bad input, exit statuses, nothing half-done."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hostwright import toolchain
from tests.live import program

VERBS = [
    "init", "doctor", "toolchain", "lab", "up", "plan", "render",
    "graph", "proof", "status", "logs", "restart", "releases", "rollback", "rotate", "exec",
    "scale", "upgrade", "patch", "promote", "ssh", "down",
]  # fmt: skip
STATIC = ["init", "shop", "--driver", "static"]
CLUSTER = ["init", "shop", "--topology", "cluster"]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An operator with nothing yet: no state, no settings, no cache of their own."""
    own = os.environ | {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "HOSTWRIGHT_ENVIRONMENT": "",
    }
    return {name: value for name, value in own.items() if not name.startswith("PULUMI_CONFIG_PASSPHRASE")}


def run(home: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("hostwright"), *arguments],
        cwd=folder,
        env=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_every_verb(home: dict[str, str], tmp_path: Path) -> None:
    done = run(home, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"  {verb} " in done.stdout


@pytest.mark.parametrize(
    ("verb", "example"),
    [("up", "up -e prod"), ("rotate", "rotate rabbitmq_password"), ("redeploy", "restart orders auth")],
)
def test_help_of_a_verb_has_an_example(home: dict[str, str], tmp_path: Path, verb: str, example: str) -> None:
    done = run(home, tmp_path, verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"hostwright {example}" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["frobnicate"], "frobnicate", ""),
        (["up", "--sideways"], "--sideways", ""),
        (["up"], "no hostwright project here", "hostwright init DIR"),
        (["init", "shop", "--driver", "vmware"], "unknown driver 'vmware'", "libvirt, container, static"),
        (["init", "shop", "--topology", "ring"], "unknown topology 'ring'", "single, cluster"),
        ([*CLUSTER, "--servers", "2"], "2 servers are worse than 1", "1 server, or 3"),
        ([*CLUSTER, "--servers", "0"], "a cluster has 1 or 3 servers, not 0", "3 servers"),
        ([*CLUSTER, "--workers", "-1"], "'-1' is no number", "--workers 3"),
        ([*CLUSTER, "--servers", "many"], "'many' is no number", "--servers 3"),
        (["init", "shop", "--servers", "3"], "topology single has 1 host", "--topology cluster"),
        (["init", "shop", "--workers", "0"], "topology single has 1 host", "--topology cluster"),
        (
            [*STATIC, "--topology", "cluster", "--host", "k1=10.0.0.1", "--host", "k2=10.0.0.2"],
            "3 servers and 0 workers are 3 hosts, 2 given",
            "servers first",
        ),
        (
            [*STATIC, "--host", "Web_1=10.0.0.1"],
            "unfit host 'Web_1=10.0.0.1'",
            "no capitals and no underscores",
        ),
        (["init", "shop", "--app", "nosuch"], "nosuch", "warehouse"),
        (["init", "shop", "--components", "nagios"], "has no component 'nagios'", "node-exporter"),
        (["init", "shop", "--driver", "static"], "the static driver needs hosts", "--host NAME=ADDRESS"),
        (["init", "shop", "--driver", "static", "--host", "web1"], "unfit host 'web1'", "NAME=ADDRESS"),
        (["init", "shop", "--driver", "static", "--host", "web1=10.0.0.256"], "unfit host", "NAME=ADDRESS"),
        (["init", "shop", "--host", "web1=10.0.0.1"], "libvirt makes its hosts itself", "--driver static"),
        (
            [*STATIC, "--host", "web1=10.0.0.1", "--host", "web1=10.0.0.2"],
            "two hosts with the name web1",
            "each its own",
        ),
        (
            [*STATIC, "--host", "web1=10.0.0.1", "--host", "web2=10.0.0.1"],
            "two hosts with the address 10.0.0.1",
            "each its own",
        ),
        (
            [*STATIC, "--host", "web1=10.0.0.1", "--host", "web2=10.0.0.2"],
            "single has 1 host, 2 given",
            "name 1",
        ),
        (
            ["init", "shop", "--sha256", "abc"],
            "'abc' must be the image's SHA-256 digest, 64",
            "sha256sum FILE",
        ),
        (["init", "shop", "--image", "none.qcow2"], "none.qcow2 does not exist", "a file or an https URL"),
        (["init", "shop", "--image", "http://x.test/a.qcow2"], "http://x.test/a.qcow2 does not", "https URL"),
        (
            [*STATIC, "--host", "web1=10.0.0.1", "--image", "https://x.test/leap.qcow2"],
            "static starts no virtual machine from an image",
            "--driver libvirt",
        ),
        (["init", "shop", "--environment", "p" * 33], "unfit environment name", "2 to 32"),
        (["init", "shop", "--environment", "Prod_1"], "unfit environment name", "lower-case"),
        (["init", "shop", "--mirror", "missing.yml"], "mirror's variables cannot be read", "YAML"),
        (["lab", "--driver", "static"], "unknown driver 'static'", "container, libvirt"),
        (["graph", "--format", "gif"], "unknown format 'gif'", "svg, mermaid"),
        (["graph", "--app", "nosuch"], "nosuch", "warehouse"),
        (["promote", "--to", "big"], "from where, and to where?", "--from ENVIRONMENT --to CLUSTER"),
        (
            ["promote", "--from", "prod", "--to", "big", "--abort", "--confirm"],
            "one at a time",
            "take two of them out",
        ),
        (["promote", "--from", "prod", "--to", "big"], "no hostwright project here", "hostwright init DIR"),
        (["graph", "--out", "missing/x.svg"], "cannot write there: No such file", "another --out"),
        (["render", "--out", "/proc/nobody"], "cannot write there: No such file", "another --out"),
        (["render", "--image", "auth"], "image without a name", "NAME=REFERENCE"),
        (["render", "--format", "helm"], "unknown format 'helm'", "compose, kubernetes"),
        (["render", "--format", "kubernetes", "--overlay", "qa"], "unknown overlay 'qa'", "dev, staging"),
        (["render", "--format", "kubernetes", "--name", "A_b"], "no Ingress can have", "lower-case"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(home: dict[str, str], tmp_path: Path, arguments: list[str], what: str, fix: str) -> None:
    done = run(home, tmp_path, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert what in done.stderr
    assert fix in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "shop").exists()


def test_render_writes_a_cluster_of_an_overlay(home: dict[str, str], tmp_path: Path) -> None:
    options = ["--overlay", "dev", "--name", "shop.example.com", "--node", "one", "--ingress-class", "nginx"]
    done = run(home, tmp_path, "render", "--format", "kubernetes", *options)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "build/kubernetes/dev"
    assert str(Path("build/kubernetes/dev/0-namespace/namespace-warehouse-dev.yaml")) in done.stdout.split()
    ingress = yaml.safe_load((folder / "4-workloads/ingress-gateway.yaml").read_text())["spec"]
    assert [rule["host"] for rule in ingress["rules"]] == ["shop.example.com"]
    assert ingress["ingressClassName"] == "nginx"
    assert "- one" in (folder / "1-base/persistentvolume-auth-db.yaml").read_text()


@pytest.fixture
def project(home: dict[str, str], tmp_path: Path) -> Path:
    done = run(home, tmp_path, "init", "shop", "--driver", "static", "--host", "web1=192.0.2.10")
    assert done.returncode == 0, done.stderr
    return tmp_path / "shop"


@pytest.mark.parametrize("place", ["README.md", "/proc/nobody/shop"])
def test_init_makes_nothing_where_it_cannot_write(home: dict[str, str], tmp_path: Path, place: str) -> None:
    (tmp_path / "README.md").touch()
    done = run(home, tmp_path, "init", place, "--driver", "static", "--host", "web1=192.0.2.10")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: cannot write there" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists(), "a key of nobody"


def test_init_makes_a_project(home: dict[str, str], project: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((project / "infra/Pulumi.prod.yaml").read_text())["config"]
    assert config["hostwright:static"] == {
        "hosts": [{"name": "web1", "address": "192.0.2.10", "user": "opensuse"}]
    }
    key = tmp_path / "state/hostwright/prod/id_ed25519"
    assert key.stat().st_mode & 0o777 == 0o600
    public = key.with_suffix(".pub").read_text().strip()
    assert config["hostwright:ssh"] == {"user": "opensuse", "publicKey": public}


def test_init_says_once_that_there_is_a_passphrase_to_keep(
    home: dict[str, str], project: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "config/hostwright/passphrase"
    assert kept.stat().st_mode & 0o777 == 0o600
    made = kept.read_text()
    for name, options, says in (
        ("again", ["--environment", "again"], False),
        ("of-ones-own", ["--environment", "own"], False),
        ("first", ["--environment", "first"], True),
    ):
        more = {"PULUMI_CONFIG_PASSPHRASE": "of the tests only"} if name == "of-ones-own" else {}
        if says or more:
            kept.unlink(missing_ok=True)
        done = run(home | more, tmp_path, "init", name, *STATIC[2:], "--host", "web1=192.0.2.10", *options)
        assert done.returncode == 0, done.stderr
        assert (f"keep a copy of {kept} elsewhere" in done.stderr) is says, name
        assert (str(kept) in done.stdout.split()) is says, name
        assert kept.exists() is not bool(more), name
        if name == "again":
            assert kept.read_text() == made
    (project / "infra/Pulumi.prod.yaml").write_text("encryptionsalt: v1:theirs\nconfig: {}\n")
    kept.unlink()
    done = run(home, tmp_path, "init", "shop", *STATIC[2:], "--host", "web1=192.0.2.10")
    assert (done.returncode, kept.exists()) == (0, False), "another one would not open what is there"


def test_init_of_virtual_machines(home: dict[str, str], tmp_path: Path) -> None:
    done = run(home, tmp_path, "init", "shop")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "shop/infra/Pulumi.prod.yaml"
    (line,) = [line for line in done.stderr.splitlines() if "fill in" in line]
    assert line == f"fill in sha256, and a dated image: {file}, hostwright:libvirt"

    (tmp_path / "leap.qcow2").touch()
    given = ["--image", "leap.qcow2", "--sha256", "AB" * 32]
    done = run(home, tmp_path, "init", "shop", "--environment", "other", *given)
    assert done.returncode == 0, done.stderr
    assert "fill in" not in done.stderr
    other = yaml.safe_load(file.with_name("Pulumi.other.yaml").read_text())["config"]["hostwright:libvirt"]
    assert (other["image"], other["sha256"]) == (str(tmp_path / "leap.qcow2"), "ab" * 32)
    url = "https://x.test/leap.qcow2"
    done = run(home, tmp_path, "init", "shop", "--environment", "third", "--image", url)
    assert "fill in sha256" in done.stderr
    assert f"image: {url}\n" in file.with_name("Pulumi.third.yaml").read_text()


def settings(folder: Path) -> dict[str, object]:
    """The settings that `init` wrote."""
    return dict(yaml.safe_load((folder / "shop/infra/Pulumi.prod.yaml").read_text())["config"])


@pytest.mark.parametrize(
    ("options", "cluster"),
    [
        ([], {"servers": 3, "workers": 0}),
        (["--servers", "1", "--workers", "2"], {"servers": 1, "workers": 2}),
    ],
)
def test_init_of_a_cluster(
    home: dict[str, str], tmp_path: Path, options: list[str], cluster: dict[str, int]
) -> None:
    done = run(home, tmp_path, *CLUSTER, "--driver", "container", *options)
    assert done.returncode == 0, done.stderr
    made = settings(tmp_path)
    assert (made["hostwright:topology"], made["hostwright:cluster"]) == ("cluster", cluster)
    variables = yaml.safe_load((tmp_path / "shop/inventories/prod/group_vars/all/main.yml").read_text())
    assert variables["base_selinux"] == "permissive"


def test_init_of_a_cluster_of_machines_that_exist(home: dict[str, str], tmp_path: Path) -> None:
    hosts = [f"--host=k{number}=192.0.2.{number}" for number in (1, 2)]
    done = run(home, tmp_path, *STATIC, "--topology=cluster", "--servers=1", "--workers=1", *hosts)
    assert done.returncode == 0, done.stderr
    made = settings(tmp_path)
    assert made["hostwright:static"] == {
        "hosts": [
            {"name": "k1", "address": "192.0.2.1", "user": "opensuse", "group": "servers"},
            {"name": "k2", "address": "192.0.2.2", "user": "opensuse", "group": "workers"},
        ]
    }
    assert "hostwright:cluster" not in made


def test_init_again_overwrites_nothing(home: dict[str, str], project: Path, tmp_path: Path) -> None:
    settings = project / "inventories/prod/group_vars/all/main.yml"
    settings.write_text("base_selinux: permissive\n")
    done = run(home, tmp_path, "init", "shop", "--driver", "static", "--host", "web2=192.0.2.11")
    assert done.returncode == 0, done.stderr
    assert settings.read_text() == "base_selinux: permissive\n"
    assert "192.0.2.10" in (project / "infra/Pulumi.prod.yaml").read_text()


def test_unknown_environment(home: dict[str, str], project: Path) -> None:
    done = run(home, project, "status", "--environment", "staging")
    assert done.returncode == 2
    assert "unknown environment 'staging'" in done.stderr
    assert "prod" in done.stderr


@pytest.mark.parametrize("options", [["last"], ["--release", "1.5"], ["7x", "--force"]])
def test_a_release_is_a_number(home: dict[str, str], project: Path, options: list[str]) -> None:
    done = run(home, project, "rollback", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no release" in done.stderr
    assert "hostwright releases says which there are" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["exec", "orders"], "which command?", "hostwright exec orders -- sh"),
        (["scale"], "how many workers?", "--workers 3"),
        (["scale", "--workers", "-1"], "'-1' is no number", "--workers 3"),
        (["upgrade"], "prod is one host, and no cluster", "hostwright patch"),
        (["scale", "--workers", "1"], "prod is one host, and no cluster", "app_compose_replicas"),
    ],
)
def test_what_a_single_host_does_not_have(
    home: dict[str, str], project: Path, arguments: list[str], what: str, fix: str
) -> None:
    done = run(home, project, *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert what in done.stderr
    assert fix in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["releases", "rollback"])
def test_a_cluster_keeps_no_releases(home: dict[str, str], tmp_path: Path, verb: str) -> None:
    made = run(home, tmp_path, *CLUSTER, "--driver", "container")
    assert made.returncode == 0, made.stderr
    done = run(home, tmp_path / "shop", verb)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "prod is a cluster, which keeps no releases" in done.stderr
    assert "former images or settings back into inventories/prod, then hostwright up -e prod" in done.stderr


@pytest.mark.parametrize("options", [[], ["--service", "orders"], ["--request", "f" * 32]])
@pytest.mark.parametrize(
    "made", [[*STATIC, "--host", "web1=192.0.2.10"], [*CLUSTER, "--driver", "container"]]
)
def test_logs_before_there_are_hosts(
    home: dict[str, str], tmp_path: Path, made: list[str], options: list[str]
) -> None:
    toolchain.ensure()
    home["PULUMI_CONFIG_PASSPHRASE"] = "of the tests only"
    assert run(home, tmp_path, *made).returncode == 0
    done = run(home, tmp_path / "shop", "logs", *options)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "the environment has no hosts yet" in done.stderr


def test_down_takes_no_answer_for_a_no(home: dict[str, str], project: Path) -> None:
    """At a terminal, where the person ends the input (Ctrl-D)."""
    ours, theirs = pty.openpty()
    os.write(ours, b"\x04")
    done = subprocess.run(
        [program("hostwright"), "down"],
        cwd=project, env=home, stdin=theirs, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "nothing was removed" in done.stderr
    assert "Traceback" not in done.stderr


def test_down_asks_first(home: dict[str, str], project: Path) -> None:
    done = run(home, project, "down")
    assert done.returncode == 2
    assert "--yes" in done.stderr


# A host that the engine knows, whose commands run here; where the hosts would be made, that is said.
REPLACES = """
from contextlib import contextmanager
from invoke import Context
from hostwright import cli, remote
from hostwright.errors import Failure
from hostwright.hosts import engine
from hostwright.hosts.record import HostRecord

@contextmanager
def connect(environment, host):
    yield Context()

def up(environment, note):
    raise Failure("the hosts are next")

remote.connect = connect
engine.outputs = lambda environment: [HostRecord(name="web1", address="192.0.2.10")]
engine.up = up
cli.main()
"""


@pytest.mark.parametrize(
    ("options", "typed", "status", "says"),
    [
        ([], None, 2, "add --yes"),
        ([], "no\n", 2, "nothing was removed"),
        ([], "prod\n", 1, "the hosts are next"),
        (["--yes"], None, 1, "the hosts are next"),
    ],
    ids=["no terminal", "no", "the name", "--yes"],
)
def test_up_asks_before_it_replaces_another_application(
    home: dict[str, str],
    project: Path,
    tmp_path: Path,
    options: list[str],
    typed: str | None,
    status: int,
    says: str,
) -> None:
    toolchain.ensure()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sudo").write_text("""#!/bin/sh\necho '{"shop": "shop"}'\n""")
    (programs / "sudo").chmod(0o755)
    home |= {"PATH": f"{programs}:{home['PATH']}", "PULUMI_CONFIG_PASSPHRASE": "of the tests only"}
    ours, theirs = pty.openpty()
    os.write(ours, (typed or "").encode())
    done = subprocess.run(
        [sys.executable, "-c", REPLACES, "up", *options],
        cwd=project, env=home, stdin=subprocess.DEVNULL if typed is None else theirs,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stdout + done.stderr
    assert says in done.stderr
    question = "stops and removes the application shop (its data stays) of 'prod'"
    assert (question in done.stdout) is (typed is not None)


BROKEN = [
    (b"config: {\n", "the environment's file cannot be read as YAML", ": while parsing"),
    (
        "config: {hostwright:application: \u0142}\n".encode("iso-8859-2"),
        "cannot be read as YAML",
        ": unacceptable character",
    ),
    (b"- a\n", "the file is not names with values", "\n"),
    (b"config: foo\n", "config is not names with values", ": config\n"),
    (b"config: {5: foo}\n", "5 is no setting's name", ": config\n"),
    (
        b"config: {hostwright:libvirt: foo}\n",
        "hostwright:libvirt is not names with",
        ": hostwright:libvirt\n",
    ),
    (b"config: {hostwright:ssh: [foo]}\n", "hostwright:ssh is not names with", ": hostwright:ssh\n"),
    (b"config: {hostwright:components: 5}\n", "components are neither a list", ": hostwright:components\n"),
]


def test_a_broken_settings_file_is_named(home: dict[str, str], project: Path) -> None:
    path = project / "infra/Pulumi.prod.yaml"
    for content, what, where in BROKEN:
        path.write_bytes(content)
        done = run(home, project, "up")
        assert (done.returncode, done.stdout) == (2, ""), f"{content!r}: {done.stderr}"
        assert what in done.stderr
        assert f"where: {path}{where}" in done.stderr
        assert "fix: " in done.stderr
        assert "Traceback" not in done.stderr
        assert path.read_bytes() == content


def test_a_key_in_the_home_of_nobody_is_named(home: dict[str, str], project: Path) -> None:
    toolchain.ensure()
    path = project / "infra/Pulumi.prod.yaml"
    document = yaml.safe_load(path.read_text())
    document["config"]["hostwright:ssh"]["privateKey"] = "~no-such-user/key"
    path.write_text(yaml.safe_dump(document))
    done = run(home, project, "up")
    assert done.returncode == 2, done.stderr
    assert f"the SSH key {project}/infra/~no-such-user/key does not exist" in done.stderr
    assert "where: infra/Pulumi.prod.yaml: hostwright:ssh.privateKey" in done.stderr
    assert "Traceback" not in done.stderr


def test_rotate_names_what_it_changed_and_what_is_next(home: dict[str, str], project: Path) -> None:
    toolchain.ensure()
    home |= {"PULUMI_CONFIG_PASSPHRASE": "of the tests only", "PULUMI_BACKEND_URL": f"file://{project}"}
    settings = project / "infra/Pulumi.prod.yaml"

    def refused(*arguments: str) -> str:
        before = settings.read_text()
        done = run(home, project, "rotate", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert settings.read_text() == before, "nothing half-done"
        return done.stderr

    assert "did not receive required positional arguments" in refused()
    assert "there are no secrets yet" in refused("rabbitmq_password")
    secrets = "from hostwright import application, environments, secrets as s;"
    make = f"{secrets} s.ensure(environments.load('prod'), application.load('warehouse'))"
    subprocess.run([sys.executable, "-c", make], cwd=project, env=home, check=True)

    wrong = refused("rabbitmq_password", "rabbit_password", "-e", "prod")
    assert "no secret 'rabbit_password' to rotate" in wrong
    assert "where: warehouse" in wrong
    assert "fix: one of: analytics_database_password, auth-db_password, auth_database_password, " in wrong
    assert "no secret 'admin_password' to rotate" in refused("admin_password")

    done = run(home, project, "rotate", "token_private_key", "-e", "prod", "rabbitmq_password")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["rabbitmq_password", "token_private_key", "token_public_key"]
    assert "hostwright up delivers them" in done.stderr


def test_doctor_speaks_json(home: dict[str, str], project: Path) -> None:
    Path(home["XDG_CONFIG_HOME"], "hostwright/passphrase").unlink()
    done = run(home, project, "doctor", "--json")
    needs = {need["name"]: need for need in json.loads(done.stdout)}
    assert not needs["passphrase"]["present"]
    assert needs["passphrase"]["fix"]
    assert needs["ssh"]["usable"]
    assert done.returncode == 1
    assert "passphrase" in done.stderr


@pytest.mark.parametrize(
    ("variable", "text", "what"),
    [
        ("staging", "config: {}\n", "unknown environment 'staging'"),
        ("", "config: {\n", "cannot be read as YAML"),
    ],
)
def test_doctor_takes_nothing_for_the_lab_that_is_none(
    home: dict[str, str], project: Path, variable: str, text: str, what: str
) -> None:
    (project / "infra/Pulumi.prod.yaml").write_text(text)
    done = run(home | {"HOSTWRIGHT_ENVIRONMENT": variable}, project, "doctor")
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr
