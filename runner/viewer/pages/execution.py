"""The page of one execution: the report's parts, live, and what a file cannot have beside them.

Owns the page's tabs, the choice of a job's log and its folding by step, and how executions of one
chain are told as a story. Does not read them (``runner.viewer.store``); head, failures, waterfall
and facts are the report's own (``runner.report.web``).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from runner.event import Event, PipelineEvent, Status
from runner.report import Answered, JobTold, Kin, StepTold, Told
from runner.report.web import faults, tone, waterfall
from runner.report.web.faults import Faults
from runner.report.web.waterfall import Waterfall
from runner.terminal import plain
from runner.viewer.pages import address
from runner.viewer.pages.address import Choice
from runner.viewer.pages.beside import Beside
from runner.viewer.pages.render import iso
from runner.viewer.rows import Execution, Line, Lines, Row

Tab = Literal["overview", "logs", "attempts", "events"]
TABS: Final[tuple[Tab, ...]] = ("overview", "logs", "attempts", "events")
LINES: Final = 2000
"""Lines of a log on one page."""
TAIL: Final = 30
"""Lines of a failed job that are shown before its log is asked for."""
EVENTS: Final = 200
"""Raw events on one page."""
_DRAWN: Final = 500
"""Rows that are drawn anew every second while an execution runs; more of them less often."""
_ANSWERS: Final = {"approved", "rejected", "expired"}
_OPEN: Final = 300
"""Lines with which all sections are shown open; with more, those that did not end well."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one step. ``tone`` is empty when no step is known by the name."""

    name: str
    tone: str
    duration_ms: int | None
    open: bool
    lines: tuple[Line, ...]


class LogJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job whose log can be chosen."""

    name: str
    tone: str
    href: str
    on: bool
    has_log: bool


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """The log of one job, as far as it fits."""

    jobs: tuple[LogJob, ...]
    name: str
    sections: tuple[Section, ...]
    before: str
    after: str
    """Addresses of the lines before and after these."""


class RawEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it is kept."""

    key: str
    level: str
    name: str
    status: str
    body: str


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the events."""

    events: tuple[RawEvent, ...]
    first: int
    count: int
    before: str
    after: str


class ExecutionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page."""

    title: str
    place: str = "executions"
    now: int
    live: int
    told: Told
    w: Waterfall
    faults: Faults
    tab: Tab
    tabs: tuple[Choice, ...]
    waits: bool
    """It is blocked, and nothing has gone on from it."""
    part: str
    """The row to show first, by its key in the waterfall."""
    log: Log | None
    beside: Beside | None
    raw: Raw | None
    capped: bool
    compare: str
    """The address of its comparison with the one before."""
    alike: str
    """The address of executions like this one."""


def choose(asked: str) -> Tab:
    """The tab that is meant."""
    return next((tab for tab in TABS if tab == asked), "overview")


def page(
    told: Told,
    *,
    now: int,
    tab: Tab,
    part: str = "",
    tails: Mapping[str, str] | None = None,
    log: Log | None = None,
    side: Beside | None = None,
    raw: Raw | None = None,
    capped: bool = False,
    compare: str = "",
    alike: str = "",
) -> ExecutionPage:
    """The page of ``told``."""
    drawn = waterfall(told)
    return ExecutionPage(
        title=plain(told.name),
        now=now,
        live=pace(told),
        told=told,
        w=drawn,
        faults=faults(drawn, tails or {}),
        tab=tab,
        tabs=tuple(_tabs(told, tab)),
        waits=told.status is Status.BLOCKED and not told.gone_on,
        part=_row_of(drawn, part),
        log=log,
        beside=side,
        raw=raw,
        capped=capped,
        compare=compare,
        alike=alike,
    )


def pace(told: Told) -> int:
    """Seconds between two looks: a page of thousands of rows is not drawn anew every second."""
    if told.status is not Status.RUNNING:
        return 4
    return 1 + sum(1 + len(job.steps) for job in told.jobs) // _DRAWN


def _tabs(told: Told, now: Tab) -> Iterator[Choice]:
    words = {
        "overview": "Overview",
        "logs": "Logs",
        "attempts": f"Side by side ({len(told.chain)})",
        "events": "Raw events",
    }
    for tab in TABS:
        if tab != "attempts" or len(told.chain) > 1:
            given = {} if tab == "overview" else {"tab": tab}
            yield Choice(text=words[tab], href=address.execution(told.id, **given), on=tab == now)


def _row_of(drawn: Waterfall, part: str) -> str:
    """The key of the row of a stage, job or step by its id."""
    if part:
        for job in drawn.jobs:
            if job.told.id == part:
                return job.key
            for step in job.steps:
                if step.told.id == part:
                    return step.key
    return ""


# ── the chain ────────────────────────────────────────────────────────────────────────────────────


def story(rows: Sequence[Row]) -> tuple[Kin, ...]:
    """A chain as the report tells it; what went on says how the blocked one was answered."""
    answers = {_tag(row, "resumed_from"): tuple(_answers(row)) for row in rows}
    return tuple(_kin(row, answers.get(row.execution, ())) for row in rows)


