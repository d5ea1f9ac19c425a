"""What goes on behind a run: the commit is read, events are delivered.

Owns these two threads' beginning and end. They begin once the first step has started, because
loading GitPython and requests costs 120 ms of CPU, and that belongs beside a step, not before it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from runner import __version__
from runner.cli.settings import Settings
from runner.delivery import Delivered, Delivery
from runner.execution import Clock
from runner.intake import Intake, Target
from runner.journal import Journal
from runner.notice import Notice, StepStarted

GIT_PATIENCE: Final = 2.0
"""Seconds that delivery waits for the commit at the end before it is settled as absent."""
HEAD_START: Final = 0.004
"""Seconds the first step has to itself: starting a process takes 1 ms."""


class Backstage:
    """An observer: begins at the first step, and passes every notice on to delivery."""

    def __init__(
        self,
        *,
        journal: Journal,
        execution: str,
        read_git: Callable[[], bytes | None],
        target: Target | None,
        environ: Mapping[str, str],
        settings: Settings,
        warn: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._journal, self._execution, self._read_git = journal, execution, read_git
        self._settings, self._warn = settings, warn
        self._git = threading.Thread(target=self._settle_git, name="git", daemon=True)
        self._delivery: Delivery | None = None
        if target:
            self._delivery = Delivery(
                journal.twin,
                lambda: Intake(target, environ=environ, version=__version__),
                execution=execution,
                binding=target.binding,
                warn=warn,
                clock=clock,
                monotonic=time.monotonic,
                sleep=time.sleep,
            )

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """Begin at the first step; wake delivery."""
        if not self._git.ident and any(isinstance(notice, StepStarted) for notice in notices):
            self._begin()
        if self._delivery and self._git.ident:
            self._delivery.observe(notices)

    def end(self, *, interrupted: bool) -> Delivered | None:
        """Wait for the commit, then for delivery, as long as either may take; None: local."""
        if not self._git.ident:
            self._begin()
        self._git.join(GIT_PATIENCE)
        if self._git.is_alive() and self._journal.freeze_git(self._execution, None):
            self._warn("the commit could not be read in time; events carry no git")
        if self._delivery is None:
            return None
        return self._delivery.finish(budget=self._settings.flush_timeout, interrupted=interrupted)

    def _begin(self) -> None:
        self._git.start()
        if self._delivery:
            self._delivery.start()

    def _settle_git(self) -> None:
        time.sleep(HEAD_START)
        git = self._read_git()
        journal = self._journal.twin()
        journal.freeze_git(self._execution, git)
        journal.close()
