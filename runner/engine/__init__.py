"""Carry out a Plan: how many jobs at once, what a failure or a signal means, how it all ends.

Owns the one thread that decides (the caller's) and tells the observers; each running job has a
``worker`` of its own, the order of jobs is ``graph``'s. Knows no Datadog, no SQLite, no terminal.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from runner import plan as planning
from runner import scope
from runner.engine.graph import Graph, LeftOut, Move, Ready
from runner.engine.worker import Surroundings, Worker
from runner.event import Failure
from runner.execution import SECOND
from runner.notice import (
    ExecutionFinished,
    ExecutionStarted,
    JobFinished,
    JobReady,
    JobSkipped,
    Notice,
    Observer,
    Outcome,
    Reason,
    Warned,
)
from runner.plan import Plan, PlannedJob

__all__ = ["Engine", "Surroundings"]

AWAKE: Final = 0.5
"""Seconds that a signal may wait for its handler."""
LOOK: Final = SECOND
"""How often the outboxes of all jobs are looked into."""


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells; ``last``: its job is over."""

    worker: Worker
    notices: tuple[Notice, ...] = ()
    last: bool = False
    defect: Exception | None = None


class _Signal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants the execution to stop."""

    number: int


_Message = _Told | _Signal


class _Line:
    """One worker's line to the engine's thread."""

    def __init__(self, queue: SimpleQueue[_Message]) -> None:
        self._queue = queue
        self.worker: Worker
        self.turn = threading.Semaphore(0)

    def tell(self, *notices: Notice) -> None:
        self._queue.put(_Told(worker=self.worker, notices=notices))
        self.turn.acquire()

    def leave(self, *notices: Notice) -> None:
        self._queue.put(_Told(worker=self.worker, notices=notices, last=True))

    def crashed(self, defect: Exception) -> None:
        self._queue.put(_Told(worker=self.worker, defect=defect))


class Engine:
    """Carries out one plan, once."""

    def __init__(
        self,
        plan: Plan,
        around: Surroundings,
        observers: Sequence[Observer],
        *,
        parallel: int,
        fail_fast: bool = False,
    ) -> None:
        self._plan, self._around, self._observers = plan, around, observers
        self._parallel, self._fail_fast = max(parallel, 1), fail_fast
        self._graph = Graph(plan)
        self._queue: SimpleQueue[_Message] = SimpleQueue()
        self._lines: dict[str, _Line] = {}
        self._ready: deque[tuple[PlannedJob, int]] = deque()
        self._outputs: dict[str, Mapping[str, str]] = {
            job.key: job.result.outputs for job in plan.jobs if job.result
        }
        self._sent: set[str] = set()
        self._news: list[Notice] = []
        self._failure: Failure | None = None
        self._failed, self._stopping = plan.broken, False
        self._signal = self._looked = 0
        self.observer_errors: list[str] = []

    def cancel(self, number: int) -> None:
        """Stop everything because of a signal; safe in a signal handler (``SimpleQueue.put`` is
        reentrant). A second call skips the grace.
        """
        self._queue.put(_Signal(number=number))

    def carry_out(self) -> ExecutionFinished:
        """Run the plan to its end; raises only for a defect of ours."""
        start = self._around.execution.start
        self._news.append(ExecutionStarted(at=start))
        self._move(self._graph.begin(), start)
        self._go_on()
        while self._lines:
            self._take(self._wait())
        return self._finish()

    # ── what workers and signals say ─────────────────────────────────────────────────────────────

    def _take(self, first: _Message | None) -> None:
        """Take in all that is there: ends that arrive together share one commit."""
        waiting: list[_Line] = []
        message: _Message | None = first
        while message is not None:
            match message:
                case _Signal(number=number):
                    self._stop(number)
                case _Told(defect=None):
                    self._hear(message, waiting)
                case _Told(defect=defect):
                    self._abandon(defect)
            message = self._next()
        self._look_around()
        self._go_on(waiting)

    def _wait(self) -> _Message | None:
        """The next message. None, twice a second, because the kernel may hand a signal to any
        thread, and only this one, awake, runs its handler.
        """
        try:
            return self._queue.get(timeout=AWAKE)
        except Empty:
            return None

    def _next(self) -> _Message | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            return None

    def _hear(self, told: _Told, waiting: list[_Line]) -> None:
        key = told.worker.planned.key
        if not told.last:
            self._news += told.notices
            self._look(told.worker, self._around.clock())
            waiting.append(self._lines[key])
            return
        told.worker.join()
        told.worker.stop.close()
        del self._lines[key]
        self._outputs[key] = told.worker.outputs
        *before, finished = told.notices
        assert isinstance(finished, JobFinished)  # noqa: S101 - a worker leaves with nothing else
        self._news += before
        end = max(finished.end, told.worker.outbox.latest)
        self._look(told.worker, end, last=True)
        finished = msgspec.structs.replace(finished, end=end)
        self._news.append(finished)
        self._ended(finished)

    def _look_around(self) -> None:
        """Now and then, into every outbox: a step that says nothing may hold a whole pipeline."""
        at = self._around.clock()
        if at - self._looked >= LOOK:
            self._looked = at
            for line in self._lines.values():
                self._look(line.worker, at)

    def _look(self, worker: Worker, at: int, *, last: bool = False) -> None:
        try:
            self._news += worker.outbox.look(at, last=last)
        except Exception as error:  # noqa: BLE001 - reporting never reaches the build
            self.observer_errors.append(f"{type(error).__name__}: {error}")

    def _ended(self, finished: JobFinished) -> None:
        result = finished.result
        if result.outcome is Outcome.ERROR and not result.allowed:
            self._failed = True
            self._failure = self._failure or finished.failure
            if self._fail_fast and not self._stopping:
                self._stop(0)
        self._move(self._graph.ended(result), finished.end)

    def _stop(self, number: int) -> None:
        again = self._stopping and number
        self._stopping = True
        self._signal = self._signal or number
        self._graph.stop()
        for line in self._lines.values():
            line.worker.stop.ask(Reason.CANCELED, now=bool(again))

    def _abandon(self, defect: Exception | None) -> None:
        """A worker is broken: end every job's processes, then say what happened."""
        for line in self._lines.values():
            line.worker.stop.ask(Reason.CANCELED, now=True)
            line.turn.release()
        for line in self._lines.values():
            line.worker.join(timeout=2)
        raise defect or AssertionError

    # ── starting ─────────────────────────────────────────────────────────────────────────────────

    def _move(self, moves: Iterable[Move], at: int) -> None:
        for move in moves:
            match move:
                case Ready(job=job):
                    self._ready.append((job, at))
                    self._news.append(JobReady(job=job.key, at=at))
                case LeftOut(job=job):
                    self._news.append(self._left_out(move, at))

    def _left_out(self, move: LeftOut, at: int) -> JobSkipped:
        if move.outcome is Outcome.SKIPPED:
            self._sent.add(move.job.key)
        name = self._around.masker.text(move.job.name)
        return JobSkipped(job=move.job.key, name=name, at=at, outcome=move.outcome, why=move.why)

    def _go_on(self, waiting: Iterable[_Line] = ()) -> None:
        """Publish what is new, then let go on who waited for that, then start what can start. What
        ends last shares its commit with the execution's own end.
        """
        started = []
        while self._ready and len(self._lines) < self._parallel and not self._stopping:
            started.append(self._worker(*self._ready.popleft()))
        if self._lines:
            self._publish()
        for line in waiting:
            line.turn.release()
        for worker in started:
            worker.start()

    def _worker(self, job: PlannedJob, ready: int) -> Worker:
        seen, differ = planning.outputs(job, self._outputs)
        for name in differ:
            message = f"legs of one matrix give different values of {name}; the last one counts"
            self._news.append(Warned(message=message, job=job.key))
        known = planning.variables(self._plan.pipeline, self._plan.parameters, job)
        line = _Line(self._queue)
        line.worker = Worker(
            job,
            self._around,
            line,
            ready=ready,
            dependencies=tuple(key for key in job.upstream if key in self._sent),
            variables=scope.merge((known, self._plan.fields, seen)),
        )
        self._lines[job.key] = line
        self._sent.add(job.key)
        return line.worker

    def _publish(self) -> None:
        if not self._news:
            return
        news, self._news = tuple(self._news), []
        for observer in self._observers:
            try:
                observer.observe(news)
            except Exception as error:  # noqa: BLE001 - reporting never reaches the build
                self.observer_errors.append(f"{type(error).__name__}: {error}")

    # ── the end ──────────────────────────────────────────────────────────────────────────────────

    def _finish(self) -> ExecutionFinished:
        at = self._around.clock()
        self._move(self._graph.rest(), at)
        outcome = self._outcome()
        quiet = outcome in {Outcome.SUCCESS, Outcome.SKIPPED}
        gates = self._graph.waiting if quiet else ()
        finished = ExecutionFinished(
            at=at,
            outcome=outcome,
            gates=gates,
            questions=self._questions(gates),
            failure=self._failure,
            signal=self._signal,
        )
        self._news.append(finished)
        self._publish()
        return finished

    def _questions(self, keys: Iterable[str]) -> dict[str, str]:
        gates = {gate.key: gate for gate in self._plan.gates}
        asked = {key: planning.question(self._plan, gates[key], self._outputs) for key in keys}
        return {key: self._around.masker.text(question) for key, question in asked.items()}

    def _outcome(self) -> Outcome:
        if self._signal:
            return Outcome.CANCELED
        if self._failed:
            return Outcome.ERROR
        if self._graph.rejected:
            return Outcome.CANCELED
        return Outcome.SKIPPED if self._graph.all_skipped else Outcome.SUCCESS
