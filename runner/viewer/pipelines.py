"""The overview: every pipeline with how often it ran, failed, and how long it took.

Owns the figures of the pipelines' page.
"""

from collections.abc import Sequence
from typing import Any, Final

from runner.viewer import tables
from runner.viewer.query import Node
from runner.viewer.rows import PipelineRow, Window
from runner.viewer.searching import Search

RUNS: Final = 200_000
"""Executions that are looked at, the newest."""
SPARK: Final = 30
_COLUMNS: Final = ("key", "pipeline", "repository", "branch", "status", "duration", "flags")
_ENDED: Final = ("success", "error")


def overview(
    search: Search, node: Node, *, window: Window, default_branch: bool, by_branch: bool
) -> list[PipelineRow]:
    """Every pipeline of every repository, the last to run first."""
    keys = (
        tables.first_key("pipeline", window.start),
        tables.last_key("pipeline", window.end),
    )
    groups: dict[tuple[int, int, int], list[Any]] = {}
    for row in search.walk(node, "pipeline", keys, _COLUMNS, limit=RUNS):
        if default_branch and not row[6] & tables.DEFAULT:
            continue
        group = (row[1], row[2], row[3] if by_branch else 0)
        groups.setdefault(group, []).append(row)
    # What was found is told whole, whatever the time: a row without its last run leads nowhere.
    search.db.set_progress_handler(None, 0)
    return [_told(search, group, runs) for group, runs in groups.items()]


def _told(search: Search, group: tuple[int, int, int], runs: Sequence[Any]) -> PipelineRow:
    """Of one group; ``runs`` are the newest first."""
    status = {number: search.words.of(search.db, number) for number in {run[4] for run in runs}}
    whole = [run for run in runs if not run[6] & tables.PARTIAL and status[run[4]] in _ENDED]
    failed = sum(status[run[4]] == "error" for run in whole)
    durations = sorted(run[5] for run in whole if run[5] is not None)
    last = runs[0]
    return PipelineRow(
        name=search.words.of(search.db, group[0]),
        repository=search.words.of(search.db, group[1]),
        branch=search.words.of(search.db, group[2]),
        runs=len(runs),
        ended=len(whole),
        failed=failed,
        failure_rate=failed / len(whole) if whole else 0.0,
        p50=percentile(durations, 50),
        p95=percentile(durations, 95),
        last=_id(search, last[0]),
        last_status=status[last[4]],
        last_start=tables.start_of(last[0]),
        last_duration=last[5],
        spark=tuple((status[run[4]], run[5] or 0) for run in reversed(runs[:SPARK])),
    )


def _id(search: Search, key: int) -> str:
    """The unique id of an execution: no column has it, and of a row nothing else is needed."""
    query = "SELECT json_extract(body, '$.unique_id') FROM payload WHERE key = ?"
    return str(search.db.execute(query, (key,)).fetchone()[0])


def percentile(ordered: Sequence[int], percent: int) -> int | None:
    """The smallest value that so many percent do not exceed; None of none."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None
