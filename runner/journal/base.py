"""The tables, their versions, and how a file or a piece of memory becomes a database.

Owns SQL that defines and copies; the SQL that asks and tells is ``store``'s. The layout::

    execution   one row each; ``number`` grows with every begin
    event       bodies, written once and never again
    outbox      the seqs of events that wait
    settled     what became of the others
    open        what has started and not ended
    result      what jobs left
    answer      what people answered to an execution's gates
    log         how far each job's log has been sent
    section     where in its job's log each step begins

An event's ``seq`` is its execution's number and a count, in one integer: so all of an execution's
events are one range of the table, and no index is written when a step ends. ``number`` is the start
in units of 2**24 ns, so executions of two files hardly ever share one.
"""

import os
import sqlite3
import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

import msgspec

from runner.journal.rows import Header

T = TypeVar("T")

SHIFT: Final = 24
"""16 million events an execution; 39 bits of 16.8 ms each last until 2262."""
APPLICATION: Final = int.from_bytes(b"SgBx")
"""In the file's header: this database is a journal (``PRAGMA application_id``)."""
BUSY: Final = 60.0
"""Seconds to wait for another process's commit; a slow disk's takes five."""
CHECKED: Final = 1000
"""Pages of 4 KB that are looked through at every start: 1.5 ms a megabyte, 6 ms."""
OLDEST: Final = (3, 37)
"""STRICT tables; named databases in memory came with 3.36."""

MIGRATIONS: Final = (
    """
    CREATE TABLE execution (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        binding TEXT NOT NULL,
        nested INTEGER NOT NULL,
        header BLOB NOT NULL,
        envelope BLOB NOT NULL,
        source BLOB NOT NULL,
        git BLOB,
        git_settled INTEGER NOT NULL DEFAULT 0,
        status TEXT,
        ended_at INTEGER,
        gates BLOB,
        answered_by TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY,
        level TEXT NOT NULL,
        id TEXT NOT NULL,
        final INTEGER NOT NULL,
        at INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX running ON event (id) WHERE final = 0;
    CREATE TABLE outbox (seq INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE settled (
        seq INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        note TEXT NOT NULL
    ) STRICT;
    CREATE TABLE open (
        number INTEGER NOT NULL,
        level TEXT NOT NULL,
        id TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (number, level, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE result (
        number INTEGER NOT NULL,
        job TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (number, job)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE answer (
        number INTEGER NOT NULL,
        gate TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (number, gate)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE log (
        number INTEGER NOT NULL,
        job TEXT NOT NULL,
        offset INTEGER NOT NULL DEFAULT 0,
        line INTEGER NOT NULL DEFAULT 0,
        records INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL DEFAULT 0,
        done INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (number, job)
    ) STRICT;
    CREATE TABLE section (
        number INTEGER NOT NULL,
        job TEXT NOT NULL,
        offset INTEGER NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (number, job, offset)
    ) STRICT, WITHOUT ROWID;
    """,
)
"""One script for each version of the tables; a released one is never changed."""

_COLUMNS: Final = {
    "event": "level, id, final, at, crc, body",
    "outbox": "",
    "settled": "state, note",
}
"""Keyed by ``seq``."""
_PARTS: Final = {
    "open": "level, id, body",
    "result": "job, body",
    "answer": "gate, body",
    "log": "job, offset, line, records, size, done",
    "section": "job, offset, name",
}
"""Keyed by ``number``."""
_EXECUTION: Final = (
    "id, binding, nested, header, envelope, source, git, git_settled, status, ended_at, gates,"
    " answered_by"
)


FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)
"""What a statement may raise; the second when SQLite quotes a damaged name in its message."""


class NewerError(Exception):
    """The file was written by a later version; nobody may touch it."""


class DamagedError(Exception):
    """The file is not a journal, or no longer one."""


def crc_of(at: int, body: bytes) -> int:
    """The checksum of an event: tells a flipped bit from what was written. ``body`` holds level and
    id as well.
    """
    return zlib.crc32(body, at & 0xFFFFFFFF)


def sound(at: object, crc: object, body: object) -> bool:
    """Whether an event is what was written, to the bit."""
    return isinstance(at, int) and isinstance(body, bytes) and crc_of(at, body) == crc


def file_uri(path: str, mode: str = "mode=rw") -> str:
    """The name of a file as SQLite takes it; ``rw`` never creates one. With its VFS, for it is
    attached to databases in memory too, whose own it would inherit.
    """
    # sqlite.org/uri.html: "?", "#" and "%" must be escaped, anything may be. Not urllib: 5 ms.
    escaped = "".join(f"%{byte:02x}" for byte in os.fsencode(path))
    return f"file:{escaped}?{mode}&vfs=unix"


def memory_uri(name: str) -> str:
    """A database in memory that every connection of this process can open by its name."""
    return f"file:/signalbox-{name}?vfs=memdb"


def connect(uri: str, *, shared: bool = False) -> sqlite3.Connection:
    """A connection that commits when told to, and then durably."""
    db = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=BUSY, check_same_thread=not shared
    )
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        db.close()  # or it keeps its lock, and whoever tries otherwise waits for that
        raise
    return db


def define(db: sqlite3.Connection) -> None:
    """All tables, in an empty database."""
    for script in MIGRATIONS:
        db.executescript(script)
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def blank() -> bytes:
    """The bytes of an empty journal in WAL mode, so that no half-made file is ever seen."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        define(db)
        image = bytearray(db.serialize())
    finally:
        db.close()
    image[18:20] = b"\2\2"  # https://www.sqlite.org/fileformat2.html#file_format_version_numbers
    return bytes(image)


def version(db: sqlite3.Connection) -> int:
    """The tables' version; raises ``DamagedError`` for what is no journal, ``NewerError``."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise DamagedError("it is not a journal of Signalbox")
    if found > len(MIGRATIONS):
        raise NewerError(
            f"it was written by a later version of Signalbox (tables {found}, this one knows"
            f" {len(MIGRATIONS)})"
        )
    return int(found)


