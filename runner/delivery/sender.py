"""One request a turn: what goes into it, and what its answer does to the events in it.

Owns batches, bisecting and the account of what became of everything. Does not own when the next
turn is: see the package.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, Protocol, assert_never

import msgspec

from runner.execution import SECOND, Clock
from runner.intake import Reply, Verdict, Wire
from runner.journal import Pending, State, Tally

EVENTS: Final = 1000
"""Per request (API)."""
SIZE: Final = 4_000_000 - 16
"""Bytes of events per request, and 16 around them. No limit is documented; 4 MB is what is safe."""
LEAST: Final = 65_536
"""Bytes below which a batch is not made smaller for those that follow."""
AGE: Final = 18 * 3600 * SECOND
"""Older events are not taken (API)."""
SKEW: Final = 600
"""Seconds between our clock and the intake's that are worth a word."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast and how long, in seconds. Tests are in more of a hurry than people."""

    linger: float = 1.0
    """Between two batches while steps run, so that a thousand steps are a few requests."""
    first: float = 0.25
    """The first wait after a failure; each further one is twice as long."""
    longest: float = 60.0
    """The longest wait of our own, and the time between probes while sending is on hold."""
    attempt: float = 15.0
    git: float = 2.0
    """How long events wait for the commit to be read."""
    poll: float = 0.02
    """Between two looks at whether it was."""
    stall: float = 3.0
    """At exit: the longest time without progress."""
    exit: float = 10.0
    unreachable: float = 2.0
    """At exit, when there is no connection."""
    interrupted: float = 1.5
    """At exit after a signal: host CIs kill soon."""
    tries: int = 8
    """Failures in a row after which ``flush`` gives up: half a minute."""
    calls: int = 3
    """The same when there is no connection."""
    logs: float = 1.0
    """Between two looks at the logs of jobs."""
    breath: float = 0.3
    """Between two requests with log lines while steps run: 3,000 lines a second at most."""
    hold: float = 5.0
    """The longest time a job's final event waits for the job's log."""

    def budget(self, given: float | None, *, interrupted: bool) -> float:
        """Seconds for all that is to be sent at exit; ``given``: as a person wants it."""
        limit = self.exit if given is None else given
        return min(limit, self.interrupted) if interrupted else limit


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events. ``message``: what a person should know, a sentence a line."""

    sent: int = 0
    waiting: int = 0
    refused: int = 0
    expired: int = 0
    held: int = 0
    """Events of another site or key."""
    lines: int = 0
    """Lines of job logs that were sent; ``unsent``: that wait."""
    unsent: int = 0
    message: str = ""


class Turn(Enum):
    """What one request, or its absence, led to."""

    MOVED = "something was settled or will be by the next request"
    EMPTY = "nothing waits"
    AGAIN = "the same again, later"
    HELD = "a person has to look first"


class Outbox(Protocol):
    """Where events wait: the journal, or any other place that keeps them until they are settled."""

    def pending(
        self, *, binding: str, run: str, events: int, size: int, since: int | None
    ) -> list[Pending]:
        """The next to send."""

    def settle(self, seqs: Sequence[int], state: State, note: str = "") -> None:
        """What became of those."""

    def tally(self, *, execution: str, binding: str) -> Tally:
        """What became of all."""


def request(batch: Sequence[Pending]) -> bytes:
    """The body of one request."""
    return b'{"data":[%b]}' % b",".join([event.body for event in batch])


class Sender:
    """Takes what waits and sends it, one request a turn. Used by one thread."""

    def __init__(
        self,
        journal: Outbox,
        intake: Wire,
        *,
        binding: str,
        clock: Clock,
        warn: Callable[[str], None],
        patience: Callable[[], float] = lambda: 0.0,
        framed: Callable[[Sequence[Pending]], bytes] = request,
    ) -> None:
        self._journal = journal
        self._framed = framed
        self._intake = intake
        self._binding = binding
        self._clock = clock
        self._warn = warn
        self._patience = patience
        self._skewed = False
        self._limit = EVENTS
        self._size = SIZE
        self._pile: deque[list[Pending]] = deque()
        """Parts of a batch that was refused as a whole."""
        self._muted: set[str] = set()
        """Executions whose running jobs the intake does not take."""
        self.last: Reply | None = None
        self.failures = 0
        self._full = False
        self.sent = 0
        self.reason = ""
        """Why an event was refused."""

    def turn(self, run: str, within: float) -> Turn:
        """Send the next batch: of this run, or ("") of all that nobody else sends."""
        batch = self._next(run)
        if not batch:
            return Turn.EMPTY
        body = self._framed(batch)
        reply = self.last = self._intake.send(body, within=within)
        self._skew(reply)
        match reply.verdict:
            case Verdict.DELIVERED:
                return self._delivered(batch)
            case Verdict.REFUSED | Verdict.TOO_LARGE:
                return self._refused(batch, reply, len(body))
            case Verdict.RETRY:
                return self._failed(batch, reply)
            case Verdict.HOLD:
                self._pile.clear()
                return Turn.HELD
        assert_never(reply.verdict)

    @property
    def busy(self) -> bool:
        """Whether more waits than went into the last batch."""
        return self._full or bool(self._pile)

    @property
    def unreachable(self) -> bool:
        """Whether the last attempt found no connection."""
        return self.last is not None and not self.last.connected

    @property
    def asked(self) -> float:
        """Seconds that the last answer asks to wait."""
        return (self.last.wait if self.last else None) or 0.0

    def backoff(self, pace: Pace) -> float:
        """Seconds until the next attempt."""
        return backoff(pace, self.failures, self.last)

    # ── what goes into a batch ───────────────────────────────────────────────────────────────────

    def _next(self, run: str) -> list[Pending]:
        """The next events that are worth sending; the others are settled on the way."""
        while batch := self._fetch(run):
            oldest = self._clock() - AGE
            expired = [event for event in batch if event.at < oldest]
            silenced = [event for event in batch if self._is_muted(event)]
            self._settle(expired, State.EXPIRED, "older than 18 h")
            self._settle(silenced, State.SUPERSEDED, "the intake takes no running jobs")
            if not expired and not silenced:
                return batch
            dropped = {event.seq for event in (*expired, *silenced)}
            if left := [event for event in batch if event.seq not in dropped]:
                return left
        return []

    def _fetch(self, run: str) -> list[Pending]:
        if self._pile:
            return self._pile.popleft()
        patience = self._patience()
        batch = self._journal.pending(
            binding=self._binding,
            run=run,
            events=self._limit,
            size=self._size,
            since=self._clock() - int(patience * SECOND) if patience else None,
        )
        self._full = len(batch) == self._limit
        return batch

    def _is_muted(self, event: Pending) -> bool:
        return event.level == "job" and not event.final and event.execution in self._muted

    def _settle(self, events: Sequence[Pending], state: State, note: str = "") -> None:
        if events:
            self._journal.settle([event.seq for event in events], state, note)

    # ── what an answer leads to ──────────────────────────────────────────────────────────────────

    def _delivered(self, batch: list[Pending]) -> Turn:
        self._settle(batch, State.DELIVERED)
        self.sent += len(batch)
        self.failures = 0
        self._limit = min(EVENTS, self._limit * 2)
        return Turn.MOVED

    def _refused(self, batch: list[Pending], reply: Reply, size: int) -> Turn:
        """Halve the batch until the guilty event stands alone: 2 * log2(1000) + 1 requests."""
        self.failures = 0
        if reply.verdict is Verdict.TOO_LARGE:
            self._size = max(size // 2, LEAST)
        if len(batch) > 1:
            half = len(batch) // 2
            self._pile.extendleft((batch[half:], batch[:half]))
            return Turn.MOVED
        self._settle(batch, State.REFUSED, reply.message)
        self.reason = self.reason or reply.message
        if batch[0].level == "job" and not batch[0].final:
            self._muted.add(batch[0].execution)
        return Turn.MOVED

    def _failed(self, batch: list[Pending], reply: Reply) -> Turn:
        """Nothing is known of these events; they come again from the journal, byte for byte."""
        self.failures += 1
        self._pile.clear()
        if reply.late and reply.connected:
            self._limit = max(1, len(batch) // 2)  # N30: on a slow line less may fit
        return Turn.AGAIN

    def _skew(self, reply: Reply) -> None:
        if reply.date is None:
            return
        ahead = self._clock() // SECOND - reply.date
        if abs(ahead) > SKEW and not self._skewed:
            self._skewed = True
            side = "ahead of" if ahead > 0 else "behind"
            self._warn(f"this machine's clock is {abs(ahead)} s {side} the intake's (UTC)")

    # ── the account ──────────────────────────────────────────────────────────────────────────────

    def account(self, run: str, *, held: int = 0) -> Delivered:
        """What became of the events of this run, or ("") of all. ``held``: those of another site or
        key that were counted beside it.
        """
        tally = self._journal.tally(execution=run, binding=self._binding)
        held = held or tally.held
        return Delivered(
            sent=self.sent,
            waiting=tally.waiting,
            refused=tally.refused,
            expired=tally.expired,
            held=held,
            message="\n".join(self._sentences(tally, held)),
        )

    def _sentences(self, tally: Tally, held: int) -> list[str]:
        failure = self.last.message if self.last else ""
        why = f": {failure}" if failure else ""
        refusal = self.reason or "see `signalbox show`"
        told = (
            (tally.waiting, f"not delivered yet{why}; `signalbox flush` sends them"),
            (tally.memory, "on no disk and lost with this process"),
            (tally.refused, f"refused by the intake: {refusal}"),
            (tally.expired, "older than 18 h, which the intake does not take; they are kept"),
            (held, "of another site or key; `signalbox flush RUN` sends them here"),
        )
        return [f"{_events(count)} {what}" for count, what in told if count]


def backoff(pace: Pace, failures: int, last: Reply | None) -> float:
    """Seconds until the next attempt, by the server's figure if that is longer. Jittered, so that a
    hundred runners do not come back together.
    """
    asked = (last.wait if last else None) or 0.0
    own: float = min(pace.longest, pace.first * 2 ** min(failures - 1, 20))
    half_to_all = 0.5 + os.urandom(1)[0] / 510
    return max(asked, own * half_to_all)


def _events(count: int) -> str:
    return "1 event is" if count == 1 else f"{count} events are"
