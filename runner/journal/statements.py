"""One change of an execution, as statements inside a transaction.

Owns what goes to disk together: events, what is open, results, the end, a claim. Does not commit
(``store``).
"""

import sqlite3
from typing import Final

import msgspec

from runner.errors import RefusedError
from runner.event import Status
from runner.execution import SECOND
from runner.journal import base, joblogs
from runner.journal.base import SHIFT
from runner.journal.rows import Change, Claim, Ended, Row, State
from runner.notice import GateWaiting

gates: Final = msgspec.json.Decoder(tuple[GateWaiting, ...])
_encode: Final = msgspec.json.Encoder().encode

NEWS: Final = 5 * SECOND
"""How long a running event may wait and still be news when the final one comes: in that time it was
on its way (an event leaves within 2 s); after it, nobody was there to take it.
"""


def number(db: sqlite3.Connection, execution: str) -> int:
    """The execution's row."""
    found = db.execute("SELECT number FROM execution WHERE id = ?", (execution,)).fetchone()
    if not found:
        raise LookupError(execution)
    return int(found[0])


def span(db: sqlite3.Connection, execution: str) -> tuple[int, int]:
    """The seqs of its events: the first, and the one after the last. Unknown: none."""
    found = db.execute("SELECT number FROM execution WHERE id = ?", (execution,)).fetchone()
    return (found[0] << SHIFT, (found[0] + 1) << SHIFT) if found else (0, 0)


def put(db: sqlite3.Connection, execution: int, change: Change) -> None:
    """Everything in ``change``."""
    for row in change.rows:
        _event(db, execution, row)
    db.executemany(
        "INSERT OR REPLACE INTO open VALUES (?, ?, ?, ?)",
        [(execution, part.level, part.id, part.body) for part in change.opened],
    )
    for section in change.sections:
        joblogs.put(db, execution, section)
    db.executemany(
        "INSERT OR REPLACE INTO result VALUES (?, ?, ?)",
        [(execution, result.job, _encode(result)) for result in change.results],
    )
    if change.ended:
        _end(db, execution, change.ended)


def _event(db: sqlite3.Connection, execution: int, row: Row) -> None:
    """An event that waits. A running event of the same thing that still waits is not sent any more
    when another takes its place, or when it is no news (steps have none).
    """
    if row.level != "step":
        _supersede(db, row)
    inserted = db.execute(
        "INSERT INTO event SELECT coalesce(max(seq) + 1, ?1), ?3, ?4, ?5, ?6, ?7, ?8"
        " FROM event WHERE seq >= ?1 AND seq < ?2",
        (
            execution << SHIFT,
            (execution + 1) << SHIFT,
            row.level,
            row.id,
            row.final,
            row.at,
            base.crc_of(row.at, row.body),
            row.body,
        ),
    )
    db.execute("INSERT INTO outbox VALUES (?)", (inserted.lastrowid,))
    if row.final:
        db.execute(
            "DELETE FROM open WHERE number = ? AND level = ? AND id = ?",
            (execution, row.level, row.id),
        )


def _supersede(db: sqlite3.Connection, row: Row) -> None:
    running = (
        "SELECT outbox.seq FROM event JOIN outbox ON outbox.seq = event.seq"
        " WHERE event.id = ? AND event.level = ? AND event.final = 0 AND event.at <= ?"
    )
    newest = row.at - NEWS if row.final else row.at
    for (seq,) in db.execute(running, (row.id, row.level, newest)).fetchall():
        db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
        db.execute("INSERT INTO settled VALUES (?, ?, '')", (seq, State.SUPERSEDED))


def _end(db: sqlite3.Connection, execution: int, ended: Ended) -> None:
    db.execute(
        "UPDATE execution SET status = ?, ended_at = ?, gates = ? WHERE number = ?",
        (ended.status.value, ended.at, _encode(ended.gates), execution),
    )


def claim(db: sqlite3.Connection, wanted: Claim, by: str) -> None:
    """Answer the gates of a blocked execution, in the transaction in which its successor begins:
    of any number of processes one gets here first, and a crash leaves both or neither.
    """
    row = db.execute(
        "SELECT number, status, gates, answered_by FROM execution WHERE id = ?", (wanted.blocked,)
    ).fetchone()
    if not row:
        raise RefusedError(f"there is no execution {wanted.blocked}")
    blocked, status, waiting, answered_by = row
    if status != Status.BLOCKED.value:
        how = f"it ended with {status}" if status else "it has not ended"
        raise RefusedError(f"execution {wanted.blocked} waits for no answer: {how}")
    if answered_by:
        raise RefusedError(
            f"execution {wanted.blocked} has been answered already",
            f"execution {answered_by} goes on from it",
        )
    known = {gate.gate for gate in gates.decode(waiting)}
    for answer in wanted.answers:
        if answer.gate not in known:
            raise RefusedError(
                f"execution {wanted.blocked} does not wait at gate {answer.gate}",
                f"it waits at: {', '.join(sorted(known))}",
            )
        db.execute("INSERT INTO answer VALUES (?, ?, ?)", (blocked, answer.gate, _encode(answer)))
    db.execute("UPDATE execution SET answered_by = ? WHERE number = ?", (by, blocked))
