"""The Executions page: what a search found, level by level, with its facets and its line of time.

Owns what stands in each place of the page. Does not search (``runner.viewer.store``) nor draw
(``executions.html``).
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from runner.terminal import plain
from runner.viewer.pages import address, terms
from runner.viewer.pages.address import Choice, Search, When
from runner.viewer.pages.render import stamp
from runner.viewer.rows import LEVELS, Bucket, Facet, Facets, Page, Row

NOUNS: Final = {"pipeline": "executions", "stage": "stages", "job": "jobs", "step": "steps"}
STATUSES: Final = ("success", "running", "skipped", "canceled", "blocked", "error")
"""As they stand on each other in a column, from the bottom."""
SHOWN: Final = 20
"""Values of a facet."""
_OPEN: Final = {"@ci.status", "@ci.pipeline.name", "@git.branch"}
_ALLOWED: Final = "allowed_failure:true"
_HEIGHT: Final = 56
_WIDTH: Final = 600
_BAR: Final = 24
"""Of a column, at most."""


class Badge(msgspec.Struct, frozen=True, kw_only=True):
    """A word about a line; ``title`` says more."""

    text: str
    title: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table. ``within``: of a part, what it is a part of."""

    key: str
    href: str
    execution: str
    status: str
    name: str
    badges: tuple[Badge, ...]
    ref: str
    ref_is_tag: bool
    within: str
    sha: str
    text: str
    is_reason: bool
    author: str
    queue_ms: int | None
    duration_ms: int | None
    running: bool
    start_ms: int


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a facet."""

    text: str
    count: int
    on: bool
    href: str
    without: str


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A facet beside the table. ``statuses``: its values have marks."""

    key: str
    title: str
    values: tuple[Value, ...]
    open: bool
    statuses: bool


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One status in a column."""

    status: str
    y: str
    height: str


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of time."""

    x: str
    width: str
    bar_x: str
    bar: str
    label: str
    href: str
    parts: tuple[Part, ...]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """When what was found began."""

    width: int
    columns: tuple[Column, ...]
    axis: tuple[tuple[int, str], ...]
    """Moments and how they read without a script."""


class ExecutionsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page."""

    title: str = "Executions"
    place: str = "executions"
    now: int
    live: int
    levels: tuple[Choice, ...]
    windows: tuple[Choice, ...]
    query: str
    kept: tuple[tuple[str, str], ...]
    mistake: str
    noun: str
    """What the lines are: ``executions``, ``jobs``."""
    titles: tuple[str, str, str, str]
    picked: int
    facets: tuple[Side, ...]
    capped: bool
    total: int
    by_status: tuple[tuple[str, int], ...]
    chart: Chart | None
    lines: tuple[Line, ...]
    incomplete: bool
    newest: str
    older: str
    unsearched: str
    unwindowed: str
    stretch: tuple[int, int] | None
    """From when to when, if that was picked by hand."""
    unstretched: str
    window_word: str
    empty_store: bool
    address: str


def page(
    asked: Search,
    found: Page,
    facets: Facets,
    *,
    now: int,
    empty_store: bool = False,
    mistake: str = "",
    intake: str = "",
) -> ExecutionsPage:
    """The page for what was asked and found."""
    sides = tuple(_sides(asked, facets.facets))
    return ExecutionsPage(
        now=now,
        live=0 if asked.after else 2,
        levels=tuple(
            Choice(text=one.capitalize(), href=asked.href(level=one), on=one == asked.level)
            for one in LEVELS
        ),
        windows=windows(asked),
        query=asked.query,
        kept=kept(asked),
        mistake=mistake,
        noun=NOUNS[asked.level],
        stretch=(asked.when.start, asked.when.end) if asked.when.end else None,
        unstretched=asked.href(when=When()),
        titles=_titles(asked.level),
        picked=sum(value.on for side in sides for value in side.values),
        facets=sides,
        capped=facets.capped,
        total=facets.matches,
        by_status=_by_status(facets.timeline),
        chart=_chart(asked, facets.timeline),
        lines=tuple(line(row, now) for row in found.rows),
        incomplete=not (found.complete and facets.complete),
        newest=asked.href() if asked.after else "",
        older=asked.href(after=found.next) if found.next else "",
        unsearched=asked.href(query=""),
        unwindowed="" if asked.when.window == "all" else asked.href(when=When(window="all")),
        window_word=asked.when.word,
        empty_store=empty_store,
        address=intake,
    )


def windows(asked: Search | address.Overview) -> tuple[Choice, ...]:
    """The stretches of time to choose from; none is on when one was picked by hand."""
    return tuple(
        Choice(
            text="All" if one == "all" else one,
            href=asked.href(when=When(window=one)),
            on=not asked.when.end and one == asked.when.window,
        )
        for one in address.CHOICES
    )


def kept(asked: Search) -> tuple[tuple[str, str], ...]:
    """What a form has to send beside the query."""
    level = () if asked.level == "pipeline" else (("level", asked.level),)
    return (*level, *asked.when.parameters().items())


def line(row: Row, now: int) -> Line:
    """One row as it is shown."""
    whole = row.level == "pipeline"
    said = row.failure.message if row.failure else row.message
    running = row.duration is None
    allowed = row.status == "error" and _ALLOWED in row.tags
    text = next((one for one in map(plain, said.splitlines()) if one), "")
    return Line(
        key=f"{row.execution} {row.id}",
        href=address.execution(row.execution, **({} if whole else {"part": row.id})),
        execution=row.execution if whole else "",
        status="allowed" if allowed else row.status,
        name=plain(row.name),
        badges=tuple(_badges(row)),
        ref=plain(row.tag or row.branch) if whole else "",
        ref_is_tag=bool(row.tag),
        within=_within(row),
        sha=row.sha[:7] if whole and not row.failure else "",
        text=text,
        is_reason=row.failure is not None and not allowed,
        author=plain(row.author),
        queue_ms=row.queue,
        duration_ms=max(now - row.start, 0) if running else row.duration,
        running=running,
        start_ms=row.start,
    )


def _badges(row: Row) -> Iterator[Badge]:
    if _ALLOWED in row.tags:
        yield Badge(text="allowed", title="Its failure is allowed")
    if row.level != "pipeline":
        return
    if row.previous:
        yield Badge(text="retry", title=f"Tries {row.previous} again")
    if row.partial_retry:
        yield Badge(text="partial", title="Runs only some of the jobs again")
    if row.resumed:
        yield Badge(text="resumed", title="Goes on after a gate")
    if row.manual:
        yield Badge(text="manual", title="A person started it")
    if row.parent:
        yield Badge(text="downstream", title=f"Started by {row.parent}")


def _within(row: Row) -> str:
    parts = (row.pipeline, row.stage, row.job)
    depth = {"pipeline": 0, "stage": 1, "job": 2, "step": 3}[row.level]
    return " / ".join(plain(part) for part in parts[:depth] if part)


def _titles(level: str) -> tuple[str, str, str, str]:
    where = "Branch" if level == "pipeline" else "Part of"
    return (level.capitalize(), where, "Commit or reason", "Author")


def _sides(asked: Search, facets: Sequence[Facet]) -> Iterator[Side]:
    for facet in facets:
        key, values = facet.attribute, facet.values
        on = terms.picked(asked.query, key, [value.value for value in values])
        shown = [*values[:SHOWN], *(value for value in values[SHOWN:] if value.value in on)]
        if shown:
            yield Side(
                key=key,
                title=facet.title,
                values=tuple(
                    Value(
                        text=value.value,
                        count=value.count,
                        on=value.value in on,
                        href=asked.href(query=terms.toggle(asked.query, key, value.value)),
                        without=asked.href(query=terms.without(asked.query, key, value.value)),
                    )
                    for value in shown
                ),
                open=key in _OPEN or bool(on),
                statuses=key == "@ci.status",
            )


def _by_status(timeline: Sequence[Bucket]) -> tuple[tuple[str, int], ...]:
    sums = {one: sum(bucket.counts.get(one, 0) for bucket in timeline) for one in STATUSES}
    return tuple((one, number) for one, number in reversed(sums.items()) if number)


def _chart(asked: Search, timeline: Sequence[Bucket]) -> Chart | None:
    most = max((sum(bucket.counts.values()) for bucket in timeline), default=0)
    if not most:
        return None
    marks = [timeline[len(timeline) * place // 5].start for place in range(5)]
    return Chart(
        width=_WIDTH,
        columns=tuple(
            _column(asked, bucket, place, (len(timeline), most))
            for place, bucket in enumerate(timeline)
        ),
        axis=tuple((ms, stamp(ms)[5:16]) for ms in (*marks, timeline[-1].end)),
    )


def _column(asked: Search, bucket: Bucket, place: int, most_of: tuple[int, int]) -> Column:
    count, most = most_of
    width = _WIDTH / count
    bar = min(width - 2, _BAR)
    parts, top = [], float(_HEIGHT)
    for status in STATUSES:
        if number := bucket.counts.get(status, 0):
            height = max(_HEIGHT * number / most, 1.5)
            top -= height
            parts.append(Part(status=status, y=f"{max(top, 0):.4g}", height=f"{height:.4g}"))
    said = ", ".join(f"{bucket.counts[one]} {one}" for one in STATUSES if bucket.counts.get(one))
    return Column(
        x=f"{place * width:.5g}",
        width=f"{width:.5g}",
        bar_x=f"{place * width + (width - bar) / 2:.5g}",
        bar=f"{bar:.5g}",
        label=f"{stamp(bucket.start)[:16]}: {said or 'none'}",
        href=asked.href(when=When(start=bucket.start, end=max(bucket.end - 1, bucket.start + 1))),
        parts=tuple(parts),
    )
