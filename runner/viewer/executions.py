"""One execution with all its parts, and those that belong to it.

Owns finding them by id. The story they tell together is ``report``'s and the pages'.
"""

from collections.abc import Callable
from typing import Final

from runner.event import JobEvent
from runner.viewer import tables
from runner.viewer.resources import event
from runner.viewer.rows import Execution, Row
from runner.viewer.searching import Search, rows_of

PARTS: Final = 20_000
"""Parts of one execution that are read."""
SIZE: Final = 48 * 1024 * 1024
"""Bytes of them."""
_CHAIN: Final = 200
"""Attempts and continuations that are looked for."""


def whole(search: Search, unique_id: str, has_file: Callable[[str], bool]) -> Execution | None:
    """All its parts, in the order of level and time. ``has_file``: whether a journal has the log of
    a job.
    """
    run = search.hashed(unique_id)
    found = search.db.execute(
        "SELECT body FROM event JOIN payload USING (key) WHERE run = ? ORDER BY event.key LIMIT ?",
        (run, PARTS + 1),
    )
    bodies: list[bytes] = []
    room, capped = SIZE, False
    for (body,) in found:
        room -= len(body)
        if capped := room < 0 or len(bodies) == PARTS:
            break
        bodies.append(bytes(body))
    if not bodies:
        return None
    read = [event(body) for body in bodies]
    own = row(search, unique_id)
    return Execution(
        id=unique_id,
        row=own,
        events=tuple(one for one, _ in read),
        raw=tuple(bodies),
        git=next((git for _, git in read if git), None),
        jobs_with_logs=tuple(
            one.id
            for one, _ in read
            if isinstance(one, JobEvent)
            and (has_file(one.id) or _has_lines(search, unique_id, one.id))
        ),
        capped=capped,
    )


def _has_lines(search: Search, execution: str, job: str) -> bool:
    query = "SELECT 1 FROM line WHERE log = ? LIMIT 1"
    return search.db.execute(query, (search.hashed(execution, job),)).fetchone() is not None


def row(search: Search, unique_id: str) -> Row | None:
    """The pipeline's own row."""
    found = search.db.execute(
        "SELECT key FROM event WHERE run = ? AND part = ?",
        (search.hashed(unique_id), search.hashed("pipeline", unique_id)),
    ).fetchone()
    return search.row(found[0]) if found else None


def linked(search: Search, unique_id: str, kind: str) -> tuple[Row, ...]:
    """Pipelines that name this one, oldest first."""
    return _rows(search, _naming(search, search.hashed(unique_id), kind))


def chain(search: Search, unique_id: str) -> tuple[Row, ...]:
    """Its attempts and continuations: what shares its pipeline's id, what came before and after."""
    known: set[int] = set()
    todo = {search.hashed(unique_id)}
    while todo and len(known) < _CHAIN:
        run = todo.pop()
        known.add(run)
        todo |= _neighbours(search, run) - known
    return _rows(search, known)


def _neighbours(search: Search, run: int) -> set[int]:
    """What a run names, and what names it or the same pipeline's id."""
    found = _naming(search, run, "previous")
    named = search.db.execute(
        "SELECT target, kind FROM link WHERE run = ? AND kind != 'parent'", (run,)
    ).fetchall()
    for target, kind in named:
        found |= _naming(search, target, "chain") if kind == "chain" else {target}
    return found


def _naming(search: Search, target: int, kind: str) -> set[int]:
    query = "SELECT run FROM link WHERE target = ? AND kind = ? LIMIT ?"
    return {run for (run,) in search.db.execute(query, (target, kind, _CHAIN))}


def _rows(search: Search, runs: set[int]) -> tuple[Row, ...]:
    """The pipelines' own rows of these runs, oldest first."""
    last = tables.last_key("pipeline", tables.LAST)
    keys = [
        key
        for run in runs
        for (key,) in search.db.execute(
            "SELECT key FROM event WHERE run = ? AND key <= ?", (run, last)
        )
    ]
    return tuple(rows_of(search, sorted(keys)))
