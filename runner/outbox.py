"""What a signalbox inside a step reports through SIGNALBOX_OUTBOX, and what of it is believed.

Owns the names of the files in that directory, the form of their lines, and every doubt about them:
whoever wrote them may be the step itself (threats T21, T22). Reads no file (``engine``).

A line is an event's ``resource``. The name of a file says whose events they are: a *path* of salts,
from which the ids of a downstream pipeline and of the pipeline around it derive. So a step can name
no pipeline but those below its own. The ids of all parts derive from what was told and the pipeline
they are in, so that they are nobody else's; times lie inside the execution; what was said before is
not taken back; and nothing follows a final event.
"""

import math
import re
import uuid
from collections.abc import Callable, Container, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar, assert_never

import msgspec

from runner.event import (
    MESSAGE_LIMIT,
    TYPE_LIMIT,
    Domain,
    Event,
    Failure,
    JobEvent,
    PipelineEvent,
    StageEvent,
    Status,
    StepEvent,
    decode,
)
from runner.execution import Execution, Link, rfc3339
from runner.notice import Reason

LINE: Final = 64 * 1024
"""Bytes of one line, its end included."""
EVENTS: Final = 10_000
"""Lines of one job's outbox that are read."""
SIZE: Final = 32 * 1024 * 1024
"""Bytes of it."""
FILES: Final = 1_000
"""Files of it."""
DEEP: Final = 8
"""Pipelines inside each other."""
LIST: Final = 100
"""Tags, measures, parameters, labels, dependencies of one event."""
TAG: Final = 300
"""Characters of one of them."""
TEXT: Final = 1_000
"""Characters of a text that has no limit of its own."""

LOST: Final = Failure(
    domain=Domain.PROVIDER,
    type=Reason.RUNNER_LOST.value,
    message="the signalbox inside the step ended before this did",
)

_SALT: Final = "[0-9a-f]{32}"
_DOWNSTREAM: Final = re.compile(rf"{_SALT}(?:\.{_SALT})*")
_STEP: Final = re.compile(rf"step-({_SALT})")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_ENTRY: Final = re.compile(r"[A-Za-z][\w\-./]*:[^\x00-\x1f\x7f-\x9f\u2028\u2029]+", re.ASCII)
_LONGEST: Final = {"message": MESSAGE_LIMIT, "type": TYPE_LIMIT, "stack": 20_000}
_ENUMS: Final = frozenset({"level", "status", "domain"})
_QUEUE: Final = 366 * 86_400_000
"""Milliseconds that something may have waited."""

_STATUSES: Final = {
    StepEvent: {Status.SUCCESS, Status.ERROR},
    StageEvent: set(Status) - {Status.RUNNING, Status.BLOCKED},
    JobEvent: set(Status) - {Status.BLOCKED},
    PipelineEvent: set(Status),
}

_T = TypeVar("_T")
_Part = TypeVar("_Part", PipelineEvent, StageEvent, JobEvent, StepEvent)
_Inner = TypeVar("_Inner", StageEvent, JobEvent, StepEvent)
_Waits = TypeVar("_Waits", StageEvent, JobEvent)


class UnbelievableError(ValueError):
    """What was told is not taken; the message says why, in words of ours alone."""


