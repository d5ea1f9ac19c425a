"""The thread behind the live view: ten times a second it takes in what was told and shows it.

Owns which jobs are told of in lines and what keys do. While the window is too small, or the
terminal is another's, all jobs are told of in lines.
"""

import contextlib
import os
import select
from collections.abc import Iterator
from typing import Final

from runner.console.live import Live, Piece
from runner.console.live.board import Board, State
from runner.console.live.canvas import Canvas
from runner.console.live.keyboard import Key, Keyboard, foreground
from runner.console.live.layout import COLUMNS, ROWS, Sight, frame, told
from runner.console.live.output import Newest, Tail
from runner.console.pen import write_all
from runner.execution import SECOND
from runner.notice import Notice, Reason, StepFinished, StepStarted
from runner.plan import Decision

TURN: Final = 0.1
"""Seconds from one look to the next: at most ten frames a second."""
OPENED: Final = 40
"""Lines of a failed step's output that are shown; the log has all of it."""


class View:
    """What is on the screen, and what a person has chosen."""

    def __init__(self, live: Live) -> None:
        place = live.place
        self._live, self._console, self._look = live, live.console, place.look
        self._board = Board(place.scene)
        running = [job.key for job in place.scene.plan.jobs if job.decision is Decision.RUN]
        self._tails = {key: Tail() for key in running}
        self._newest = Newest(place.look)
        self._canvas = Canvas(lambda text: write_all(place.stream, text), place.look.encode)
        self._keyboard = Keyboard(place.keys)
        self._selected = self._followed = ""
        self._columns = self._rows = 0
        self._shown = self._left = self._gap = False
        self._second = -1

    def run(self) -> None:
        """Until the run is over, or a person wants lines."""
        try:
            while not self._live.over and not self._left:
                self._turn()
                self._wait()
            self._take_in()
        finally:
            self._leave(kept=self._kept() if self._live.over else b"")

    def _turn(self) -> None:
        pressed = self._keyboard.read()
        self._see_window()
        if self._live.suspended:
            self._pause()
        if self._live.continued:
            self._live.continued = False
            self._keyboard.grab()
            self._canvas.forget()
            self._second = -1
        for key in pressed:
            self._press(key)
        second = (self._live.place.clock() - self._live.place.scene.execution.start) // SECOND
        if (self._take_in() or pressed or second != self._second) and self._shown:
            self._paint()
        self._second = second

    def _wait(self) -> None:
        waiting = select.poll()
        waiting.register(self._live.wake, select.POLLIN)
        if waiting.poll(TURN * 1000):
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._live.wake)

    # ── the window ───────────────────────────────────────────────────────────────────────────────

    def _see_window(self) -> None:
        screen = self._live.place.screen
        try:
            columns, rows = os.get_terminal_size(screen)
        except OSError:  # it was closed
            columns = rows = 0
        if (columns, rows) != (self._columns, self._rows):
            self._columns, self._rows, self._second = columns, rows, -1
        fits = columns >= COLUMNS and rows >= ROWS and foreground(screen)
        if fits and not self._shown:
            self._enter()
        elif self._shown and not fits:
            self._leave()

    def _enter(self) -> None:
        self._shown = True
        self._live.outlet.held = bytearray()
        self._keyboard.grab()
        for key in self._tails:
            if key != self._followed:
                self._console.hush(key)

    def _leave(self, kept: bytes = b"") -> None:
        """Take the view away; what goes on, goes on in lines."""
        if not self._shown:
            return
        self._shown = False
        outlet = self._live.outlet
        for key in self._tails:
            if key != self._followed and not self._live.over:
                self._tell(key)
        try:
            self._keyboard.release()
            held, outlet.held = bytes(outlet.held or b""), None
            self._canvas.clear(max(self._columns, 1), held + kept)
        finally:
            outlet.held = None

    def _pause(self) -> None:
        """Until the process goes on after Ctrl-Z."""
        live = self._live
        if self._shown:
            self._canvas.clear(max(self._columns, 1), live.outlet.take())
        self._keyboard.release()
        live.parked.set()
        while live.suspended and not live.over:
            self._wait()
        if self._shown:
            self._keyboard.grab()
        live.continued = False
        self._second = -1

    def _paint(self) -> None:
        place, outlet = self._live.place, self._live.outlet
        above = outlet.take()
        self._gap = not above.endswith(b"\n\n") if above else self._gap
        sight = Sight(
            columns=self._columns,
            rows=self._rows,
            selected=self._selected,
            followed=self._followed,
            stopping=self._live.stopping,
            keys=self._keyboard.grabbed,
            gap=self._gap and not self._followed,
            output=() if self._followed else self._newest.lines(),
            unfinished=outlet.unfinished() if self._followed else "",
        )
        lines = frame(self._board, sight, self._look, place.clock(), place.scene.execution.start)
        self._canvas.paint(lines, self._columns, above)

    def _kept(self) -> bytes:
        """What stays on the screen when the view goes: the newest output, if all went well."""
        bad = self._board.count(State.BAD, State.CANCELED)
        lines = () if bad or self._followed else self._newest.lines()
        text = "".join(f"{line}\n" for line in told(self._board, lines, self._look))
        return self._look.encode(text)

    # ── what is told ─────────────────────────────────────────────────────────────────────────────

    def _take_in(self) -> bool:
        """Everything that was told since the last time; whether there was anything."""
        items = self._live.take()
        for item in items:
            match item:
                case Piece():
                    self._piece(item)
                case tuple():
                    for notice in item:
                        self._notice(notice)
                case _:
                    item()
        return bool(items)

    def _piece(self, piece: Piece) -> None:
        self._tails[piece.job].add(piece)
        self._newest.add(piece)
        if self._in_lines(piece.job):
            self._live.pass_on(piece)

    def _notice(self, notice: Notice) -> None:
        self._board.take(notice)
        match notice:
            case StepStarted():
                self._tails[notice.job].begin(notice)
            case StepFinished() if not self._in_lines(notice.job) and _opens(notice):
                self._open(notice.job, again=notice.again)
                self._newest.fold(notice.job)
                self._console.observe((notice,))
                self._console.hush(notice.job)
                return
            case _:
                pass
        self._console.observe((notice,))

    def _in_lines(self, job: str) -> bool:
        return not self._shown or job == self._followed

    def _tell(self, job: str) -> None:
        """Tell of a job in lines; of one that runs, what its step has printed lately."""
        if self._board.rows[job].state is State.RUNS:
            self._open(job)
        else:
            self._console.open(job, named=False)

    def _open(self, job: str, *, again: bool = False) -> None:
        """Tell of a job in lines: what its step printed lately, and then what comes."""
        tail = self._tails[job]
        self._console.open(job, named=tail.step is not None)
        if tail.step and not again:
            self._console.observe((tail.step,))
            for text in tail.pieces(OPENED):
                self._console.output(job, text)

    # ── keys ─────────────────────────────────────────────────────────────────────────────────────

    def _press(self, key: Key) -> None:
        match key:
            case Key.UP:
                self._select(-1)
            case Key.DOWN:
                self._select(1)
            case Key.FOLLOW:
                self._follow(self._selected or next(self._running(), ""))
            case Key.ALL:
                self._selected = ""
                self._follow("")
            case Key.LINES:
                self._left = True
            case Key.REPAINT:
                self._canvas.wipe()

    def _running(self) -> Iterator[str]:
        return (row.key for row in self._board.rows.values() if row.state is State.RUNS)

    def _select(self, step: int) -> None:
        jobs = [key for key in self._board.rows if key in self._tails]
        if self._selected in jobs:
            place = jobs.index(self._selected) + step
            self._selected = jobs[min(max(place, 0), len(jobs) - 1)]
        elif jobs:
            self._selected = self._followed or next(self._running(), jobs[0])

    def _follow(self, job: str) -> None:
        if job == self._followed:
            return
        if self._followed:
            self._console.hush(self._followed)
        self._followed = self._selected = job
        self._live.followed = frozenset({job} - {""})
        if job:
            self._open(job)


def _opens(finished: StepFinished) -> bool:
    """Whether a person should see how it ended."""
    return not finished.exit.ok and finished.exit.reason is not Reason.CANCELED
