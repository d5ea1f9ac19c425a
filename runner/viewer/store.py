"""``Store``: what can be asked of what came in, the same for pages and JSON routes.

Owns the connections that read and how long a question may take. The SQL of searching is
``searching``'s, of writing ``writing``'s. Every method may be called from any thread and may take a
while: from a coroutine, in a thread of its own.
"""

import os
import queue
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from runner.viewer import aggregating, counting, executions, lines, pipelines, searching, tables
from runner.viewer.aggregating import Aggregated, Compute, Group
from runner.viewer.changes import Memory, News
from runner.viewer.outbox import fates
from runner.viewer.query import Node, parse
from runner.viewer.recent import Recent
from runner.viewer.rows import (
    LEVELS,
    Changes,
    Execution,
    Facets,
    Level,
    Lines,
    Page,
    PipelineRow,
    Row,
    Totals,
    Window,
)
from runner.viewer.searching import Budget, Search
from runner.viewer.writing import Writer

_MINUTE: Final = 60_000
_READERS: Final = 4
"""Questions at the same time; the next one waits."""
PATIENCE: Final = 3.0
"""Seconds after which a question is answered with what was found so far."""


class LogFiles(Protocol):
    """Where executions of journals have the logs of their jobs."""

    def path(self, execution: str, job: str) -> str | None:
        """The file; None: there is none."""

    def starts(self, execution: str, job: str) -> list[tuple[int, str]]:
        """Where in it each step begins, in bytes, and its name."""


