"""A real PostgreSQL of our own, and databases in it that cost milliseconds."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from testing.process import Process, free_port, own_directory, unprivileged

# Nothing of a test outlives it, so nothing needs to reach the disk.
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",  # of hundreds of databases; who needs statistics asks for them
    "shared_buffers": "64MB",
    "max_connections": "150",
    "log_min_messages": "fatal",
}


class Postgres:
    """One server. `stop` and `start` keep its data, for fault tests."""

    host = "127.0.0.1"
    user = "postgres"
    password = "not-a-secret"  # noqa: S105  # of a server that lives for one run of the tests

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._names = itertools.count(1)
        self._process: Process | None = None
        self.port = free_port()

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Postgres]:
        directory = own_directory("postgres")
        server = cls(directory)
        try:
            server._initdb()
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
            shutil.rmtree(directory)

    def start(self) -> None:
        options = [each for name, value in OPTIONS.items() for each in ("-c", f"{name}={value}")]
        self._process = Process(
            [programs() / "postgres", "-D", self.directory / "data", "-p", str(self.port), *options],
            log=self.directory / "log",
            environment=_environment(),
        )
        self._process.wait_for(self._answers)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all connections and shuts down in order; SIGQUIT at once."""
        if self._process:
            self._process.end(how)

    def create(self, template: str | None = None) -> str:
        """The name of a new database: empty, or a copy of `template`, to which nobody may be connected."""
        name = f"{template or 'empty'}_{next(self._names)}"
        self.execute(
            # Without the log, which the default strategy writes a whole database to.
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            )
        )
        return name

    def drop(self, name: str) -> None:
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composed) -> None:
        """In the administrative database, outside any transaction."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def dsn(self, database: str) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"

    def settings(self, database: str) -> dict[str, str | int]:
        """What a service is told of this database: fields of `kit.settings.DatabaseSettings`."""
        return {
            "database_host": self.host,
            "database_port": self.port,
            "database_name": database,
            "database_user": self.user,
            "database_password": self.password,
        }

    def _initdb(self) -> None:
        password = self.directory / "password"
        password.write_text(self.password)
        password.chmod(0o644)
        subprocess.run(
            [
                *("setpriv", *unprivileged(), "--", str(programs() / "initdb")),
                *("-D", self.directory / "data", "-U", self.user, "--no-sync"),
                *("--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C.UTF-8"),
            ],
            env=_environment(),
            cwd=self.directory,
            check=True,
            capture_output=True,
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def programs() -> Path:
    """The directory of the newest PostgreSQL here; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda each: int(each.parts[-3]))
    if found:
        return found[-1].parent
    if on_path := shutil.which("postgres"):
        return Path(on_path).parent
    raise FileNotFoundError("PostgreSQL's server programs are not here: apt-get install postgresql")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
