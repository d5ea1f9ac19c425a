"""What goes into the store, and when it is on disk: many requests share one commit.

Owns the one thread that writes, the transaction, and the promise: a ``Future`` that ``submit`` gave
is done when its events are synced to disk, and fails when they are not in the store at all. Does
not know what may come in (``check``), nor how it is found again (``searching``).
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

import msgspec

from runner.viewer import columns, tables
from runner.viewer.changes import News
from runner.viewer.check import Pipeline, Taken, one
from runner.viewer.lines import LogLine
from runner.viewer.outbox import Waiting, enqueue

_WORDS_KEPT: Final = 50_000
"""Words whose numbers are kept in memory, and keys."""
_TOGETHER: Final = 64
"""Requests in one commit, at most."""
_INSERT: Final = (
    f"INSERT OR REPLACE INTO event ({', '.join(tables.COLUMNS)})"  # noqa: S608 (our own names)
    f" VALUES ({', '.join('?' * len(tables.COLUMNS))})"
)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What goes in together or not at all."""

    events: Sequence[Taken] = ()
    lines: Sequence[LogLine] = ()
    waiting: Sequence[Waiting] = ()
    """For the relay, as it came."""
    copied: tuple[str, str, int] | None = None
    """Journal, execution and how many of its events have been copied with this."""


