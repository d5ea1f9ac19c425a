"""Journal -> intake: batches, waiting, what is final, the time budget at exit.

Owns the policy of sending: while steps run, in a thread of its own; at exit, within a budget; and
for ``signalbox flush``, in the foreground. Does not own the rows (``journal``) or the wire
(``intake``). Nothing here can reach a build: what goes wrong in the thread becomes a message.
"""

import threading
from collections.abc import Callable
from typing import Final

from runner.delivery.logs import LogDelivery, LogSender
from runner.delivery.logs import flush as flush_logs
from runner.delivery.logs import left as lines_left
from runner.delivery.sender import Delivered, Outbox, Pace, Sender, Turn, request
from runner.execution import Clock
from runner.intake import Wire
from runner.journal import Journal
from runner.notice import Notice

__all__ = [
    "Delivered",
    "Delivery",
    "LogDelivery",
    "Outbox",
    "Pace",
    "Sender",
    "Turn",
    "flush",
    "request",
]

_SLACK: Final = 0.2
"""Seconds for the thread to end after its last attempt was cut."""


class Delivery:
    """Sends what one execution's recorder appends, from a thread that nobody waits for but
    ``finish``. An observer: what it observes only wakes it.
    """

    def __init__(
        self,
        journal_twin: Callable[[], Journal],
        connect: Callable[[], Wire],
        *,
        execution: str,
        binding: str,
        warn: Callable[[str], None],
        clock: Clock,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        pace: Pace | None = None,
        patience: Callable[[], float] | None = None,
    ) -> None:
        self._journal_twin = journal_twin
        self._connect = connect
        self._execution = execution
        self._binding = binding
        self._warn = warn
        self._clock = clock
        self._now = monotonic
        self._sleep = sleep
        self._logs = patience is not None
        self._patience = patience or (lambda: 0.0)
        self._pace = pace or Pace()
        self._budget = self._pace.exit
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="delivery", daemon=True)
        self._intake: Wire | None = None
        self._sender: Sender | None = None
        self._result: Delivered | None = None
        self._trouble = ""
        self._committed = False
        """Whether the commit of the events is settled; until then the journal gives none."""
        self._began = 0.0
        self._resume = 0.0
        """When the next request may start."""
        self._asked = 0.0
        """When the server wants to hear of us again."""
        self._finishing = 0.0
        """When ``finish`` was called."""
        self._relaxed = False
        """Whether an attempt with all the time in the world may be under way."""
        self._held = False
        self._elsewhere: int | None = None
        """Events of another site or key; None: not counted yet."""

    def start(self) -> None:
        """Begin; importing what HTTP needs overlaps with the first step."""
        self._thread.start()

    def observe(self, notices: tuple[Notice, ...]) -> None:  # noqa: ARG002  an Observer
        """Look for new events."""
        self._wake.set()

    def finish(self, *, budget: float | None = None, interrupted: bool = False) -> Delivered:
        """Send what is left of this execution within the budget, and say what became of it all."""
        pace = self._pace
        self._budget = pace.budget(budget, interrupted=interrupted)
        self._finishing = self._now()
        self._ending.set()
        self._wake.set()
        unreachable = self._sender is not None and self._sender.unreachable
        self._thread.join(min(self._budget, pace.unreachable if unreachable else pace.stall))
        if self._thread.is_alive() and self._relaxed and self._intake:
            self._intake.cut(0)
        self._thread.join(max(0.0, self._finishing + self._budget - self._now()) + _SLACK)
        return self._result or self._unfinished()

    def _unfinished(self) -> Delivered:
        """The account when the thread cannot give it."""
        journal = self._journal_twin()
        try:
            tally = journal.tally(execution=self._execution, binding=self._binding)
        finally:
            journal.close()
        return Delivered(
            sent=tally.delivered,
            waiting=tally.waiting,
            refused=tally.refused,
            expired=tally.expired,
            message=self._trouble
            or "delivery did not end in time; `signalbox flush` sends the rest",
        )

    # ── the thread ───────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        try:
            journal = self._journal_twin()
            try:
                self._deliver(journal)
            finally:
                journal.close()
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise to
            # The kind and the place, not the text: it might quote a header.
            trace = error.__traceback__
            while trace and trace.tb_next:
                trace = trace.tb_next
            code = trace.tb_frame.f_code if trace else None
            place = f" in {code.co_qualname}, line {trace.tb_lineno}" if code and trace else ""
            self._trouble = f"delivery stopped on {type(error).__name__}{place}; events are kept"
            self._warn(self._trouble)

    def _deliver(self, journal: Journal) -> None:
        self._began = self._now()
        self._intake = self._connect()
        sender = self._sender = Sender(
            journal,
            self._intake,
            binding=self._binding,
            clock=self._clock,
            warn=self._warn,
            patience=self._patience,
        )
        try:
            while not self._ending.is_set():
                self._rest(self._look(sender, journal))
            self._relaxed = False
            self._last_turns(sender, journal)
        finally:
            self._intake.close()
        self._result = sender.account(self._execution, held=self._elsewhere or 0)

    def _rest(self, seconds: float | None) -> None:
        """Sleep so long, whatever happens, or (None) until something does."""
        if seconds is None:
            self._wake.wait()
            self._wake.clear()
        else:
            self._ending.wait(seconds)

    def _look(self, sender: Sender, journal: Journal) -> float | None:
        """One turn while steps run; seconds until the next one, None when there is nothing to do.
        Wakes within those seconds are not heard: a thousand steps a second must cost nothing here.
        """
        if (early := self._resume - self._now()) > 0:
            return early
        self._relaxed = True
        if self._ending.is_set():
            return 0.0
        turn = self._own_turn(sender, journal, self._pace.attempt)
        if turn is Turn.EMPTY:
            turn = sender.turn("", self._pace.attempt)
        if turn is Turn.EMPTY:
            if self._elsewhere is None:
                self._elsewhere = journal.tally(binding=self._binding).held
            rest = self._pace.linger if self._logs else None
            return rest if self._committed else self._pace.poll
        self._relaxed = False
        self._resume = self._now() + self._interval(turn, sender)
        return 0.0

    def _interval(self, turn: Turn, sender: Sender) -> float:
        match turn:
            case Turn.MOVED | Turn.EMPTY:
                self._held = False
                return 0.0 if sender.busy else self._pace.linger
            case Turn.AGAIN:
                self._asked = self._now() + sender.asked
                return sender.backoff(self._pace)
            case Turn.HELD:
                if not self._held and sender.last:
                    self._warn(f"{sender.last.message}. Events are kept; the build goes on")
                self._held = True
                return self._pace.longest

    def _own_turn(self, sender: Sender, journal: Journal, within: float) -> Turn:
        """A turn of this execution; when the commit's time is over, it is settled as absent."""
        turn = sender.turn(self._execution, within)
        if self._committed or turn is not Turn.EMPTY:
            self._committed = True
        elif self._now() - self._began >= self._pace.git:
            self._committed = True
            if journal.freeze_git(self._execution, None):
                told = f"the commit could not be read within {self._pace.git:g} s"
                self._warn(f"{told}: events are sent without it")
                return sender.turn(self._execution, within)
        return turn

    # ── at exit ──────────────────────────────────────────────────────────────────────────────────

    def _last_turns(self, sender: Sender, journal: Journal) -> None:
        """Send what this execution still has: until all is sent, nothing moves for a while, or the
        budget is over (architecture, "At exit").
        """
        moved = self._finishing
        while (left := self._left(sender, moved)) > 0 and not self._held:
            if (early := self._asked - self._now()) > 0:
                if early > left:
                    return
                self._sleep(early)
            unreachable, patience = sender.unreachable, self._patience()
            match self._own_turn(sender, journal, min(left, self._pace.attempt)):
                case Turn.MOVED:
                    moved = self._now()
                case Turn.EMPTY if self._awaits_commit(journal):
                    self._sleep(min(self._pace.poll / 4, left))
                case Turn.EMPTY if self._awaits_log(journal, patience):
                    moved = self._now()
                    self._sleep(self._pace.poll)
                case Turn.EMPTY | Turn.HELD:
                    return
                case Turn.AGAIN:
                    pause = sender.backoff(self._pace)
                    if (unreachable and sender.unreachable) or pause > self._left(sender, moved):
                        return
                    self._sleep(pause)

    def _awaits_commit(self, journal: Journal) -> bool:
        if self._committed:
            return False
        return journal.tally(execution=self._execution, binding=self._binding).waiting > 0

    def _awaits_log(self, journal: Journal, patience: float) -> bool:
        """Whether a job's final event was, or now is, held for the job's log."""
        if not (patience or self._patience()):
            return False
        return journal.tally(execution=self._execution, binding=self._binding).waiting > 0

    def _left(self, sender: Sender, moved: float) -> float:
        """Seconds that delivery may still take."""
        ends = min(self._finishing + self._budget, moved + self._pace.stall)
        if sender.unreachable:
            ends = min(ends, self._finishing + self._pace.unreachable)
        return ends - self._now()


