"""An execution as it travels from one journal into another: its value, and the SQL that admits it.

Owns what an arrival may change. It adds executions; of one that is here it can say who answered
it, and no more: nothing that waits here counts as sent, and no answer is taken back.
"""

import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec

from runner.errors import RefusedError
from runner.event import Status
from runner.journal import base, executions, joblogs
from runner.journal.rows import State, Stored, StoredEvent, Unsent
from runner.notice import Answer, Result

_encode: Final = msgspec.json.Encoder().encode


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """One execution that has ended, whole."""

    stored: Stored
    events: tuple[StoredEvent, ...] = ()
    results: tuple[Result, ...] = ()
    answers: tuple[Answer, ...] = ()
    logs: tuple[Unsent, ...] = ()
    """Of jobs whose final event waits: behind that, an intake takes no lines for long."""


def waiting_jobs(events: Iterable[StoredEvent]) -> set[str]:
    """The ids of the jobs whose final event is still to be sent, and their lines with it."""
    return {
        one.id for one in events if one.level == "job" and one.final and one.state is State.WAITING
    }


def admit(db: sqlite3.Connection, chain: tuple[Past, ...]) -> list[str]:
    """Take in a chain, its first execution first; the ids of those that were not here. Raises
    ``RefusedError`` when it contradicts what is known here: an older state, another answer.
    """
    known = {stored.id: stored for stored in executions.stored(db)}
    heir = {stored.header.execution.resumed_from: stored.id for stored in known.values()}
    new = []
    for past in chain:
        here = known.get(past.stored.id)
        _refuse(past.stored, here, heir.get(past.stored.id, ""))
        if here is None:
            _insert(db, past)
            new.append(past.stored.id)
        elif past.stored.answered_by and not here.answered_by:
            _answer(db, past)
    return new


def _refuse(there: Stored, here: Stored | None, heir: str) -> None:
    short = there.id[:8]
    if here and (here.header.execution, here.header.digest) != (
        there.header.execution,
        there.header.digest,
    ):
        raise RefusedError(f"another execution {short} is in the journal here")
    answered = here.answered_by if here and here.answered_by else heir
    if there.status is not Status.BLOCKED or not answered or answered == there.answered_by:
        return
    if there.answered_by:
        raise RefusedError(
            f"{short} was answered twice: here execution {answered[:8]} goes on from it, there"
            f" {there.answered_by[:8]}"
        )
    raise RefusedError(
        f"this is an older state of {short}: it was answered, execution {answered[:8]} goes on",
        f"signalbox show {answered[:8]}",
    )


def _insert(db: sqlite3.Connection, past: Past) -> None:
    stored = past.stored
    number = base.insert_execution(db, stored.header)
    db.execute(
        "UPDATE execution SET git = ?, git_settled = ?, status = ?, ended_at = ?, gates = ?"
        " WHERE number = ?",
        (
            stored.git,
            stored.git_settled,
            stored.status.value if stored.status else None,
            stored.ended_at,
            _encode(stored.gates),
            number,
        ),
    )
    for seq, event in enumerate(past.events, number << base.SHIFT):
        _event(db, seq, event)
    db.executemany(
        "INSERT INTO result VALUES (?, ?, ?)",
        [(number, result.job, _encode(result)) for result in past.results],
    )
    for log in past.logs:
        joblogs.admit(db, number, log)
    _answer(db, past)


def _event(db: sqlite3.Connection, seq: int, event: StoredEvent) -> None:
    """What was waiting there waits here, too: the same bytes twice are no harm. But its running
    events are history, for the execution has ended: one could arrive after the final one.
    """
    db.execute(
        "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            seq,
            event.level,
            event.id,
            event.final,
            event.at,
            base.crc_of(event.at, event.body),
            event.body,
        ),
    )
    stale = event.state is State.WAITING and not event.final
    state = State.SUPERSEDED if stale else event.state
    if state is State.WAITING:
        db.execute("INSERT INTO outbox VALUES (?)", (seq,))
    else:
        db.execute("INSERT INTO settled VALUES (?, ?, ?)", (seq, state, event.note))


def _answer(db: sqlite3.Connection, past: Past) -> None:
    stored = past.stored
    query = "UPDATE execution SET answered_by = ? WHERE id = ?"
    db.execute(query, (stored.answered_by, stored.id))
    db.executemany(
        "INSERT OR REPLACE INTO answer SELECT number, ?, ? FROM execution WHERE id = ?",
        [(answer.gate, _encode(answer), stored.id) for answer in past.answers],
    )
