"""Which run this is: its identity, its lineage, the ids of its parts, the clock.

Owns how ids are derived and how times are written. Does not know events or the journal. One run of
a pipeline is an *execution*; a resume or a retry is a new one that names the old.
"""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

Clock = Callable[[], int]
"""Nanoseconds since the epoch that never go back within one process."""

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000


def clock() -> Clock:
    """The real clock: the wall once, then CLOCK_BOOTTIME, which no one can set and which counts
    the time a machine sleeps. So durations are true whatever happens to the wall clock.
    """
    offset = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return lambda: offset + time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def rfc3339(at: int) -> str:
    """``2026-03-02T09:15:00.120Z``: UTC, milliseconds, cut off (so order is kept)."""
    seconds, rest = divmod(at, SECOND)
    return f"{_second(seconds)}.{rest // MILLISECOND:03d}Z"


@lru_cache(maxsize=64)  # a step writes four times, mostly of one second
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


class Link(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Another pipeline execution: the parent, or the attempt before this one."""

    id: str
    url: str = ""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What one source (the host CI, ``DD_GIT_*``, git itself) says of the commit; "" is unknown."""

    repository_url: str = ""
    sha: str = ""
    branch: str = ""
    tag: str = ""
    message: str = ""
    author_name: str = ""
    author_email: str = ""
    author_time: str = ""
    committer_name: str = ""
    committer_email: str = ""
    commit_time: str = ""
    default_branch: str = ""
    head_sha: str = ""
    """The head of a pull request, when ``sha`` is its merge with the base."""


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a pipeline, as every event names it. Fixed before the first step starts."""

    unique_id: str
    pipeline_id: str
    """The first execution's id, inherited along a chain of resumes and retries."""
    pipeline: str
    """The pipeline's name, the same in every event of every run."""
    start: int
    """Epoch nanoseconds."""
    url: str = ""
    manual: bool = False
    queue_time: int | None = None
    """Milliseconds the host CI kept the whole pipeline waiting; None: not known."""
    previous: Link | None = None
    partial_retry: bool = False
    parent: Link | None = None
    resumed_from: str = ""
    """The unique id of the blocked execution that this one goes on from."""

    def part(self, *path: str | int) -> str:
        """The id of a stage, job or step: uuid5 of its path, so that it is the same before, during
        and after a crash, and nobody has to remember it.
        """
        return _part(self.unique_id, "/".join(map(str, path)))

    def stage_id(self, stage: str) -> str:
        """The id of a stage, by its name."""
        return self.part("stage", stage)

    def job_id(self, job: str) -> str:
        """The id of a job, by its key in the plan (``test (3.11)``)."""
        return self.part("job", job)

    def step_id(self, job: str, index: int, attempt: int) -> str:
        """The id of one attempt at a step; ``index`` counts from 0, ``attempt`` from 1."""
        return self.part("job", job, "step", index, attempt)


@lru_cache(maxsize=1024)  # a step asks six times for two ids
def _part(unique_id: str, path: str) -> str:
    return str(uuid.uuid5(uuid.UUID(unique_id), path))
