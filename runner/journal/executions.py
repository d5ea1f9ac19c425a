"""Executions as the journal has them: read back, found by a name, which a prune must leave.

Owns decoding. What lies on disk is data that anybody may have edited: what does not fit is left
out.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from runner.errors import UsageError
from runner.event import Status
from runner.journal.rows import Header, Stored
from runner.notice import GateWaiting
from runner.state import plain

T = TypeVar("T")

_header: Final = msgspec.json.Decoder(Header)
_gates: Final = msgspec.json.Decoder(tuple[GateWaiting, ...])


WAITING: Final = "status = 'blocked' AND answered_by = ''"
UNFINISHED: Final = "status IS NULL"


def stored(db: sqlite3.Connection, which: str = "true") -> list[Stored]:
    """All of them, or those that are ``WAITING`` or ``UNFINISHED``, the last begun first."""
    rows = db.execute(
        "SELECT id, header, envelope, source, binding, git, git_settled, status, ended_at, gates,"  # noqa: S608 (words of our own)
        f" answered_by FROM execution WHERE {which} ORDER BY number DESC"
    ).fetchall()
    return [execution for row in rows if (execution := _decode(row))]


def _decode(row: Sequence[Any]) -> Stored | None:
    """An execution; None for a row that somebody else wrote or damaged: state is data."""
    (
        id_,
        raw,
        envelope,
        source,
        binding,
        git,
        git_settled,
        status,
        ended_at,
        waiting,
        answered_by,
    ) = row
    try:
        header = msgspec.structs.replace(
            _header.decode(raw), envelope=envelope, source=source, binding=binding
        )
        if header.execution.unique_id != id_ or not plain(id_):
            return None
        return Stored(
            header=header,
            status=Status(status) if status else None,
            ended_at=ended_at,
            gates=_gates.decode(waiting) if waiting else (),
            answered_by=answered_by,
            git=git,
            git_settled=bool(git_settled),
        )
    except (msgspec.DecodeError, ValueError, TypeError):
        return None


def spared(executions: Iterable[Stored], young: Iterable[str]) -> set[str]:
    """Which executions a prune must leave: the ``young``, those that run or wait for an answer, and
    the chain of results, answers and kept files that all these stand on.
    """
    known = {stored.id: stored for stored in executions}
    found: set[str] = set()
    todo = [
        stored.id
        for stored in known.values()
        if stored.status is None or (stored.status is Status.BLOCKED and not stored.answered_by)
    ]
    todo += young
    while todo:
        execution = todo.pop()
        if execution in known and execution not in found:
            found.add(execution)
            lineage = known[execution].header.execution
            todo += [lineage.resumed_from, lineage.previous.id if lineage.previous else ""]
    return found


def find(known: Sequence[Stored], run: str, state: str) -> Stored:
    """By unique id, an unambiguous start of one, or ``latest``: the last begun here, not from
    inside a step. Raises ``UsageError``; ``state`` is the directory that it names.
    """
    if run == "latest":
        for stored in known:
            if not stored.header.nested:
                return stored
        raise UsageError(f"no run in {state} yet", "`signalbox run` starts one")
    hint = "`signalbox list` shows what there is"
    found = [stored for stored in known if run and stored.id.startswith(run)]
    exact = [stored for stored in found if stored.id == run] or found
    if not exact:
        raise UsageError(f"no run {run!r} in {state}", hint)
    if len(exact) > 1:
        several = ", ".join(stored.id for stored in exact[:5])
        raise UsageError(f"{run!r} is the start of several runs: {several}", hint)
    return exact[0]


def decoded(
    decoder: msgspec.json.Decoder[T], rows: Iterable[tuple[str, bytes]]
) -> Iterator[tuple[str, T]]:
    """What can be read of it: what lies on disk is data that anybody may have edited."""
    for key, body in rows:
        with suppress(msgspec.DecodeError):
            yield key, decoder.decode(body)
