"""Databases of PostgreSQL, reached wherever they are: asked, copied from one to another, and compared."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from hostwright.errors import Failure

PSQL = (
    "psql", "--quiet", "--no-psqlrc", "--tuples-only", "--no-align", "--field-separator=|",
    "--set=ON_ERROR_STOP=1",
)  # fmt: skip
# The whole at once, or it stays what it was. In the order of the stream, as a pipe has no way back.
RESTORE = ("pg_restore", "--clean", "--if-exists", "--single-transaction", "--exit-on-error")

# A line for each table, with its rows and sums over the digests of all of them, and for each sequence where
# it is. Sums need no order and no room, however many rows there are. Texts are the same on both sides only
# under the same settings. No column is called as a row is here, or it would be taken in its place.
FINGERPRINT = r"""
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres';
SET extra_float_digits = 1; SET bytea_output = 'hex';
WITH named AS (
    SELECT format('%I.%I', nspname, relname) AS name, relkind
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'm', 'S') AND nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
)
SELECT CASE relkind WHEN 'S' THEN
    format('SELECT %L, last_value, is_called FROM %s', 'sequence ' || name, name)
ELSE format($$
    SELECT %L, count(*), sum(('x' || left(digest, 16))::bit(64)::bigint),
        sum(('x' || right(digest, 16))::bit(64)::bigint)
    FROM (SELECT md5("the whole row"::text) AS digest FROM ONLY %s AS "the whole row") AS digests
    $$, 'table ' || name, name)
END FROM named ORDER BY relkind, name
\gexec
"""
REVISION = r"""
SELECT 'SELECT version_num FROM alembic_version ORDER BY 1' WHERE to_regclass('alembic_version') IS NOT NULL
\gexec
"""
WAITING = r"""
SELECT 'SELECT count(*) FROM outbox WHERE dead_at IS NULL' WHERE to_regclass('outbox') IS NOT NULL
\gexec
"""
SIZE = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True)
class Database:
    """A database of a store. `reach`: the command here that runs a program of PostgreSQL beside it."""

    store: str
    name: str
    reach: Callable[[Sequence[str]], list[str]]

    def __str__(self) -> str:
        return f"{self.store}/{self.name}"

    def ask(self, script: str) -> list[list[str]]:
        """The rows that a script of psql's answers, as texts. Raises Failure with psql's own words."""
        return [line.split("|") for line in self._run([*PSQL, f"--dbname={self.name}"], script).splitlines()]

    def number(self, script: str) -> int:
        """The one number it answers; 0 where there is nothing to ask. Raises Failure."""
        rows = self.ask(script)
        try:
            return int(rows[0][0]) if rows else 0
        except ValueError:  # what is between here and there has its own to say
            raise Failure(f"no number, but {rows[0][0][:300]!r}", where=str(self)) from None

    def fingerprint(self) -> dict[str, list[str]]:
        """`table SCHEMA.NAME` or `sequence SCHEMA.NAME` -> what is in it, the number of rows first."""
        return {name: [*told] for name, *told in self.ask(FINGERPRINT)}

    def _run(self, words: Sequence[str], script: str) -> str:
        done = subprocess.run(self.reach(words), input=script, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(_last(done.stderr) or f"{words[0]} ended with {done.returncode}", where=str(self))
        return done.stdout


def copy(source: Database, target: Database) -> None:
    """Make the target what the source is, from pipe to pipe: nothing lies anywhere in between.

    Roles that own things must be there. Raises Failure; the target then is what it was.
    """
    dump = ["pg_dump", "--format=custom", f"--dbname={source.name}"]
    restore = [*RESTORE, f"--dbname={target.name}"]
    with tempfile.TemporaryFile() as wrote, tempfile.TemporaryFile() as read:
        giver = subprocess.Popen(
            source.reach(dump), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=wrote
        )
        assert giver.stdout  # noqa: S101  (a pipe was asked for)
        taker = subprocess.Popen(
            target.reach(restore), stdin=giver.stdout, stdout=subprocess.DEVNULL, stderr=read
        )
        giver.stdout.close()  # the taker alone has it, and when it goes the giver hears of that
        try:
            codes = [taker.wait(), giver.wait()]
        finally:
            for each in (giver, taker):
                each.kill()
                each.wait()
        if any(codes):
            # Where one of them ends, the other complains too.
            told = (f"{words[0]}: {_said(said)}" for words, said in ((dump, wrote), (restore, read)))
            raise Failure("\n    ".join(("it could not be copied", *told)), where=str(source))
    target.ask("ANALYZE")  # statistics do not go along


def differences(here: Mapping[str, Sequence[str]], there: Mapping[str, Sequence[str]]) -> list[str]:
    """What two fingerprints do not have in common, each in words; `here` is the older one."""
    found = []
    for name in sorted({*here, *there}):
        mine, theirs = here.get(name), there.get(name)
        if mine is None or theirs is None:
            found.append(f"{name} is only {'here' if theirs is None else 'there'}")
        elif list(mine) != list(theirs):
            unit = " rows" if name.startswith("table ") else ""
            counts = f"{mine[0]}{unit} here, {theirs[0]} there"
            found.append(f"{name}: {counts if mine[0] != theirs[0] else 'other contents'}")
    return found


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    return _last(file.read().decode(errors="replace"))


def _last(text: str) -> str:
    """The last lines, which say why."""
    return "\n    ".join(text.strip().splitlines()[-3:])