def _answers(row: Row) -> Iterator[Answered]:
    """The recorder's tags: ``gate.NAME:approved``, ``gate.NAME.by:...``."""
    for tag in row.tags:
        key, _, value = tag.partition(":")
        if key.startswith("gate.") and value in _ANSWERS:
            yield Answered(
                gate=key.removeprefix("gate."),
                approved=value == "approved",
                expired=value == "expired",
                who=_tag(row, f"{key}.by"),
                reason=_tag(row, f"{key}.reason"),
                at=_tag(row, f"{key}.at"),
            )


def _tag(row: Row, key: str) -> str:
    return next((tag[len(key) + 1 :] for tag in row.tags if tag.startswith(f"{key}:")), "")


def _kin(row: Row, answers: tuple[Answered, ...]) -> Kin:
    return Kin(
        id=row.execution,
        status=Status(row.status),
        start=iso(row.start),
        duration_ms=row.duration,
        resumed_from=_tag(row, "resumed_from"),
        retries=row.previous,
        answers=answers,
    )


def titles(chain: Sequence[Kin]) -> Iterator[str]:
    """What each is called: attempts are counted, what a gate let go on is not a new one."""
    attempt = 1
    for place, one in enumerate(chain):
        attempt += bool(one.retries and place)
        yield f"Attempt {attempt}" + (", went on" if one.resumed_from else "")


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────


def job_to_read(told: Told, execution: Execution, asked: str) -> str:
    """The job whose log is shown: the one asked for, else one that failed, runs, or has a log."""
    jobs = [job for job in told.jobs if job.id in execution.jobs_with_logs]
    if asked:
        return asked
    order = (Status.ERROR, Status.CANCELED, Status.RUNNING)
    for status in order:
        for job in jobs:
            if job.status is status:
                return job.id
    return jobs[0].id if jobs else ""


def log(told: Told, execution: Execution, job_id: str, lines: Lines, after: int) -> Log:
    """The log of a job beside the list of all."""
    job = next((job for job in told.jobs if job.id == job_id), None)

    def at(number: int) -> str:
        return address.execution(told.id, tab="logs", job=job_id, after=str(number))

    return Log(
        jobs=tuple(
            LogJob(
                name=plain(one.name),
                tone=tone(one.status, allowed=one.allowed),
                href=address.execution(told.id, tab="logs", job=one.id),
                on=one.id == job_id,
                has_log=one.id in execution.jobs_with_logs,
            )
            for one in told.jobs
        ),
        name=plain(job.name) if job else "",
        sections=tuple(_sections(job, lines.lines)),
        before=at(max(after - LINES, 0)) if after > 0 else "",
        after=at(lines.next) if lines.next is not None else "",
    )


def _sections(job: JobTold | None, lines: Sequence[Line]) -> Iterator[Section]:
    steps = {_section_name(step): step for step in job.steps} if job else {}
    groups: list[list[Line]] = []
    for line in lines:
        if not groups or groups[-1][0].section != line.section:
            groups.append([])
        groups[-1].append(line)
    for place, group in enumerate(groups):
        yield _section(
            steps.get(group[0].section),
            group,
            last=place == len(groups) - 1,
            few=len(lines) <= _OPEN,
        )


def _section_name(step: StepTold) -> str:
    """As the delivery of logs names it."""
    again = step.attempt is not None and step.attempt > 1
    return f"{step.name} (attempt {step.attempt})" if again else step.name


def _section(step: StepTold | None, group: Sequence[Line], *, last: bool, few: bool) -> Section:
    bad = step is not None and step.status is not Status.SUCCESS
    return Section(
        name=plain(group[0].section),
        tone=tone(step.status, allowed=step.allowed) if step else "",
        duration_ms=step.duration_ms if step else None,
        open=few or bad or (last and step is None),
        lines=tuple(group),
    )


# ── raw events ───────────────────────────────────────────────────────────────────────────────────


def raw(execution: Execution, first: int) -> Raw:
    """Some of the events, from the ``first`` on."""
    count = len(execution.raw)
    first = max(min(first, count - 1), 0)
    shown = slice(first, first + EVENTS)
    pairs = zip(execution.events[shown], execution.raw[shown], strict=True)
    return Raw(
        events=tuple(_raw(event, body) for event, body in pairs),
        first=first,
        count=count,
        before=_events_at(execution.id, first - EVENTS) if first else "",
        after=_events_at(execution.id, first + EVENTS) if first + EVENTS < count else "",
    )


def _events_at(unique_id: str, first: int) -> str:
    return address.execution(unique_id, tab="events", first=str(max(first, 0)))


def _raw(event: Event, body: bytes) -> RawEvent:
    level = str(event.__struct_config__.tag)
    return RawEvent(
        key=event.unique_id if isinstance(event, PipelineEvent) else event.id,
        level=level,
        name=plain(event.name),
        status=event.status.value,
        body=msgspec.json.format(body, indent=2).decode(errors="replace"),
    )
