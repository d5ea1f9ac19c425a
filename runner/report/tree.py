"""An execution as a tree in a terminal: pipeline, stages, jobs, steps, each with its time as a bar.

Owns the drawing. Nothing that a terminal would obey survives from a name or message (fault T15).
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from runner.event import Failure, Status
from runner.execution import MILLISECOND
from runner.notice import Reason
from runner.report import OURS, JobTold, Kin, Question, StageTold, StepTold, Told, retried
from runner.report.words import commit, counts, ended, mark_of, moment, short, sign, why
from runner.terminal import Look, Mark, Paint, cells, fit, plain
from runner.timing import spoken

_TIME: Final = 8
"""Cells of a duration, right-aligned: ``59m59s`` and a little air."""
_BAR: Final = (16, 60)
"""Cells of the bars, at least and at most."""
MOST: Final = 60
"""Rows at the end of a run, or twice as many that matter."""
_CHAIN: Final = 20
"""Executions of a chain that are listed, the last ones."""
_QUEUE_SHOWN: Final = 100
"""Milliseconds of waiting that are worth words."""


class _Bar(msgspec.Struct, frozen=True, kw_only=True):
    """From ``start`` to ``end``, after waiting since ``ready``: milliseconds from the beginning."""

    ready: int
    start: int
    end: int
    heavy: bool
    paint: Paint


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the tree. ``mark`` has its colour and is one cell; the rest is plain."""

    indent: int
    mark: str = ""
    text: str
    aside: str = ""
    took: str = ""
    bar: _Bar | None = None
    paint: Paint | None = None
    whole: bool = False
    """It may take the whole width: it has neither time nor bar."""
    step: bool = False

    def weighs(self) -> bool:
        """Whether it is more than a step that ended well."""
        return not self.step or self.matters()

    def matters(self) -> bool:
        """Whether it failed, or made the run as long as it was."""
        bar = self.bar
        return bar is not None and (bar.paint is Paint.BAD or (bar.heavy and not self.step))


def tree(told: Told, look: Look) -> str:
    """The lines of it, each ended by a newline."""
    parts = (
        _head(told, look),
        _table(_rows(told, look), told, look),
        _not_started(told, look),
        _questions(told, look),
        _story(told, look),
        _foot(told, look),
    )
    blocks = ["\n".join(line.rstrip() for line in part) for part in parts]
    return "\n\n".join(filter(None, blocks)) + "\n"


