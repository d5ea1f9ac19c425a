"""Executions as a table in a terminal: one line each, newest first as they come.

Owns the columns of ``signalbox list``. Does not find the executions (``journal``).
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from runner.event import Status
from runner.execution import MILLISECOND, SECOND
from runner.report import Delivery
from runner.report.words import NONE, counts, mark_of, short
from runner.terminal import Look, Paint, cells, fit, pad, plain
from runner.timing import spoken

_TITLES: Final = ("RUN", "PIPELINE", "BRANCH", "WHEN", "TOOK", "EVENTS")
_PIPELINE: Final = 1
_BRANCH: Final = 2
_LEAST: Final = 10
"""Cells that a cut column keeps."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One execution in the list. ``start`` is epoch nanoseconds."""

    id: str
    name: str
    status: Status
    start: int
    duration_ms: int | None = None
    """None: not known, it has not ended."""
    branch: str = ""
    answered_by: str = ""
    """The unique id of the execution that goes on from it, when it was blocked."""
    delivery: Delivery = Delivery()


def table(listed: Sequence[Listed], look: Look, *, now: int) -> str:
    """The lines of it, each ended by a newline."""
    if not listed:
        return "no executions yet: signalbox run starts one\n"
    rows = [_TITLES, *(_columns(one, now) for one in listed)]
    widths = _widths(rows, look)
    head = look.paint("  " + _line(_TITLES, widths, look), Paint.FAINT)
    body = (
        f"{mark_of(one.status, look, gone_on=bool(one.answered_by))} {_line(columns, widths, look)}"
        for one, columns in zip(listed, rows[1:], strict=True)
    )
    return "\n".join((head, *body)) + "\n"


def ago(nanoseconds: int) -> str:
    """``just now``, ``5 min ago``, ``3 h ago``, ``4 d ago``."""
    for size, word in ((86_400, "d"), (3600, "h"), (60, "min")):
        count = nanoseconds // (size * SECOND)
        if count > 0:
            return f"{count} {word} ago"
    return "just now"


def _columns(one: Listed, now: int) -> tuple[str, ...]:
    took = "" if one.duration_ms is None else spoken(one.duration_ms * MILLISECOND)
    return (
        short(one.id),
        plain(one.name),
        plain(one.branch),
        ago(now - one.start),
        took,
        _news(one.delivery),
    )


def _news(delivery: Delivery) -> str:
    """What is not as it should be; else how it is."""
    bad = counts(msgspec.structs.replace(delivery, delivered=0, local=0))
    if bad != NONE:
        return bad
    return "delivered" if delivery.delivered else "local" if delivery.local else ""


def _widths(rows: Sequence[tuple[str, ...]], look: Look) -> list[int]:
    """What each column needs; what is too much is taken from the branch, then the pipeline."""
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    for column in (_BRANCH, _PIPELINE):
        over = sum(widths) + 2 * len(widths) - look.width
        widths[column] = max(widths[column] - max(over, 0), min(widths[column], _LEAST))
    return widths


def _line(columns: Sequence[str], widths: Sequence[int], look: Look) -> str:
    fitted = (
        pad(fit(text, width, look.dots), width) for text, width in zip(columns, widths, strict=True)
    )
    return "  ".join(fitted).rstrip()
