"""What the store gives to those that show it, as values.

Owns the shape of answers: the pages and the JSON routes are made from the same. Knows no SQL and no
HTTP. Times are epoch milliseconds, durations milliseconds.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from runner.event import Event, Failure, Git

Level = Literal["pipeline", "stage", "job", "step"]
LEVELS: Final[tuple[Level, ...]] = ("pipeline", "stage", "job", "step")


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """From when to when things started, both ends included."""

    start: int = 0
    end: int = (1 << 43) - 1


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline, stage, job or step in a list: its newest state."""

    cursor: str
    """What ``search`` takes to go on after this row."""
    level: Level
    execution: str
    """The unique id of the pipeline's execution."""
    id: str
    name: str
    pipeline: str
    stage: str = ""
    job: str = ""
    status: str
    start: int
    duration: int | None = None
    """None: it runs."""
    queue: int | None = None
    provider: str
    service: str = ""
    env: str = ""
    url: str = ""
    repository: str = ""
    """``host/team/name``, without scheme and user."""
    branch: str = ""
    tag: str = ""
    default: bool = False
    """On the default branch, or without git."""
    sha: str = ""
    message: str = ""
    author: str = ""
    """Name, or address where there is no name."""
    manual: bool = False
    partial_retry: bool = False
    resumed: bool = False
    previous: str = ""
    """The unique id of the attempt before this one."""
    parent: str = ""
    failure: Failure | None = None
    tags: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of a search. ``next``: the cursor for those that follow; empty: there are none."""

    rows: tuple[Row, ...]
    next: str = ""
    complete: bool = True
    """False: time ran out before everything was looked at."""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How often a value was found."""

    value: str
    count: int


class Facet(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one attribute among the matches, the most frequent first."""

    attribute: str
    """As a query names it: ``@ci.status``, ``env``."""
    title: str
    values: tuple[Count, ...]


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of time, and how many of the matches started in it, by status."""

    start: int
    end: int
    counts: Mapping[str, int]


class Facets(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest matches have in common. ``capped``: there are more than were counted."""

    matches: int
    capped: bool
    facets: tuple[Facet, ...]
    timeline: tuple[Bucket, ...] = ()
    """Oldest first, equally long."""
    complete: bool = True


class PipelineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline of one repository (and branch, when asked for by branch) over a window."""

    name: str
    repository: str
    branch: str = ""
    """Empty: of all branches that were asked for."""
    runs: int
    ended: int
    """With success or error; partial retries do not count."""
    failed: int
    failure_rate: float
    """0 to 1, of those that ended."""
    p50: int | None
    p95: int | None
    last: str
    """The unique id of the newest execution."""
    last_status: str
    last_start: int
    last_duration: int | None
    spark: tuple[tuple[str, int], ...]
    """Status and duration of the newest thirty, oldest first."""


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution whole, for ``runner.report.tell(execution.events, Beside(git=...))``."""

    id: str
    row: Row | None
    """The pipeline's own; None: only parts of it have come."""
    events: tuple[Event, ...]
    """One for each part: its newest state; the pipeline first."""
    raw: tuple[bytes, ...]
    """The same as they are kept: the ``resource`` of each, JSON."""
    git: Git | None = None
    jobs_with_logs: tuple[str, ...] = ()
    """Ids of jobs."""
    capped: bool = False
    """There are more parts than were read."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's log."""

    number: int
    section: str = ""
    """The step's name."""
    message: str
    at: int | None = None
    status: str = ""


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """Some lines, by number. ``next``: what to pass as ``after`` to go on; None: that was all."""

    lines: tuple[Line, ...]
    next: int | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed since a moment that ``changes`` told."""

    now: int
    """Pass it the next time."""
    executions: tuple[str, ...] = ()
    """Unique ids of executions of which something came."""
    logs: tuple[str, ...] = ()
    """The same for lines of their jobs' logs."""
    all: bool = False
    """Too much or too long ago to tell: anything may have changed."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What the store holds, and what became of what the relay was to deliver."""

    events: Mapping[str, int]
    """By level."""
    forwarding: bool = False
    delivered: int = 0
    waiting: int = 0
    refused: int = 0
    expired: int = 0
    trouble: str = ""
    """Why nothing leaves at the moment."""