def waterfall(told: Told, look: Look) -> list[str]:
    """The end of a run: stages, jobs and steps with their times as bars, the critical path. Of many
    steps those that failed, of many jobs those that matter.
    """
    rows = [row for row in _rows(told, look) if row.bar]
    for keep in (_Row.weighs, _Row.matters):
        if len(rows) > MOST:
            rows = [row for row in rows if keep(row)]
    rows = rows[: 2 * MOST]
    bars = max(look.width * 2 // 5, _BAR[0])
    lines = [line.rstrip() for line in _table(iter(rows), told, look, bars)]
    left = sum(1 for row in _rows(told, look) if row.bar) - len(rows)
    if left:
        lines.append(look.paint(f"{look.dots} and {left} more: signalbox show", Paint.FAINT))
    return [*lines, *_wrapped(look, _path(told, look))]


# ── above ────────────────────────────────────────────────────────────────────────────────────────


def _head(told: Told, look: Look) -> Iterator[str]:
    _, paint, _ = sign(told.status, gone_on=told.gone_on)
    how = look.paint(ended(told.status, told.duration_ms, gone_on=told.gone_on), paint)
    name = look.paint(plain(told.name), Paint.STRONG)
    yield f"{mark_of(told.status, look, gone_on=told.gone_on)} {look.facts(name, how)}"
    subject = plain((told.git.message or "").partition("\n")[0]) if told.git else ""
    yield from _wrapped(look, [told.id, commit(told), subject])
    hand = "started by hand" if told.manual else ""
    yield from _wrapped(look, [moment(told.start), hand, *_kin(told)])
    yield from _wrapped(look, _times(told, look))
    values = [f"{name}={value}" for name, value in told.parameters.items()]
    tags = [tag for tag in told.tags if not tag.startswith(OURS)]
    yield from _wrapped(look, [*values, *tags, *told.measures])
    if told.failure and not any(job.failure == told.failure for job in told.jobs):
        yield "  " + look.paint(fit(why(told.failure), look.width - 2, look.dots), Paint.BAD)


def _kin(told: Told) -> Iterator[str]:
    if told.resumed_from:
        yield f"goes on from {short(told.resumed_from)}"
    if told.previous:
        yield f"retries {short(told.previous.id)}"
    if told.parent:
        yield f"started by {short(told.parent.id)}"


def _times(told: Told, look: Look) -> Iterator[str]:
    if told.queue_ms is not None:
        yield f"queued {_spoken(told.queue_ms)}"
    if told.jobs:
        yield f"executing {_spoken(told.execution_ms)}"
    yield from _path(told, look)


def _path(told: Told, look: Look) -> Iterator[str]:
    if len(told.critical_path) > 1 or len(told.jobs) > 1:
        arrow = " → " if look.unicode else " > "
        path = arrow.join(map(plain, told.critical_path))
        if path:
            heavy = _glyphs(look, heavy=True)[True, True]
            yield f"{heavy} critical path {_spoken(told.critical_ms)}: {path}"


def _wrapped(look: Look, facts: Sequence[str] | Iterator[str]) -> Iterator[str]:
    """Facts in as many faint lines as they need, none broken; the longest are cut."""
    room = look.width - 2
    line = ""
    for fact in filter(None, (fit(plain(fact), room, look.dots) for fact in facts)):
        longer = f"{line}{look.dot}{fact}" if line else fact
        if cells(longer) > room:
            yield "  " + look.paint(line, Paint.FAINT)
            longer = fact
        line = longer
    if line:
        yield "  " + look.paint(line, Paint.FAINT)


# ── the tree ─────────────────────────────────────────────────────────────────────────────────────


def _rows(told: Told, look: Look) -> Iterator[_Row]:
    for stage in told.stages:
        depth = 0
        if stage.name:
            depth = 1
            yield _stage(stage)
            yield from _labels(2, stage, look)
        for job in stage.jobs:
            yield _job(job, depth, look)
            yield from _labels(depth + 1, job, look)
            again = retried(job)
            for step in job.steps:
                attempt = step.attempt if step.name in again else None
                yield _step(step, attempt, job, depth + 1, look)
                yield from _reason(step.failure, depth + 2, allowed=step.allowed)
                yield from _labels(depth + 2, step, look)
            if not any(step.failure == job.failure for step in job.steps):
                yield from _reason(job.failure, depth + 1, allowed=job.allowed)


def _stage(stage: StageTold) -> _Row:
    end = stage.offset_ms + stage.duration_ms
    return _Row(
        indent=0,
        text=plain(stage.name),
        took=_spoken(stage.duration_ms),
        bar=_Bar(
            ready=stage.offset_ms, start=stage.offset_ms, end=end, heavy=False, paint=Paint.FAINT
        ),
        paint=Paint.STRONG,
    )


def _job(job: JobTold, depth: int, look: Look) -> _Row:
    queued = f"queued {_spoken(job.queue_ms)}" if job.queue_ms >= _QUEUE_SHOWN else ""
    row = _Row(
        indent=depth,
        mark=mark_of(job.status, look, allowed=job.allowed),
        text=plain(job.name),
        aside=look.facts("allowed to fail" if job.allowed else "", queued),
        took=_spoken(job.duration_ms),
        bar=_bar(job, job.offset_ms - job.queue_ms, job.on_critical_path),
    )
    if job.status is Status.SKIPPED:
        row = _Row(indent=depth, mark=row.mark, text=row.text, aside="left out", whole=True)
    return row


def _step(step: StepTold, attempt: int | None, job: JobTold, depth: int, look: Look) -> _Row:
    which = f"attempt {attempt}" if attempt else ""
    return _Row(
        indent=depth,
        mark=mark_of(_status(step), look, allowed=step.allowed),
        text=plain(step.name),
        aside=look.facts(which, "allowed to fail" if step.allowed else ""),
        took=_spoken(step.duration_ms),
        bar=_bar(step, step.offset_ms, job.on_critical_path),
        step=True,
    )


def _status(part: JobTold | StepTold) -> Status:
    """A step that was stopped is no failure; to the intake every step is success or error."""
    stopped = part.failure is not None and part.failure.type == Reason.CANCELED.value
    return Status.CANCELED if stopped else part.status


def _bar(part: JobTold | StepTold, ready: int, heavy: bool) -> _Bar:
    status = _status(part)
    paint = Paint.GOOD if heavy else Paint.FAINT
    if status is Status.CANCELED or (status is Status.ERROR and not part.allowed):
        _, paint, _ = sign(status)
    end = part.offset_ms + part.duration_ms
    return _Bar(ready=ready, start=part.offset_ms, end=end, heavy=heavy, paint=paint)


def _labels(depth: int, part: StageTold | JobTold | StepTold, look: Look) -> Iterator[_Row]:
    labels = look.facts(*map(plain, (*part.tags, *part.measures)))
    if labels:
        yield _Row(indent=depth, text=labels, paint=Paint.FAINT, whole=True)


def _reason(failure: Failure | None, depth: int, *, allowed: bool) -> Iterator[_Row]:
    if failure:
        paint = Paint.WARN if allowed else Paint.BAD
        yield _Row(indent=depth, text=why(failure), paint=paint, whole=True)


def _table(rows: Iterator[_Row], told: Told, look: Look, bars: int = _BAR[0]) -> Iterator[str]:
    """The rows; names leave ``bars`` cells to the bars."""
    every = list(rows)
    needed = max((_needs(row, look) for row in every if not row.whole), default=0)
    name = min(needed, look.width - _TIME - bars - 3)
    width = min(look.width - name - _TIME - 3, _BAR[1])
    longest = max([told.duration_ms, *(row.bar.end for row in every if row.bar)])
    for row in every:
        left = _left(row, look.width if row.whole else name, look)
        if row.whole:
            yield left
        else:
            bar = _drawn(row.bar, longest, width, look) if row.bar else ""
            yield f"{left} {row.took:>{_TIME}}  {bar}"


def _needs(row: _Row, look: Look) -> int:
    return 2 * row.indent + cells(_text(row, look)) + (2 if row.mark else 0)


def _text(row: _Row, look: Look) -> str:
    return look.facts(row.text, row.aside)


def _left(row: _Row, width: int, look: Look) -> str:
    before = "  " * row.indent + (f"{row.mark} " if row.mark else "")
    room = max(width - 2 * row.indent - (2 if row.mark else 0), 1)
    aside = look.dot + row.aside if row.aside else ""
    text = fit(row.text, max(room - cells(aside), 1), look.dots)
    padding = " " * max(room - cells(text) - cells(aside), 0)
    text = look.paint(text, row.paint) if row.paint else text
    return before + text + look.paint(aside, Paint.FAINT) + padding


def _drawn(bar: _Bar, longest: int, width: int, look: Look) -> str:
    """Half a cell is the smallest thing shown; every bar has at least that."""
    halves = 2 * width
    scale = halves / max(longest, 1)
    start = min(max(round(bar.start * scale), 0), halves - 1)
    end = max(min(round(bar.end * scale), halves), start + 1)
    ready = min(max(round(bar.ready * scale), 0), start)
    glyphs = _glyphs(look, heavy=bar.heavy)
    drawn = "".join(
        glyphs[start <= 2 * cell < end, start <= 2 * cell + 1 < end]
        for cell in range(start // 2, (end + 1) // 2)
    )
    waited = start // 2 - ready // 2
    wait = look.paint(("·" if look.unicode else ".") * waited, Paint.FAINT)
    return " " * (ready // 2) + wait + look.paint(drawn, bar.paint)


def _glyphs(look: Look, *, heavy: bool) -> dict[tuple[bool, bool], str]:
    """What one cell shows, by its left and its right half."""
    if not look.unicode:
        full = "=" if heavy else "-"
        return {(True, True): full, (True, False): full, (False, True): full}
    full, left, right = "━╸╺" if heavy else "─╴╶"
    return {(True, True): full, (True, False): left, (False, True): right}


# ── below ────────────────────────────────────────────────────────────────────────────────────────


def _not_started(told: Told, look: Look) -> Iterator[str]:
    if told.not_started:
        yield look.paint("Not started", Paint.STRONG)
    for job in told.not_started:
        mark = look.paint(look.mark(Mark.LEFT_OUT), Paint.FAINT)
        yield f"  {mark} {look.facts(plain(job.name), look.paint(plain(job.why), Paint.FAINT))}"


def _questions(told: Told, look: Look) -> Iterator[str]:
    if told.questions:
        yield look.paint("Waiting for an answer", Paint.STRONG)
    for question in told.questions:
        yield from _question(told, question, look)


def _question(told: Told, question: Question, look: Look) -> Iterator[str]:
    mark = look.paint(look.mark(Mark.WAITING), Paint.WARN)
    asks = "asks " + ", ".join(question.approvers) if question.approvers else ""
    until = f"until {moment(question.expires)}" if question.expires else ""
    yield f"  {mark} {look.facts(plain(question.question), plain(asks), plain(until))}"
    resume, gate = f"signalbox resume {short(told.id)}", shlex.quote(question.gate)
    yield f"    yes: {resume} --approve {plain(gate)}"
    yield f"    no:  {resume} --reject {plain(gate)}"


def _story(told: Told, look: Look) -> Iterator[str]:
    """The chain that it belongs to, if it is not alone: attempts, what gates stopped, answers."""
    if len(told.chain) > 1:
        yield look.paint(f"{len(told.chain)} executions, one story", Paint.STRONG)
    if len(told.chain) > _CHAIN:
        yield f"  {look.dots} and {len(told.chain) - _CHAIN} before these"
    for kin in told.chain[-_CHAIN:] if len(told.chain) > 1 else ():
        began = f"goes on from {short(kin.resumed_from)}" if kin.resumed_from else ""
        began = began or (f"retries {short(kin.retries)}" if kin.retries else "the first")
        here = "this one" if kin.id == told.id else ""
        line = look.facts(short(kin.id), began, _so_far(kin), here)
        mark = mark_of(kin.status, look, gone_on=bool(kin.answers))
        yield f"  {mark} {fit(line, look.width - 4, look.dots)}"
        yield from (f"    {fit(said, look.width - 4, look.dots)}" for said in _answers(kin))


def _so_far(kin: Kin) -> str:
    if kin.duration_ms is None:
        return "running"
    if kin.status is Status.BLOCKED and kin.answers:
        return f"stopped after {_spoken(kin.duration_ms)}"
    return ended(kin.status, kin.duration_ms)


def _answers(kin: Kin) -> Iterator[str]:
    for answer in kin.answers:
        did = "approved" if answer.approved else "expired" if answer.expired else "rejected"
        who = f" by {answer.who}" if answer.who else ""
        why = f": {answer.reason}" if answer.reason else ""
        yield plain(f"{answer.gate} {did}{who}{why}")


def _foot(told: Told, look: Look) -> Iterator[str]:
    text = counts(told.delivery)
    if told.delivery.waiting:
        text += f": signalbox flush {short(told.id)}"
    yield look.paint(f"events: {text}", Paint.FAINT)


def _spoken(milliseconds: int) -> str:
    return spoken(milliseconds * MILLISECOND)
