"""The events that wait, as statements: which come next, what became of them, how many there are.

Owns the SQL of sending. Who may send an execution's events is ``store``'s, what an answer of the
intake means ``delivery``'s.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from runner.event import join
from runner.journal import base, joblogs
from runner.journal.base import SHIFT
from runner.journal.rows import Pending, State, StoredEvent, Tally
from runner.journal.statements import span

_SPAN: Final = f"seq >= (number << {SHIFT}) AND seq < ((number + 1) << {SHIFT})"


class Sendable(NamedTuple):
    """An execution with something to send, as the query gives it."""

    number: int
    id: str
    envelope: bytes
    git: bytes | None


class Batch:
    """One request's worth of events; ``used`` are the executions they are of.

    Never the running and the final event of one thing: nobody promises that an intake takes the
    elements of one request in order, and running after final would undo it. The final one comes
    with the next request.
    """

    def __init__(self, events: int, size: int, since: int | None = None) -> None:
        self.found: list[Pending] = []
        self.damaged: list[int] = []
        self.used: set[str] = set()
        self._events = events
        self._since = since
        self._running: set[str] = set()
        self._room = size - 1  # "[", and a "," or "]" after each element

    @property
    def seqs(self) -> list[int]:
        """Of all that was looked at."""
        return [event.seq for event in self.found] + self.damaged

    def fill(self, db: sqlite3.Connection, execution: Sendable) -> bool:
        """Add what ``execution`` has to send; False: nothing more may go into it."""
        _, id_, envelope, git = execution
        held = joblogs.held(db, execution.number) if self._since is not None else set()
        rows = db.execute(
            "SELECT event.seq, level, id, final, at, crc, body FROM outbox JOIN event"
            " ON event.seq = outbox.seq WHERE outbox.seq >= ? AND outbox.seq < ?"
            " ORDER BY outbox.seq",
            (execution.number << SHIFT, (execution.number + 1) << SHIFT),
        )
        for seq, level, part, final, at, crc, body in rows:
            if not base.sound(at, crc, body):
                self.damaged.append(seq)
                continue
            if final and (part in self._running or (part in held and at > (self._since or 0))):
                continue
            joined = join(envelope, git, body)
            if not self._take(len(joined)):
                rows.close()
                return False
            self.found.append(
                Pending(
                    seq=seq,
                    execution=id_,
                    level=level,
                    id=part,
                    final=bool(final),
                    at=at,
                    body=joined,
                )
            )
            self.used.add(id_)
            if not final:
                self._running.add(part)
        return True

    def _take(self, size: int) -> bool:
        """Whether one more event of this size goes in; the first always does."""
        self._room -= size + 1
        return not self.found or (self._room >= 0 and len(self.found) < self._events)


def batch(
    db: sqlite3.Connection,
    sendable: Callable[[Sendable], bool],
    *,
    binding: str,
    run: str,
    events: int,
    size: int,
    since: int | None,
) -> Batch:
    """What to send next, the first begun execution first."""
    query = (
        "SELECT number, id, envelope, git FROM execution"  # noqa: S608 (numbers of our own)
        " WHERE binding = ? AND git_settled = 1 AND (? = '' OR id = ?)"
        f" AND EXISTS (SELECT 1 FROM outbox WHERE {_SPAN}) ORDER BY number"
    )
    found = Batch(events, size, since)
    for row in db.execute(query, (binding, run, run)).fetchall():
        execution = Sendable(*row)
        if sendable(execution) and not found.fill(db, execution):
            break
    return found


def events(
    db: sqlite3.Connection, execution: str, *, downstream: bool = False
) -> list[StoredEvent]:
    """All events of an execution, in order; with those of pipelines below it, if asked for."""
    rows = db.execute(
        "SELECT event.seq, level, id, final, body, at, coalesce(state, 0), coalesce(note, '')"
        " FROM event LEFT JOIN settled ON settled.seq = event.seq"
        " WHERE event.seq >= ? AND event.seq < ? ORDER BY event.seq",
        span(db, execution),
    )
    return [
        StoredEvent(
            seq=seq,
            level=level,
            id=id_,
            final=bool(final),
            body=body,
            at=at,
            state=State(state),
            note=note,
        )
        for seq, level, id_, final, body, at, state, note in rows
        if downstream or _is_own(body, execution)
    ]


def _is_own(body: bytes, execution: str) -> bool:
    """Whether an event names no other pipeline as its own. Inside a text its quotes are escaped."""
    return b'unique_id":"%b"' % execution.encode() in body or b'unique_id":"' not in body


def settle(db: sqlite3.Connection, seqs: Sequence[int], state: State, note: str) -> None:
    """What became of events. The first word stays, but what was delivered was delivered, even if
    a later event superseded it meanwhile.
    """
    numbers = msgspec.json.encode(seqs).decode()
    db.execute(
        "INSERT INTO settled SELECT event.seq, ?, ? FROM json_each(?) JOIN event"
        " ON event.seq = value WHERE true ON CONFLICT (seq) DO UPDATE"
        " SET state = excluded.state, note = excluded.note"
        " WHERE settled.state = ? AND excluded.state = ?",
        (state, note, numbers, State.SUPERSEDED, State.DELIVERED),
    )
    db.execute("DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each(?))", (numbers,))


def tally(db: sqlite3.Connection, execution: str, binding: str, *, memory: bool) -> Tally:
    """How many events there are of each fate."""
    where, values = ("WHERE id = ?", (execution,)) if execution else ("", ())
    kept = db.execute(
        f"SELECT binding, (SELECT count(*) FROM outbox WHERE {_SPAN}) FROM execution {where}",  # noqa: S608
        values,
    ).fetchall()
    fates = dict(
        db.execute(
            f"SELECT state, count(*) FROM execution CROSS JOIN settled ON {_SPAN} {where}"  # noqa: S608
            " GROUP BY state",
            values,
        ).fetchall()
    )
    return Tally(
        delivered=fates.get(State.DELIVERED, 0),
        refused=fates.get(State.REFUSED, 0),
        expired=fates.get(State.EXPIRED, 0),
        superseded=fates.get(State.SUPERSEDED, 0),
        local=sum(count for bound, count in kept if not bound),
        waiting=sum(count for bound, count in kept if bound and bound == binding),
        held=sum(count for bound, count in kept if bound and bound != binding),
        memory=sum(count for _, count in kept) if memory else 0,
    )


def forget(db: sqlite3.Connection, execution: str) -> bool:
    """Remove an execution; False: it holds events that are to be sent."""
    query = (
        f"SELECT number, binding != '' AND EXISTS (SELECT 1 FROM outbox WHERE {_SPAN})"  # noqa: S608
        " FROM execution WHERE id = ?"
    )
    for number, waits in db.execute(query, (execution,)).fetchall():
        if waits:
            return False
        base.remove(db, number)
    return True