class Writer:
    """The thread that writes. ``told`` hears of every commit, ``moved`` when the store had to be
    written anew: other connections have to follow.
    """

    def __init__(
        self,
        path: str,
        hashed: tables.Hash,
        told: Callable[[News], None] = lambda _: None,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._db = tables.writing(path)
        self._file = tables.identity(path)
        self._moved = moved
        self._hash = hashed
        self._told = told
        self._words: dict[str, int] = {"": 0}
        self._used: dict[int, int] = {}
        """The last key of each level and millisecond that was used lately, by the first."""
        self._rows: list[tuple[Any, ...]] = []
        self._bodies: list[tuple[int, bytes]] = []
        self._fresh: set[tuple[int, int]] = set()
        """What was put and SQLite does not know yet: it takes many at a time for half the price."""
        self._queue: queue.SimpleQueue[tuple[Batch | Callable[..., Any] | None, Future[Any]]]
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch) -> "Future[None]":
        """Have it written; done when it is on disk."""
        future: Future[None] = Future()
        self._queue.put((batch, future))
        return future

    def apply(self, change: Callable[[sqlite3.Connection], Any]) -> "Future[Any]":
        """Have any other change written, in its turn."""
        future: Future[Any] = Future()
        self._queue.put((change, future))
        return future

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put((None, Future()))
        self._thread.join()
        self._db.close()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while True:
            works = [self._queue.get()]
            while len(works) < _TOGETHER and not self._queue.empty():
                works.append(self._queue.get())
            self._commit([work for work in works if work[0] is not None])
            if any(work is None for work, _ in works):
                return

    def _commit(self, works: list[tuple[Any, Future[Any]]]) -> None:
        """All in one commit; if that fails, each by itself, so that one does not fail all."""
        if not works:
            return
        news = News()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            results = [self._do(work, news) for work, _ in works]
            self._flush()
            self._db.execute("COMMIT")
            self._stay()
        except Exception as error:  # noqa: BLE001  carried over to those who wait
            self._undo()
            if len(works) > 1:
                for work in works:
                    self._commit([work])
            else:
                works[0][1].set_exception(error)
            return
        self._told(news)
        for (_, future), result in zip(works, results, strict=True):
            future.set_result(result)

    def _stay(self) -> None:
        """In the file that the path names."""
        if tables.identity(self._path) == self._file:
            return
        tables.rewrite(self._db, self._path)
        self._db.close()
        self._db = tables.writing(self._path)
        self._file = tables.identity(self._path)
        self._moved()

    def _undo(self) -> None:
        # Some of what is remembered may never have been written.
        self._words, self._used = {"": 0}, {}
        self._rows, self._bodies = [], []
        self._fresh.clear()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _do(self, work: Batch | Callable[..., Any], news: News) -> Any:
        if not isinstance(work, Batch):
            return work(self._db)
        for taken in work.events:
            self._put(taken)
            news.executions.add(taken.execution)
        for line in work.lines:
            self._put_line(line)
            news.logs.add(line.pipeline_unique_id)
        enqueue(self._db, work.waiting)
        news.waiting |= bool(work.waiting)
        if work.copied:
            self._db.execute("INSERT OR REPLACE INTO copied VALUES (?, ?, ?)", work.copied)
        return None

    # ── events ───────────────────────────────────────────────────────────────────────────────────

    def _put(self, taken: Taken) -> None:
        """One event, over what was known of the same thing."""
        run, part = self._hash(taken.execution), self._hash(taken.level, taken.id)
        if (run, part) in self._fresh:
            self._flush()
        found = self._db.execute(
            "SELECT key, flags FROM event WHERE run = ? AND part = ?", (run, part)
        ).fetchone()
        if not found:
            self._insert(taken, run, part, None)
            return
        key, flags = found
        (body,) = self._db.execute("SELECT body FROM payload WHERE key = ?", (key,)).fetchone()
        was_final, is_final = bool(flags & tables.FINAL), taken.resource.status != "running"
        told = columns.merged(body, taken.body, was_final=was_final, is_final=is_final)
        if told == body:
            return
        if told != taken.body:
            taken = _retold(taken, told)
        self._insert(taken, run, part, key)

    def _insert(self, taken: Taken, run: int, part: int, key: int | None) -> None:
        row = columns.narrow(taken)
        if key is not None and tables.start_of(key) != row.start:
            self._db.execute("DELETE FROM event WHERE key = ?", (key,))
            self._db.execute("DELETE FROM payload WHERE key = ?", (key,))
            key = None
        if key is None:
            key = self._free_key(taken, row.start)
        known = self._words
        words = [known[word] if word in known else self._number(word) for word in row.words]
        self._rows.append((key, run, part, row.duration, row.queue, row.flags, *words, row.tags))
        self._bodies.append((key, taken.body))
        self._fresh.add((run, part))
        if isinstance(taken.resource, Pipeline):
            self._link(taken.resource, run)

    def _flush(self) -> None:
        """Have SQLite know what was put."""
        self._db.executemany(_INSERT, self._rows)
        self._db.executemany("INSERT OR REPLACE INTO payload VALUES (?, ?)", self._bodies)
        self._rows, self._bodies = [], []
        self._fresh.clear()

    def _free_key(self, taken: Taken, start: int) -> int:
        """The next one of this level and time; when the count is full, of the time after it."""
        first = tables.first_key(taken.level, start)
        used = self._used.get(first)
        if used is None:
            (used,) = self._db.execute(
                "SELECT max(key) FROM event WHERE key BETWEEN ? AND ?",
                (first, tables.last_key(taken.level, start)),
            ).fetchone()
        key = (
            first if used is None else min(int(used) + 1, tables.last_key(taken.level, tables.LAST))
        )
        if len(self._used) > _WORDS_KEPT:
            self._used.clear()
        self._used[first] = key
        return key

    def _link(self, pipeline: Pipeline, run: int) -> None:
        """What it says of other executions."""
        previous, parent = pipeline.previous_attempt, pipeline.parent_pipeline
        for kind, target in (
            ("chain", pipeline.pipeline_id),
            ("previous", previous.id if previous else ""),
            ("parent", parent.id if parent else ""),
        ):
            if isinstance(target, str) and target:
                values = (self._hash(target), kind, run)
                self._db.execute("INSERT OR IGNORE INTO link VALUES (?, ?, ?)", values)

    def _number(self, word: str) -> int:
        """The word's number, a new one if need be."""
        if len(self._words) > _WORDS_KEPT:
            self._words = {"": 0}
        word_row = self._db.execute("SELECT id FROM word WHERE text = ?", (word,)).fetchone()
        if word_row:
            number = int(word_row[0])
        else:
            number = self._db.execute("INSERT INTO word (text) VALUES (?)", (word,)).lastrowid or 0
        self._words[word] = number
        return number

    # ── lines ────────────────────────────────────────────────────────────────────────────────────

    def _put_line(self, line: LogLine) -> None:
        """A line; one without a number comes after the last."""
        log = self._hash(line.pipeline_unique_id, line.job_id)
        number = line.line_number
        if number is None:
            query = "SELECT coalesce(max(number), 0) + 1 FROM line WHERE log = ?"
            (number,) = self._db.execute(query, (log,)).fetchone()
        section = self._words.get(line.section_name or "")
        if section is None:
            section = self._number(line.section_name or "")
        self._db.execute(
            "INSERT OR REPLACE INTO line VALUES (?, ?, ?, ?, ?, ?)",
            (log, number, section, line.at, line.status or "", line.message),
        )


def _retold(taken: Taken, body: bytes) -> Taken:
    """The same event with what was known before in it."""
    element = b'{"attributes":{"resource":%b}}' % body
    return msgspec.structs.replace(taken, resource=one(element).resource, body=body)
