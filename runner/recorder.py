"""The observer that makes events: ids, times, tags, errors -> journal.

Owns which event each notice becomes, what it carries and what is left open should we die. Every
part that starts lies in the journal as the final event it will get if nobody ever closes it, so
closing a dead run is setting ``end``. Knows no HTTP. Rules: interface, section 6; Datadog's guide.
"""

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, assert_never

import msgspec

from runner.event import (
    Domain,
    Event,
    Failure,
    JobEvent,
    Node,
    PipelineEvent,
    StageEvent,
    Status,
    StepEvent,
    decode,
    encode,
)
from runner.execution import MILLISECOND, SECOND, rfc3339
from runner.journal import Change, Ended, GateWaiting, Header, Journal, Open, Owner, Row, Section
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
    Said,
    StepFinished,
    StepStarted,
    Warned,
)
from runner.plan import Decision, Plan, PlannedJob

UPDATE_EVERY: Final = 10 * SECOND
"""How often a running pipeline may tell more of itself (interface, section 6)."""
TAGS: Final = 100
"""Tags, and measures, per event (Datadog's limit for custom tags)."""

LOST: Final = Failure(
    domain=Domain.PROVIDER,
    type=Reason.RUNNER_LOST.value,
    message="signalbox ended before this did: killed, out of memory, or the machine went away",
)

_STATUS: Final = {
    Outcome.SUCCESS: Status.SUCCESS,
    Outcome.ERROR: Status.ERROR,
    Outcome.CANCELED: Status.CANCELED,
    Outcome.SKIPPED: Status.SKIPPED,
}


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What events carry beside what happened."""

    node: Node | None = None
    job_url: str = ""
    """The host CI's page of the job that we run in: the page of each of our jobs, and steps."""
    tags: Mapping[str, str] = {}
    """On every level, below the file's own (``--tag``, DD_TAGS)."""
    pipeline_tags: Mapping[str, str] = {}
    """On the pipeline alone: the host CI, who answered a gate."""
    measures: Mapping[str, float] = {}


class _Labeled:
    """The tags and measures of one part while it is open; the last said of a key wins."""

    def __init__(self, *layers: Mapping[str, str]) -> None:
        self.tags: dict[str, str] = {}
        self.measures: dict[str, float] = {}
        for layer in layers:
            self.tags.update(layer)

    def add(self, said: Said, level: Level) -> bool:
        tags, measures = said.tags.get(level, {}), said.measures.get(level, {})
        self.tags.update(tags)
        self.measures.update(measures)
        return bool(tags or measures)

    def written(self, **more: str) -> tuple[str, ...]:
        tags = self.tags | more
        return tuple(f"{key}:{value}" for key, value in tags.items())[:TAGS]

    def measured(self) -> tuple[str, ...]:
        return tuple(f"{key}:{value:.15g}" for key, value in self.measures.items())[:TAGS]


class _Job(_Labeled):
    """A job that has started."""

    def __init__(self, started: JobStarted, *layers: Mapping[str, str]) -> None:
        super().__init__(*layers, started.tags)
        self.started = started
        self.sections: dict[str, int] = {}
        """Names of steps, and which step had each first."""


