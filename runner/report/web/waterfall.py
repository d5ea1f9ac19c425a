"""The waterfall of an execution: which rows there are, and where on the line of time each bar lies.

Owns the arithmetic and what is shown of each part, whatever draws it. Pure: it knows no markup and
no clock. Places and widths are percentages of the whole, as SVG takes them.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from runner.event import Failure, Status
from runner.notice import Reason
from runner.report import JobTold, StageTold, StepTold, Told, retried

TICKS: Final = 10
"""Marks on the line of time, at most."""
OPEN: Final = 80
"""Steps with which all jobs are shown open; with more, those that did not end well."""
BIG: Final = 400
"""Steps with which a page is big."""
WORDS: Final = 300_000
"""Characters of failures in the rows; of what is beyond, first lines."""
LINES: Final = 1_500
"""First lines, at most: rows after them say only that they failed."""
_LINE: Final = 120

_SECOND: Final = 1000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_NICE: Final = (
    *(size * figure for size in (1, 10, 100) for figure in (1, 2, 5)),
    *(size * figure for size in (_SECOND, _MINUTE) for figure in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * figure for figure in (1, 2, 3, 6, 12)),
    *(_DAY * figure for figure in (1, 2, 7, 30, 365)),
)
_ALLOWED: Final = "allowed"


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """From ``x``, ``width`` long; ``wait`` is where the waiting before it began and its length."""

    x: str
    width: str
    wait: tuple[str, str] | None = None


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A mark on the line of time."""

    x: str
    label: str


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a step. ``tone``: its status, or ``allowed`` for a failure that is."""

    key: str
    tone: str
    bar: Bar
    told: StepTold
    attempt: int | None = None
    """Which one it was, where there was more than one."""
    failure: Failure | None = None
    """Its failure as far as there is room for it."""


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job and its steps. ``key`` stays the same while an execution grows."""

    key: str
    tone: str
    bar: Bar
    told: JobTold
    open: bool
    failure: Failure | None = None
    """What is not said by one of its steps."""
    steps: tuple[StepRow, ...]


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stage; the nameless one is no row of its own."""

    tone: str
    bar: Bar
    told: StageTold
    jobs: tuple[JobRow, ...]


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    """Everything to draw. ``start_ms`` and ``span_ms``: what the left edge and the width mean."""

    start_ms: int
    span_ms: int
    tone: str
    bar: Bar
    """The pipeline's own."""
    big: bool
    """Too much to lay out at once what nobody sees yet."""
    ticks: tuple[Tick, ...]
    stages: tuple[StageRow, ...]
    told: Told
    counts: dict[str, int]
    """Jobs by tone."""

    @property
    def jobs(self) -> tuple[JobRow, ...]:
        """All jobs, stage by stage."""
        return tuple(job for stage in self.stages for job in stage.jobs)


def waterfall(told: Told) -> Waterfall:
    """The waterfall of one execution."""
    return _Drawing(told).whole()


def tone(status: Status, *, allowed: bool = False) -> str:
    """The word that colours and marks go by."""
    return _ALLOWED if allowed and status is Status.ERROR else status.value


