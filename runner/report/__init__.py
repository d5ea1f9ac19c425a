"""An execution after the fact: what its events tell, as one value that every form is made from.

Owns reading events back into pipeline, stages, jobs and steps with their times. Pure. Does not find
the events (``journal``) nor draw them (``tree``, ``table``, ``markdown``, ``web``, ``junit``,
``trace``). Times are whole milliseconds, as on the wire; ``offset_ms`` counts from the pipeline's
start.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from runner import timing
from runner.event import (
    Envelope,
    Event,
    Failure,
    Git,
    JobEvent,
    Node,
    PipelineEvent,
    StageEvent,
    Status,
    StepEvent,
)
from runner.execution import MILLISECOND, Link

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALLOWED = "allowed_failure:true"
OURS = ("resumed_from:", "jobs.not_started:")
"""How tags begin that reports show as what they mean."""


class StepTold(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a step."""

    id: str
    name: str
    attempt: int | None = None
    """None: there could be only one."""
    status: Status
    allowed: bool = False
    start: str
    offset_ms: int
    duration_ms: int
    failure: Failure | None = None
    tags: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()


class JobTold(msgspec.Struct, frozen=True, kw_only=True):
    """One job. ``tags`` are those that the pipeline does not have."""

    id: str
    name: str
    stage: str = ""
    status: Status
    allowed: bool = False
    start: str
    offset_ms: int
    duration_ms: int
    queue_ms: int = 0
    on_critical_path: bool = False
    exclusive_ms: int = 0
    """On the critical path: the time in which no other job ran."""
    failure: Failure | None = None
    tags: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    steps: tuple[StepTold, ...] = ()


def retried(job: JobTold) -> frozenset[str]:
    """Steps, by name, that had more than one attempt: which one it was is worth a word."""
    return frozenset(step.name for step in job.steps if (step.attempt or 1) > 1)


