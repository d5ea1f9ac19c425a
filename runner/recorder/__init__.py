"""The observer that makes events: ids, times, tags, errors -> journal.

Owns which event is due when, and what is left open should we die; what an event carries is
``shapes``'s, what has been said of an open part ``parts``'s. Every part that starts lies in the
journal as the final event it will get if nobody ever closes it, so closing a dead run is setting
``end`` (``dead``). Knows no HTTP. Rules: interface, section 6; Datadog's guide.
"""

import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, assert_never

from runner.event import (
    Domain,
    Event,
    Failure,
    Status,
    StepEvent,
    encode,
)
from runner.execution import SECOND, rfc3339
from runner.journal import Change, Ended, GateWaiting, Header, Open, Row, Section
from runner.notice import (
    ExecutionFinished,
    ExecutionStarted,
    JobFinished,
    JobReady,
    JobSkipped,
    JobStarted,
    Level,
    Notice,
    Outcome,
    Reason,
    Reported,
    Result,
    StepFinished,
    StepStarted,
    Warned,
)
from runner.plan import Decision, Plan, PlannedJob
from runner.recorder.dead import LOST, close_dead, place
from runner.recorder.parts import Labeled, Labels, OpenJob, OpenStage, answered
from runner.recorder.shapes import Shapes

__all__ = ["Appends", "Labels", "Letter", "Recorder", "Relay", "answered", "close_dead"]

UPDATE_EVERY: Final = 10 * SECOND
"""How often a running pipeline may tell more of itself (interface, section 6)."""
_STATUS: Final = {
    Outcome.SUCCESS: Status.SUCCESS,
    Outcome.ERROR: Status.ERROR,
    Outcome.CANCELED: Status.CANCELED,
    Outcome.SKIPPED: Status.SKIPPED,
}


class Appends(Protocol):
    """What a recorder needs of a journal."""

    def append(self, execution: str, change: Change) -> None:
        """Take in one change, whole."""


Letter = tuple[tuple[str, ...], bytes]
"""An event, and the path of the pipeline that it is of, below this execution."""
Relay = Callable[[Sequence[Letter]], None]


