"""Where the database is right now: in its file, in a file written anew, or in memory.

Owns what is done when the file is gone, full, damaged, newer or unreachable. All connections of one
process share one ``Home``; each notices by ``generation`` that the database has moved and follows.
Asks and tells nothing of executions itself (``store``).
"""

import os
import sqlite3
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Final

from runner.errors import SurroundingsError
from runner.journal import base
from runner.journal.rows import Header
from runner.journal.salvage import salvage
from runner.state import ELSEWHERE, Place

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""What SQLite says of a file that is not what it was; ERROR: a table or column is missing."""
_DISTRUST: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
    }
)
"""What SQLite says when the disk itself failed. What was written may then be gone though it reads
well, and another fsync that succeeds proves nothing (D5).
"""
_FRESH: Final = 2
"""New files for damaged ones in one process; after that the disk itself lies."""
_OUR_DEFECTS: Final = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


def damage(error: Exception) -> bool:
    """Whether the file is to blame. An error without a code is Python's, about text that is none.
    The primary code is the low byte of the extended one.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return isinstance(code, int) and code & 0xFF in _DAMAGE


class Home:
    """The database's whereabouts. ``lock`` is held around every commit of this process."""

    def __init__(self, place: Place, warn: Callable[[str], None], *, frozen: bool = False) -> None:
        self.place = place
        self.lock = threading.RLock()
        self.generation = 0
        self.degraded = ""
        self.uri = base.file_uri(place.path)
        self.own: dict[str, Header] = {}
        self.git: dict[str, bytes | None] = {}
        self._warn = warn
        self._frozen = frozen
        self._identity: tuple[int, int] | None = None
        self._anchor: sqlite3.Connection | None = None
        self._returns = True
        self._doubted = False
        self._fresh = 0

    # ── at the start ─────────────────────────────────────────────────────────────────────────────

    def open(self) -> sqlite3.Connection:
        """A connection to the journal, made, corrected, saved if need be; or to memory."""
        if sqlite3.sqlite_version_info < base.OLDEST:
            needed = ".".join(map(str, base.OLDEST))
            raise SurroundingsError(
                f"Python's SQLite is {sqlite3.sqlite_version}: {needed} or later is needed",
                "use a Python that brings a later one, or the container",
            )
        try:
            return self._settle()
        except base.NewerError as error:
            self._returns = False
            return self.into_memory(None, str(error))
        except (OSError, *base.FAILURES, base.DamagedError) as error:
            return self.into_memory(None, str(error))

    def _settle(self) -> sqlite3.Connection:
        """On disk, in a sound file."""
        for attempt in range(_FRESH + 1):
            self.place.prepare()
            self.place.ensure(base.blank)
            self._identity = self.place.identity()
            try:
                return self._enter()
            except base.DamagedError as error:
                if attempt == _FRESH:
                    raise
                self._put_aside(str(error))
        raise AssertionError

    def _enter(self) -> sqlite3.Connection:
        """Open the file and see that it is whole, ours, up to date and takes a commit."""
        if os.stat(self.place.path).st_size == 0:
            raise base.DamagedError("it is empty")
        try:
            return self._probe()
        except base.FAILURES as error:
            if damage(error):
                raise base.DamagedError(str(error)) from error
        self._without_wal()
        return self._probe()

    def _probe(self) -> sqlite3.Connection:
        db = base.connect(base.file_uri(self.place.path))
        try:
            if base.version(db) < len(base.MIGRATIONS):
                with self.place.alone():
                    base.migrate(db, lambda found: self._back_up(db, found), base.MIGRATIONS)
            base.check(db)
            db.execute("BEGIN IMMEDIATE")
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _without_wal(self) -> None:
        """Some file systems have no shared memory: there the rollback journal does, at twice the
        price. A connection alone with its file (said before its first look at it) needs no shared
        memory to fold the WAL in.
        """
        db = sqlite3.connect(base.file_uri(self.place.path), uri=True, timeout=5)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = DELETE")
        finally:
            db.close()

    def _back_up(self, db: sqlite3.Connection, found: int) -> None:
        """The file as it was before its tables change."""
        kept = f"{self.place.path}.v{found}"
        if not os.path.lexists(kept):
            self.place.write(kept, b"")
            copy = base.connect(base.file_uri(kept))
            try:
                db.backup(copy)
            finally:
                copy.close()

    def read(self) -> sqlite3.Connection:
        """A connection that can only look; of an empty journal, where there is none."""
        if self.place.identity() is None:
            return self._memory()
        try:
            return self._look("mode=ro")
        except base.FAILURES:
            pass  # a WAL cannot be read where nothing can be written: the file alone can
        try:
            return self._look("immutable=1")
        except (*base.FAILURES, base.DamagedError) as error:
            raise SurroundingsError(
                f"{self.place.path} cannot be read: {error}",
                "the next run puts it aside, saves what can be read, and starts anew",
            ) from error

    def _look(self, mode: str) -> sqlite3.Connection:
        self.uri = base.file_uri(self.place.path, mode)
        db = base.connect(self.uri)
        try:
            base.version(db)
            base.check(db)
        except base.NewerError as error:
            db.close()
            raise SurroundingsError(
                f"{self.place.path}: {error}", f"update Signalbox, or {ELSEWHERE}"
            ) from error
        except BaseException:
            db.close()
            raise
        return db

    # ── on the way ───────────────────────────────────────────────────────────────────────────────

    def connect(self) -> sqlite3.Connection:
        """Another connection to wherever the database is."""
        return base.connect(self.uri)

    def moved(self) -> bool:
        """Whether the path names another file than the one that is written, or none: a step may
        run ``git clean -fdx``, and SQLite commits happily to what no longer has a name.
        """
        return self._identity is not None and self.place.identity() != self._identity

    def rebuild(self, db: sqlite3.Connection) -> sqlite3.Connection:
        """The file is gone from its path: write it anew, from the connection that still has it."""
        try:
            self.place.prepare()
            self.place.ensure(base.blank)
            base.copy(db, base.file_uri(self.place.path), self.own, others=True)
            for execution in self.own:
                self.place.renew(execution)
            new = base.connect(base.file_uri(self.place.path))
        except (OSError, *base.FAILURES, SurroundingsError) as error:
            return self.into_memory(db, str(error))
        self._identity = self.place.identity()
        self.generation += 1
        self._warn(
            f"{self.place.path} was removed while it was in use; it was written anew from what was"
            " still open"
        )
        return new

    def mend(self, db: sqlite3.Connection, error: Exception) -> sqlite3.Connection:
        """A statement failed: a connection that will take it. What is our defect is raised."""
        if self._frozen:
            raise SurroundingsError(f"{self.place.path} cannot be read: {error}") from error
        if self.degraded or isinstance(error, _OUR_DEFECTS):
            raise error
        if self.moved():
            return self.rebuild(db)
        if damage(error):
            return self._start_anew(db, str(error))
        if getattr(error, "sqlite_errorcode", 0) in _DISTRUST:
            return self._write_anew(db, str(error))
        return self.into_memory(db, str(error))

    def _start_anew(self, db: sqlite3.Connection, reason: str) -> sqlite3.Connection:
        """The file is damaged: put it aside, save what can be read, go on in a new one."""
        self._fresh += 1
        if self._fresh > _FRESH:
            return self.into_memory(db, reason)
        try:
            self._put_aside(reason)
            new = self._settle()
            self._restate(new)
        except (OSError, *base.FAILURES, SurroundingsError, base.DamagedError, base.NewerError):
            return self.into_memory(db, reason)
        self.generation += 1
        return new

    def _write_anew(self, db: sqlite3.Connection, reason: str) -> sqlite3.Connection:
        """The disk failed under the file: all that can be read goes into a new one. Where the disk
        does not take that either, the old one stays as it is.
        """
        self._doubted = True
        self._fresh += 1
        if self._fresh > _FRESH:
            return self.into_memory(db, reason)
        try:
            kept = self._swap(lambda path: self._copy_out(db, path))
            new = base.connect(self.uri)
        except (OSError, *base.FAILURES) as error:
            return self.into_memory(db, str(error))
        self._doubted = False
        self.generation += 1
        self._warn(
            f"the disk failed under {self.place.path} ({reason}); it was written anew, the old file"
            f" lies in {kept}"
        )
        return new

    def _copy_out(self, db: sqlite3.Connection, path: str) -> None:
        if self.moved():
            raise FileNotFoundError("another process has written it anew")
        base.copy(db, base.file_uri(path), self.own, others=True)

    def _swap(self, fill: Callable[[str], None]) -> str:
        """Another file in the place of the one that is not trusted; where that lies now."""
        with self.place.alone():
            kept = self.place.replace(base.blank, fill)
        self._identity = self.place.identity()
        return kept

    def _put_aside(self, reason: str) -> None:
        """Unless another process has already."""
        with self.place.alone():
            if self.place.identity() != self._identity:
                return
            kept = self.place.aside()
            self.place.publish(base.blank)
            saved = salvage(kept, base.file_uri(self.place.path))
        self._warn(
            f"{self.place.path} was damaged ({reason}): {saved} events could be read and were kept,"
            f" the file lies in {kept}"
        )

    def into_memory(self, db: sqlite3.Connection | None, reason: str) -> sqlite3.Connection:
        """No disk takes our rows: keep them in memory; what lies on disk stays as it is."""
        new = self._memory()
        if db is not None:
            try:
                base.copy(db, self.uri, self.own, others=False)
            except base.FAILURES:
                self._restate(new)
        self._identity = None
        self.generation += 1
        self.degraded = f"{self.place.path} cannot be written: {reason}"
        self._warn(
            f"{self.degraded}. Events are kept in memory; what cannot be sent before the end is"
            " lost. The build goes on."
        )
        return new

    def _memory(self) -> sqlite3.Connection:
        """A new database in memory; the anchor keeps it while connections come and go."""
        self.uri = base.memory_uri(uuid.uuid4().hex)
        self._anchor = base.connect(self.uri, shared=True)
        base.define(self._anchor)
        return base.connect(self.uri)

    def _restate(self, db: sqlite3.Connection) -> None:
        """Our executions exist, whatever else was lost."""
        db.execute("BEGIN IMMEDIATE")
        for execution, header in self.own.items():
            if not db.execute("SELECT 1 FROM execution WHERE id = ?", (execution,)).fetchone():
                base.insert_execution(db, header)
            if execution in self.git:
                base.settle_git(db, execution, self.git[execution])
        db.execute("COMMIT")

    # ── at the end ───────────────────────────────────────────────────────────────────────────────

    def close(self, db: sqlite3.Connection) -> None:
        """Fold the WAL in; try once more to bring to disk what memory holds."""
        if self.degraded and self._returns and self.own:
            self._bring_back(db)
        elif not self._frozen and not self.degraded and not self.moved():
            try:
                db.execute("PRAGMA busy_timeout = 0")  # another process that reads will fold it
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except base.FAILURES:
                pass
        db.close()
        if self._anchor:
            self._anchor.close()
        for execution in self.own:
            self.place.give_run(execution)
        self.place.release()

    def _bring_back(self, db: sqlite3.Connection) -> None:
        try:
            if self._doubted:
                self._swap(lambda path: self._refill(db, path))
            else:
                self._settle().close()
                base.copy(db, base.file_uri(self.place.path), self.own, others=False)
        except (OSError, *base.FAILURES, SurroundingsError, base.DamagedError, base.NewerError):
            return
        self.degraded = ""

    def _refill(self, db: sqlite3.Connection, path: str) -> None:
        """The rows of others from the file that is not trusted, ours from memory."""
        with closing(base.connect(base.file_uri(self.place.path))) as old:
            base.copy(old, base.file_uri(path), (), others=True)
        base.copy(db, base.file_uri(path), self.own, others=False)