class Store:
    """What came in. Made by ``open``; ``close`` it."""

    def __init__(
        self, path: str, held: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._held = held
        self._now = monotonic
        self.path = path
        self.hash = tables.define(path)
        self.memory = Memory()
        self.writer = Writer(path, self.hash, self.memory.tell, self._follow)
        self._words = searching.Words()
        self._recent = Recent()
        self.log_files: LogFiles | None = None
        """Set by whoever reads journals."""
        self.forwarding = False
        self.trouble = ""
        """Why the relay delivers nothing at the moment; said by it."""
        self._file = 0
        """Counts the files that the store was written to."""
        self._readers: queue.LifoQueue[tuple[int, sqlite3.Connection]] = queue.LifoQueue()
        for _ in range(_READERS):
            self._readers.put((0, tables.reading(path)))

    @classmethod
    def open(cls, state: str) -> "Store":
        """The store of a state directory, made if need be. Raises ``SurroundingsError``, and
        ``RefusedError`` when another process serves it.
        """
        path = tables.prepare(state)
        held = tables.lock(path)
        try:
            return cls(path, held)
        except BaseException:
            os.close(held)
            raise

    def close(self) -> None:
        """Write what waits; end."""
        self.writer.close()
        for _ in range(_READERS):
            self._readers.get()[1].close()
        os.close(self._held)

    def _follow(self) -> None:
        """The store was written anew: lock it again, and have readers open it again."""
        os.close(self._held)
        self._held = tables.lock(self.path)
        self._file += 1

    # ── search ───────────────────────────────────────────────────────────────────────────────────

    def search(
        self,
        query: str | Node = "",
        *,
        level: Level | None = "pipeline",
        window: Window | None = None,
        limit: int = 50,
        cursor: str = "",
        oldest_first: bool = False,
        within: float = PATIENCE,
    ) -> Page:
        """The newest things that match, by when they started. ``level`` None: of all levels. Raises
        ``query.QueryError`` for a query that cannot be read, or an unknown cursor.
        """
        node = parse(query) if isinstance(query, str) else query
        with self._reader(within) as search:
            return searching.page(
                search,
                node,
                levels=LEVELS if level is None else (level,),
                window=window or Window(),
                limit=limit,
                cursor=cursor,
                oldest_first=oldest_first,
            )

    def bodies(self, rows: Sequence[Row], size: int) -> list[bytes]:
        """The ``resource`` of each of these rows, JSON, as it is kept: of the first of them, as
        many as have ``size`` bytes together, but at least one.
        """
        with self._reader(PATIENCE) as search:
            return searching.bodies(search, (row.cursor for row in rows), size)

    def aggregate(
        self,
        query: str | Node,
        computes: Sequence[Compute],
        groups: Sequence[Group] = (),
        *,
        window: Window | None = None,
        within: float = PATIENCE,
    ) -> Aggregated:
        """Figures of all that match, of all levels. Raises ``query.QueryError``."""
        node = parse(query) if isinstance(query, str) else query
        with self._reader(within) as search:
            return aggregating.aggregate(search, node, window or Window(), computes, groups)

    def facets(
        self,
        query: str | Node = "",
        *,
        level: Level = "pipeline",
        window: Window | None = None,
        top: int = 20,
        only: str = "",
        within: float = PATIENCE,
    ) -> Facets:
        """Counts over the newest 50,000 matches, and when they started. ``only``: of this attribute
        alone, at a fraction of the price. What was asked a moment ago is answered as it was then: a
        moment is twenty times what answering took, or for ever while nothing comes in.
        """
        window = window or Window()
        asked = (query, level, window.start // _MINUTE, window.end // _MINUTE, top, only)
        known = self._recent.get(asked, self.memory.now, self._now())
        if known:
            return known
        node = parse(query) if isinstance(query, str) else query
        moment, began = self.memory.now, self._now()
        with self._reader(within) as search:
            found = counting.facets(search, node, level=level, window=window, top=top, only=only)
        self._recent.put(asked, found, moment, began, self._now())
        return found

    def pipelines(
        self,
        *,
        query: str | Node = "",
        window: Window | None = None,
        default_branch: bool = True,
        by_branch: bool = False,
        within: float = PATIENCE,
    ) -> list[PipelineRow]:
        """Every pipeline that ran, the last to run first. ``default_branch``: only runs on it, or
        without git. ``by_branch``: one row for each branch.
        """
        node = parse(query) if isinstance(query, str) else query
        with self._reader(within) as search:
            return pipelines.overview(
                search,
                node,
                window=window or Window(),
                default_branch=default_branch,
                by_branch=by_branch,
            )

    # ── one execution ────────────────────────────────────────────────────────────────────────────

    def execution(self, unique_id: str) -> Execution | None:
        """One execution with all its parts; None: nothing of it ever came."""
        with self._reader(PATIENCE) as search:
            return executions.whole(
                search, unique_id, lambda job: self._path(unique_id, job) is not None
            )

    def row(self, unique_id: str) -> Row | None:
        """A pipeline's own row; None: it has not come."""
        with self._reader(PATIENCE) as search:
            return executions.row(search, unique_id)

    def chain(self, unique_id: str) -> tuple[Row, ...]:
        """The attempts and continuations that this execution is one of, oldest first; itself too,
        if it is known.
        """
        with self._reader(PATIENCE) as search:
            return executions.chain(search, unique_id)

    def downstream(self, unique_id: str) -> tuple[Row, ...]:
        """Executions that name this one as their parent, oldest first."""
        with self._reader(PATIENCE) as search:
            return executions.linked(search, unique_id, "parent")

    def logs(self, execution: str, job: str, *, after: int = -1, limit: int = 1000) -> Lines:
        """Lines of a job's log, by number, those above ``after``: as they were sent, or out of the
        journal's own file.
        """
        with self._reader(PATIENCE) as search:
            found = lines.read(search.db, self.hash(execution, job), after, limit)
        path = self._path(execution, job) if not found.lines else None
        if path is None or self.log_files is None:
            return found
        return lines.read_file(path, after, limit, self.log_files.starts(execution, job))

    def log_end(self, execution: str, job: str, count: int) -> int:
        """What to pass to ``logs`` as ``after`` for the last ``count`` lines."""
        with self._reader(PATIENCE) as search:
            found = lines.before_end(search.db, self.hash(execution, job), count)
        path = self._path(execution, job) if found is None else None
        return lines.before_end_of_file(path, count) if path else found or 0

    def _path(self, execution: str, job: str) -> str | None:
        return self.log_files.path(execution, job) if self.log_files else None

    # ── what is new ──────────────────────────────────────────────────────────────────────────────

    def changes(self, since: int) -> Changes:
        """What has come after ``since`` (0 at first). Quick."""
        return self.memory.since(since)

    def listen(self, listener: Callable[[News], None]) -> Callable[[], None]:
        """Have ``listener`` called after every commit, in the thread that writes: it must return at
        once (``loop.call_soon_threadsafe``). The answer ends it.
        """
        return self.memory.listen(listener)

    def totals(self) -> Totals:
        """How much there is."""
        with self._reader(PATIENCE) as search:
            events, tally = searching.totals(search.db), fates(search.db, "events")
        return Totals(
            events=events,
            forwarding=self.forwarding,
            delivered=tally.delivered,
            waiting=tally.waiting,
            refused=tally.refused,
            expired=tally.expired,
            trouble=self.trouble,
        )

    def copied(self, journal: str) -> dict[str, int]:
        """How many events of each execution of a journal have been copied; -1: all of them."""
        query = "SELECT execution, events FROM copied WHERE journal = ?"
        with self._reader(PATIENCE) as search:
            return dict(search.db.execute(query, (journal,)).fetchall())

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that only looks."""
        file, db = self._readers.get()
        if file != self._file:
            db.close()
            file, db = self._file, tables.reading(self.path)
        try:
            yield db
        finally:
            self._readers.put((file, db))

    @contextmanager
    def _reader(self, within: float) -> Iterator[Search]:
        """What to ask with, and the time that it may take."""
        with self.connection() as db:
            try:
                yield Search(
                    db=db,
                    hashed=self.hash,
                    words=self._words,
                    budget=Budget(db, self._now, within),
                )
            finally:
                db.set_progress_handler(None, 0)