class Believed(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is taken. ``lost``: no event yet, the end it gets should we die before it."""

    event: Event
    lost: bool = False


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def salt() -> str:
    """A new name, which nobody can guess."""
    return uuid.uuid4().hex


def unique_id(outer: str, path: Sequence[str]) -> str:
    """The id of the pipeline at ``path`` below the execution ``outer``."""
    for name in path:
        outer = str(uuid.uuid5(uuid.UUID(outer), f"downstream/{name}"))
    return outer


def pipeline_file(path: Sequence[str]) -> str:
    """Where the events of a downstream pipeline are told."""
    return ".".join(path)


def step_file(salt: str) -> str:
    """Where a further step of the job is told."""
    return f"step-{salt}"


def path_of(file: str) -> tuple[str, ...]:
    """The path that a file's name says; empty: it is a further step's."""
    if _STEP.fullmatch(file):
        return ()
    if not _DOWNSTREAM.fullmatch(file):
        raise UnbelievableError("a file whose name means nothing")
    path = tuple(file.split("."))
    if len(path) > DEEP:
        raise UnbelievableError(f"more than {DEEP} pipelines inside each other")
    return path


# ── one event by itself ──────────────────────────────────────────────────────────────────────────


def read(line: bytes, mask: Callable[[str], str]) -> Event:
    """The event in a line: masked, every text and list bounded. Raises ``UnbelievableError``."""
    try:
        told: Event = msgspec.convert(_bounded(msgspec.to_builtins(decode(line)), "", mask), Event)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        raise UnbelievableError("a line that is no event") from None
    return told


def _bounded(part: object, name: str, mask: Callable[[str], str]) -> object:
    """``part``, the member ``name`` of an event, with every text in it masked and bounded."""
    match part:
        case str():
            return part if name in _ENUMS else _text(part, _LONGEST.get(name, TEXT), mask)
        case dict() if name == "parameters":
            return {_text(k, TAG, mask): _text(v, TEXT, mask) for k, v in _first(part.items())}
        case dict():
            return {key: _bounded(value, key, mask) for key, value in part.items()}
        case list() | tuple():
            return _listed(part, name, mask)
        case int() if name == "queue_time" and not 0 <= part <= _QUEUE:
            return None
        case _:
            return part


def _text(text: str, limit: int, mask: Callable[[str], str]) -> str:
    """Masked before it is cut: half a secret is no needle."""
    return mask(text.encode(errors="replace").decode())[:limit]


def _listed(items: Iterable[object], name: str, mask: Callable[[str], str]) -> list[object]:
    texts = dict.fromkeys(_text(str(item), LINE, mask) for item in items)
    match name:
        case "tags":
            return _first(text for text in texts if _is_tag(text))
        case "metrics":
            return _first(text for text in texts if _is_measure(text))
        case _:
            return [text[:TEXT] for text in _first(texts)]


def _first(items: Iterable[_T]) -> list[_T]:
    return list(islice(items, LIST))


def _is_tag(text: str) -> bool:
    return len(text) <= TAG and bool(_ENTRY.fullmatch(text))


def _is_measure(text: str) -> bool:
    try:
        return _is_tag(text) and math.isfinite(float(text.partition(":")[2]))
    except ValueError:
        return False


def further(told: Event, file: str, since: str, at: str) -> StepEvent:
    """A further step, told in ``file``, of a job that began at ``since``. Its parents and its own
    id are the recorder's to say.
    """
    if not isinstance(told, StepEvent):
        raise UnbelievableError("an event that is no step")
    return _checked(told, file, since, at)


def _checked(part: _Part, id_: str, since: str, at: str, *, start: str = "") -> _Part:
    """``part`` with this id, from ``start`` if it is known, its times in order and inside."""
    if not part.name.strip():
        raise UnbelievableError("an event without a name")
    if part.status not in _STATUSES[type(part)]:
        raise UnbelievableError("a status that it cannot have")
    own = "unique_id" if type(part).__name__ == "PipelineEvent" else "id"
    start = start or min(max(_moment(part.start), since), at)
    changes: dict[str, object] = {own: id_, "start": start}
    if part.status is Status.RUNNING:
        changes |= {"end": None, "error": None}
    else:  # the form of times is fixed, so their text's order is theirs
        changes["end"] = min(max(_moment(part.end or ""), start), at)
    return msgspec.structs.replace(part, **changes)


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text if _MOMENT.fullmatch(text) else "")
    except ValueError:
        raise UnbelievableError("a time that is none") from None
    return text


# ── a pipeline ───────────────────────────────────────────────────────────────────────────────────


class Downstream:
    """One downstream pipeline, as far as it was told."""

    def __init__(self, execution: Execution, path: Sequence[str]) -> None:
        self._since = rfc3339(execution.start)
        self._id = unique_id(execution.unique_id, path)
        url = execution.url if len(path) == 1 else ""
        self._parent = Link(id=unique_id(execution.unique_id, path[:-1]), url=url)
        self._pipeline: PipelineEvent | None = None
        self._jobs: dict[str, JobEvent] = {}
        self._stages: dict[str, StageEvent] = {}
        self._over: set[str] = set()
        self._reached: dict[str, str] = {}
        """What must not end before: the latest time inside it."""

    def take(self, told: Event, at: int) -> list[Believed]:
        """What of ``told`` is written down at ``at``. Raises ``UnbelievableError``."""
        if self._id in self._over:
            raise UnbelievableError("an event of a pipeline that has ended")
        match told:
            case PipelineEvent():
                return self._take_pipeline(told, rfc3339(at))
            case StageEvent():
                return self._take_stage(told, rfc3339(at))
            case JobEvent():
                return self._take_job(told, rfc3339(at))
            case StepEvent():
                return self._take_step(told, rfc3339(at))
            case _:
                assert_never(told)

    def close(self, at: int) -> list[Believed]:
        """The ends of what nobody can end any more."""
        if self._pipeline is None or self._id in self._over:
            return []
        return self._end(_lost(self._pipeline, rfc3339(at)))

    # ── each level ───────────────────────────────────────────────────────────────────────────────

    def _take_pipeline(self, told: PipelineEvent, at: str) -> list[Believed]:
        """What is the same in all its events is as it was told first; tags are only added."""
        known = self._pipeline
        told = _checked(told, self._id, self._since, at, start=known.start if known else "")
        told = msgspec.structs.replace(
            told,
            name=known.name if known else told.name,
            pipeline_id=self._id,
            parent_pipeline=self._parent,
            previous_attempt=None,
        )
        if told.status is not Status.RUNNING:
            return self._end(told)
        if known:
            tags, metrics = _grown(known.tags, told.tags), _grown(known.metrics, told.metrics)
            told = msgspec.structs.replace(known, tags=tags, metrics=metrics)
        self._pipeline = told
        running = [] if told == known else [Believed(event=told)]
        return [*running, Believed(event=_lost(told, told.start), lost=True)]

    def _end(self, pipeline: PipelineEvent) -> list[Believed]:
        """Its end, after the ends of all that is still open in it."""
        end = max(pipeline.end or "", self._reached.get(self._id, ""))
        self._over.add(self._id)
        left: list[Event] = [_lost(j, end) for j in self._jobs.values() if j.id not in self._over]
        left += [_lost(s, end) for s in self._stages.values() if s.id not in self._over]
        return [
            *(Believed(event=part) for part in left),
            Believed(event=msgspec.structs.replace(pipeline, end=end)),
        ]

    def _take_stage(self, told: StageEvent, at: str) -> list[Believed]:
        told = self._inside(told, at)
        jobs = (job.id for job in self._jobs.values() if job.stage_id == told.id)
        if not self._over.issuperset(jobs):
            raise UnbelievableError("a stage that ends before its jobs")
        known = self._stages.get(told.id, told)
        told = msgspec.structs.replace(
            told,
            name=known.name,
            start=min(told.start, known.start),
            end=max(told.end, self._reached.get(told.id, "")),
            dependencies=self._known(told, self._stages),
        )
        self._stages[told.id] = told
        self._reach(told.end, self._id)
        self._over.add(told.id)
        return [Believed(event=told)]

    def _take_job(self, told: JobEvent, at: str) -> list[Believed]:
        known = self._jobs.get(self._mine(JobEvent, told.id))
        told = self._inside(told, at, start=known.start if known else "")
        if known and told.status is Status.RUNNING:
            raise UnbelievableError("a job that has begun already")
        nothing: list[Believed] = []
        stage, opened = (known.stage_id, nothing) if known else self._enter(told)
        told = msgspec.structs.replace(
            told,
            name=known.name if known else told.name,
            stage_id=stage,
            stage_name=self._stages[stage].name if stage else None,
            dependencies=self._known(told, self._jobs),
        )
        return [*opened, *self._note_job(told)]

    def _note_job(self, told: JobEvent) -> list[Believed]:
        if told.status is Status.RUNNING:
            self._jobs[told.id] = told
            self._reach(told.start, told.stage_id, self._id)
            return [Believed(event=told), Believed(event=_lost(told, told.start), lost=True)]
        end = max(told.end or "", self._reached.get(told.id, ""))
        told = self._jobs[told.id] = msgspec.structs.replace(told, end=end)
        self._reach(end, told.stage_id, self._id)
        self._over.add(told.id)
        return [Believed(event=told)]

    def _enter(self, job: JobEvent) -> tuple[str | None, list[Believed]]:
        """The stage of a job, which begins with its first one."""
        if not (job.stage_id and job.stage_name):
            return None, []
        id_ = self._mine(StageEvent, job.stage_id)
        if id_ in self._over:
            raise UnbelievableError("a job of a stage that has ended")
        known = self._stages.get(id_)
        stage = StageEvent(
            id=id_,
            name=known.name if known else job.stage_name,
            pipeline_unique_id=self._id,
            pipeline_name=job.pipeline_name,
            start=min(job.start, known.start) if known else job.start,
            end=job.start,
            status=Status.ERROR,
            error=LOST,
        )
        self._stages[id_] = stage
        return id_, [Believed(event=stage, lost=True)]

    def _take_step(self, told: StepEvent, at: str) -> list[Believed]:
        job = self._jobs.get(self._mine(JobEvent, told.job_id or ""))
        if job is None or job.id in self._over:
            raise UnbelievableError("a step of no job that runs")
        told = msgspec.structs.replace(
            self._inside(told, at, since=job.start),
            job_id=job.id,
            job_name=job.name,
            stage_id=job.stage_id,
            stage_name=job.stage_name,
        )
        self._reach(told.end, job.id, job.stage_id, self._id)
        self._over.add(told.id)
        return [Believed(event=told)]

    # ── what they share ──────────────────────────────────────────────────────────────────────────

    def _inside(self, told: _Inner, at: str, *, since: str = "", start: str = "") -> _Inner:
        """A part of this pipeline, with an id that is nobody else's."""
        if self._pipeline is None:
            raise UnbelievableError("an event of a pipeline that was never told")
        id_ = self._mine(type(told), told.id)
        if id_ in self._over:
            raise UnbelievableError("an event of what has ended")
        part = _checked(told, id_, since or self._pipeline.start, at, start=start)
        return msgspec.structs.replace(
            part, pipeline_unique_id=self._id, pipeline_name=self._pipeline.name
        )

    def _mine(self, level: type[Event], id_: str) -> str:
        return str(uuid.uuid5(uuid.UUID(self._id), f"{level.__name__}/{id_}"))

    def _known(self, told: _Waits, parts: Container[str]) -> tuple[str, ...]:
        """The ids of what it waited for, as far as that was told."""
        ids = (self._mine(type(told), id_) for id_ in told.dependencies)
        return tuple(id_ for id_ in ids if id_ in parts and id_ != told.id)

    def _reach(self, time: str, *ids: str | None) -> None:
        for id_ in ids:
            if id_:
                self._reached[id_] = max(time, self._reached.get(id_, ""))


def _lost(part: _Part, end: str) -> _Part:
    """The end it gets when nobody tells of one."""
    return msgspec.structs.replace(part, status=Status.ERROR, end=end, error=LOST)


def _grown(early: tuple[str, ...], late: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*early, *late)))[:LIST]