class StageTold(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and its jobs, in the order they started. The nameless one: jobs without a stage."""

    name: str
    status: Status | None = None
    """None: it has not ended."""
    offset_ms: int
    duration_ms: int
    tags: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    jobs: tuple[JobTold, ...]


class NotStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A job that this execution should have run and did not."""

    name: str
    why: str = ""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A gate that waits for an answer."""

    gate: str
    question: str
    approvers: tuple[str, ...] = ()
    expires: str = ""
    """RFC 3339; empty: never."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the execution's events."""

    delivered: int = 0
    waiting: int = 0
    refused: int = 0
    expired: int = 0
    held: int = 0
    """For another site or key."""
    local: int = 0
    """Not to be sent."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said at a gate, or that nobody did in time."""

    gate: str
    approved: bool
    expired: bool = False
    who: str = ""
    reason: str = ""
    at: str
    """RFC 3339."""


class Kin(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a chain: a first one, and what went on from it or tried it again."""

    id: str
    status: Status
    start: str
    duration_ms: int | None = None
    """None: it has not ended."""
    resumed_from: str = ""
    retries: str = ""
    """The unique id of the attempt before it."""
    answers: tuple[Answered, ...] = ()
    """With which it was ended, when it is a blocked one."""


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an execution beside its events. ``now`` is epoch nanoseconds; 0: do not
    count the time of what still runs.
    """

    git: Git | None = None
    envelope: Envelope | None = None
    chain: tuple[Kin, ...] = ()
    not_started: tuple[NotStarted, ...] = ()
    questions: tuple[Question, ...] = ()
    delivery: Delivery = Delivery()
    now: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One execution, whole. ``msgspec.to_builtins`` of it is what ``--json`` prints."""

    id: str
    pipeline_id: str = ""
    name: str
    url: str = ""
    status: Status
    start: str
    end: str = ""
    duration_ms: int
    execution_ms: int
    """In which at least one job ran."""
    critical_ms: int
    """From the start of the first to the end of the last job on the critical path."""
    critical_path: tuple[str, ...] = ()
    """Names of jobs."""
    queue_ms: int | None = None
    manual: bool = False
    resumed_from: str = ""
    previous: Link | None = None
    parent: Link | None = None
    chain: tuple[Kin, ...] = ()
    """This execution and those it belongs with, in the order they started; empty: not known."""
    git: Git | None = None
    envelope: Envelope | None = None
    node: Node | None = None
    parameters: Mapping[str, str] = {}
    tags: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    failure: Failure | None = None
    stages: tuple[StageTold, ...] = ()
    not_started: tuple[NotStarted, ...] = ()
    questions: tuple[Question, ...] = ()
    delivery: Delivery = Delivery()

    @property
    def gone_on(self) -> bool:
        """It was blocked, and another execution goes on from it: nobody is waited for."""
        return any(kin.resumed_from == self.id for kin in self.chain)

    @property
    def jobs(self) -> tuple[JobTold, ...]:
        """All jobs, stage by stage."""
        return tuple(job for stage in self.stages for job in stage.jobs)


def tell(events: Iterable[Event], beside: Beside | None = None) -> Told:
    """The execution that ``events`` are of, in the order they were made; of one thing the last
    counts. Raises ``ValueError`` when no pipeline is among them.
    """
    return _Teller(events, beside or Beside()).told()


class _Teller:
    def __init__(self, events: Iterable[Event], beside: Beside) -> None:
        self._beside = beside
        self._stages: dict[str, StageEvent] = {}
        self._jobs: dict[str, JobEvent] = {}
        self._steps: dict[str, StepEvent] = {}
        pipeline: PipelineEvent | None = None
        for event in events:
            match event:
                case PipelineEvent():
                    pipeline = event
                case StageEvent():
                    self._stages[event.name] = event
                case JobEvent():
                    self._jobs[event.id] = event
                case StepEvent():
                    self._steps[event.id] = event
        if pipeline is None:
            raise ValueError("no event of a pipeline among these")
        self._pipeline = pipeline
        self._start = _ms(pipeline.start)
        self._last = self._latest()

    def told(self) -> Told:
        pipeline = self._pipeline
        spans = [self._span(job) for job in self._jobs.values()]
        path = timing.critical_path([span for span in spans if span.end > span.start])
        alone = timing.exclusive_times(spans, path)
        jobs = self._tell_jobs(alone)
        on_path = [span for span in spans if span.key in alone]
        return Told(
            id=pipeline.unique_id,
            pipeline_id=pipeline.pipeline_id or "",
            name=pipeline.name,
            url=pipeline.url,
            status=pipeline.status,
            start=pipeline.start,
            end=pipeline.end or "",
            duration_ms=self._until(pipeline.end, self._start) - self._start,
            execution_ms=timing.execution_time((span.start, span.end) for span in spans),
            critical_ms=max((s.end for s in on_path), default=0)
            - min((s.start for s in on_path), default=0),
            critical_path=tuple(self._jobs[key].name for key in path),
            queue_ms=pipeline.queue_time,
            manual=bool(pipeline.is_manual),
            resumed_from=_tag(pipeline.tags, "resumed_from"),
            previous=pipeline.previous_attempt,
            parent=pipeline.parent_pipeline,
            chain=self._beside.chain,
            git=self._beside.git,
            envelope=self._beside.envelope,
            node=pipeline.node,
            parameters=pipeline.parameters or {},
            tags=pipeline.tags,
            measures=pipeline.metrics,
            failure=pipeline.error,
            stages=self._tell_stages(jobs),
            not_started=self._beside.not_started,
            questions=self._beside.questions,
            delivery=self._beside.delivery,
        )

    def _tell_stages(self, jobs: Sequence[JobTold]) -> tuple[StageTold, ...]:
        grouped: dict[str, list[JobTold]] = {}
        for job in jobs:
            grouped.setdefault(job.stage, []).append(job)
        return tuple(self._tell_stage(name, of_it) for name, of_it in grouped.items())

    def _tell_stage(self, name: str, jobs: Sequence[JobTold]) -> StageTold:
        stage = self._stages.get(name)
        start = min(job.offset_ms for job in jobs)
        end = max(job.offset_ms + job.duration_ms for job in jobs)
        return StageTold(
            name=name,
            status=stage.status if stage else None,
            offset_ms=start,
            duration_ms=end - start,
            tags=_own(stage.tags, self._pipeline.tags) if stage else (),
            measures=stage.metrics if stage else (),
            jobs=tuple(jobs),
        )

    def _tell_jobs(self, alone: Mapping[str, int]) -> list[JobTold]:
        steps: dict[str, list[StepEvent]] = {}
        for step in sorted(self._steps.values(), key=lambda step: _ms(step.start)):
            steps.setdefault(step.job_id or "", []).append(step)
        ordered = sorted(self._jobs.values(), key=lambda job: _ms(job.start))
        return [self._tell_job(job, alone.get(job.id), steps.get(job.id, ())) for job in ordered]

    def _tell_job(self, job: JobEvent, alone: int | None, steps: Iterable[StepEvent]) -> JobTold:
        start = _ms(job.start)
        return JobTold(
            id=job.id,
            name=job.name,
            stage=job.stage_name or "",
            status=job.status,
            allowed=_ALLOWED in job.tags,
            start=job.start,
            offset_ms=start - self._start,
            duration_ms=self._until(job.end, start) - start,
            queue_ms=job.queue_time or 0,
            on_critical_path=alone is not None,
            exclusive_ms=alone or 0,
            failure=job.error,
            tags=_own(job.tags, self._pipeline.tags),
            measures=job.metrics,
            steps=tuple(self._tell_step(step, job.tags) for step in steps),
        )

    def _tell_step(self, step: StepEvent, above: Sequence[str]) -> StepTold:
        start = _ms(step.start)
        attempt = _tag(step.tags, "attempt")
        return StepTold(
            id=step.id,
            name=step.name,
            attempt=int(attempt) if attempt.isdecimal() else None,
            status=step.status,
            allowed=_ALLOWED in step.tags,
            start=step.start,
            offset_ms=start - self._start,
            duration_ms=_ms(step.end) - start,
            failure=step.error,
            tags=_own(step.tags, above),
            measures=step.metrics,
        )

    def _span(self, job: JobEvent) -> timing.Span:
        start = _ms(job.start)
        end = self._until(job.end, start)
        return timing.Span(key=job.id, start=start, end=end, needs=job.dependencies)

    def _latest(self) -> int:
        """Until when what has no end is counted: now, or the last time that any event names."""
        if self._beside.now:
            return self._beside.now // MILLISECOND
        ends = [job.end or job.start for job in self._jobs.values()]
        ends += [step.end for step in self._steps.values()]
        return max(map(_ms, ends), default=self._start)

    def _until(self, end: str | None, start: int) -> int:
        return max(_ms(end) if end else self._last, start)


def _ms(moment: str) -> int:
    return (datetime.fromisoformat(moment) - _EPOCH) // timedelta(milliseconds=1)


def _tag(tags: Iterable[str], key: str) -> str:
    found = (tag.partition(":")[2] for tag in tags if tag.startswith(f"{key}:"))
    return next(found, "")


def _own(tags: Iterable[str], above: Iterable[str]) -> tuple[str, ...]:
    """Tags said of this part alone; those we make ourselves are shown as what they mean."""
    ours = ("attempt:", "allowed_failure:")
    inherited = set(above)
    return tuple(tag for tag in tags if tag not in inherited and not tag.startswith(ours))
