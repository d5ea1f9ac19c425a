"""What jobs printed lately: the end of each job's output, and the newest lines of all.

Owns how much is kept. The log files have everything.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from runner.console.live import Piece
from runner.console.live.layout import PANE
from runner.notice import StepStarted
from runner.terminal import Filter, Look

RING: Final = 32 * 1024
"""Bytes of a step's newest output that are kept, to be shown when it fails or is followed."""
_LINE: Final = 1024
"""Bytes of a line that anybody sees in a window."""


class Tail:
    """The end of what a job's step printed, as it came."""

    def __init__(self) -> None:
        self.step: StepStarted | None = None
        self._text = bytearray()
        self._lost = False

    def begin(self, step: StepStarted) -> None:
        """Another step, or another attempt, begins."""
        self.step, self._lost = step, False
        self._text.clear()

    def add(self, piece: Piece) -> None:
        """Take in a piece."""
        self._text += piece.text
        self._lost = self._lost or bool(piece.skipped)
        if len(self._text) > 2 * RING:
            self._cut(len(self._text) - RING)

    def pieces(self, lines: int) -> Iterator[bytes]:
        """At most so many lines, and before them that there were more."""
        text = bytes(self._text)
        kept = text.split(b"\n")[-lines - 1 :]
        short = b"\n".join(kept)
        if self._lost or len(short) < len(text):
            yield b"[...]\n"
        yield short

    def _cut(self, start: int) -> None:
        """Let the oldest go, up to the end of a line."""
        del self._text[: self._text.find(b"\n", start) + 1 or start]
        self._lost = True


class _Line:
    """A line of output; more of it may come."""

    def __init__(self, job: str, text: bytes) -> None:
        self.job, self.text = job, text
        self.shown: str | None = None


class Newest:
    """The newest lines of all jobs, in the order they came."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._lines: deque[_Line] = deque(maxlen=PANE)
        self._open: dict[str, _Line] = {}

    def add(self, piece: Piece) -> None:
        """Take in a piece."""
        job = piece.job
        *whole, rest = piece.text.rsplit(b"\n", PANE)
        line = self._open.pop(job, None)
        for text in whole:
            self._append(line, job, text.rpartition(b"\n")[2])
            line = None
        if rest:
            line = self._append(line, job, rest)
        if line:
            self._open[job] = line

    def _append(self, line: _Line | None, job: str, text: bytes) -> _Line:
        """More of ``line``, if it can still be seen, or another."""
        if line is None or line not in self._lines:
            line = _Line(job, b"")
            if text.strip():
                self._lines.append(line)
        line.text, line.shown = line.text + text[-_LINE:], None
        return line

    def fold(self, job: str) -> None:
        """Leave out what ``job`` has printed: it is shown elsewhere."""
        kept = [line for line in self._lines if line.job != job]
        self._lines.clear()
        self._lines += kept
        self._open.pop(job, None)

    def lines(self) -> list[tuple[str, str]]:
        """Whose, and what; SGR is the only sequence in them."""
        return [(line.job, self._visible(line)) for line in self._lines]

    def _visible(self, line: _Line) -> str:
        if line.shown is None:
            text = line.text.rstrip(b"\r").rpartition(b"\r")[2][:_LINE]
            line.shown = Filter(self._look).feed(text + b"\n").decode(errors="replace")
            line.shown = line.shown.rstrip("\n").expandtabs(4)
        return line.shown
