"""How every job and gate stands at the moment: what notices say, made into rows.

Owns what is known; how it looks is ``layout``'s. Pure: times come with the notices.
"""

from enum import Enum
from typing import Final

from runner.console.scene import Scene, ended, reason
from runner.event import Failure
from runner.notice import (
    ExecutionFinished,
    ExecutionStarted,
    JobFinished,
    JobReady,
    JobSkipped,
    JobStarted,
    Notice,
    Outcome,
    Reason,
    Reported,
    StepFinished,
    StepStarted,
    Warned,
)
from runner.pipeline import Gate, Job
from runner.plan import Decision, PlannedGate, PlannedJob
from runner.terminal import lines, plain

OPEN: Final = 3
"""Lines of a failed step's output that stay open under its job."""


class State(Enum):
    """How a row stands."""

    WAITS = "waits"
    """For what it needs."""
    READY = "ready"
    """For a free place."""
    RUNS = "runs"
    GOOD = "good"
    BAD = "bad"
    ALLOWED = "allowed"
    """It failed, as it may."""
    CANCELED = "canceled"
    LEFT_OUT = "left out"
    NOT_STARTED = "not started"

    @property
    def over(self) -> bool:
        """Whether nothing more will happen there."""
        return self not in {State.WAITS, State.READY, State.RUNS}


_ENDS: Final = {
    Outcome.SUCCESS: State.GOOD,
    Outcome.ERROR: State.BAD,
    Outcome.CANCELED: State.CANCELED,
    Outcome.SKIPPED: State.LEFT_OUT,
    Outcome.NOT_STARTED: State.NOT_STARTED,
}


class Row:
    """One job or gate."""

    def __init__(self, planned: PlannedJob | PlannedGate, name: str) -> None:
        self.key, self.planned, self.name = planned.key, planned, name
        self.state = State.WAITS
        self.start = self.end = 0
        self.step: StepStarted | None = None
        self.question = ""
        self.done = 0
        """Steps that have ended."""
        self.why = ""
        """Why it failed or did not start."""
        self.open: tuple[str, ...] = ()
        """What stays open under it: the end of a failed step's output."""

    @property
    def gate(self) -> bool:
        """Whether it is a gate."""
        return isinstance(self.planned, PlannedGate)

    @property
    def took(self) -> int:
        """Nanoseconds, when it is over."""
        return self.end - self.start


class Board:
    """All rows, in the order of the file."""

    def __init__(self, scene: Scene) -> None:
        plan = scene.plan
        self.parallel = scene.parallel
        place = {job.key: number for number, job in enumerate(plan.pipeline.jobs)}
        parts: list[PlannedJob | PlannedGate] = [*plan.jobs, *plan.gates]
        planned = sorted(parts, key=lambda part: place[_declared(part).key])
        self.rows = {
            part.key: Row(part, plain(scene.mask(_name(part))))
            for part in planned
            if part.decision is not Decision.DONE
        }
        for gate in plan.gates:
            if gate.key in self.rows:
                self.rows[gate.key].question = plain(scene.mask(gate.question))

    def take(self, notice: Notice) -> None:
        """Take in what happened."""
        match notice:
            case JobReady():
                self.rows[notice.job].state = State.READY
            case JobStarted():
                row = self.rows[notice.job]
                row.state, row.name, row.start = State.RUNS, plain(notice.name), notice.at
            case StepStarted():
                self.rows[notice.job].step = notice
            case StepFinished():
                self._step_finished(self.rows[notice.job], notice)
            case JobFinished():
                self._job_finished(self.rows[notice.job], notice)
            case JobSkipped(job=job) if job in self.rows:
                row = self.rows[job]
                row.state, row.why = _ENDS[notice.outcome], plain(notice.why)
            case ExecutionStarted() | ExecutionFinished() | JobSkipped() | Reported() | Warned():
                pass

    def count(self, *states: State) -> int:
        """How many jobs stand so."""
        return sum(row.state in states for row in self.rows.values() if not row.gate)

    def ahead(self, row: Row) -> list[str]:
        """The names of what ``row`` still waits for."""
        needs = (self.rows.get(need) for need in row.planned.needs)
        return [need.name for need in needs if need and not need.state.over]

    def unwell(self, row: Row) -> list[str]:
        """The names of what it needs that is over and did not end well."""
        needs = (self.rows.get(need) for need in row.planned.needs)
        well = {State.GOOD, State.ALLOWED}
        return [need.name for need in needs if need and need.state.over and need.state not in well]

    def _step_finished(self, row: Row, finished: StepFinished) -> None:
        if finished.again:
            return
        row.done += 1
        if finished.exit.ok or finished.allowed or finished.exit.reason is Reason.CANCELED:
            return
        row.why = " · ".join(
            filter(None, (plain(finished.name), ended(finished.exit), plain(finished.place)))
        )
        row.open = _last(finished.tail, finished.failure)

    def _job_finished(self, row: Row, finished: JobFinished) -> None:
        row.state = State.ALLOWED if finished.result.allowed else _ENDS[finished.result.outcome]
        row.end = finished.end
        if row.state is State.BAD and not row.why:
            row.why = reason(finished.failure)


def _declared(part: PlannedJob | PlannedGate) -> Job | Gate:
    return part.job if isinstance(part, PlannedJob) else part.gate


def _name(part: PlannedJob | PlannedGate) -> str:
    return part.name if isinstance(part, PlannedJob) else part.gate.name


def _last(tail: str, failure: Failure | None) -> tuple[str, ...]:
    found = [line for line in lines(tail) if line.strip()]
    return tuple(found[-OPEN:]) or tuple(filter(None, [reason(failure)]))