class Recorder:
    """Appends the events of one execution; every call of ``observe`` is one commit. ``logs``: with
    where each step begins in its job's log, which is to be sent. ``relay``: the run around this
    one, which is told what is on disk.
    """

    def __init__(
        self,
        journal: Appends,
        header: Header,
        plan: Plan,
        labels: Labels,
        *,
        logs: bool = False,
        relay: Relay | None = None,
    ) -> None:
        self._logs, self._relay = logs, relay
        self._letters: list[Letter] = []
        self._journal, self._header, self._plan, self._labels = journal, header, plan, labels
        self._execution = header.execution
        self._planned = {job.key: job for job in plan.jobs}
        self._jobs: dict[str, OpenJob] = {}
        self._stages = {stage: self._stage(stage) for stage in plan.stages}
        self._shapes = Shapes(header.execution, plan, labels)
        self._said = Labeled(labels.tags, plan.pipeline.tags)
        self._said.measures = {**labels.measures, **plan.pipeline.measures}
        self._not_started = 0
        self._updated = self._execution.start
        self._rows: list[Row] = []
        self._opened: list[Open] = []
        self._results: list[Result] = []
        self._sections: list[Section] = []
        self._ended: Ended | None = None

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """Turn notices into rows and append them in one commit."""
        for notice in notices:
            self._take(notice)
        change = Change(
            rows=tuple(self._rows),
            opened=tuple(self._opened),
            results=tuple(self._results),
            sections=tuple(self._sections),
            ended=self._ended,
        )
        self._rows, self._opened, self._results, self._sections = [], [], [], []
        if change != _NOTHING:
            self._journal.append(self._execution.unique_id, change)
        letters, self._letters = self._letters, []
        if letters and self._relay:
            self._relay(letters)

    def first(self) -> Change:
        """What ``Journal.begin`` writes with the execution's row: the running event."""
        start = self._execution.start
        running = self._shapes.pipeline(self._said, Status.RUNNING, None)
        lost = self._shapes.pipeline(self._said, Status.ERROR, start, LOST)
        self._row(running, start)
        self._open(lost)
        rows, opened = tuple(self._rows), tuple(self._opened)
        self._rows, self._opened = [], []
        return Change(rows=rows, opened=opened)

    def _take(self, notice: Notice) -> None:
        match notice:
            case StepStarted():
                self._open(self._shapes.step(notice, self._jobs[notice.job], notice.at, LOST))
                self._section(notice)
            case StepFinished():
                self._step_finished(notice)
            case JobStarted():
                self._job_started(notice)
            case JobFinished():
                self._job_finished(notice)
            case JobSkipped():
                self._job_skipped(notice)
            case ExecutionFinished():
                self._finished(notice)
            case Reported():
                self._reported(notice)
            case ExecutionStarted() | JobReady() | Warned():
                pass
            case _:
                assert_never(notice)

    # ── steps ────────────────────────────────────────────────────────────────────────────────────

    def _section(self, step: StepStarted) -> None:
        """Lines of one name fold together, so every attempt has its own."""
        if not self._logs:
            return
        first = self._jobs[step.job].sections.setdefault(step.name, step.index)
        name = step.name if first == step.index else f"{step.name} (step {step.index + 1})"
        if step.attempt > 1:
            name = f"{name} (attempt {step.attempt})"
        job = self._execution.job_id(step.job)
        self._sections.append(Section(job=job, offset=step.log, name=name))

    def _step_finished(self, step: StepFinished) -> None:
        job = self._jobs[step.job]
        self._row(self._shapes.step(step, job, step.end, step.failure), step.end)
        job.add(step.said, Level.JOB)
        stage = self._stages.get(self._planned[step.job].job.stage)
        if stage:
            stage.add(step.said, Level.STAGE)
        due = step.end - self._updated >= UPDATE_EVERY
        if self._said.add(step.said, Level.PIPELINE) and due:
            self._updated = step.end
            self._row(self._shapes.pipeline(self._said, Status.RUNNING, None), step.end)

    # ── what a signalbox inside a step reports ───────────────────────────────────────────────────

    def _reported(self, told: Reported) -> None:
        if told.lost:
            self._open(told.event)
        elif told.path:
            self._row(told.event, told.at, told.path)
        elif told.job in self._jobs and isinstance(told.event, StepEvent):
            self._row(self._shapes.further(told.event, self._jobs[told.job]), told.at)

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────

    def _job_started(self, started: JobStarted) -> None:
        job = OpenJob(started, self._labels.tags, self._plan.pipeline.tags)
        self._jobs[started.job] = job
        self._row(self._shapes.job(job, Status.RUNNING, None, None), started.at)
        self._open(self._shapes.job(job, Status.ERROR, started.at, LOST))
        self._enter_stage(started)

    def _job_finished(self, finished: JobFinished) -> None:
        job, result = self._jobs[finished.job], finished.result
        status = _STATUS[result.outcome]
        allowed = {"allowed_failure": "true"} if result.allowed else {}
        self._row(
            self._shapes.job(job, status, finished.end, finished.failure, **allowed), finished.end
        )
        self._results.append(result)
        counted = Status.SUCCESS if result.allowed else status
        self._leave_stage(finished.job, counted, finished.end, finished.failure)

    def _job_skipped(self, skipped: JobSkipped) -> None:
        self._results.append(Result(job=skipped.job, outcome=skipped.outcome, why=skipped.why))
        if skipped.outcome is Outcome.NOT_STARTED:
            self._not_started += 1
            self._leave_stage(skipped.job, None, skipped.at, None)
            return
        upstream = self._planned[skipped.job].upstream
        started = JobStarted(
            job=skipped.job,
            name=skipped.name,
            at=skipped.at,
            ready=skipped.at,
            dependencies=tuple(key for key in upstream if key in self._jobs),
        )
        job = OpenJob(started, self._labels.tags, self._plan.pipeline.tags)
        self._jobs[skipped.job] = job
        self._row(self._shapes.job(job, Status.SKIPPED, skipped.at, None), skipped.at)
        self._enter_stage(started)
        self._leave_stage(skipped.job, Status.SKIPPED, skipped.at, None)

    # ── stages ───────────────────────────────────────────────────────────────────────────────────

    def _stage(self, stage: str) -> OpenStage:
        left = sum(_runs(job) and job.job.stage == stage for job in self._plan.jobs)
        return OpenStage(left, self._labels.tags, self._plan.pipeline.tags)

    def _enter_stage(self, started: JobStarted) -> None:
        name = self._planned[started.job].job.stage
        stage = self._stages.get(name)
        if stage is None:
            return
        for need in started.dependencies:
            above = self._planned[need].job.stage
            if above and above != name:
                stage.needs[above] = None
        if not stage.start or started.at < stage.start:
            # Jobs that start together tell it in any order; the stage begins with the first.
            stage.start, stage.ready = started.at, started.ready
            self._open(self._shapes.stage(name, stage, Status.ERROR, started.at, LOST))

    def _leave_stage(
        self, key: str, status: Status | None, at: int, failure: Failure | None
    ) -> None:
        name = self._planned[key].job.stage
        stage = self._stages.get(name)
        if stage is None:
            return
        stage.left -= 1
        if status:
            stage.statuses.add(status)
            stage.end = max(stage.end, at)
            stage.failure = stage.failure or (failure if status is Status.ERROR else None)
        if not stage.left and stage.start:
            worst = _worst(stage.statuses)
            event = self._shapes.stage(name, stage, worst, stage.end, stage.failure)
            self._row(event, stage.end)

    # ── the pipeline ─────────────────────────────────────────────────────────────────────────────

    def _finished(self, finished: ExecutionFinished) -> None:
        status = Status.BLOCKED if finished.gates else _STATUS[finished.outcome]
        failure = finished.failure or self._canceled(finished)
        event = self._shapes.pipeline(
            self._said, status, finished.at, failure, not_started=self._not_started
        )
        self._row(event, finished.at)
        gates = tuple(self._waiting(key, finished) for key in finished.gates)
        self._ended = Ended(at=finished.at, status=status, gates=gates)

    def _canceled(self, finished: ExecutionFinished) -> Failure | None:
        if finished.signal:
            name = signal.Signals(finished.signal).name
            return _unknown(Reason.CANCELED.value, f"stopped by {name}")
        for gate in self._plan.gates:
            answer = gate.answer
            if answer and answer.expired:
                when = rfc3339(answer.at)
                return _unknown("GateExpired", f"{gate.key} expired at {when}: nobody answered it")
            if answer and not answer.approved:
                why = f": {answer.reason}" if answer.reason else ""
                return _unknown("GateRejected", f"{gate.key} was rejected by {answer.who}{why}")
        return None

    def _waiting(self, key: str, finished: ExecutionFinished) -> GateWaiting:
        planned = next(gate for gate in self._plan.gates if gate.key == key)
        gate, at = planned.gate, planned.asked or finished.at
        return GateWaiting(
            gate=key,
            question=finished.questions.get(key, planned.question),
            asked=at,
            expires=at + int(gate.expires * SECOND) if gate.expires else None,
            approvers=gate.approvers,
            not_initiator=gate.not_initiator,
            fields=gate.fields,
        )

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────

    def _row(self, event: Event, at: int, path: tuple[str, ...] = ()) -> None:
        final = event.status is not Status.RUNNING
        level, part = place(event)
        if final:  # what began and ended between two commits was never open
            self._opened = [o for o in self._opened if (o.level, o.id) != (level, part)]
        body = encode(event)
        self._rows.append(Row(level=level, id=part, final=final, body=body, at=at))
        self._letters.append((path, body))

    def _open(self, event: Event) -> None:
        level, part = place(event)
        self._opened.append(Open(level=level, id=part, body=encode(event)))


_NOTHING: Final = Change()


def _worst(statuses: Iterable[Status]) -> Status:
    found = set(statuses)
    for status in (Status.ERROR, Status.CANCELED, Status.SUCCESS):
        if status in found:
            return status
    return Status.SKIPPED


def _unknown(type_: str, message: str) -> Failure:
    return Failure(domain=Domain.UNKNOWN, type=type_, message=message)


def _runs(job: PlannedJob) -> bool:
    return job.decision in {Decision.RUN, Decision.CUT}
