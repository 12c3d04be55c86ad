"""Projects and their environments: whose a name is, and what a project needs on another machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hostwright import application, deploy, environments, paths, scaffold, secrets, toolchain
from hostwright.environments import Environment
from hostwright.errors import BadInput
from hostwright.hosts import engine, stack
from tests.live import program

Init = Callable[..., Path]


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Init:
    """What `hostwright init` makes in a folder of that name, with nothing of the person's own."""
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for variable in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(variable, raising=False)

    def make(name: str, environment: str = "prod", **more: object) -> Path:
        given = {"driver": "static", "topology": "single", "app": "starter", "hosts": ["web1=192.0.2.10"]}
        scaffold.create(tmp_path / name, environment, **given | more)  # type: ignore[arg-type]
        return tmp_path / name

    return make


# --- Where its application is ---


def asked_for(monkeypatch: pytest.MonkeyPatch, shop: Path) -> None:
    """The file apps/mine.yml is found by the environment and by roles, wherever they are asked."""
    for place, told in ((shop, ""), (shop / "infra", ""), (shop.parent, str(shop))):
        monkeypatch.chdir(place)
        monkeypatch.setenv("HOSTWRIGHT_PROJECT", told)
        chosen = environments.load("prod")
        found = [application.load(chosen.application, chosen.project), application.load(chosen.application)]
        assert [each.source for each in found] == [shop.parent / "apps/mine.yml"] * 2, place