def check(db: sqlite3.Connection) -> None:
    """Whether what will be read and written is whole; raises ``DamagedError`` or SQLite's own.

    A bit flipped inside a row's key makes SQLite lose new rows without a word, so a small file is
    looked through; of a large one, the roots of its tables.
    """
    for table in ("execution", *_COLUMNS, *_PARTS):
        db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608 (names of our own)
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    if pages <= CHECKED:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise DamagedError(found.replace("\n", " "))


def migrate(db: sqlite3.Connection, keep: Callable[[int], None], scripts: Sequence[str]) -> None:
    """Bring older tables up to date, in one commit, after ``keep`` has made a copy."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    keep(found)
    db.execute("BEGIN EXCLUSIVE")
    try:
        (found,) = db.execute("PRAGMA user_version").fetchone()  # another process may have
        for script in scripts[found:]:
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {max(found, len(scripts))}")
        db.execute("COMMIT")
    except sqlite3.Error:
        db.execute("ROLLBACK")
        raise


def commit(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], sync: str) -> T:
    """All of ``work``, or nothing."""
    if sync != "FULL":
        db.execute(f"PRAGMA synchronous = {sync}")
    try:
        db.execute("BEGIN IMMEDIATE")
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    finally:
        if sync != "FULL":
            db.execute("PRAGMA synchronous = FULL")
    return result


# ── from one database into another ───────────────────────────────────────────────────────────────


def copy(source: sqlite3.Connection, uri: str, own: Collection[str], *, others: bool) -> None:
    """Executions of ``source`` into the database ``uri``, in one commit.

    ``own`` ones are replaced there: nobody knows them better. ``others`` are added if missing.
    """
    source.execute("ATTACH ? AS other", (uri,))
    try:
        source.execute("BEGIN")
        source.execute("DELETE FROM other.execution WHERE number < 0")  # its lock, and no other's
        for number, id_ in source.execute("SELECT number, id FROM main.execution").fetchall():
            there = source.execute("SELECT number FROM other.execution WHERE id = ?", (id_,))
            found = there.fetchone()
            if id_ in own:
                remove(source, found[0], "other.") if found else None
                _copy_one(source, number)
            elif others and not found:
                _copy_one(source, number)
        source.execute("COMMIT")
    finally:
        if source.in_transaction:
            source.execute("ROLLBACK")
        source.execute("DETACH other")


def _copy_one(db: sqlite3.Connection, number: int) -> None:
    """One execution; under another number, should its own be taken."""
    taken = db.execute("SELECT 1 FROM other.execution WHERE number = ?", (number,)).fetchone()
    new = number if not taken else next_number(db, number, "other.")
    first, last = number << SHIFT, (number + 1) << SHIFT
    db.execute(
        f"INSERT INTO other.execution (number, {_EXECUTION})"  # noqa: S608 (names of our own)
        f" SELECT ?, {_EXECUTION} FROM main.execution WHERE number = ?",
        (new, number),
    )
    for table, columns in _COLUMNS.items():
        rest = f", {columns}" if columns else ""
        db.execute(
            f"INSERT INTO other.{table} (seq{rest}) SELECT seq + ?{rest}"  # noqa: S608
            f" FROM main.{table} WHERE seq >= ? AND seq < ?",
            ((new - number) << SHIFT, first, last),
        )
    for table, columns in _PARTS.items():
        db.execute(
            f"INSERT INTO other.{table} (number, {columns}) SELECT ?, {columns}"  # noqa: S608
            f" FROM main.{table} WHERE number = ?",
            (new, number),
        )


def next_number(db: sqlite3.Connection, wanted: int, schema: str = "") -> int:
    """``wanted``, or the first after all that are there or have left events behind."""
    (last,) = db.execute(
        f"SELECT max(coalesce((SELECT max(number) FROM {schema}execution), 0),"  # noqa: S608
        f" coalesce((SELECT max(seq) FROM {schema}event), 0) >> {SHIFT})"
    ).fetchone()
    return max(wanted, int(last) + 1)


def remove(db: sqlite3.Connection, number: int, schema: str = "") -> None:
    """An execution and all that belongs to it."""
    for table in _COLUMNS:
        db.execute(
            f"DELETE FROM {schema}{table} WHERE seq >= ? AND seq < ?",  # noqa: S608
            (number << SHIFT, (number + 1) << SHIFT),
        )
    for table in ("execution", *_PARTS):
        db.execute(f"DELETE FROM {schema}{table} WHERE number = ?", (number,))  # noqa: S608


def insert_execution(db: sqlite3.Connection, header: Header) -> int:
    """The row of an execution that begins; returns its number."""
    number = next_number(db, header.execution.start >> SHIFT)
    slim = msgspec.structs.replace(header, envelope=b"", source=b"")
    db.execute(
        "INSERT INTO execution (number, id, binding, nested, header, envelope, source)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            header.execution.unique_id,
            header.binding,
            header.nested,
            msgspec.json.encode(slim),
            header.envelope,
            header.source,
        ),
    )
    return number


def settle_git(db: sqlite3.Connection, execution: str, git: bytes | None) -> bool:
    """Once and for all; False: it was settled before, or there is no such execution."""
    done = db.execute(
        "UPDATE execution SET git = ?, git_settled = 1 WHERE id = ? AND git_settled = 0",
        (git, execution),
    )
    return done.rowcount == 1
