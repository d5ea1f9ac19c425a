"""Searching: pages of rows, in a window of time, within a budget of time.

Owns the walk along ``event`` and what a row shows. Facets are ``counting``'s. All answers are
prefixes of the whole truth, the newest first, should time run out.
"""

import base64
import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from runner.viewer import tables
from runner.viewer.compiling import Condition
from runner.viewer.query import Node, QueryError
from runner.viewer.resources import Shown, shown
from runner.viewer.rows import (
    LEVELS,
    Level,
    Page,
    Row,
    Window,
)

_STEPS: Final = 20_000
"""Steps of SQLite's machine between two looks at the time: half a millisecond."""
_WORDS_KEPT: Final = 100_000
_FETCH: Final = 2000
_SHOWN: Final = 500
"""Characters of a message, and tags, that a row shows."""


class Budget:
    """How long questions over one connection may take. ``over``: time ran out."""

    def __init__(self, db: sqlite3.Connection, now: Callable[[], float], within: float) -> None:
        self._now = now
        self._ends = now() + within
        self.over = False
        db.set_progress_handler(self._look, _STEPS)

    def _look(self) -> int:
        self.over = self.over or self._now() > self._ends
        return self.over

    def rows(self, found: sqlite3.Cursor) -> Iterator[Any]:
        """The rows until there are no more, or no more time."""
        try:
            while rows := found.fetchmany(_FETCH):
                yield from rows
        except sqlite3.OperationalError:
            if not self.over:
                raise


class Words:
    """Words by their number. They never change, so every thread may keep them."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {0: ""}

    def of(self, db: sqlite3.Connection, number: int) -> str:
        """One word."""
        known = self._known.get(number)
        if known is None:
            if len(self._known) > _WORDS_KEPT:
                self._known = {0: ""}
            found = db.execute("SELECT text FROM word WHERE id = ?", (number,)).fetchone()
            known = self._known[number] = str(found[0]) if found else ""
        return known


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What a question is asked with."""

    db: sqlite3.Connection
    hashed: tables.Hash
    words: Words
    budget: Budget

    def walk(
        self,
        node: Node,
        level: Level,
        keys: tuple[int, int],
        columns: Sequence[str],
        *,
        limit: int,
        oldest_first: bool = False,
    ) -> Iterator[Any]:
        """Rows of one level between two keys (both included), in order."""
        if keys[0] > keys[1]:
            return
        order = "ASC" if oldest_first else "DESC"
        try:
            condition = Condition(self.db, self.hashed, node, level)
            found = self.db.execute(
                f"SELECT {', '.join(columns)} FROM event WHERE key BETWEEN ? AND ?"  # noqa: S608
                f" AND {condition.sql} ORDER BY key {order} LIMIT ?",
                (*keys, *condition.values, limit),
            )
        except sqlite3.OperationalError:
            if not self.budget.over:
                raise
            return
        yield from self.budget.rows(found)

    def all(
        self, node: Node, level: Level, keys: tuple[int, int], columns: Sequence[str], *, limit: int
    ) -> list[Any]:
        """The same at once, the newest first."""
        return list(self.walk(node, level, keys, columns, limit=limit))

    def row(self, key: int) -> Row | None:
        """The row of one key."""
        return next(iter(rows_of(self, [key])), None)


def bodies(search: Search, cursors: Iterable[str], size: int) -> list[bytes]:
    """The payloads of these rows until they have ``size`` bytes; empty for one that has moved."""
    found: list[bytes] = []
    for cursor in cursors:
        query = "SELECT body FROM payload WHERE key = ?"
        row = search.db.execute(query, (uncursor(cursor),)).fetchone() or (b"{}",)
        size -= len(row[0])
        if found and size < 0:
            break
        found.append(bytes(row[0]))
    return found


def page(
    search: Search,
    node: Node,
    *,
    levels: Sequence[Level],
    window: Window,
    limit: int,
    cursor: str,
    oldest_first: bool,
) -> Page:
    """One page of rows, of one level or of several in the order of time."""
    after = uncursor(cursor) if cursor else None
    walks = [
        search.walk(
            node,
            level,
            _keys_after(level, window, after, oldest_first=oldest_first),
            ("key",),
            limit=limit + 1,
            oldest_first=oldest_first,
        )
        for level in levels
    ]
    merged = heapq.merge(
        *((key for (key,) in walk) for walk in walks), key=_sorting, reverse=not oldest_first
    )
    keys = list(islice(merged, limit + 1))
    rows = rows_of(search, keys[:limit])
    more = len(keys) > limit or (search.budget.over and bool(keys))
    return Page(
        rows=tuple(rows),
        next=cursor_of(keys[:limit][-1]) if more else "",
        complete=not search.budget.over,
    )


