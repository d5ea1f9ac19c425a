"""Searching: pages of rows, facets, in a window of time, within a budget of time.

Owns the walk along ``event`` and what a row shows. All answers are prefixes of the whole truth, the
newest first, should time run out.
"""

import base64
import heapq
import sqlite3
from collections import Counter
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
    Bucket,
    Count,
    Facet,
    Facets,
    Level,
    Page,
    Row,
    Window,
)

MATCHES: Final = 50_000
"""Facets count this many, the newest."""
BUCKETS: Final = 60
"""Pieces of a timeline."""
_STEPS: Final = 20_000
"""Steps of SQLite's machine between two looks at the time: half a millisecond."""
_WORDS_KEPT: Final = 100_000
_FETCH: Final = 2000
_SHOWN: Final = 500
"""Characters of a message, and tags, that a row shows."""

_FACETS: Final = (
    ("@ci.status", "Status", "status"),
    ("@ci.pipeline.name", "Pipeline", "pipeline"),
    ("@ci.stage.name", "Stage", "stage"),
    ("@ci.job.name", "Job", "job"),
    ("@ci.step.name", "Step", "name"),
    ("@git.repository.id", "Repository", "repository"),
    ("@git.branch", "Branch", "branch"),
    ("@git.tag", "Git tag", "tag"),
    ("@git.commit.author.email", "Author", "author"),
    ("@ci.provider.name", "CI provider", "provider"),
    ("@ci.provider.instance", "CI instance", "service"),
    ("env", "Environment", "env"),
    ("@ci.node.name", "Node", "node"),
    ("@error.domain", "Error domain", "domain"),
    ("@error.type", "Error type", "fault"),
)
_PACKING: Final = (
    *("status", "flags", "domain"),
    *("pipeline", "provider", "env"),
    *("repository", "service", "node"),
    *("branch", "tag", "fault"),
    *("stage", "job", "name"),
    "author",
)
"""Columns that are handed over together: of each three one has many values at most, so that there
are few different ones of the three.
"""
_FLAGS: Final = (
    ("@ci.is_manual", "Manually triggered", tables.MANUAL),
    ("@ci.partial_retry", "Partial retry", tables.PARTIAL),
    ("@ci.is_resumed", "Resumed", tables.RESUMED),
    ("@git.is_default_branch", "Default branch", tables.DEFAULT),
)
_LACKING: Final[dict[Level, set[str]]] = {
    "pipeline": {"stage", "job", "name"},
    "stage": {"job", "name"},
    "job": {"name"},
    "step": set(),
}


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


# ── facets ───────────────────────────────────────────────────────────────────────────────────────


def facets(
    search: Search, node: Node, *, level: Level, window: Window, top: int, only: str = ""
) -> Facets:
    """What the newest matches have in common; ``only``: as to this attribute."""
    chosen = [
        facet for facet in _FACETS if facet[2] not in _LACKING[level] and only in ("", facet[0])
    ]
    flags = [flag for flag in _FLAGS if only in ("", flag[0])]
    wanted = {"status", "flags", *(column for _, _, column in chosen)}
    packs = _packs(search, [column for column in _PACKING if column in wanted])
    rows = search.all(node, level, keys_of(level, window), _packed(packs), limit=MATCHES + 1)
    capped = len(rows) > MATCHES
    keys, *packed = zip(*rows[:MATCHES], strict=True) if rows else ((), *([()] * len(packs)))
    counts = _unpacked(packs, packed)
    found = [_facet(search, facet, counts[facet[2]], top) for facet in chosen]
    found += [_truths(attribute, title, counts["flags"], bit) for attribute, title, bit in flags]
    return Facets(
        matches=len(keys),
        capped=capped,
        facets=tuple(facet for facet in found if facet.values),
        timeline=() if only else _timeline(search, keys, packed[0], _bits(packs[0])),
        complete=not search.budget.over,
    )


