"""The Pipelines page: how each pipeline of each repository does, and how its last runs went.

Owns order, filter and what stands in each place. Does not count (``runner.viewer.store``).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from runner.terminal import plain
from runner.viewer.pages import address, executions, terms
from runner.viewer.pages.address import Choice, Overview, Search, When
from runner.viewer.rows import PipelineRow

SHOWN: Final = 200
"""Lines of the page; a filter finds the others."""
_BARS: Final = 30
_SPARK: Final = 24
_SMALL: Final = 0.1
"""A share that is told with one digit behind the point."""
_ORDERS: Final[dict[str, Callable[[PipelineRow], tuple[float, ...] | str]]] = {
    "name": lambda row: row.name.casefold(),
    "last": lambda row: (-row.last_start,),
    "runs": lambda row: (-row.runs,),
    "failures": lambda row: (-row.failure_rate, -row.failed),
    "p50": lambda row: (-(row.p50 or 0),),
    "p95": lambda row: (-(row.p95 or 0),),
}
_HEADS: Final = (
    ("name", "Pipeline", ""),
    ("", "Branch", ""),
    ("last", "Last", ""),
    ("", "Last 30", "number wide"),
    ("runs", "Runs", "number"),
    ("failures", "Failed", "number"),
    ("p50", "p50", "number wide"),
    ("p95", "p95", "number wide"),
)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A column's title."""

    text: str
    classes: str
    href: str
    sorted: str


class Strokes(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of one status in a spark line, as one path."""

    status: str
    path: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline."""

    key: str
    href: str
    name: str
    repository: str
    ref: str
    ref_is_tag: bool = False
    last_href: str
    last_status: str
    last_start_ms: int
    spark: tuple[Strokes, ...]
    spark_label: str
    runs: int
    rate: str
    rate_text: str
    p50_ms: int | None
    p95_ms: int | None


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over all lines."""

    title: str
    text: str
    aside: str = ""


class PipelinesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page."""

    title: str = "Pipelines"
    place: str = "pipelines"
    now: int
    live: int = 3
    branches: tuple[Choice, ...]
    windows: tuple[Choice, ...]
    query: str
    kept: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...]
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    cut: int
    empty_store: bool
    default_only: bool
    window_word: str
    unsearched: str
    widened: str
    address: str


def page(
    asked: Overview,
    rows: Sequence[PipelineRow],
    *,
    now: int,
    empty_store: bool = False,
    intake: str = "",
) -> PipelinesPage:
    """The page for what was asked and found."""
    found = [row for row in rows if _matches(row, asked.query)]
    order = _ORDERS.get(asked.sort, _ORDERS["last"])
    found.sort(key=order)
    wide = Overview(every_branch=True, when=When(window="all"))
    return PipelinesPage(
        now=now,
        branches=(
            Choice(
                text="Default branch",
                href=asked.href(every_branch=False),
                on=not asked.every_branch,
            ),
            Choice(text="All branches", href=asked.href(every_branch=True), on=asked.every_branch),
        ),
        windows=executions.windows(asked),
        query=asked.query,
        kept=_kept(asked),
        tiles=tuple(_tiles(found)) if found else (),
        heads=tuple(_heads(asked)),
        lines=tuple(_line(row, asked) for row in found[:SHOWN]),
        cut=max(len(found) - SHOWN, 0),
        empty_store=empty_store,
        default_only=not asked.every_branch,
        window_word=asked.when.word,
        unsearched=asked.href(query=""),
        widened="" if asked == wide else wide.href(),
        address=intake,
    )


def _matches(row: PipelineRow, query: str) -> bool:
    text = f"{row.name} {row.repository} {row.branch}".casefold()
    return all(word in text for word in query.casefold().split())


def _kept(asked: Overview) -> tuple[tuple[str, str], ...]:
    branches = (("branches", "all"),) if asked.every_branch else ()
    sort = (("sort", asked.sort),) if asked.sort else ()
    return (*asked.when.parameters().items(), *branches, *sort)


def _heads(asked: Overview) -> Iterator[Head]:
    now = asked.sort if asked.sort in _ORDERS else "last"
    for key, text, classes in _HEADS:
        by = "ascending" if key == "name" else "descending"
        yield Head(
            text=text,
            classes=classes,
            href=asked.href(sort="" if key == "last" else key) if key else "",
            sorted=by if key and key == now else "",
        )


def _tiles(rows: Sequence[PipelineRow]) -> Iterator[Tile]:
    runs, failed = sum(row.runs for row in rows), sum(row.failed for row in rows)
    ended = sum(row.ended for row in rows)
    broken = sum(row.last_status == "error" for row in rows)
    waiting = sum(row.last_status == "blocked" for row in rows)
    running = sum(row.last_status == "running" for row in rows)
    yield Tile(title="Pipelines", text=f"{len(rows):,}")
    yield Tile(title="Runs", text=f"{runs:,}")
    yield Tile(title="Failed", text=f"{failed:,}", aside=_percent(failed / ended if ended else 0))
    yield Tile(title="Broken now", text=f"{broken:,}", aside="whose last run failed")
    yield Tile(title="In progress", text=f"{running:,}", aside=f"{waiting:,} at a gate")


def _line(row: PipelineRow, asked: Overview) -> Line:
    query = terms.term("@ci.pipeline.name", row.name)
    if not asked.every_branch:
        query += " @git.is_default_branch:true"
    elif row.branch:
        query += " " + terms.term("@git.branch", row.branch)
    bad = sum(status == "error" for status, _ in row.spark)
    return Line(
        key=f"{row.repository} {row.name} {row.branch}",
        href=Search(query=query, when=asked.when).href(),
        name=plain(row.name),
        repository=plain(row.repository),
        ref=plain(row.branch),
        last_href=address.execution(row.last),
        last_status=row.last_status,
        last_start_ms=row.last_start,
        spark=tuple(_spark(row.spark)),
        spark_label=f"Of the last {len(row.spark)}, {bad} failed",
        runs=row.runs,
        rate=f"{100 * row.failure_rate:.4g}",
        rate_text=_percent(row.failure_rate),
        p50_ms=row.p50,
        p95_ms=row.p95,
    )


def _spark(runs: Sequence[tuple[str, int]]) -> Iterator[Strokes]:
    """Bars as high as runs were long; what failed or waits is underlined, too."""
    longest = max((took for _, took in runs), default=0) or 1
    shown = runs[-_BARS:]
    paths: dict[str, str] = {}
    for place, (status, took) in enumerate(shown, start=_BARS - len(shown)):
        x = f"{place * 4.4 + 1.5:.4g}"
        height = max((_SPARK - 5) * took / longest, 1.5)
        bar = f"M{x} {_SPARK - 4}v-{height:.3g}"
        mark = f"M{x} {_SPARK}v-2" if status in {"error", "blocked"} else ""
        paths[status] = paths.get(status, "") + bar + mark
    return (Strokes(status=status, path=path) for status, path in paths.items())


def _percent(share: float) -> str:
    if share == 0:
        return "0 %"
    return f"{100 * share:.{int(share < _SMALL)}f} %"