class _Drawing:
    def __init__(self, told: Told) -> None:
        self._told = told
        queue = told.queue_ms or 0
        begins = [
            -queue if queue <= told.duration_ms else 0,
            *(job.offset_ms - job.queue_ms for job in told.jobs),
        ]
        ends = [told.duration_ms, *(job.offset_ms + job.duration_ms for job in told.jobs)]
        self._start = max(min(begins), -told.duration_ms)
        self._span = max(max(ends) - self._start, 1)
        self._steps = sum(len(job.steps) for job in told.jobs)
        self._room, self._lines = WORDS, LINES
        by_start = sorted(told.jobs, key=lambda job: (job.offset_ms, job.id))
        self._keys = {job.id: f"j{place}" for place, job in enumerate(by_start)}

    def whole(self) -> Waterfall:
        stages = tuple(self._stage(stage) for stage in self._told.stages)
        counts: dict[str, int] = {}
        for job in (job for stage in stages for job in stage.jobs):
            counts[job.tone] = counts.get(job.tone, 0) + 1
        return Waterfall(
            start_ms=self._start,
            span_ms=self._span,
            tone=tone(self._told.status),
            bar=self._bar(0, self._told.duration_ms, -self._start),
            big=self._steps > BIG,
            ticks=tuple(self._ticks()),
            stages=stages,
            told=self._told,
            counts=counts,
        )

    def _stage(self, stage: StageTold) -> StageRow:
        return StageRow(
            tone=tone(stage.status or Status.RUNNING),
            bar=self._bar(stage.offset_ms, stage.duration_ms),
            told=stage,
            jobs=tuple(map(self._job, stage.jobs)),
        )

    def _job(self, job: JobTold) -> JobRow:
        key = self._keys[job.id]
        again = retried(job)
        steps = tuple(
            self._step(step, f"{key}s{at}", again=step.name in again)
            for at, step in enumerate(job.steps)
        )
        said = any(step.failure == job.failure for step in job.steps)
        good = {Status.SUCCESS, Status.SKIPPED}
        return JobRow(
            key=key,
            tone=tone(job.status, allowed=job.allowed),
            bar=self._bar(job.offset_ms, job.duration_ms, job.queue_ms),
            told=job,
            open=self._steps <= OPEN or (job.status not in good and not job.allowed),
            failure=None if said else self._fitted(job.failure),
            steps=steps,
        )

    def _step(self, step: StepTold, key: str, *, again: bool) -> StepRow:
        return StepRow(
            key=key,
            attempt=step.attempt if again else None,
            tone=tone(_status(step), allowed=step.allowed),
            bar=self._bar(step.offset_ms, step.duration_ms),
            told=step,
            failure=self._fitted(step.failure),
        )

    def _fitted(self, failure: Failure | None) -> Failure | None:
        """A failure, or what there is room for: 5,000 messages of 5,000 characters are no page."""
        if failure is None or not self._lines:
            return None
        size = len(failure.message) + len(failure.stack or "")
        if size <= self._room:
            self._room -= size
            return failure
        self._lines -= 1
        first = failure.message.partition("\n")[0][:_LINE]
        return msgspec.structs.replace(failure, message=first, stack=None)

    def _bar(self, start: int, duration: int, queue: int = 0) -> Bar:
        begin = max(start - queue, self._start)
        wait = (self._place(begin), self._width(start - begin)) if start > begin else None
        return Bar(x=self._place(start), width=self._width(duration), wait=wait)

    def _place(self, at: int) -> str:
        return self._width(at - self._start)

    def _width(self, milliseconds: int) -> str:
        return f"{100 * milliseconds / self._span:.6g}%"

    def _ticks(self) -> Iterator[Tick]:
        step = next((nice for nice in _NICE if self._span / nice <= TICKS), self._span)
        first = -(-self._start // step) * step
        for at in range(first, self._start + self._span + 1, step):
            yield Tick(x=self._place(at), label=_label(at))


def _status(step: StepTold) -> Status:
    """A step that was stopped is no failure; to the intake every step is success or error."""
    stopped = step.failure is not None and step.failure.type == Reason.CANCELED.value
    return Status.CANCELED if stopped else step.status


def _label(milliseconds: int) -> str:
    """``0``, ``500 ms``, ``1.5 s``, ``2m30s``, ``1h15m``: exact, for it marks a place."""
    if milliseconds < 0:
        return f"-{_label(-milliseconds)}"
    if milliseconds % _SECOND and milliseconds < _SECOND:
        return f"{milliseconds} ms"
    if milliseconds < _MINUTE:
        return f"{milliseconds / _SECOND:g} s" if milliseconds else "0"
    if milliseconds < _HOUR:
        minutes, rest = divmod(milliseconds // _SECOND, 60)
        return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"
    hours, minutes = divmod(milliseconds // _MINUTE, 60)
    return f"{hours}h{minutes:02d}m" if minutes else f"{hours}h"
