"""What the relay has to deliver, as ``delivery.Sender`` takes it: what waits, what became of it.

Owns the SQL of the outbox. It holds neither an address nor a key, so whoever edits it cannot send
anything elsewhere. When to send and what an answer means are ``delivery``'s.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Final, Literal

import msgspec

from runner.journal import Pending, State, Tally

Lane = Literal["events", "lines"]
_SOME: Final = 2000
"""Rows looked at for one request: it takes a thousand."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Something to deliver, byte for byte as it came. ``at``: epoch nanoseconds."""

    lane: Lane
    level: str
    id: str
    final: bool
    at: int
    body: bytes


def enqueue(db: sqlite3.Connection, waiting: Iterable[Waiting]) -> None:
    """Add to what waits."""
    db.executemany(
        "INSERT INTO outbox (lane, level, id, final, at, body) VALUES (?, ?, ?, ?, ?, ?)",
        [(one.lane, one.level, one.id, one.final, one.at, one.body) for one in waiting],
    )


class Outbox:
    """One lane of it, for one thread. ``write`` has a change committed by the one that writes."""

    def __init__(
        self,
        connection: Callable[[], AbstractContextManager[sqlite3.Connection]],
        write: Callable[[Callable[[sqlite3.Connection], Any]], "Future[Any]"],
        lane: Lane,
    ) -> None:
        self._connection = connection
        self._write = write
        self._lane = lane

    def pending(
        self,
        *,
        binding: str,  # noqa: ARG002 - one intake is all there is
        run: str = "",  # noqa: ARG002
        events: int,
        size: int,
        since: int | None = None,  # noqa: ARG002
    ) -> list[Pending]:
        """What to send next, oldest first, at most ``events`` and ``size`` bytes but at least one.
        Never the running and the final event of one thing: nobody promises that the elements of
        one request are taken in order.
        """
        found: list[Pending] = []
        running: set[tuple[str, str]] = set()
        for row in self._rows(min(events, _SOME)):
            size -= len(row.body) + 1
            if found and size < 0:
                break
            thing = (row.level, row.id)
            if thing in running:
                continue
            if not row.final and row.level != "line":
                running.add(thing)
            found.append(row)
        return found

    def _rows(self, limit: int) -> Iterable[Pending]:
        query = (
            "SELECT seq, level, id, final, at, body FROM outbox WHERE lane = ? ORDER BY seq LIMIT ?"
        )
        with self._connection() as db:
            for seq, level, id_, final, at, body in db.execute(query, (self._lane, limit)):
                yield Pending(
                    seq=seq, execution="", level=level, id=id_, final=bool(final), at=at, body=body
                )

    def settle(self, seqs: Sequence[int], state: State, note: str = "") -> None:
        """What became of them: delivered or not, they wait no longer; how many there were stays."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in seqs])
            db.execute(
                "INSERT INTO fate VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET events = events + excluded.events",
                (self._lane, state, note, len(seqs)),
            )

        self._write(work).result()

    def tally(self, *, execution: str = "", binding: str = "") -> Tally:  # noqa: ARG002
        """How much there is of each fate."""
        with self._connection() as db:
            return fates(db, self._lane)


def fates(db: sqlite3.Connection, lane: Lane) -> Tally:
    """What became of everything in a lane."""
    query = "SELECT state, sum(events) FROM fate WHERE lane = ? GROUP BY state"
    found = dict(db.execute(query, (lane,)).fetchall())
    (waiting,) = db.execute("SELECT count(*) FROM outbox WHERE lane = ?", (lane,)).fetchone()
    return Tally(
        delivered=found.get(State.DELIVERED, 0),
        refused=found.get(State.REFUSED, 0),
        expired=found.get(State.EXPIRED, 0),
        superseded=found.get(State.SUPERSEDED, 0),
        waiting=waiting,
    )
