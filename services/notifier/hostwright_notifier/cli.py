"""The command line: `hostwright-notifier login|run|install|logout`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import os
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx2

from hostwright_notifier import __doc__ as about
from hostwright_notifier import account
from hostwright_notifier.account import Account, Refused
from hostwright_notifier.desktop import Desktop
from hostwright_notifier.feed import Agent
from hostwright_notifier.texts import TEXTS, language

# A browser that we opened lives in our control group: without KillMode=process it would end with us.
UNIT = """\
[Unit]
Description=Order notifications on the desktop
PartOf=graphical-session.target
After=graphical-session.target

[Service]
ExecStart={command}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2
KillMode=process

[Install]
WantedBy=graphical-session.target
"""


FAREWELL = 5.0  # seconds to say why we end


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0; 1 where trying again may help; 2 where a person must do something."""
    found = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        return int(found.command(found))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (httpx2.HTTPError, OSError) as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hostwright-notifier", description=about)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    login = commands.add_parser(
        "login",
        help="log in",
        epilog="example: hostwright-notifier login https://shop.example",
        description="Asks e-mail and password (from standard input, a line each, where that is no terminal).",
    )
    login.add_argument("url", metavar="URL", help="address of the shop")
    login.add_argument("--ca", metavar="FILE", help="certificate (PEM) of a private certificate authority")
    login.set_defaults(command=_login)
    run = commands.add_parser("run", help="show notifications until stopped")
    run.set_defaults(command=_run)
    install = commands.add_parser("install", help="write a systemd user unit")
    install.set_defaults(command=_install)
    for each in (run, install):
        each.add_argument("--language", choices=sorted(TEXTS), help="default: the user's, else English")
    logout = commands.add_parser("logout", help="end the session and forget it")
    logout.set_defaults(command=_logout)
    return parser


def _login(arguments: argparse.Namespace) -> int:
    if sys.stdin.isatty():
        email, password = input("E-mail: "), getpass.getpass("Password: ")
    else:
        email, password = (sys.stdin.readline().rstrip("\n") for _ in range(2))
    with account.alone():
        made = account.login(arguments.url, arguments.ca, email.strip(), password)
    print(f"logged in to {made.url} as {made.email}")
    return 0


def _logout(_: argparse.Namespace) -> int:
    with account.alone():
        account.logout()
    print("logged out")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    with account.alone():
        asyncio.run(_agent(Account.load(), arguments.language or language()))
    return 0


async def _agent(of: Account, words: str) -> None:
    """Until SIGTERM or SIGINT; then it ends in order, so that no renewed token is lost."""
    running = asyncio.current_task()
    if running:
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, running.cancel)
    try:
        async with Desktop.open() as desktop:
            try:
                await Agent(of, desktop, words).run()
            except Refused as error:
                with suppress(TimeoutError, OSError, EOFError):
                    async with asyncio.timeout(FAREWELL):
                        texts = TEXTS[words]
                        await desktop.show(texts["ended"], str(error), of.url, texts["open_many"])
                raise
    except asyncio.CancelledError:
        return


def _install(arguments: argparse.Namespace) -> int:
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    unit = Path(config) / "systemd" / "user" / "hostwright-notifier.service"
    command = [str(Path(sys.argv[0]).absolute()), "run"]
    if arguments.language:
        command += ["--language", arguments.language]
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(UNIT.format(command=shlex.join(command)))
    print(f"wrote {unit}; now: systemctl --user daemon-reload && systemctl --user enable --now {unit.stem}")
    return 0
