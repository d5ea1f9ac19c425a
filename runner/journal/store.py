"""``Journal``: what can be told to the journal and asked of it; the promises stand in the package.

Owns the SQL of executions, events and answers. Where the database lies is ``home``'s, and what is
done when it cannot be written ``connection``'s.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, Self

import msgspec

from runner.errors import RefusedError, SurroundingsError, TakenError
from runner.execution import Execution
from runner.journal import base, executions, joblogs, outbox, travel
from runner.journal.connection import Connection
from runner.journal.home import Home
from runner.journal.rows import (
    Change,
    Claim,
    Cursor,
    Header,
    JobLog,
    Open,
    Owner,
    Pending,
    Section,
    State,
    Stored,
    StoredEvent,
    Tally,
    Unsent,
)
from runner.journal.statements import claim as answer
from runner.journal.statements import number, put, span
from runner.journal.travel import Past
from runner.notice import Answer, Result
from runner.state import Place, is_alive, plain

_IDS: Final = "SELECT id FROM execution"
_LEVELS: Final = "step job stage pipeline"
_AT_A_TIME: Final = 50
"""Dead executions closed in one go: each holds a file open, and a process may have 256."""

_result: Final = msgspec.json.Decoder(Result)
_answer: Final = msgspec.json.Decoder(Answer)


class Journal:
    """One connection to the journal, used by the thread that made it. ``twin`` makes another."""

    def __init__(self, link: Connection, *, first: bool) -> None:
        self._link, self._home = link, link.home
        self._first = first
        self._leases: set[str] = set()
        self._settled: frozenset[int] = frozenset()

    # ── open, close ──────────────────────────────────────────────────────────────────────────────

    @classmethod
    def open(cls, state: str | Place, *, warn: Callable[[str], None]) -> Self:
        """The journal in the directory ``state``, made if need be. A disk that refuses: memory,
        ``degraded`` and one warning. Raises ``SurroundingsError`` for a symlink, a stranger's
        directory or one that holds other files. ``warn`` is called from any thread that uses the
        journal or a twin of it.
        """
        home = Home(state if isinstance(state, Place) else Place(state), warn)
        return cls(Connection(home, home.open()), first=True)

    @classmethod
    def read(cls, state: str) -> Self:
        """The journal for commands that only look: nothing is made, corrected or put aside; an
        empty journal where there is none. Raises ``SurroundingsError`` for one it cannot read.
        """
        home = Home(Place(state), lambda _: None, frozen=True)
        return cls(Connection(home, home.read()), first=True)

    def twin(self) -> "Journal":
        """Another one, for the thread that calls this; it follows wherever this one goes."""
        return Journal(self._link.twin(), first=False)

    @property
    def degraded(self) -> str:
        """Empty, or why events are kept in memory only. Empty again after ``close``, if they could
        be written to disk after all.
        """
        return self._home.degraded

    @property
    def state(self) -> str:
        """The state directory."""
        return self._home.place.state

    def directory(self, execution: str) -> str:
        """``runs/<unique id>``, for its logs; made by ``begin``."""
        return self._home.place.directory(execution)

    def close(self) -> None:
        """Fold the WAL in, so that one file is the state; give files to the workspace's owner. Of a
        twin: its connection alone. Twins first.
        """
        with self._home.lock:
            self._link.follow()
            if self._first:
                self._home.close(self._link.db)
            else:
                self._link.db.close()

    # ── tell ─────────────────────────────────────────────────────────────────────────────────────

    def begin(
        self, header: Header, change: Change, claim: Claim | None = None, *, alone: bool = False
    ) -> None:
        """A new execution: its lock, its directory, its row and first events, and the claim on a
        blocked one: one commit. Raises ``TakenError`` when its id is another's, ``RefusedError``
        when somebody else answered first or there is nothing to answer or, if it is to run
        ``alone``, another execution of its chain runs, ``SurroundingsError`` when a claim cannot be
        written.
        """
        execution, home = header.execution.unique_id, self._home
        with home.lock:
            self._link.stay()
            self._lock(execution)
            try:
                self._link.attempt(lambda db: self._insert(db, header, change, claim, alone=alone))
            except BaseException:
                home.place.release(execution)
                raise
            home.own[execution] = header
            self._link.stay()

    def append(self, execution: str, change: Change) -> None:
        """One commit; on disk when this returns (unless ``degraded``)."""

        def work(db: sqlite3.Connection) -> None:
            try:
                put(db, number(db, execution), change)
            except LookupError:
                if not self.degraded:  # it lies on the disk that cannot be written: as it was
                    raise

        self._link.write(work)

    def reserve(self, execution: str) -> str:
        """The directory of an execution that arrives, made and locked until ``close``: its files
        come first. Raises ``RefusedError`` when it is running, ``SurroundingsError`` without disk.
        """
        try:
            free = not self.degraded and self._home.place.seize(execution)
        except OSError as error:
            raise SurroundingsError(f"nothing can be imported: {error}") from error
        if self.degraded:
            raise SurroundingsError(f"nothing can be imported: {self.degraded}")
        if not free:
            raise RefusedError(f"execution {execution} is running in another process")
        return self.directory(execution)

    def admit(self, chain: tuple[Past, ...]) -> list[str]:
        """Take in executions that have travelled, in one commit; the ids of those that were not
        here. Raises ``RefusedError`` when they contradict what is known here.
        """
        new = self._link.write(lambda db: travel.admit(db, chain))
        for past in chain:
            self._home.place.give_run(past.stored.id)
        return new

    def freeze_git(self, execution: str, git: bytes | None) -> bool:
        """Settle the commit of all its events, once (None: there is none); False: it was before."""
        frozen = self._link.write(lambda db: base.settle_git(db, execution, git))
        if frozen and execution in self._home.own:
            self._home.git[execution] = git
        return frozen

    def adopt(self, execution: str, binding: str) -> None:
        """Bind an execution to another site and key (``flush RUN``): what waits becomes pending."""
        query = "UPDATE execution SET binding = ? WHERE id = ?"
        self._link.write(lambda db: db.execute(query, (binding, execution)))

    def settle(self, seqs: Sequence[int], state: State, note: str = "") -> None:
        """What became of events that ``pending`` gave. Not synced to disk: what a power cut takes
        back is sent again, byte for byte the same.
        """
        self._link.write(lambda db: outbox.settle(db, seqs, state, note), sync="NORMAL")
        self._settled = frozenset(seqs)

    def prune(self, *, before: int, keep: int) -> list[str]:
        """Remove executions that started before ``before`` (epoch ns) or are beyond the last
        ``keep``, with their directories; never those that run, wait for an answer, hold events to
        be sent, or that one which stays goes on from or retries. Returns their ids.
        """
        found = self.stored()
        young = (one.id for one in found[:keep] if one.header.execution.start >= before)
        spared = executions.spared(found, young)
        removed = [one.id for one in found if one.id not in spared and self._remove(one.id)]
        self._remove_strays()
        return removed

    # ── ask ──────────────────────────────────────────────────────────────────────────────────────

    def version(self) -> int:
        """A number that is another one whenever another process has changed something."""
        (found,) = self._link.read(lambda db: db.execute("PRAGMA data_version").fetchone())
        return int(found)

    def stored(self) -> list[Stored]:
        """All executions, the last begun first."""
        return self._link.read(executions.stored)

    def ids(self) -> set[str]:
        """Of all executions."""
        return {id_ for (id_,) in self._link.read(lambda db: db.execute(_IDS).fetchall())}

    def waiting(self) -> list[Stored]:
        """Blocked executions that nobody has answered, the last begun first."""
        return self._link.read(lambda db: executions.stored(db, executions.WAITING))

    def find(self, run: str) -> Stored:
        """By unique id, an unambiguous start of one, or ``latest`` (the last begun here, not from
        inside a step). Raises ``UsageError``.
        """
        return executions.find(self.stored(), run, self.state)

    def events(self, execution: str, *, downstream: bool = False) -> list[StoredEvent]:
        """All events of an execution, in order; ``downstream``: also those of the pipelines that
        its steps started and it reports.
        """
        return self._link.read(lambda db: outbox.events(db, execution, downstream=downstream))

    def results(self, execution: str) -> dict[str, Result]:
        """What the jobs of an execution left, by job."""
        return dict(executions.decoded(_result, self._parts("result", "job", execution)))

    def answers(self, execution: str) -> dict[str, Answer]:
        """The answers to the gates of a blocked execution, by gate."""
        return dict(executions.decoded(_answer, self._parts("answer", "gate", execution)))

    def opens(self, execution: str) -> list[Open]:
        """What has started and not ended: steps, then jobs, stages, the pipeline."""
        query = "SELECT level, open.id, body FROM open JOIN execution USING (number)"
        rows = self._link.read(
            lambda db: db.execute(f"{query} WHERE execution.id = ?", (execution,)).fetchall()
        )
        found = [Open(level=level, id=id_, body=body) for level, id_, body in rows]
        return sorted(found, key=lambda part: _LEVELS.find(part.level))

    def last_at(self, execution: str) -> int:
        """The time of the last event; of the start when there is none."""
        query = "SELECT max(at) FROM event WHERE seq >= ? AND seq < ?"
        (at,) = self._link.read(lambda db: db.execute(query, span(db, execution)).fetchone())
        return int(at or self.find(execution).header.execution.start)

    def dead(self, owner: Owner) -> list[Stored]:
        """Executions that did not end and whose process is gone, of this host or this kernel. Their
        locks are taken: no other process closes them too. At most 50 at a time.
        """
        dead = (s.id for s in self._unfinished() if self._is_dead(s, owner))
        ours = set(islice(dead, _AT_A_TIME))
        # Read once more: before a lock was ours another process may have closed its execution.
        return [s for s in self._unfinished() if s.id in ours] if ours else []

    def see_alone(self, stored: Stored, owner: Owner) -> None:
        """Raise ``RefusedError`` while an execution of its chain runs, as far as ``owner`` can see:
        where there is no lock, what another machine has begun is over or no concern of this one.
        """
        self._link.read(lambda db: self._see_alone(db, stored.header.execution, owner))

    def alive(self, execution: str) -> bool | None:
        """Whether a process carries an execution out; None: its lock is gone, so nobody knows."""
        place = self._home.place
        if place.holds(execution):
            return execution in self._home.own  # else it is dead: ``dead`` took its lock
        return place.alive(execution) if plain(execution) else None

    def tally(self, *, execution: str = "", binding: str = "") -> Tally:
        """What became of all events, of one execution or of all, seen with site and key."""
        memory = bool(self.degraded)
        return self._link.read(lambda db: outbox.tally(db, execution, binding, memory=memory))

    # ── send ─────────────────────────────────────────────────────────────────────────────────────

    def pending(
        self,
        *,
        binding: str,
        run: str = "",
        events: int = 1000,
        size: int = 4_000_000,
        since: int | None = None,
    ) -> list[Pending]:
        """The next events to send, oldest first, at most ``events`` and ``size`` bytes (the commas
        and brackets around them counted), but at least one. Only executions of ``binding`` whose
        git is settled; with ``run`` that one alone, without it those that no other process runs
        or sends. A job that ended after ``since`` waits for its log.
        """
        if not binding:
            return []

        def work(db: sqlite3.Connection) -> outbox.Batch:
            batch = outbox.batch(
                db,
                lambda execution: bool(run) or self._lease(execution.id),
                binding=binding,
                run=run,
                events=events,
                size=size,
                since=since,
            )
            if not self._settled.isdisjoint(batch.seqs):  # or it would be sent for ever
                raise sqlite3.DatabaseError("events that were settled still wait")
            return batch

        batch = self._link.read(work)
        if not run:
            self._give_back(batch.used)
        if batch.damaged:
            self.settle(batch.damaged, State.REFUSED, "damaged on disk")
        return batch.found

    def logs(self, *, binding: str, run: str = "") -> list[JobLog]:
        """The logs that are to be sent and are not done with, of executions of ``binding``, or of
        ``run`` alone; never of one that another process runs or sends.
        """
        if not binding:
            return []
        return self._link.read(
            lambda db: joblogs.waiting(db, self._lease, binding=binding, run=run)
        )

    def sections(self, execution: str, job: str) -> tuple[Section, ...]:
        """Where the steps of a job begin in its log, by offset."""
        return self._link.read(lambda db: joblogs.sections(db, execution, job))

    def unsent(self, execution: str) -> list[Unsent]:
        """The logs of an execution that has ended, whose lines are not all sent."""
        return self._link.read(lambda db: joblogs.unsent(db, execution))

    def advance(self, execution: str, job: str, cursor: Cursor, *, done: bool = False) -> None:
        """How far a job's log has been sent; ``done``: to its end, or as far as it ever will be.
        Not synced to disk: what a power cut takes back is sent again.
        """
        self._link.write(
            lambda db: joblogs.advance(db, execution, job, cursor, done=done), sync="NORMAL"
        )

    def _lease(self, execution: str) -> bool:
        """Whether this process may send an earlier execution's events: one sends, not two."""
        if self._home.degraded:
            return True
        try:
            held = self._home.place.holds(execution)
            if not held and self._home.place.seize(execution):
                self._leases.add(execution)
                held = True
        except OSError:
            return True  # no lock can be had here: twice the same bytes is no harm
        return held

    def _give_back(self, used: set[str]) -> None:
        for execution in self._leases - used:
            self._home.place.release(execution)
        self._leases &= used

    # ── below ────────────────────────────────────────────────────────────────────────────────────

    def _lock(self, execution: str) -> None:
        """Hold the lock of an execution that begins. Where there is none to be had, others would
        take it for dead: it must not lie on that disk.
        """
        if self._home.degraded:
            return
        try:
            free = self._home.place.seize(execution)
        except OSError as error:
            self._link.replace(self._home.into_memory(self._link.db, str(error)))
            return
        if not free:
            raise TakenError(f"execution {execution} is running in another process")

    def _insert(
        self,
        db: sqlite3.Connection,
        header: Header,
        change: Change,
        claim: Claim | None,
        *,
        alone: bool,
    ) -> None:
        """The work of ``begin``."""
        execution = header.execution.unique_id
        if db.execute("SELECT 1 FROM execution WHERE id = ?", (execution,)).fetchone():
            raise TakenError(f"execution {execution} has been carried out already")
        if alone:
            self._see_alone(db, header.execution, header.owner)
        if claim:
            if self.degraded:
                raise SurroundingsError(f"the answer cannot be kept: {self.degraded}")
            answer(db, claim, execution)
        put(db, base.insert_execution(db, header), change)

    def _see_alone(self, db: sqlite3.Connection, execution: Execution, owner: Owner) -> None:
        """A free lock was a dead run's; of another kernel's it is all that is known here."""
        for other in executions.stored(db, executions.UNFINISHED):
            if other.header.execution.pipeline_id != execution.pipeline_id:
                continue
            alive, theirs = self.alive(other.id), other.header.owner
            if alive is None:
                alive = owner.boot == theirs.boot or owner.host == theirs.host
            if alive:
                raise RefusedError(
                    f"execution {other.id[:8]} of the same chain is running",
                    f"wait until it has ended: signalbox show {other.id[:8]}",
                )

    def _unfinished(self) -> list[Stored]:
        return self._link.read(lambda db: executions.stored(db, executions.UNFINISHED))

    def _parts(self, table: str, key: str, execution: str) -> list[tuple[str, bytes]]:
        query = f"SELECT {key}, body FROM {table} JOIN execution USING (number) WHERE id = ?"  # noqa: S608
        return self._link.read(lambda db: db.execute(query, (execution,)).fetchall())

    def _is_dead(self, stored: Stored, owner: Owner) -> bool:
        """Whether its process is gone; its lock is ours then."""
        theirs, place = stored.header.owner, self._home.place
        if stored.id in self._home.own or self._home.degraded:
            return False
        if owner.boot != theirs.boot and owner.host != theirs.host:
            return False  # another kernel's locks cannot be seen
        seen = owner.host == theirs.host and not is_alive(theirs.pid)
        if owner.boot == theirs.boot and not place.locked(stored.id) and not seen:
            return False  # somebody removed the file that it locks: then the pid decides
        try:
            return place.seize(stored.id)
        except OSError:
            return False

    def _remove(self, execution: str) -> bool:
        """One execution, unless another process holds it."""
        place = self._home.place
        with suppress(OSError):
            if execution not in self._home.own and place.seize(execution):
                if self._link.write(lambda db: outbox.forget(db, execution)):
                    place.remove_run(execution)
                    return True
                place.release(execution)
        return False

    def _remove_strays(self) -> None:
        """Directories of runs that are in no journal and alive in no process."""
        known = {stored.id for stored in self.stored()}
        for execution in self._home.place.runs():
            with suppress(OSError):
                if execution not in known and self._home.place.seize(execution):
                    self._home.place.remove_run(execution)
