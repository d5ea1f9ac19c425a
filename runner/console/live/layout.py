"""The view as lines of text: rows of jobs and gates, a bar that counts them, the newest output.

Owns what is shown where, and what is left out when there is no room. Pure: the same board and sight
make the same lines.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from runner.console.live.board import Board, Row, State
from runner.execution import SECOND
from runner.notice import StepStarted
from runner.plan import Decision, PlannedGate, PlannedJob
from runner.terminal import Look, Mark, Paint, cells, clip, fit, pad, plain
from runner.timing import spoken

COLUMNS: Final = 48
ROWS: Final = 10
"""A smaller window shows lines."""
NAME: Final = 28
"""Cells a name may take."""
_TIME: Final = 7
"""Cells of a duration: ``59m59s`` and one."""
PANE: Final = 12
"""Lines of newest output, at most."""
_PANE_LEAST: Final = 3
_FOLLOWING: Final = 5
"""Rows beside a job that is followed: its output needs the room."""
_LEFT_TO_RIGHT: Final = "\u200e"
"""After a name: so one that is written from right to left does not take the figures with it."""
_KEYS: Final = (
    ("↑↓ select · ⏎ follow · a all · q lines", "↑↓ ⏎ follow · a all · q lines", "↑↓ ⏎ a q"),
    ("j k select - f follow - a all - q lines", "j k f follow - a all - q lines", "j k f a q"),
)
_MARKS: Final = {
    State.WAITS: (Mark.QUEUED, Paint.FAINT),
    State.READY: (Mark.QUEUED, Paint.STRONG),
    State.RUNS: (Mark.RUNNING, Paint.STRONG),
    State.GOOD: (Mark.GOOD, Paint.GOOD),
    State.BAD: (Mark.BAD, Paint.BAD),
    State.ALLOWED: (Mark.WARN, Paint.WARN),
    State.CANCELED: (Mark.STOPPED, Paint.WARN),
    State.LEFT_OUT: (Mark.LEFT_OUT, Paint.FAINT),
    State.NOT_STARTED: (Mark.LEFT_OUT, Paint.FAINT),
}
_COUNTED: Final = (
    ("running", (State.RUNS,)),
    ("waiting", (State.READY, State.WAITS)),
    ("failed", (State.BAD,)),
    ("failed, as allowed", (State.ALLOWED,)),
    ("canceled", (State.CANCELED,)),
    ("succeeded", (State.GOOD,)),
    ("left out", (State.LEFT_OUT,)),
    ("not started", (State.NOT_STARTED,)),
)
_FIRST: Final = (
    State.RUNS,
    State.BAD,
    State.READY,
    State.WAITS,
    State.ALLOWED,
    State.CANCELED,
    State.GOOD,
    State.LEFT_OUT,
    State.NOT_STARTED,
)
"""Whose rows are shown when there is no room for all."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a person looks at, and through how large a window."""

    columns: int
    rows: int
    selected: str = ""
    followed: str = ""
    stopping: bool = False
    keys: bool = True
    """Whether there is a keyboard."""
    output: Sequence[tuple[str, str]] = ()
    """The newest lines: whose, and what; SGR is the only sequence in them."""
    gap: bool = False
    """Whether something stands right above."""
    unfinished: str = ""
    """A line of the followed job that goes on."""


def frame(board: Board, sight: Sight, look: Look, now: int, start: int) -> list[str]:
    """The lines, each narrower than the window, and fewer than it has."""
    room = sight.rows - 2 - sight.gap
    bar = _bar(board, sight, look, now - start)
    if sight.followed:
        rows = _rows(board, sight, look, now, min(_FOLLOWING, room - 2))
        lines = [sight.unfinished] * bool(sight.unfinished) + [bar, *rows]
    else:
        rows = _rows(board, sight, look, now, room - 1 - _pane_room(sight, room))
        newest = sight.output[-min(PANE, room - 1 - len(rows)) :]
        lines = [*rows, bar, *told(board, newest, look)]
    return [clip(line, sight.columns - 1) for line in [""] * sight.gap + lines]


