"""Figures of all that matches: counts, sums, percentiles, in groups, over time.

Owns the arithmetic of ``analytics/aggregate``. What a request says is ``readback``'s.
"""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, assert_never

import msgspec

from runner.viewer import attributes, tables
from runner.viewer.attributes import (
    MILLISECOND,
    Attribute,
    Flag,
    Items,
    LevelOf,
    Member,
    Number,
    RunOf,
    Tag,
    Words,
)
from runner.viewer.compiling import BODY
from runner.viewer.query import Node
from runner.viewer.rows import LEVELS, Level, Window
from runner.viewer.searching import Search, keys_of

Function = Literal[
    "count",
    "cardinality",
    "pc75",
    "pc90",
    "pc95",
    "pc98",
    "pc99",
    "sum",
    "min",
    "max",
    "avg",
    "median",
    "latest",
    "earliest",
    "most_frequent",
    "delta",
]
Value = str | float | None
ROWS: Final = 250_000
"""Rows of each level of which values are kept, the newest."""
CELLS: Final = 10_000
"""Groups that are kept; others are left out of an answer that says so."""


class Compute(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. ``step``: milliseconds of one point of a time series; 0: one figure in all."""

    function: Function
    metric: str = ""
    step: int = 0


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers in equal bins; those outside are left out."""

    interval: float
    min: float
    max: float


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """How the groups of one attribute are sorted: by a figure, or (None) by their names."""

    by: Compute | None = None
    descending: bool = False


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """By which attribute, and how many of its values."""

    attribute: str
    limit: int = 10
    order: Order = Order(by=Compute(function="count"), descending=True)
    histogram: Histogram | None = None
    missing: str | float | None = None
    """The value of what does not have the attribute; None: that is left out."""
    total: str | float | None = None
    """The value under which all together are given; None: not at all."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Of a time series. ``start``: epoch milliseconds."""

    start: int
    value: float


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """One group: its values by attribute, and its figures in the order they were asked for."""

    by: Mapping[str, str | float]
    figures: tuple[Value | tuple[Point, ...], ...]


class Aggregated(msgspec.Struct, frozen=True, kw_only=True):
    """The answer; ``complete`` False: time or space ran out."""

    buckets: tuple[Bucket, ...]
    complete: bool


class _Cell:
    """The rows of one group, as far as figures need them."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.starts = array("q")
        self.numbers = {metric: array("d") for metric in metrics}
        self.texts: dict[str, list[Value]] = {metric: [] for metric in metrics}

    def add(self, start: int, values: Mapping[str, Value]) -> None:
        self.starts.append(start)
        for metric, value in values.items():
            number = value if isinstance(value, (int, float)) else math.nan
            self.numbers[metric].append(number)
            self.texts[metric].append(value)

    def join(self, other: "_Cell") -> None:
        self.starts.extend(other.starts)
        for metric, numbers in other.numbers.items():
            self.numbers[metric].extend(numbers)
            self.texts[metric].extend(other.texts[metric])


def aggregate(
    search: Search,
    node: Node,
    window: Window,
    computes: Sequence[Compute],
    groups: Sequence[Group],
) -> Aggregated:
    """Of everything in the window that matches."""
    ordered_by = [group.order.by for group in groups if group.order.by]
    metrics = sorted({one.metric for one in (*computes, *ordered_by) if one.metric})
    cells: dict[tuple[str | float, ...], _Cell] = {}
    whole = True
    for level in LEVELS:
        for start, by, values in _rows(search, node, window, level, groups, metrics):
            cell = cells.get(by)
            if cell is None:
                if len(cells) >= CELLS:
                    whole = False
                    continue
                cell = cells[by] = _Cell(metrics)
            cell.add(start, values)
    found = tuple(
        Bucket(
            by={group.attribute: value for group, value in zip(groups, by, strict=True)},
            figures=tuple(_figure(compute, cell) for compute in computes),
        )
        for by, cell in _sorted(cells, groups, metrics)
    )
    return Aggregated(buckets=found, complete=whole and not search.budget.over)


# ── what a row has ───────────────────────────────────────────────────────────────────────────────


def _rows(
    search: Search,
    node: Node,
    window: Window,
    level: Level,
    groups: Sequence[Group],
    metrics: Sequence[str],
) -> Iterator[tuple[int, tuple[str | float, ...], dict[str, Value]]]:
    """Start, group and values of each row of a level that matches and is in a group."""
    names = [group.attribute for group in groups] + list(metrics)
    columns, readers = ["key"], []
    for name in names:
        column, reader = _column(search, attributes.attribute(name), level)
        columns.append(column)
        readers.append(reader)
    wide = ROWS if metrics else (1 << 63) - 1
    for key, *raw in search.walk(node, level, keys_of(level, window), columns, limit=wide):
        values = [read(one) for read, one in zip(readers, raw, strict=True)]
        by = [_grouped(group, value) for group, value in zip(groups, values, strict=False)]
        if None not in by:
            told = dict(zip(metrics, values[len(groups) :], strict=True))
            yield tables.start_of(key), tuple(one for one in by if one is not None), told


def _grouped(group: Group, value: Value) -> str | float | None:
    if value in (None, ""):
        return group.missing
    bins = group.histogram
    if bins is None:
        return value
    if not isinstance(value, (int, float)) or not bins.min <= value < bins.max:
        return None
    return bins.min + math.floor((value - bins.min) / bins.interval) * bins.interval


def _column(  # noqa: PLR0911 - an arm a kind
    search: Search, known: Attribute, level: Level
) -> tuple[str, Callable[[Any], Value]]:
    """The SQL of an attribute, and how its value is read."""
    here = attributes.at_level(known, level)
    match here:
        case None:
            return "NULL", _same
        case Words(column):
            return column, partial(search.words.of, search.db)
        case Number(column):
            return column, _nanoseconds
        case Flag(bit):
            return f"flags & {bit}", _truth
        case LevelOf():
            return f"'{level}'", _same
        case RunOf():
            name = "unique_id" if level == "pipeline" else "pipeline_unique_id"
            return f"json_extract({BODY}, '$.{name}')", _same
        case Member(paths):
            path = paths.get(level)
            return (f"json_extract({BODY}, '{path}')" if path else "NULL"), _same
        case Items():
            return "NULL", _same
        case Tag(key):
            return "tags", partial(_tagged, key)
    assert_never(here)


def _same(value: Any) -> Value:
    return value if isinstance(value, (str, int, float)) else None


def _nanoseconds(value: int | None) -> Value:
    return None if value is None else value * MILLISECOND


def _truth(value: int) -> Value:
    return "true" if value else "false"


def _tagged(key: str, tags: str) -> Value:
    """The value of a tag or measure, a number if it looks like one."""
    _, found, rest = tags.partition(f"\n{key}:")
    if not found:
        return None
    value = rest.partition("\n")[0]
    try:
        return float(value)
    except ValueError:
        return value


# ── figures ──────────────────────────────────────────────────────────────────────────────────────


def _figure(compute: Compute, cell: _Cell) -> Value | tuple[Point, ...]:
    if not compute.step:
        return _value(compute, cell, range(len(cell.starts)))
    places: dict[int, list[int]] = {}
    for place, start in enumerate(cell.starts):
        places.setdefault(start - start % compute.step, []).append(place)
    points = ((start, _value(compute, cell, places[start])) for start in sorted(places))
    return tuple(
        Point(start=start, value=value)
        for start, value in points
        if isinstance(value, (int, float))
    )


def _value(compute: Compute, cell: _Cell, places: Sequence[int]) -> Value:
    if not compute.metric:
        return len(places) if compute.function == "count" else None
    texts = [cell.texts[compute.metric][place] for place in places]
    match compute.function:
        case "count":
            return sum(text is not None for text in texts)
        case "cardinality":
            return len({text for text in texts if text is not None})
        case "most_frequent":
            counts = Counter(text for text in texts if text is not None)
            return counts.most_common(1)[0][0] if counts else None
        case "latest" | "earliest":
            latest = compute.function == "latest"
            timed = [
                (cell.starts[p], t) for p, t in zip(places, texts, strict=True) if t is not None
            ]
            chosen = (max if latest else min)(timed, key=lambda pair: pair[0], default=(0, None))
            return chosen[1]
        case _:
            return _arithmetic(compute.function, _numbers(compute.metric, cell, places))


def _numbers(metric: str, cell: _Cell, places: Iterable[int]) -> list[float]:
    """In the order of time."""
    numbers = cell.numbers[metric]
    timed = sorted((cell.starts[place], numbers[place]) for place in places)
    return [number for _, number in timed if not math.isnan(number)]


def _arithmetic(function: str, numbers: list[float]) -> Value:
    if not numbers:
        return None
    if known := _ARITHMETIC.get(function):
        return known(numbers)
    percent = 50 if function == "median" else int(function.removeprefix("pc"))
    return _percentile(sorted(numbers), percent)


_ARITHMETIC: Final[Mapping[str, Callable[[list[float]], float]]] = {
    "sum": math.fsum,
    "min": min,
    "max": max,
    "avg": lambda numbers: math.fsum(numbers) / len(numbers),
    "delta": lambda numbers: numbers[-1] - numbers[0],
}


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Between the two nearest, as far as it lies between them."""
    place = (len(ordered) - 1) * percent / 100
    below, above = math.floor(place), math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


# ── the order of groups ──────────────────────────────────────────────────────────────────────────


def _sorted(
    cells: Mapping[tuple[str | float, ...], _Cell], groups: Sequence[Group], metrics: Sequence[str]
) -> Iterator[tuple[tuple[str | float, ...], _Cell]]:
    """Group by group: the first of each, by its order; then all together, if asked for."""
    if not groups:
        yield (), cells.get((), _Cell(metrics))
        return
    parts: dict[str | float, dict[tuple[str | float, ...], _Cell]] = {}
    for by, cell in cells.items():
        parts.setdefault(by[0], {})[by[1:]] = cell
    group, rest = groups[0], groups[1:]
    joined = {value: _joined(part.values(), metrics) for value, part in parts.items()}
    for value in sorted(
        parts, key=partial(_rank, group.order, joined), reverse=group.order.descending
    )[: group.limit]:
        for by, cell in _sorted(parts[value], rest, metrics):
            yield (value, *by), cell
    if group.total is not None:
        everything: dict[tuple[str | float, ...], _Cell] = {}
        for part in parts.values():
            for by, cell in part.items():
                everything[by] = _joined([everything.get(by, _Cell(metrics)), cell], metrics)
        for by, cell in _sorted(everything, rest, metrics):
            yield (group.total, *by), cell


def _joined(cells: Iterable[_Cell], metrics: Sequence[str]) -> _Cell:
    found = _Cell(metrics)
    for cell in cells:
        found.join(cell)
    return found


def _rank(
    order: Order, joined: Mapping[str | float, _Cell], value: str | float
) -> tuple[float, str]:
    if order.by is None:
        return (value, "") if isinstance(value, (int, float)) else (math.inf, value)
    figure = _value(order.by, joined[value], range(len(joined[value].starts)))
    return (figure if isinstance(figure, (int, float)) else -math.inf), str(value)