class _Stage(_Labeled):
    """A stage while jobs of it are to come: ``left`` counts them."""

    def __init__(self, left: int, *layers: Mapping[str, str]) -> None:
        super().__init__(*layers)
        self.left = left
        self.start = self.end = self.ready = 0
        self.statuses: set[Status] = set()
        self.needs: dict[str, None] = {}
        self.failure: Failure | None = None


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
        self._jobs: dict[str, _Job] = {}
        self._stages = {stage: self._stage(stage) for stage in plan.stages}
        self._pipeline = _Labeled(labels.tags, plan.pipeline.tags)
        self._pipeline.measures = {**labels.measures, **plan.pipeline.measures}
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
        running = self._pipeline_event(Status.RUNNING, None)
        lost = self._pipeline_event(Status.ERROR, start, LOST)
        self._row(running, start)
        self._open(lost)
        rows, opened = tuple(self._rows), tuple(self._opened)
        self._rows, self._opened = [], []
        return Change(rows=rows, opened=opened)

    def _take(self, notice: Notice) -> None:
        match notice:
            case StepStarted():
                self._open(self._step(notice, notice.at, LOST))
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

    def _step(
        self, step: StepStarted | StepFinished, end: int, failure: Failure | None
    ) -> StepEvent:
        execution, job = self._execution, self._jobs[step.job]
        stage = self._planned[step.job].job.stage
        start = step.at if isinstance(step, StepStarted) else step.start
        labels = self._step_labels(step, job)
        return StepEvent(
            id=execution.step_id(step.job, step.index, step.attempt),
            name=step.name,
            pipeline_unique_id=execution.unique_id,
            pipeline_name=execution.pipeline,
            start=rfc3339(start),
            end=rfc3339(end),
            status=Status.ERROR if failure else Status.SUCCESS,
            job_id=execution.job_id(step.job),
            job_name=job.started.name,
            stage_id=execution.stage_id(stage) if stage else None,
            stage_name=stage or None,
            url=self._labels.job_url or None,
            node=self._labels.node,
            tags=labels.written(),
            metrics=labels.measured(),
            error=failure,
        )

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

    def _step_labels(self, step: StepStarted | StepFinished, job: _Job) -> _Labeled:
        pipeline = self._plan.pipeline
        if isinstance(step, StepStarted):
            return _Labeled(self._labels.tags, pipeline.tags, job.started.tags)
        labels = _Labeled(self._labels.tags, pipeline.tags, job.started.tags, step.tags)
        labels.add(step.said, Level.STEP)
        if step.retried:
            labels.tags["attempt"] = str(step.attempt)
        if step.allowed:
            labels.tags["allowed_failure"] = "true"
        return labels

    def _step_finished(self, step: StepFinished) -> None:
        self._row(self._step(step, step.end, step.failure), step.end)
        self._jobs[step.job].add(step.said, Level.JOB)
        stage = self._stages.get(self._planned[step.job].job.stage)
        if stage:
            stage.add(step.said, Level.STAGE)
        due = step.end - self._updated >= UPDATE_EVERY
        if self._pipeline.add(step.said, Level.PIPELINE) and due:
            self._updated = step.end
            self._row(self._pipeline_event(Status.RUNNING, None), step.end)

    # ── what a signalbox inside a step reports ───────────────────────────────────────────────────

    def _reported(self, told: Reported) -> None:
        if told.lost:
            self._open(told.event)
        elif told.path:
            self._row(told.event, told.at, told.path)
        elif told.job in self._jobs and isinstance(told.event, StepEvent):
            self._row(self._further(told.event, self._jobs[told.job]), told.at)

    def _further(self, step: StepEvent, job: _Job) -> StepEvent:
        """A step that the plan does not know: its parents are ours, whatever it says."""
        execution, key = self._execution, job.started.job
        stage = self._planned[key].job.stage
        labels = (self._labels.tags, self._plan.pipeline.tags, job.started.tags)
        tags = _Labeled(*labels, dict(tag.split(":", 1) for tag in step.tags))
        return msgspec.structs.replace(
            step,
            id=execution.part("job", key, "further", step.id),
            pipeline_unique_id=execution.unique_id,
            pipeline_name=execution.pipeline,
            job_id=execution.job_id(key),
            job_name=job.started.name,
            stage_id=execution.stage_id(stage) if stage else None,
            stage_name=stage or None,
            url=self._labels.job_url or None,
            node=self._labels.node,
            start=max(step.start, rfc3339(job.started.at)),
            end=max(step.end, rfc3339(job.started.at)),
            tags=tags.written(),
        )

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────

    def _job(
        self, job: _Job, status: Status, end: int | None, failure: Failure | None, **tags: str
    ) -> JobEvent:
        execution, started = self._execution, job.started
        stage = self._planned[started.job].job.stage
        return JobEvent(
            id=execution.job_id(started.job),
            name=started.name,
            pipeline_unique_id=execution.unique_id,
            pipeline_name=execution.pipeline,
            url=self._labels.job_url,
            start=rfc3339(started.at),
            end=rfc3339(end) if end is not None else None,
            status=status,
            stage_id=execution.stage_id(stage) if stage else None,
            stage_name=stage or None,
            dependencies=tuple(map(execution.job_id, started.dependencies)),
            queue_time=max(started.at - started.ready, 0) // MILLISECOND,
            node=self._labels.node,
            tags=job.written(**tags),
            metrics=job.measured(),
            error=failure,
        )

    def _job_started(self, started: JobStarted) -> None:
        job = _Job(started, self._labels.tags, self._plan.pipeline.tags)
        self._jobs[started.job] = job
        self._row(self._job(job, Status.RUNNING, None, None), started.at)
        self._open(self._job(job, Status.ERROR, started.at, LOST))
        self._enter_stage(started)

    def _job_finished(self, finished: JobFinished) -> None:
        job, result = self._jobs[finished.job], finished.result
        status = _STATUS[result.outcome]
        allowed = {"allowed_failure": "true"} if result.allowed else {}
        self._row(self._job(job, status, finished.end, finished.failure, **allowed), finished.end)
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
        job = _Job(started, self._labels.tags, self._plan.pipeline.tags)
        self._jobs[skipped.job] = job
        self._row(self._job(job, Status.SKIPPED, skipped.at, None), skipped.at)
        self._enter_stage(started)
        self._leave_stage(skipped.job, Status.SKIPPED, skipped.at, None)

    # ── stages ───────────────────────────────────────────────────────────────────────────────────

    def _stage(self, stage: str) -> _Stage:
        left = sum(_runs(job) and job.job.stage == stage for job in self._plan.jobs)
        return _Stage(left, self._labels.tags, self._plan.pipeline.tags)

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
            self._open(self._stage_event(name, stage, Status.ERROR, started.at, LOST))

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
            event = self._stage_event(name, stage, worst, stage.end, stage.failure)
            self._row(event, stage.end)

    def _stage_event(
        self, name: str, stage: _Stage, status: Status, end: int, failure: Failure | None
    ) -> StageEvent:
        execution = self._execution
        return StageEvent(
            id=execution.stage_id(name),
            name=name,
            pipeline_unique_id=execution.unique_id,
            pipeline_name=execution.pipeline,
            start=rfc3339(stage.start),
            end=rfc3339(end),
            status=status,
            dependencies=tuple(map(execution.stage_id, stage.needs)),
            queue_time=max(stage.start - stage.ready, 0) // MILLISECOND,
            tags=stage.written(),
            metrics=stage.measured(),
            error=failure,
        )

    # ── the pipeline ─────────────────────────────────────────────────────────────────────────────

    def _pipeline_event(
        self, status: Status, end: int | None, failure: Failure | None = None
    ) -> PipelineEvent:
        execution = self._execution
        more = dict(self._labels.pipeline_tags)  # ours: no step may say otherwise
        if self._not_started:
            more["jobs.not_started"] = str(self._not_started)
        return PipelineEvent(
            unique_id=execution.unique_id,
            pipeline_id=execution.pipeline_id,
            name=execution.pipeline,
            url=execution.url,
            start=rfc3339(execution.start),
            end=rfc3339(end) if end is not None else None,
            status=status,
            partial_retry=execution.partial_retry,
            previous_attempt=execution.previous,
            parent_pipeline=execution.parent,
            is_manual=execution.manual,
            is_resumed=True if execution.resumed_from else None,
            queue_time=execution.queue_time,
            parameters=self._plan.parameters or None,
            node=self._labels.node,
            tags=self._pipeline.written(**more),
            metrics=self._pipeline.measured(),
            error=failure,
        )

    def _finished(self, finished: ExecutionFinished) -> None:
        status = Status.BLOCKED if finished.gates else _STATUS[finished.outcome]
        failure = finished.failure or self._canceled(finished)
        self._row(self._pipeline_event(status, finished.at, failure), finished.at)
        gates = tuple(self._waiting(key, finished.at) for key in finished.gates)
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

    def _waiting(self, key: str, at: int) -> GateWaiting:
        planned = next(gate for gate in self._plan.gates if gate.key == key)
        gate, at = planned.gate, planned.asked or at
        return GateWaiting(
            gate=key,
            question=planned.question,
            asked=at,
            expires=at + int(gate.expires * SECOND) if gate.expires else None,
            approvers=gate.approvers,
            not_initiator=gate.not_initiator,
            fields=gate.fields,
        )

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────

    def _row(self, event: Event, at: int, path: tuple[str, ...] = ()) -> None:
        final = event.status is not Status.RUNNING
        level, part = _place(event)
        if final:  # what began and ended between two commits was never open
            self._opened = [o for o in self._opened if (o.level, o.id) != (level, part)]
        body = encode(event)
        self._rows.append(Row(level=level, id=part, final=final, body=body, at=at))
        self._letters.append((path, body))

    def _open(self, event: Event) -> None:
        level, part = _place(event)
        self._opened.append(Open(level=level, id=part, body=encode(event)))


