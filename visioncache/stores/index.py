"""Index: who is in a folder of entries, how large, and used when; in SQLite, shared by processes.

The index is a convenience: every row can be made again from the files' names and sizes.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_BUSY_SECONDS = 10.0
_SCHEMA = """
create table if not exists entries (
  name text primary key, size integer not null, used integer not null
) without rowid;
create index if not exists by_use on entries (used);
create table if not exists totals (entries integer not null, bytes integer not null);
insert into totals select 0, 0 where not exists (select * from totals);
create trigger if not exists added after insert on entries begin
  update totals set entries = entries + 1, bytes = bytes + new.size; end;
create trigger if not exists removed after delete on entries begin
  update totals set entries = entries - 1, bytes = bytes - old.size; end;
create trigger if not exists changed after update of size on entries begin
  update totals set bytes = bytes + new.size - old.size; end;
"""


class Index:
    """An open index; one thread at a time uses it."""

    def __init__(self, path: Path) -> None:
        """Open or make it; sqlite3.DatabaseError when the file is damaged or not an index."""
        # SQLite's own files take the mode of the one that they belong to.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        self._path = path
        self._inode = path.stat().st_ino
        self.pid = os.getpid()
        self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("pragma journal_mode = wal")
            # An index that came from elsewhere runs nothing of its own.
            self._db.execute("pragma trusted_schema = off")
            # A power cut may cost the latest rows, never the index: a repair finds them again.
            self._db.execute("pragma synchronous = normal")
            with self.transaction():
                for statement in _statements(_SCHEMA):
                    self._db.execute(statement)
        except BaseException:
            self._db.close()
            raise

    def is_current(self) -> bool:
        """Tell whether this is still the file at its path, and this still the process that opened it."""
        try:
            return self._path.stat().st_ino == self._inode and self.pid == os.getpid()
        except OSError:
            return False

    def close(self) -> None:
        """Close the connection; a forked child leaves its parent's alone."""
        if self.pid == os.getpid():
            self._db.close()
        else:
            _inherited.append(self._db)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Change the index, and files with it, while no other process does; all or nothing."""
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    def totals(self) -> tuple[int, int]:
        """Entries, and their bytes."""
        row = self._db.execute("select entries, bytes from totals").fetchone()
        return row[0], row[1]

    def rows(self) -> dict[str, int]:
        """Bytes by name."""
        return dict(self._db.execute("select name, size from entries"))

    def count(self) -> None:
        """Add the totals up again, whatever they were."""
        self._db.execute("update totals set (entries, bytes) = (select count(*), total(size) from entries)")

    def add(self, name: str, size: int, used: int) -> None:
        """Add or replace a row."""
        self._db.execute(
            "insert into entries values (?, ?, ?) "
            "on conflict (name) do update set size = excluded.size, used = excluded.used",
            (name, size, used),
        )

    def remove(self, names: Iterable[str]) -> None:
        """Remove rows."""
        self._db.executemany("delete from entries where name = ?", ((name,) for name in names))

    def touch(self, used: dict[str, int]) -> None:
        """Note when entries were used."""
        self._db.executemany(
            "update entries set used = ? where name = ?", ((when, name) for name, when in used.items())
        )

    def victims(self, max_bytes: int, keep: str = "") -> list[str]:
        """Who must go, oldest first, so that the rest holds at most `max_bytes`; `keep` stays."""
        surplus = self.totals()[1] - max_bytes
        names = []
        if surplus > 0:
            oldest = self._db.execute("select name, size from entries where name != ? order by used", (keep,))
            with closing(oldest):
                for name, size in oldest:
                    names.append(name)
                    surplus -= size
                    if surplus <= 0:
                        break
        return names


_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process: SQLite forbids even closing them in a forked child."""


def _statements(script: str) -> Iterator[str]:
    """`executescript` would commit the transaction that it runs in."""
    statement = ""
    for line in script.strip().splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
