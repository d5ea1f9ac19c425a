"""Executions side by side: what each job took, what changed from one to the next.

Owns the matching of jobs and facts. Pure. For the attempts of one execution and for any two.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from runner.report import OURS, JobTold, Told
from runner.report.web import tone
from runner.terminal import plain

NOTABLE: Final = 0.1
"""A job that took so much longer or shorter is said to."""
_LEAST: Final = 500
"""Milliseconds: less is no change worth a word."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """One execution at the top of its column. ``delta_ms``: against the column before."""

    id: str
    title: str
    status: str
    start: str
    duration_ms: int
    delta_ms: int | None
    change: str


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What was so in each execution; ``changed``: other than in the one before."""

    title: str
    values: tuple[str, ...]
    changed: tuple[bool, ...]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A job in one execution. ``change``: longer, shorter or nothing of note."""

    tone: str
    duration_ms: int
    delta_ms: int | None
    change: str
    bar: str
    turned: bool
    """It ended otherwise than before."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job in all of them; None where it did not run."""

    stage: str
    name: str
    cells: tuple[Cell | None, ...]
    changed: bool


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """Executions beside each other, the oldest first."""

    heads: tuple[Head, ...]
    facts: tuple[Fact, ...]
    jobs: tuple[Job, ...]


def beside(tolds: Sequence[Told], titles: Sequence[str]) -> Beside:
    """``tolds`` under ``titles``."""
    return Beside(
        heads=tuple(_heads(tolds, titles)),
        facts=tuple(_facts(tolds)),
        jobs=tuple(_jobs(tolds)),
    )


def _heads(tolds: Sequence[Told], titles: Sequence[str]) -> Iterator[Head]:
    before: Told | None = None
    for told, title in zip(tolds, titles, strict=True):
        was = before.duration_ms if before else None
        yield Head(
            id=told.id,
            title=title,
            status=told.status.value,
            start=told.start,
            duration_ms=told.duration_ms,
            delta_ms=None if was is None else told.duration_ms - was,
            change=_change(was, told.duration_ms),
        )
        before = told


def _facts(tolds: Sequence[Told]) -> Iterator[Fact]:
    """The commit always; else only what differs."""
    asked: list[tuple[str, Callable[[Told], str]]] = [
        ("Commit", lambda told: told.git.sha[:12] if told.git else ""),
        ("Message", lambda told: _first(told.git.message or "") if told.git else ""),
        ("Branch", lambda told: (told.git.branch or told.git.tag or "") if told.git else ""),
        ("Pipeline", lambda told: told.name),
        ("Ran on", lambda told: (told.node.hostname or told.node.name or "") if told.node else ""),
    ]
    for place, (title, read) in enumerate(asked):
        values = [plain(read(told)) for told in tolds]
        if len(set(values)) > 1 or (place == 0 and any(values)):
            yield _fact(title, values)
    for name in sorted({name for told in tolds for name in told.parameters}):
        values = [plain(told.parameters.get(name, "")) for told in tolds]
        if len(set(values)) > 1:
            yield _fact(f"Parameter {plain(name)}", values)
    common = set.intersection(*(_own(told) for told in tolds))
    values = [", ".join(sorted(map(plain, _own(told) - common))) for told in tolds]
    if any(values):
        yield _fact("Tags of its own", values)


def _own(told: Told) -> set[str]:
    return {tag for tag in told.tags if not tag.startswith(OURS)}


def _fact(title: str, values: Sequence[str]) -> Fact:
    before = [values[0], *values]
    changed = tuple(old != new for old, new in zip(before, values, strict=False))
    return Fact(title=title, values=tuple(values), changed=changed)


def _jobs(tolds: Sequence[Told]) -> Iterator[Job]:
    """In the order of their first appearance; those of one name are told apart by their count."""
    numbered = [_numbered(told.jobs) for told in tolds]
    keys = list(dict.fromkeys(key for one in numbered for key in one))
    longest = max((job.duration_ms for told in tolds for job in told.jobs), default=0) or 1
    for key in keys:
        found = [one.get(key) for one in numbered]
        cells = tuple(_cells(found, longest))
        some = [cell for cell in cells if cell]
        yield Job(
            stage=plain(key[0]),
            name=plain(key[1]),
            cells=cells,
            changed=len(some) < len(cells) or any(cell.turned or cell.change for cell in some),
        )


def _numbered(jobs: Sequence[JobTold]) -> dict[tuple[str, str, int], JobTold]:
    found: dict[tuple[str, str, int], JobTold] = {}
    for job in jobs:
        count = sum((job.stage, job.name) == key[:2] for key in found) if job.name else 0
        found[job.stage, job.name, count] = job
    return found


def _cells(jobs: Sequence[JobTold | None], longest: int) -> Iterator[Cell | None]:
    before: JobTold | None = None
    for job in jobs:
        if job is None:
            yield None
            continue
        was = before.duration_ms if before else None
        yield Cell(
            tone=tone(job.status, allowed=job.allowed),
            duration_ms=job.duration_ms,
            delta_ms=None if was is None else job.duration_ms - was,
            change=_change(was, job.duration_ms),
            bar=f"{100 * job.duration_ms / longest:.4g}",
            turned=before is not None and before.status is not job.status,
        )
        before = job


def _change(was: int | None, now: int) -> str:
    if was is None or abs(now - was) < max(NOTABLE * was, _LEAST):
        return ""
    return "longer" if now > was else "shorter"


def _first(text: str) -> str:
    return text.partition("\n")[0]