def _packs(search: Search, columns: Sequence[str]) -> list[list[str]]:
    """Columns to be handed over together in one number: three while words have numbers of 21 bits,
    else two. Handing numbers over to Python is most of what a search costs.
    """
    (words,) = search.db.execute("SELECT max(id) FROM word").fetchone()
    size = 3 if (words or 0) < 1 << 21 else 2
    return [list(columns[at : at + size]) for at in range(0, len(columns), size)]


def _bits(pack: Sequence[str]) -> int:
    """Of one column in a pack."""
    return 21 if len(pack) == 3 else 31  # noqa: PLR2004 - 63 bits are what there is


def _packed(packs: Sequence[Sequence[str]]) -> list[str]:
    found = ["key"]
    for pack in packs:
        shifted = (f"({column} << {at * _bits(pack)})" for at, column in enumerate(pack))
        found.append(" | ".join(shifted))
    return found


def _unpacked(
    packs: Sequence[Sequence[str]], packed: Sequence[Sequence[int]]
) -> "dict[str, Counter[int]]":
    """How often each value of each column was found."""
    counts: dict[str, Counter[int]] = {column: Counter() for pack in packs for column in pack}
    for pack, values in zip(packs, packed, strict=True):
        bits = _bits(pack)
        mask = (1 << bits) - 1
        found = Counter(values)
        for at, column in enumerate(pack):
            into, shift = counts[column], at * bits
            for value, count in found.items():
                into[value >> shift & mask] += count
    return counts


def _facet(search: Search, facet: tuple[str, str, str], counts: "Counter[int]", top: int) -> Facet:
    attribute, title, _ = facet
    counts.pop(0, None)
    values = [(search.words.of(search.db, number), n) for number, n in counts.most_common(top)]
    ordered = sorted(values, key=lambda pair: (-pair[1], pair[0]))
    return Facet(
        attribute=attribute,
        title=title,
        values=tuple(Count(value=value, count=count) for value, count in ordered),
    )


def _truths(attribute: str, title: str, flags: "Counter[int]", bit: int) -> Facet:
    """True and false, where there is a true at all."""
    true = sum(count for value, count in flags.items() if value & bit)
    false = flags.total() - true
    pairs = [("true", true), ("false", false)] if true else []
    return Facet(
        attribute=attribute,
        title=title,
        values=tuple(Count(value=value, count=count) for value, count in pairs if count),
    )


def _timeline(
    search: Search, keys: Sequence[int], statuses: Sequence[int], bits: int
) -> tuple[Bucket, ...]:
    """``statuses``: the lowest ``bits`` of each are one."""
    if not keys:
        return ()
    newest, oldest = tables.start_of(keys[0]), tables.start_of(keys[-1])
    width = max(1, -(-(newest - oldest + 1) // BUCKETS))
    base, step = tables.order_of(keys[-1]), width << tables.COUNT
    base -= base & ((1 << tables.COUNT) - 1)
    mask = (1 << (tables.TIME + tables.COUNT)) - 1
    low = (1 << bits) - 1
    places = Counter(
        ((key & mask) - base) // step << bits | (status & low)
        for key, status in zip(keys, statuses, strict=True)
    )
    counts: dict[int, dict[str, int]] = {}
    for place, count in places.items():
        word = search.words.of(search.db, place & low)
        counts.setdefault(place >> bits, {})[word] = count
    return tuple(
        Bucket(
            start=oldest + place * width,
            end=oldest + (place + 1) * width,
            counts=counts.get(place, {}),
        )
        for place in range(-(-(newest - oldest + 1) // width))
    )


def totals(db: sqlite3.Connection) -> dict[str, int]:
    """How much there is of each level."""
    counts: dict[str, int] = {}
    for level in LEVELS:
        keys = (tables.first_key(level, 0), tables.last_key(level, tables.LAST))
        query = "SELECT count(*) FROM event WHERE key BETWEEN ? AND ?"
        (counts[level],) = db.execute(query, keys).fetchone()
    return counts
