"""An execution in Chrome's trace format: opens in ui.perfetto.dev, speedscope, chrome://tracing.

Owns that form. A process is a job, in the order they started; its threads are the lanes that its
steps need. The pipeline and its stages are the process before them. Times are microseconds from
the pipeline's start. Source: "Trace Event Format" of the Chromium project: complete events (X) and
metadata (M).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from runner.report import JobTold, StageTold, StepTold, Told
from runner.terminal import plain

_MICROSECONDS: Final = 1000
"""Of a millisecond."""
_QUEUE: Final = 1
"""The thread on which a job waits and then runs; its steps are on those after it."""
Entry = Mapping[str, Any]
Part = TypeVar("Part", StageTold, StepTold)


def trace(told: Told) -> bytes:
    """The whole file."""
    entries = [*_pipeline(told)]
    jobs = sorted(told.jobs, key=lambda job: (job.offset_ms, job.name))
    for pid, job in enumerate(jobs, 2):
        entries += _job(pid, job)
    facts = {"pipeline": plain(told.name), "unique_id": told.id, "start": told.start}
    whole = {"traceEvents": entries, "displayTimeUnit": "ms", "otherData": facts}
    return msgspec.json.encode(whole) + b"\n"


def _pipeline(told: Told) -> Iterator[Entry]:
    yield _name("process_name", 1, 0, told.name)
    yield _name("thread_name", 1, 1, "pipeline")
    facts = {"status": told.status.value, **told.parameters}
    yield _span(1, 1, told.name, "pipeline", 0, told.duration_ms, facts)
    lanes = list(_lanes((stage for stage in told.stages if stage.name), 2))
    yield from _threads(1, lanes, "stages")
    for tid, stage in lanes:
        facts = {"status": stage.status.value if stage.status else "running"}
        yield _span(1, tid, stage.name, "stage", stage.offset_ms, stage.duration_ms, facts)


def _job(pid: int, job: JobTold) -> Iterator[Entry]:
    yield _name("process_name", pid, 0, job.name)
    yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}
    yield _name("thread_name", pid, _QUEUE, "job")
    if job.queue_ms:
        start = max(job.offset_ms - job.queue_ms, 0)
        yield _span(pid, _QUEUE, "queued", "queue", start, job.offset_ms - start, {})
    facts: Entry = {
        "status": job.status.value,
        "stage": plain(job.stage),
        "critical_path": job.on_critical_path,
        **_said(job),
    }
    yield _span(pid, _QUEUE, job.name, "job", job.offset_ms, job.duration_ms, facts)
    lanes = list(_lanes(job.steps, _QUEUE + 1))
    yield from _threads(pid, lanes, "steps")
    for tid, step in lanes:
        facts = {"status": step.status.value, "attempt": step.attempt or 1, **_said(step)}
        yield _span(pid, tid, step.name, "step", step.offset_ms, step.duration_ms, facts)


def _lanes(parts: Iterable[Part], first: int) -> Iterator[tuple[int, Part]]:
    """Each part and the first lane that is free when it starts: what overlaps would be drawn as
    nested.
    """
    ends: list[int] = []
    for part in sorted(parts, key=lambda part: part.offset_ms):
        free = (lane for lane, end in enumerate(ends) if end <= part.offset_ms)
        lane = next(free, len(ends))
        ends[lane : lane + 1] = [part.offset_ms + part.duration_ms]
        yield first + lane, part


def _threads(pid: int, lanes: Iterable[tuple[int, object]], name: str) -> Iterator[Entry]:
    for tid in dict.fromkeys(tid for tid, _ in lanes):
        yield _name("thread_name", pid, tid, name)


def _said(part: JobTold | StepTold) -> dict[str, str]:
    pairs = (entry.partition(":") for entry in (*part.tags, *part.measures))
    said = {plain(key): plain(value) for key, _, value in pairs}
    if part.failure:
        said["error"] = f"{part.failure.type}: {part.failure.message}"
    return said


def _span(
    pid: int, tid: int, name: str, kind: str, start: int, duration: int, facts: Mapping[str, object]
) -> Entry:
    return {
        "ph": "X",
        "name": plain(name),
        "cat": kind,
        "pid": pid,
        "tid": tid,
        "ts": start * _MICROSECONDS,
        "dur": duration * _MICROSECONDS,
        "args": facts,
    }


def _name(what: str, pid: int, tid: int, name: str) -> Entry:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": plain(name)}}