def flush(
    journal: Journal,
    intake: Wire,
    *,
    binding: str,
    run: str = "",
    clock: Clock,
    sleep: Callable[[float], None],
    warn: Callable[[str], None],
    pace: Pace | None = None,
    logs: Wire | None = None,
) -> Delivered:
    """Send what waits, in the foreground: of one run, which is adopted if it was local or of
    another site or key, or of all that are of this one. ``UsageError`` for an unknown run. With
    ``logs`` the logs of jobs first: after its final event a job takes no lines for long.
    """
    pace = pace or Pace()
    execution = _adopted(journal, run, binding) if run else ""
    lines = None
    if logs:
        lines = LogSender(journal, logs, binding=binding, clock=clock, warn=warn)
        flush_logs(lines, execution, pace, sleep)
    sender = Sender(journal, intake, binding=binding, clock=clock, warn=warn)
    while (turn := sender.turn(execution, pace.attempt)) not in (Turn.EMPTY, Turn.HELD):
        if turn is Turn.AGAIN:
            tries = pace.calls if sender.unreachable else pace.tries
            if sender.failures >= tries:
                break
            pause = sender.backoff(pace)
            if pause > pace.linger and sender.last:
                warn(f"{sender.last.message}: trying again in {pause:.0f} s")
            sleep(pause)
    told = sender.account(execution)
    return lines.told(told, lines_left(journal, binding, execution)) if lines else told


def _adopted(journal: Journal, run: str, binding: str) -> str:
    stored = journal.find(run)
    if stored.header.binding != binding:
        journal.adopt(stored.id, binding)
    return stored.id
