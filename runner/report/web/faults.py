"""What failed in an execution, the worst first, each way once.

Owns the choice of what a reader needs to see before the waterfall. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from runner.event import Failure, Status
from runner.report.web.waterfall import JobRow, Waterfall, tone

SHOWN: Final = 20
"""Failures before the waterfall; the others are in it."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One failure: of a step of a job, of a job, or of the pipeline as a whole."""

    tone: str
    key: str = ""
    """Of the row in the waterfall."""
    job: str
    """What to call it: the job, or the pipeline."""
    job_name: str = ""
    """The job to run again; empty: none."""
    step: str = ""
    failure: Failure
    output: str = ""


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Those to show, and how many more there are."""

    shown: tuple[Fault, ...]
    more: int = 0


def faults(drawn: Waterfall, tails: Mapping[str, str]) -> Faults:
    """What failed; ``tails``: the last output of jobs, by their ids."""
    found = [*_whole(drawn), *_jobs(drawn, tails)]
    return Faults(shown=tuple(found[:SHOWN]), more=max(len(found) - SHOWN, 0))


def _whole(drawn: Waterfall) -> Iterator[Fault]:
    """What no job is to blame for: a gate that was rejected, a runner that was lost."""
    told = drawn.told
    if told.failure and not any(job.failure == told.failure for job in told.jobs):
        yield Fault(tone=tone(told.status), job=told.name, failure=told.failure)


def _jobs(drawn: Waterfall, tails: Mapping[str, str]) -> Iterator[Fault]:
    bad = [job for job in drawn.jobs if job.told.failure or job.tone == tone(Status.ERROR)]
    for job in sorted(bad, key=_badness):
        output = tails.get(job.told.id, "")
        for step, failure in _ways(job):
            yield Fault(
                tone=job.tone,
                key=job.key,
                job=job.told.name,
                job_name=job.told.name,
                step=step,
                failure=failure,
                output=output,
            )
            output = ""


def _badness(job: JobRow) -> tuple[bool, bool, int]:
    """What failed, then what was stopped, then what may fail; of each, the first first."""
    return job.told.allowed, job.tone != tone(Status.ERROR), job.told.offset_ms


def _ways(job: JobRow) -> Iterator[tuple[str, Failure]]:
    """Each way in which the job failed, once; the step's name with the failure that is its own."""
    seen: set[Failure] = set()
    steps = ((step.told.name, step.told.failure) for step in job.steps if not step.told.allowed)
    for name, failure in (*steps, ("", job.told.failure)):
        if failure and failure not in seen:
            seen.add(failure)
            yield name, failure
