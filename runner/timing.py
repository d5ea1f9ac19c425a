"""Times of an execution: queue time, execution time, critical path; and a duration in words.

Owns arithmetic over intervals. Knows no clock and no unit but in ``queue_time`` and ``spoken``: any
integers of one scale will do. Definitions: Datadog's guide, "Queue time", "Execution time",
"Critical path".
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from runner.execution import MILLISECOND, SECOND

MINUTE: Final = 60 * SECOND


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One job in time. ``needs``: the keys of those it waited for; others may be unknown."""

    key: str
    start: int
    end: int
    needs: tuple[str, ...] = ()


def queue_time(ready: int, start: int) -> int:
    """Milliseconds from ready to start, both in nanoseconds; never negative."""
    return max(start - ready, 0) // MILLISECOND


def execution_time(intervals: Iterable[tuple[int, int]]) -> int:
    """The time in which at least one interval is open: overlaps count once, gaps not at all."""
    total, reached = 0, None
    for start, end in sorted(intervals):
        begin = start if reached is None else max(start, reached)
        total += max(end - begin, 0)
        reached = end if reached is None else max(end, reached)
    return total


def critical_path(spans: Sequence[Span]) -> tuple[str, ...]:
    """The chain that fixes the total time, in order of time.

    From what ended last, walk back to what it waited for: of its needs the one that ended last; a
    job without needs waited, if for anything, for the place of the one that ended last before it
    began.
    """
    by_key = {span.key: span for span in spans}
    by_end = sorted(spans, key=_order)
    ends = [span.end for span in by_end]
    path: dict[str, None] = {}
    last = by_end[-1] if by_end else None
    while last is not None and last.key not in path:
        path[last.key] = None
        needs = [by_key[need] for need in last.needs if need in by_key]
        if needs:
            last = max(needs, key=_order)
        else:
            last = _ended_before(last, by_end[: bisect_right(ends, last.start)])
    return tuple(reversed(path))


def exclusive_times(spans: Iterable[Span], path: Iterable[str]) -> dict[str, int]:
    """Of each span on ``path``, the time in which no other was open."""
    alone = dict.fromkeys(path, 0)
    edges = [(at, span.key) for span in spans for at in (span.start, span.end)]
    now: set[str] = set()
    since = 0
    for at, key in sorted(edges):
        if len(now) == 1 and now <= alone.keys():
            alone[next(iter(now))] += at - since
        now ^= {key}
        since = at
    return alone


def spoken(nanoseconds: int) -> str:
    """``850 ms``, ``3.2 s``, ``1m04s``, ``2h03m``: three figures or so, whatever the scale."""
    if nanoseconds < SECOND - MILLISECOND // 2:
        return f"{round(max(nanoseconds, 0) / MILLISECOND)} ms"
    if nanoseconds < MINUTE - SECOND // 20:
        return f"{nanoseconds / SECOND:.1f} s"
    if nanoseconds < 60 * MINUTE - SECOND // 2:
        minutes, seconds = divmod(round(nanoseconds / SECOND), 60)
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(round(nanoseconds / MINUTE), 60)
    return f"{hours}h{minutes:02d}m"


def _order(span: Span) -> tuple[int, int, str]:
    """The one that ended last is the greatest; of equals the one that began last."""
    return span.end, span.start, span.key


def _ended_before(span: Span, ended: Sequence[Span]) -> Span | None:
    """The last of ``ended``; where nothing takes time, only what is less in order: no circles."""
    return next((other for other in reversed(ended) if _order(other) < _order(span)), None)