_NOTHING: Final = Change()


def close_dead(journal: Journal, owner: Owner) -> list[str]:
    """Close what killed runs left open, never as success; their end is their last row's time.
    The ids of the executions closed. Idempotent: what is closed is no longer open.
    """
    closed = []
    for stored in journal.dead(owner):
        unique_id = stored.header.execution.unique_id
        at = journal.last_at(unique_id)
        rows = _close(journal.opens(unique_id), at)
        journal.append(unique_id, Change(rows=rows, ended=Ended(at=at, status=Status.ERROR)))
        closed.append(unique_id)
    return closed


def _close(parts: list[Open], at: int) -> tuple[Row, ...]:
    """One end for all, so that children lie inside their parents: a step may have started after the
    last row. The form of times is fixed, so their text's order is theirs.
    """
    events = [decode(part.body) for part in parts]
    end = max([rfc3339(at), *(event.start for event in events)])
    return tuple(
        Row(
            level=part.level,
            id=part.id,
            final=True,
            body=encode(msgspec.structs.replace(event, end=end)),
            at=at,
        )
        for part, event in zip(parts, events, strict=True)
    )


def _place(event: Event) -> tuple[str, str]:
    match event:
        case PipelineEvent():
            return "pipeline", event.unique_id
        case StageEvent():
            return "stage", event.id
        case JobEvent():
            return "job", event.id
        case StepEvent():
            return "step", event.id
        case _:
            assert_never(event)


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
