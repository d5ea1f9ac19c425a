"""The store's tables, and how a file becomes one.

Owns SQL that defines, the keys, and connections. The layout::

    event     one narrow row for each pipeline, stage, job and step: what searches look at
    payload   its ``resource`` as it came, looked at for the few that are shown
    word      texts that come again and again; ``event`` holds their numbers
    link      which execution names which other: its chain, the attempt before, its parent
    line      lines of jobs' logs
    copied    how much of a journal has been copied
    outbox    what the relay has to deliver; ``fate`` what became of the rest

An event's key is its level, its start and a count, in one integer: so each level is one range of
the table in the order of time, and a list, a window or a count is a walk along it. ``run`` and
``part`` are hashes of ids, salted, so that nobody can make two of them meet; the index over both
finds a thing by its id and an execution by its own, and grows at one place while it runs.
"""

import contextlib
import fcntl
import hashlib
import os
import sqlite3
from typing import Final

from runner.errors import RefusedError, SurroundingsError
from runner.state import ELSEWHERE, Place
from runner.viewer.rows import LEVELS, Level

APPLICATION: Final = int.from_bytes(b"SgBv")
VERSION: Final = 1
COUNT: Final = 18
"""Bits of the count: a quarter of a million things of one level in one millisecond."""
TIME: Final = 43
"""Bits of the start in milliseconds: until the year 2248."""
LAST: Final = (1 << TIME) - 1

WORDS: Final = (
    "status",
    "name",
    "pipeline",
    "stage",
    "job",
    "provider",
    "service",
    "env",
    "repository",
    "branch",
    "tag",
    "sha",
    "author",
    "node",
    "domain",
    "fault",
)
"""Columns of ``event`` that hold numbers of words; 0: absent."""
NUMBERS: Final = ("duration", "queue", "flags")
COLUMNS: Final = ("key", "run", "part", *NUMBERS, *WORDS, "tags")

MANUAL: Final = 1
PARTIAL: Final = 2
RESUMED: Final = 4
DEFAULT: Final = 8
"""On the default branch, or without git."""
FINAL: Final = 16

SCHEMA: Final = f"""
    CREATE TABLE event (
        key INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        part INTEGER NOT NULL,
        duration INTEGER,
        queue INTEGER,
        flags INTEGER NOT NULL,
        {"".join(f"{name} INTEGER NOT NULL, " for name in WORDS)}
        tags TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX identity ON event (run, part);
    CREATE TABLE payload (key INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE link (
        target INTEGER NOT NULL,
        kind TEXT NOT NULL,
        run INTEGER NOT NULL,
        PRIMARY KEY (target, kind, run)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX linking ON link (run);
    CREATE TABLE line (
        log INTEGER NOT NULL,
        number INTEGER NOT NULL,
        section INTEGER NOT NULL,
        at INTEGER,
        status TEXT NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (log, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE copied (
        journal TEXT NOT NULL,
        execution TEXT NOT NULL,
        events INTEGER NOT NULL,
        PRIMARY KEY (journal, execution)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY,
        lane TEXT NOT NULL,
        level TEXT NOT NULL,
        id TEXT NOT NULL,
        final INTEGER NOT NULL,
        at INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX waiting ON outbox (lane, seq);
    CREATE TABLE fate (
        lane TEXT NOT NULL,
        state INTEGER NOT NULL,
        note TEXT NOT NULL,
        events INTEGER NOT NULL,
        PRIMARY KEY (lane, state, note)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE meta (salt BLOB NOT NULL) STRICT;
"""


def first_key(level: Level, start: int) -> int:
    """The least key of a level at a time (epoch milliseconds)."""
    return (LEVELS.index(level) << (TIME + COUNT)) | (max(0, min(start, LAST)) << COUNT)


def last_key(level: Level, start: int) -> int:
    """The greatest key of a level at a time."""
    return first_key(level, start) | ((1 << COUNT) - 1)


def level_of(key: int) -> Level:
    """The level that a key is of."""
    return LEVELS[key >> (TIME + COUNT)]


def order_of(key: int) -> int:
    """A key without its level: compares things of all levels by time."""
    return key & ((1 << (TIME + COUNT)) - 1)


def start_of(key: int) -> int:
    """When it started, in epoch milliseconds."""
    return order_of(key) >> COUNT


class Hash:
    """Ids as 63-bit numbers. The salt is the store's own secret."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def __call__(self, *texts: str) -> int:
        """The number of these texts together."""
        message = "\0".join(texts).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(message, digest_size=8, key=self._salt).digest()
        return int.from_bytes(digest) >> 1


def prepare(state: str) -> str:
    """The store's file in a state directory, which is made and looked at as a run does. Returns its
    path. Raises ``SurroundingsError``.
    """
    try:
        Place(state).prepare()
        folder = os.path.join(state, "serve")
        if not os.path.isdir(folder):
            os.mkdir(folder, 0o700)
    except OSError as error:
        raise SurroundingsError(f"{state} cannot be used: {error.strerror}", ELSEWHERE) from None
    if os.path.islink(folder) or os.stat(folder).st_uid != os.geteuid():
        raise SurroundingsError(f"{folder} is not ours", ELSEWHERE)
    os.chmod(folder, 0o700)
    return os.path.join(folder, "store.db")


def lock(path: str) -> int:
    """Hold the store for this process alone; raises ``RefusedError``. The descriptor keeps it."""
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise RefusedError(
            f"{path} is served by another process", "end that one, or choose another --state"
        ) from None
    return fd


def define(path: str) -> Hash:
    """The tables, made if need be; the store's salt. Raises ``SurroundingsError``."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    try:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            return Hash(_defined(db, path))
        finally:
            db.close()
    except sqlite3.Error as error:
        raise SurroundingsError(
            f"{path} cannot be used: {error}", f"remove it, or {ELSEWHERE}"
        ) from error


def _defined(db: sqlite3.Connection, path: str) -> bytes:
    db.execute("PRAGMA journal_mode = WAL")
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if (application, version) not in {(0, 0), (APPLICATION, VERSION)}:
        raise SurroundingsError(
            f"{path} was written by another version of Signalbox",
            "remove it: what the journals hold is copied again",
        )
    if not application:
        db.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, SCHEMA.split(";")):
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES (?)", (os.urandom(16),))
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    (salt,) = db.execute("SELECT salt FROM meta").fetchone()
    return bytes(salt)


def identity(path: str) -> tuple[int, int] | None:
    """Which file the path names; None: none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def rewrite(db: sqlite3.Connection, path: str) -> None:
    """Write the store anew from a connection that still has it: somebody has removed its file
    (``git clean -fdx``), and SQLite commits happily to what no longer has a name.
    """
    prepare(os.path.dirname(os.path.dirname(path)))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.tmp")
    os.close(os.open(f"{path}.tmp", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    copy = sqlite3.connect(f"{path}.tmp", isolation_level=None)
    try:
        db.backup(copy)
    finally:
        copy.close()
    os.rename(f"{path}.tmp", path)
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def writing(path: str) -> sqlite3.Connection:
    """The connection that writes: what it has committed is on disk."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cache_size = -16000")
    db.execute("PRAGMA wal_autocheckpoint = 4000")
    return db


def reading(path: str) -> sqlite3.Connection:
    """A connection that only looks, for any thread, one at a time."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA query_only = ON")
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cache_size = -16000")
    return db