def _pane_room(sight: Sight, room: int) -> int:
    """Lines that rows leave to the newest output, however many they are."""
    return min(len(sight.output), max(room // 3, _PANE_LEAST))


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def _rows(board: Board, sight: Sight, look: Look, now: int, room: int) -> list[str]:
    """As many rows as there is room for, in the order of the file, and what was left out."""
    rows = list(board.rows.values())
    shown = rows if len(rows) <= room else _choice(rows, sight, room - 1)
    width = min(max((cells(row.name) for row in shown), default=0), NAME)
    free = room - len(shown) - (len(shown) < len(rows))
    lines: list[str] = []
    for row in shown:
        lines.append(_row(board, row, sight, look, now, width))
        opened = row.open[:free] if row.state in {State.BAD, State.RUNS} else ()
        free -= len(opened)
        bar = look.paint(look.mark(Mark.OUTPUT), Paint.FAINT)
        lines += [f"      {bar} {line}" for line in opened]
    if len(shown) < len(rows):
        lines.append(_more(rows, shown, look))
    return lines


def _choice(rows: Sequence[Row], sight: Sight, room: int) -> list[Row]:
    rank = {state: number for number, state in enumerate(_FIRST)}
    wanted = {sight.selected, sight.followed}
    ranked = sorted(
        enumerate(rows),
        key=lambda each: (
            each[1].key not in wanted,
            rank[each[1].state],
            # of those that are over the last ones count, of those to come the first
            -each[1].end if each[1].state.over else each[0],
        ),
    )
    return [row for _, row in sorted(ranked[: max(room, 0)], key=lambda each: each[0])]


def _more(rows: Sequence[Row], shown: Sequence[Row], look: Look) -> str:
    kept = {row.key for row in shown}
    left = Counter(row.state for row in rows if row.key not in kept)
    counts = ((sum(left[state] for state in states), word) for word, states in _COUNTED)
    words = ", ".join(f"{count} {word}" for count, word in counts if count)
    return look.paint(f"    {look.dots} {left.total()} more: {words}", Paint.FAINT)


def _row(board: Board, row: Row, sight: Sight, look: Look, now: int, width: int) -> str:
    mark, paint = _MARKS[row.state]
    if row.gate:
        mark, paint = Mark.WAITING, Paint.WARN if row.state is State.WAITS else Paint.FAINT
    pointer = look.mark(Mark.CHOSEN) if row.key == sight.selected else " "
    name = pad(fit(row.name, width, look.dots, middle=True), width)
    name += "" if name.isascii() else _LEFT_TO_RIGHT
    if row.key in {sight.selected, sight.followed}:
        name = look.paint(name, Paint.STRONG)
    took = "" if row.gate else _took(row, now)
    said = _said(board, row, look)
    if row.state not in {State.RUNS, State.BAD, State.ALLOWED}:
        said = look.paint(said, Paint.FAINT)
        name = look.paint(name, Paint.FAINT) if row.state in {State.WAITS, State.GOOD} else name
    return f" {pointer} {look.paint(look.mark(mark), paint)} {name} {took:>{_TIME}}  {said}"


def _took(row: Row, now: int) -> str:
    """Of what runs whole seconds: they change once a second."""
    if row.state is State.RUNS:
        seconds = max(now - row.start, 0) // SECOND
        return f"{seconds} s" if seconds < 60 else spoken(seconds * SECOND)  # noqa: PLR2004 - s/min
    return spoken(row.took) if row.end else ""


def _said(board: Board, row: Row, look: Look) -> str:
    said = ""
    match row.state:
        case State.RUNS:
            said = _step(row, look)
        case State.WAITS:
            said = _waits(board, row, look)
        case State.READY:
            said = _starts(board, row)
        case State.GOOD | State.ALLOWED | State.BAD:
            said = row.why or ("1 step" if row.done == 1 else f"{row.done} steps")
        case State.CANCELED:
            said = look.facts("canceled", plain(row.step.name) if row.step else "")
        case State.LEFT_OUT | State.NOT_STARTED:
            said = look.facts(row.state.value, row.why)
    return said


def _starts(board: Board, row: Row) -> str:
    """Of those that are ready the first get what is free; they may still have to fetch an image."""
    free = board.parallel - board.count(State.RUNS)
    ready = [other.key for other in board.rows.values() if other.state is State.READY]
    return "starts" if ready.index(row.key) < free else "waits for a free place"


def _step(row: Row, look: Look) -> str:
    step = row.step
    if step is None or not isinstance(row.planned, PlannedJob):
        return "starts"
    steps = row.planned.job.steps
    count = f"{step.index + 1}/{len(steps)} " if len(steps) > 1 else ""
    return look.facts(f"{count}{plain(step.name)}", _attempt(step, steps[step.index].retry))


def _attempt(step: StepStarted, retry: int) -> str:
    return f"attempt {step.attempt} of {retry + 1}" if step.attempt > 1 else ""


def _waits(board: Board, row: Row, look: Look) -> str:
    ahead = board.ahead(row)
    waits = f"waits for {', '.join(ahead)}" if ahead else ""
    if not isinstance(row.planned, PlannedGate):
        return waits or "waits"
    if row.planned.decision is Decision.CUT:
        return "rejected"
    if unwell := board.unwell(row):
        waits = f"not asked: {', '.join(unwell)} did not end well"
    return look.facts(row.question, waits or "asked when nothing else runs")


# ── the bar and the output ───────────────────────────────────────────────────────────────────────


def _bar(board: Board, sight: Sight, look: Look, elapsed: int) -> str:
    """How long, how many, and the keys: in a line that parts rows and output."""
    seconds = elapsed // SECOND
    counts = ((board.count(*states), word) for word, states in _COUNTED)
    took = f"{seconds} s" if seconds < 60 else spoken(seconds * SECOND)  # noqa: PLR2004 - s/min
    about = f"following {board.rows[sight.followed].name}" if sight.followed else ""
    left = look.facts(about, took, *(f"{count} {word}" for count, word in counts if count))
    if sight.stopping:
        left = "stopping; Ctrl-C again: at once" + look.dot + left
    dash = "─" if look.unicode else "-"
    left = fit(left, sight.columns - 8, look.dots)
    space = sight.columns - 5 - cells(left)
    known = _KEYS[0 if look.unicode else 1] if sight.keys else ()
    keys = next((keys for keys in known if cells(keys) + 6 < space), "")
    right = f" {keys} {dash * 2}" if keys else ""
    line = look.paint(dash * (space - cells(right)) + right, Paint.FAINT)
    paint = Paint.WARN if sight.stopping else ""
    return f"{look.paint(dash * 2, Paint.FAINT)} {look.paint(left, paint)} {line}"


def told(board: Board, output: Iterable[tuple[str, str]], look: Look) -> Iterator[str]:
    """Lines of output, each behind the name of its job, if there are several."""
    jobs = [row for row in board.rows.values() if not row.gate]
    width = min(max((cells(row.name) for row in jobs), default=0), NAME)
    bar = look.paint(look.mark(Mark.OUTPUT), Paint.FAINT)
    for job, text in output:
        name = fit(board.rows[job].name, width, look.dots, middle=True)
        head = f"   {look.paint(pad(name, width), Paint.FAINT)} {bar} " if len(jobs) > 1 else "   "
        yield head + text
