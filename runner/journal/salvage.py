"""What can still be read of a damaged journal, into a new one.

Owns reading around broken pages. Does not judge whether a file is damaged (``home``) and deletes
nothing: the damaged file is kept.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Final

from runner.journal import base

_COPIED: Final = {
    "execution": 13,
    "settled": 3,
    "open": 4,
    "result": 3,
    "answer": 3,
    "log": 7,
    "section": 4,
}
"""Tables copied as they are, with the number of their columns."""


def salvage(kept: str, uri: str) -> int:
    """Copy every row of the file ``kept`` that can be read and is sound; returns how many events.

    An event whose fate is lost waits again: the intake takes the same bytes twice.
    """
    with closing(base.connect(uri)) as new:
        try:
            with closing(base.connect(base.file_uri(kept))) as old:
                base.version(old)
                new.execute("BEGIN IMMEDIATE")
                _copy(old, new)
                (saved,) = new.execute("SELECT count(*) FROM event").fetchone()
                new.execute("COMMIT")
        except (*base.FAILURES, base.DamagedError, base.NewerError):
            return 0
        return int(saved)


def _copy(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    for table, columns in _COPIED.items():
        marks = ", ".join("?" * columns)
        insert = f"INSERT OR IGNORE INTO {table} VALUES ({marks})"  # noqa: S608 (names of our own)
        for row in _readable(old, f"SELECT * FROM {table}"):  # noqa: S608
            with suppress(sqlite3.IntegrityError):  # STRICT: a number where text should be
                new.execute(insert, row)
    _events(old, new)
    new.execute(
        "INSERT OR IGNORE INTO outbox SELECT seq FROM event"
        " WHERE seq NOT IN (SELECT seq FROM settled)"
    )


def _events(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Events one by one, so that a broken page costs its own rows alone. Which there are is said
    by the small tables as well as by the large one.
    """
    known = {seq for table in ("outbox", "settled", "event") for seq in _seqs(old, table)}
    for seq in sorted(known):
        for row in _readable(old, "SELECT * FROM event WHERE seq = ?", seq):
            *_, at, crc, body = row
            if base.sound(at, crc, body):
                with suppress(sqlite3.IntegrityError):
                    new.execute("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _seqs(db: sqlite3.Connection, table: str) -> Iterator[int]:
    """From both ends towards the damage."""
    for order in ("ASC", "DESC"):
        query = f"SELECT seq FROM {table} ORDER BY seq {order}"  # noqa: S608 (names of our own)
        for (seq,) in _readable(db, query):
            if isinstance(seq, int):
                yield seq


def _readable(db: sqlite3.Connection, query: str, *values: int) -> Iterator[tuple[object, ...]]:
    """The rows up to the first that cannot be read."""
    try:
        yield from db.execute(query, values)
    except base.FAILURES:
        return
