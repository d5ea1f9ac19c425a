"""The relay: what came in, delivered to the real intake.

Owns the thread and its two lanes, lines of logs before events: after its final event a job takes no
lines for long. What goes into a request, what an answer means and how long to wait is
``delivery``'s; nothing here knows a retry.
"""

import gzip
import threading
from collections.abc import Callable, Mapping, Sequence

from runner.delivery import Pace, Sender, Turn, request
from runner.execution import SECOND, Clock
from runner.intake import Target, logs
from runner.intake.http import Intake
from runner.journal import Pending
from runner.viewer.changes import News
from runner.viewer.outbox import Lane, Outbox
from runner.viewer.store import Store


def _lines(batch: Sequence[Pending]) -> bytes:
    """A request of log lines, as their intake takes it."""
    return gzip.compress(b"[%b]" % b",".join([line.body for line in batch]), 1, mtime=0)


class Relay:
    """Delivers what waits in the store's outbox to ``to``."""

    def __init__(
        self,
        store: Store,
        to: Target,
        *,
        environ: Mapping[str, str],
        version: str,
        clock: Clock,
        say: Callable[[str], None],
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._to = to
        self._environ = environ
        self._agent = version
        self._clock = clock
        self._say = say
        self._pace = pace or Pace()
        self._over = threading.Event()
        self._wake = threading.Event()
        self._intakes: list[Intake] = []
        self._thread = threading.Thread(target=self._work, name="relay", daemon=True)
        store.forwarding = True

    def start(self) -> None:
        """Begin with what an earlier process left."""
        self._store.listen(self._heard)
        self._thread.start()

    def stop(self) -> None:
        """End now; what waits is on disk, and sent by the next that forwards."""
        self._over.set()
        self._wake.set()
        for one in tuple(self._intakes):
            one.cut(0)
        self._thread.join()
        if waiting := self._store.totals().waiting:
            self._say(f"{waiting} events wait to be forwarded; the next `serve --forward` does it")

    def _heard(self, news: News) -> None:
        if news.waiting:
            self._wake.set()

    def _work(self) -> None:
        there = logs(self._to)
        lanes = [self._lane("lines", there, _lines)] if there else []
        lanes.append(self._lane("events", self._to, request))
        try:
            while not self._over.is_set():
                self._wake.clear()
                for lane in lanes:
                    if lane.due is None or lane.due <= self._clock():
                        self._turn(lane)
                self._rest(lanes)
        finally:
            for one in self._intakes:
                one.close()

    def _lane(self, lane: Lane, to: Target, framed: Callable[..., bytes]) -> "_Lane":
        there = Intake(to, environ=self._environ, version=self._agent)
        self._intakes.append(there)
        return _Lane(
            Sender(
                Outbox(self._store.connection, self._store.writer.apply, lane),
                there,
                binding=to.binding,
                clock=self._clock,
                warn=self._say,
                framed=framed,
            )
        )

    def _turn(self, lane: "_Lane") -> None:
        """One request, and when the next is due."""
        turn = lane.sender.turn("", self._pace.attempt)
        self._tell(turn, lane.sender)
        rest = self._interval(turn, lane.sender)
        lane.due = None if rest is None else self._clock() + int(rest * SECOND)

    def _interval(self, turn: Turn, sender: Sender) -> float | None:
        """Seconds until the next turn; None: when something comes."""
        match turn:
            case Turn.MOVED:
                return 0.0 if sender.busy else self._pace.linger
            case Turn.EMPTY:
                return None
            case Turn.AGAIN:
                return sender.backoff(self._pace)
            case Turn.HELD:
                return self._pace.longest

    def _rest(self, lanes: Sequence["_Lane"]) -> None:
        """Until one is due; those with nothing to do are, when something comes."""
        dues = [lane.due for lane in lanes if lane.due is not None]
        rest = max(0, min(dues) - self._clock()) / SECOND if dues else None
        if len(dues) == len(lanes):
            self._over.wait(rest)
        else:
            self._wake.wait(rest)

    def _tell(self, turn: Turn, sender: Sender) -> None:
        """Trouble, once; and that it is over by no longer being there."""
        if turn is Turn.MOVED:
            self._store.trouble = ""
        elif turn is not Turn.EMPTY and sender.last and sender.last.message != self._store.trouble:
            self._store.trouble = sender.last.message
            if not self._over.is_set():
                self._say(f"{sender.last.message}. What came in is kept, and sent later")


class _Lane:
    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.due: int | None = None
        """When its next turn is; None: nothing waits."""
