"""What goes on behind a run: the commit is read, events and job logs are delivered.

Owns the beginning and the end of these threads. They begin once the first step has started,
because loading GitPython costs 60 ms of CPU: that belongs beside a step, not before.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from runner.cli.settings import Settings
from runner.execution import Clock
from runner.journal import Journal
from runner.notice import Notice, StepStarted

if TYPE_CHECKING:  # loaded beside the first step
    from runner.delivery import Delivered, Delivery, LogDelivery
    from runner.intake import Target, Wire

GIT_PATIENCE: Final = 2.0
"""Seconds that delivery waits for the commit at the end before it is settled as absent."""
HEAD_START: Final = 0.01
"""Seconds the first step has to itself: starting a process takes 1 to 5 ms."""


class Backstage:
    """An observer: begins at the first step, and passes every notice on to delivery."""

    def __init__(
        self,
        *,
        journal: Journal,
        execution: str,
        read_git: Callable[[], bytes | None],
        connect: Callable[["Target"], "Wire"],
        target: "Target | None",
        settings: Settings,
        warn: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._journal, self._execution, self._read_git = journal, execution, read_git
        self._connect, self._target, self._settings = connect, target, settings
        self._warn, self._clock = warn, clock
        self._thread = threading.Thread(target=self._work, name="backstage", daemon=True)
        self._commit: bytes | None = None
        self._delivery: Delivery | None = None
        self._logs: LogDelivery | None = None

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """Begin at the first step; wake delivery."""
        if self._delivery:
            self._delivery.observe(notices)
        elif not self._thread.ident and any(isinstance(n, StepStarted) for n in notices):
            self._thread.start()

    def end(self, *, interrupted: bool) -> "Delivered | None":
        """Wait for the commit, then for delivery, as long as either may take; None: local."""
        if not self._thread.ident:
            self._thread.start()
        self._thread.join(GIT_PATIENCE)
        late = self._thread.is_alive()
        # Once more, in vain but for two cases: it came too late, or a step removed the journal in
        # the moment in which the thread wrote into it.
        if self._journal.freeze_git(self._execution, self._commit) and late:
            self._warn("the commit could not be read in time; events carry no git")
        if self._delivery is None:
            return None
        budget = self._settings.flush_timeout
        if self._logs:
            self._logs.hurry(budget=budget, interrupted=interrupted)
        told = self._delivery.finish(budget=budget, interrupted=interrupted)
        return self._logs.finish(told) if self._logs else told

    def _work(self) -> None:
        time.sleep(HEAD_START)
        if self._target:
            self._logs = self._deliver_logs(self._target) if self._settings.logs else None
            self._delivery = self._deliver(self._target)
            self._delivery.start()
        self._commit = self._read_git()
        journal = self._journal.twin()
        journal.freeze_git(self._execution, self._commit)
        journal.close()

    def _deliver(self, target: "Target") -> "Delivery":
        from runner.delivery import Delivery

        return Delivery(
            self._journal.twin,
            lambda: self._connect(target),
            execution=self._execution,
            binding=target.binding,
            warn=self._warn,
            clock=self._clock,
            monotonic=time.monotonic,
            sleep=time.sleep,
            patience=self._logs.patience if self._logs else None,
        )

    def _deliver_logs(self, target: "Target") -> "LogDelivery | None":
        from runner import intake
        from runner.delivery import LogDelivery

        to = intake.logs(target)
        if to is None:
            self._warn("job logs go to no government site: they stay here")
            return None
        logs = LogDelivery(
            self._journal.twin,
            lambda: self._connect(to),
            execution=self._execution,
            binding=target.binding,
            warn=self._warn,
            clock=self._clock,
            monotonic=time.monotonic,
            sleep=time.sleep,
        )
        logs.start()
        return logs
