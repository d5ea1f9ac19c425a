"""Log files -> intake: one request a turn, streamed while jobs run, the rest at exit.

Owns the limits of a job's log, what an answer means for its lines, and the thread that sends them:
another than that of the events, which no trouble with logs may hold up. What a line becomes is
``lines``'; how far a log got lies in the journal.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Final, assert_never

import msgspec

from runner.delivery.lines import RECORDS, SIZE, LogFile, Piece, piece
from runner.delivery.sender import AGE, Delivered, Pace, Turn, backoff
from runner.execution import Clock
from runner.intake import Reply, Verdict, Wire
from runner.journal import Cursor, JobLog, Journal

JOB_RECORDS: Final = 2_000_000
"""Lines of one job (API)."""
JOB_SIZE: Final = 1 << 30
"""Bytes of one job's lines (API)."""
PIECES: Final = 20
"""Requests for one log before the others have their turn."""
REFUSALS: Final = 3
"""Requests in a row, refused one by one, after which it is not the lines that are at fault."""
_SLACK: Final = 0.2
"""Seconds for the thread to end after its last attempt was cut."""


class LogSender:
    """Takes lines from log files and sends them. Used by one thread."""

    def __init__(
        self,
        journal: Journal,
        intake: Wire,
        *,
        binding: str,
        clock: Clock,
        warn: Callable[[str], None],
    ) -> None:
        self._journal, self._intake, self._binding = journal, intake, binding
        self._clock, self._warn = clock, warn
        self._limit = RECORDS
        self._refusals = 0
        self.failures = 0
        self.last: Reply | None = None
        self.stopped = False
        """A person has to look first."""
        self.sent = self.refused = self.beyond = self.expired = 0
        """Lines."""
        self.reason = ""
        """Why lines were refused."""

    def turns(self, run: str, within: Callable[[], float]) -> Iterator[Turn]:
        """One pass over the logs of this run, or ("") of all that nobody else sends; every turn is
        a request. No turn: there was nothing to send.
        """
        for log in self._journal.logs(binding=self._binding, run=run):
            if self.stopped:
                return
            try:
                file = LogFile(_path(self._journal, log))
            except OSError:  # gone with its directory, or no file any more
                if log.ended:
                    self._journal.advance(log.execution, log.job, log.cursor, done=True)
                continue
            with file:
                sections = self._journal.sections(log.execution, log.job)
                known = msgspec.structs.replace(log, sections=sections)
                yield from self._pieces(file, known, within)

    @property
    def unreachable(self) -> bool:
        """Whether the last attempt found no connection."""
        return self.last is not None and not self.last.connected

    def wait(self, pace: Pace) -> float:
        """Seconds until the next attempt."""
        return backoff(pace, self.failures, self.last)

    def told(self, told: Delivered, left: int) -> Delivered:
        """``told`` of the events, and what became of the lines; ``left``: of those that wait."""
        message = "\n".join(filter(None, (told.message, *self._sentences(left))))
        return msgspec.structs.replace(told, lines=self.sent, unsent=left, message=message)

    # ── one log ──────────────────────────────────────────────────────────────────────────────────

    def _pieces(self, file: LogFile, log: JobLog, within: Callable[[], float]) -> Iterator[Turn]:
        for _ in range(PIECES):
            found = self._next(file, log)
            if found is None:
                return
            cursor = found.cursor
            if found.body:
                reply = self.last = self._intake.send(found.body, within=within())
                turn, cursor = self._answered(found, reply)
                yield turn
                if turn is Turn.HELD:
                    return
            else:
                self._journal.advance(log.execution, log.job, cursor)
            log = msgspec.structs.replace(log, cursor=cursor)
            if not (found.full or log.ended):
                return

    def _next(self, file: LogFile, log: JobLog) -> Piece | None:
        """What to send next; a log that nothing more comes from is done with."""
        now = self._clock()
        room = JOB_RECORDS - log.cursor.records
        if now - file.written > AGE:
            self.expired += self._give_up(file, log)
        elif room <= 0 or log.cursor.size >= JOB_SIZE:
            self.beyond += self._give_up(file, log)
        elif found := piece(file, log, now, min(self._limit, room), SIZE):
            return found
        elif log.ended:
            self._journal.advance(log.execution, log.job, log.cursor, done=True)
        return None

    def _give_up(self, file: LogFile, log: JobLog) -> int:
        """How many lines are given up, once it is known how many there are."""
        if not log.ended:
            return 0
        self._journal.advance(log.execution, log.job, log.cursor, done=True)
        return file.left(log)

    # ── what an answer leads to ──────────────────────────────────────────────────────────────────

    def _answered(self, found: Piece, reply: Reply) -> tuple[Turn, Cursor]:
        """What came of a piece, and where its log goes on."""
        log, turn = found.log, Turn.MOVED
        match reply.verdict:
            case Verdict.DELIVERED:
                self.failures = self._refusals = 0
                self.sent += found.records
                self._limit = min(RECORDS, self._limit * 2)
            case Verdict.TOO_LARGE if found.records > 1:
                self._limit = max(1, found.records // 2)
                return Turn.MOVED, log.cursor
            case Verdict.REFUSED | Verdict.TOO_LARGE:
                turn = self._refused(found, reply)
            case Verdict.RETRY:
                self.failures += 1
                if reply.late and reply.connected:  # N30: on a slow line less may fit
                    self._limit = max(1, found.records // 2)
                return Turn.AGAIN, log.cursor
            case Verdict.HOLD:
                self._stop(reply)
                return Turn.HELD, log.cursor
            case _:
                assert_never(reply.verdict)
        self._journal.advance(log.execution, log.job, found.cursor)
        return turn, found.cursor

    def _refused(self, found: Piece, reply: Reply) -> Turn:
        """The piece is given up. One line alone is hardly ever at fault, so nothing is bisected."""
        self.failures = 0
        self.refused += found.records
        self.reason = self.reason or reply.message
        self._refusals += 1
        if self._refusals < REFUSALS:
            return Turn.MOVED
        self._stop(reply)
        return Turn.HELD

    def _stop(self, reply: Reply) -> None:
        self.stopped = True
        self._warn(f"{reply.message}. Job logs stop; events go on")

    def _sentences(self, left: int) -> list[str]:
        failure = self.last.message if self.last and not self.stopped else ""
        why = f": {failure}" if failure else ""
        refusal = f": {self.reason}" if self.reason else ""
        fates = (
            (left, f"not delivered{why}; `SIGNALBOX_LOGS=on signalbox flush` sends them"),
            (self.refused, f"refused by the intake{refusal}"),
            (
                self.beyond,
                f"not sent: beyond the {JOB_RECORDS:,} lines or 1 GiB that a job may have",
            ),
            (self.expired, "not sent: older than 18 h, which the intake does not take"),
        )
        return [f"{_lines(count)} {what}" for count, what in fates if count]


class LogDelivery:
    """Sends what one execution's jobs print, from a thread that nobody waits for but ``finish``."""

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
    ) -> None:
        self._journal_twin, self._connect = journal_twin, connect
        self._execution, self._binding = execution, binding
        self._warn, self._clock, self._now, self._sleep = warn, clock, monotonic, sleep
        self._pace = pace or Pace()
        self._budget = self._pace.exit
        self._finishing = self._moved = 0.0
        self._ending = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="logs", daemon=True)
        self._intake: Wire | None = None
        self._sender: LogSender | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def patience(self) -> float:
        """Seconds that a job's final event waits for the job's log."""
        sender = self._sender
        if self._over.is_set() or (sender and sender.failures):
            return 0.0
        if self._ending.is_set() and self._now() - self._finishing > self._budget / 2:
            return 0.0
        return self._pace.hold

    def hurry(self, *, budget: float | None = None, interrupted: bool = False) -> None:
        """The steps are over: send the rest, without a rest."""
        self._budget = self._pace.budget(budget, interrupted=interrupted)
        self._finishing = self._moved = self._now()
        self._ending.set()

    def finish(self, told: Delivered) -> Delivered:
        """Wait for the rest as long as it may take; what ``told`` says, and what became of it."""
        while self._thread.is_alive() and (rest := self._left()) > 0:
            self._thread.join(min(rest, self._pace.poll))
        if self._thread.is_alive() and self._intake:
            self._intake.cut(0)
            self._thread.join(_SLACK)
            if self._sender:
                self._sender.last = None  # what we cut ourselves says nothing of the intake
        journal = self._journal_twin()
        try:
            return self._account(journal, told)
        finally:
            journal.close()

    def _account(self, journal: Journal, told: Delivered) -> Delivered:
        if self._sender is None:  # it could not even begin, and has said so
            return told
        return self._sender.told(told, left(journal, self._binding, self._execution))

    def _left(self) -> float:
        """Seconds that may still be taken at exit."""
        ends = min(self._finishing + self._budget, self._moved + self._pace.stall)
        if self._sender and self._sender.unreachable:
            ends = min(ends, self._finishing + self._pace.unreachable)
        return ends - self._now()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        try:
            journal = self._journal_twin()
            try:
                self._deliver(journal)
            finally:
                journal.close()
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise to
            self._warn(f"job logs stopped on {type(error).__name__}; events go on")
        finally:
            self._over.set()

    def _deliver(self, journal: Journal) -> None:
        self._intake = self._connect()
        sender = self._sender = LogSender(
            journal, self._intake, binding=self._binding, clock=self._clock, warn=self._warn
        )
        try:
            while not self._ending.is_set() and not sender.stopped:
                if self._pass(sender, self._execution) < PIECES:
                    self._pass(sender, "")
                    self._ending.wait(self._pace.logs)
            while self._left() > 0 and self._pass(sender, self._execution):
                pass
        finally:
            self._intake.close()

    def _pass(self, sender: LogSender, run: str) -> int:
        """One look at the logs of this run, or ("") a short one at all; how many requests it led
        to.
        """
        began, turns = self._now(), 0
        for turn in sender.turns(run, self._within):
            turns += 1
            self._moved = self._now() if turn is Turn.MOVED else self._moved
            if not self._rested(sender, turn):
                break
            if not run and (self._ending.is_set() or self._now() - began > self._pace.logs):
                break
        return turns

    def _within(self) -> float:
        attempt = self._pace.attempt
        return max(min(attempt, self._left()), 0.0) if self._ending.is_set() else attempt

    def _rested(self, sender: LogSender, turn: Turn) -> bool:
        """After a request: False when there is no time for another."""
        pause = sender.wait(self._pace) if turn is Turn.AGAIN else 0.0
        if not self._ending.is_set():
            # The thread that masks the steps' output needs the interpreter more than this one.
            self._ending.wait(max(pause, self._pace.breath))
            return True
        hopeless = sender.unreachable and sender.failures > 1
        if hopeless or pause >= self._left():
            return False
        self._sleep(pause)
        return True


def flush(sender: LogSender, run: str, pace: Pace, sleep: Callable[[float], None]) -> None:
    """Send what waits, in the foreground, until all is sent or it does not go on."""
    turns = True
    while turns:
        turns = False
        for turn in sender.turns(run, lambda: pace.attempt):
            turns = True
            if turn is Turn.AGAIN:
                if sender.failures >= (pace.calls if sender.unreachable else pace.tries):
                    return
                sleep(sender.wait(pace))


def left(journal: Journal, binding: str, run: str) -> int:
    """How many lines of this run, or ("") of all, are still to be sent."""
    count = 0
    for log in journal.logs(binding=binding, run=run):
        with contextlib.suppress(OSError), LogFile(_path(journal, log)) as file:
            count += file.left(log)
    return count


def _path(journal: Journal, log: JobLog) -> str:
    return os.path.join(journal.directory(log.execution), f"{log.job}.log")


def _lines(count: int) -> str:
    return "1 log line was" if count == 1 else f"{count} log lines were"