def test_an_application_file_is_found_from_everywhere(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "apps/mine.yml"
    mine.parent.mkdir()
    shutil.copy(paths.toolkit() / "services/apps/starter.yml", mine)
    monkeypatch.chdir(tmp_path)
    shop = init("shop", app="./apps/mine.yml")
    asked_for(monkeypatch, shop)
    settings = shop / "infra/Pulumi.prod.yaml"
    text = settings.read_text()
    for relative in ("../apps/mine.yml", "./../apps/mine.yml"):
        settings.write_text(text.replace(str(mine), relative))
        assert settings.read_text() != text
        asked_for(monkeypatch, shop)


def test_an_application_of_a_command_line_is_of_the_current_folder(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = init("shop")
    shutil.copy(paths.toolkit() / "services/apps/starter.yml", shop / "inventories/mine.yml")
    monkeypatch.chdir(shop / "inventories")
    command = [program("hostwright"), "graph", "--app", "./mine.yml", "--out", str(tmp_path / "mine.svg")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    assert (tmp_path / "mine.svg").is_file()
    assert application.located("starter") == "starter"


# --- Whose a name is ---


def test_a_name_is_one_projects(init: Init, tmp_path: Path) -> None:
    shop = init("shop")
    key = (paths.state("prod") / "id_ed25519").read_text()
    assert init("shop") == shop
    with pytest.raises(BadInput, match="the name prod is taken: on this machine") as refused:
        init("blog")
    assert str(shop / "infra/Pulumi.prod.yaml") in refused.value.where
    assert "another name" in refused.value.fix
    assert f"cd {shop}; hostwright down -e prod --data" in refused.value.fix
    assert not (tmp_path / "blog").exists()
    assert (paths.state("prod") / "id_ed25519").read_text() == key
    init("blog", "staging")
    assert environments.names(tmp_path / "blog") == ["staging"]


@pytest.mark.parametrize(
    "ask",
    [
        stack.outputs,
        engine.outputs,
        engine._stack,
        secrets.read,
        lambda environment: stack.pulumi(environment, "stack", "ls"),
    ],
    ids=["outputs", "hosts", "stack", "secrets", "pulumi"],
)
def test_nobody_opens_anothers_stack(init: Init, ask: Callable[[Environment], object]) -> None:
    """As with projects of before names were kept, or a copy of one."""
    toolchain.ensure()
    shop = init("shop")
    scaffold.ensure_passphrase()
    shutil.copytree(shop, shop.parent / "blog", symlinks=True)
    with pytest.raises(BadInput, match="the name prod is taken"):
        ask(environments.load("prod", shop.parent / "blog"))


def test_a_project_that_was_moved_keeps_its_name(init: Init) -> None:
    shop = init("shop")
    moved = shop.rename(shop.with_name("store"))
    environments.claim("prod", moved)
    assert (paths.state("prod") / "project").read_text() == f"{moved}\n"
    (moved / "infra/Pulumi.prod.yaml").unlink()
    init("blog")
    with pytest.raises(BadInput, match="the name prod is taken"):
        init("store")


def test_a_mark_that_was_not_written_to_its_end_is_nobodys(init: Init) -> None:
    shop = init("shop")
    mark = paths.state("prod") / "project"
    mark.write_text("")
    environments.claim("prod", shop)
    assert mark.read_text() == f"{shop}\n"


def test_checkouts_share_a_lab(init: Init, tmp_path: Path) -> None:
    settings = paths.state("lab-single") / "settings.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("config: {}\n")
    for name in ("one", "other", "one"):
        link = tmp_path / name / "infra/Pulumi.lab-single.yaml"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(settings)
        environments.claim("lab-single", tmp_path / name)


@pytest.mark.parametrize(
    ("driver", "data", "free"),
    [("static", False, True), ("container", False, False), ("container", True, True)],
)
def test_a_name_is_free_when_nothing_is_left_of_it(
    init: Init, monkeypatch: pytest.MonkeyPatch, driver: str, data: bool, free: bool
) -> None:
    """Data volumes that stay are the next one's of that name."""
    monkeypatch.setattr(toolchain, "ensure", lambda: None)
    monkeypatch.setattr(engine, "destroy", lambda *_, **__: None)
    monkeypatch.setattr(secrets, "forget", lambda *_: None)
    hosts = ["web1=192.0.2.10"] if driver == "static" else []
    deploy.down(environments.load("prod", init("shop", driver=driver, hosts=hosts)), data)
    if free:
        assert init("blog", driver=driver, hosts=hosts)
    else:
        with pytest.raises(BadInput, match="the name prod is taken"):
            init("blog", driver=driver, hosts=hosts)


# --- Another machine ---


def test_a_clone_has_what_its_commands_need(init: Init, tmp_path: Path) -> None:
    shop = init("shop")
    git = ["git", "-c", "user.name=op", "-c", "user.email=op@example.com", "-C", str(shop)]
    for command in (["init", "-q"], ["add", "--all"], ["commit", "-q", "--message=the project"]):
        subprocess.run([*git, *command], check=True)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(shop), str(clone)], check=True)
    committed = "".join(
        path.read_text() for path in clone.rglob("*") if path.is_file() and ".git" not in path.parts
    )
    assert str(tmp_path) not in committed
    assert not (clone / "tests").exists()

    loaded = environments.load("prod", clone)
    assert loaded.key == paths.state("prod") / "id_ed25519"
    links = {clone / name: (paths.toolkit() / part).resolve() for name, part in environments.LINKS.items()}
    assert {link: link.resolve() for link in links} == links
    before = {link: link.lstat().st_ino for link in links}
    environments.load("prod", clone)
    assert {link: link.lstat().st_ino for link in links} == before
    for link in links:
        link.unlink()
        link.symlink_to("/nowhere")
    environments.load("prod", clone)
    assert {link: link.resolve() for link in links} == links
    assert [path.name for path in (clone / "tests").iterdir()] == ["hosts"]


def test_what_is_no_link_of_ours_stays(init: Init) -> None:
    """A checkout's own: its collection is a link to itself, and it has the proof's very files."""
    shop = init("shop")
    for name in environments.LINKS:
        (shop / name).unlink()
    (shop / "tests/hosts").mkdir()
    (shop / ".collections/ansible_collections/hostwright/hostwright").symlink_to("../../..")
    environments.load("prod", shop)
    assert not (shop / "tests/hosts").is_symlink()
    collection = shop / ".collections/ansible_collections/hostwright/hostwright"
    assert collection.readlink() == Path("../../..")