def _sorting(key: int) -> tuple[int, int]:
    """By time, then by level."""
    return tables.order_of(key), LEVELS.index(tables.level_of(key))


def keys_of(level: Level, window: Window) -> tuple[int, int]:
    """The keys of a level in a window."""
    return tables.first_key(level, window.start), tables.last_key(level, window.end)


def _keys_after(
    level: Level, window: Window, after: int | None, *, oldest_first: bool
) -> tuple[int, int]:
    """The same after a cursor."""
    first, last = keys_of(level, window)
    if after is None:
        return first, last
    # The key at this level with the cursor's time; whether it itself comes after is said by level.
    rank = LEVELS.index(level)
    base = tables.first_key(level, 0) + tables.order_of(after)
    if oldest_first:
        itself = rank > LEVELS.index(tables.level_of(after))
        return max(first, base if itself else base + 1), last
    itself = rank < LEVELS.index(tables.level_of(after))
    return first, min(last, base if itself else base - 1)


def cursor_of(key: int) -> str:
    """A key as a text that says nothing."""
    return base64.urlsafe_b64encode(key.to_bytes(8)).decode().rstrip("=")


def uncursor(text: str) -> int:
    """The key again; raises ``QueryError`` for what was never a cursor."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 8 or raw[0] & 0x80:  # noqa: PLR2004 - bytes of a key
        raise QueryError("the cursor is none of ours", 1)
    return int.from_bytes(raw)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def rows_of(search: Search, keys: Sequence[int]) -> list[Row]:
    """The rows of these keys, in this order."""
    columns = ", ".join(f"event.{name}" for name in tables.COLUMNS)
    found = []
    for key in keys:
        values = search.db.execute(
            f"SELECT {columns}, body FROM event JOIN payload USING (key) WHERE event.key = ?",  # noqa: S608
            (key,),
        ).fetchone()
        if values:
            found.append(_row(search, dict(zip((*tables.COLUMNS, "body"), values, strict=True))))
    return found


def _row(search: Search, values: dict[str, Any]) -> Row:
    word = {name: search.words.of(search.db, values[name]) for name in tables.WORDS}
    level = tables.level_of(values["key"])
    told: Shown = shown(values["body"])
    return Row(
        cursor=cursor_of(values["key"]),
        level=level,
        execution=told.unique_id or told.pipeline_unique_id,
        id=told.unique_id or told.id,
        name=word["name"],
        pipeline=word["pipeline"],
        stage=word["stage"],
        job=word["job"],
        status=word["status"],
        start=tables.start_of(values["key"]),
        duration=values["duration"],
        queue=values["queue"],
        provider=word["provider"],
        service=word["service"],
        env=word["env"],
        url=told.url or "",
        repository=word["repository"],
        branch=word["branch"],
        tag=word["tag"],
        default=bool(values["flags"] & tables.DEFAULT),
        sha=word["sha"],
        message=(told.git.message or "")[:_SHOWN] if told.git else "",
        author=(told.git.author_name if told.git else None) or word["author"],
        manual=bool(values["flags"] & tables.MANUAL),
        partial_retry=bool(values["flags"] & tables.PARTIAL),
        resumed=bool(values["flags"] & tables.RESUMED),
        previous=told.previous_attempt.id if told.previous_attempt else "",
        parent=told.parent_pipeline.id if told.parent_pipeline else "",
        failure=told.failure,
        tags=tuple(told.tags or ())[:_SHOWN],
        measures=tuple(told.metrics or ())[:_SHOWN],
    )


def totals(db: sqlite3.Connection) -> dict[str, int]:
    """How much there is of each level."""
    counts: dict[str, int] = {}
    for level in LEVELS:
        keys = (tables.first_key(level, 0), tables.last_key(level, tables.LAST))
        query = "SELECT count(*) FROM event WHERE key BETWEEN ? AND ?"
        (counts[level],) = db.execute(query, keys).fetchone()
    return counts
