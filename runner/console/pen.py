"""Whole lines to one stream, and a host CI's folding around them.

Owns what stands at the beginning of a line, and that nothing a step prints can be a command of the
host CI (faults T12, P9): its output stands between ``quiet`` and ``loud``. Not thread-safe.
"""

import os
import re
import select
from typing import Final, Protocol

from runner.terminal import Look, plain

_PATIENCE: Final = 0.005
"""Seconds until the next try at a stream that would block."""
_OLD_COMMAND: Final = re.compile(rb"##(?=\w*(?:\[|\Z))")
"""``##[command]``, ``##vso[command]``, ``##teamcity[command]``: they count anywhere in a line
(actions/runner, azure-pipelines-agent). A piece of output may end within one.
"""


class Stream(Protocol):
    """Where everything goes; best unbuffered, so that nothing is left to write at exit."""

    def write(self, piece: bytes, /) -> int | None:
        """Write what can be written; how much that was, or None: nothing, it would block."""


class Folds(Protocol):
    """A host CI's marks in its log. Each gives a whole line, or nothing where there is no such."""

    def group(self, title: str) -> str:
        """What follows can be folded away."""

    def endgroup(self, *, ok: bool) -> str:
        """Up to here; where the CI can, it stays open if not ``ok``."""

    def annotation(self, message: str, file: str, line: int, kind: str) -> str:
        """A message beside the code; ``kind`` is error or warning; line 0: not known."""

    def quiet(self, token: str) -> str:
        """From here on nothing is a command, until ``loud`` says the token."""

    def loud(self, token: str) -> str:
        """Commands count again."""


class Pen:
    """Collects what is to be written; ``flush`` writes it in one go."""

    def __init__(self, stream: Stream, look: Look, folds: Folds | None) -> None:
        self._stream, self._look, self._folds = stream, look, folds
        self._parts: list[bytes] = []
        self._open = ""
        self._token = ""
        self._halved = False
        self._folded = False
        self._blank = False
        self._gone = False

    def line(self, text: str = "") -> None:
        """A line of our own."""
        self._end_line()
        self._parts.append(self._harmless(self._look.encode(text)) + b"\n")
        self._blank = not text

    def gap(self) -> None:
        """One empty line, however often it is asked for."""
        if not self._blank:
            self.line()

    def output(self, job: str, prefix: bytes, piece: bytes) -> None:
        """A job's output, each line behind ``prefix``; the last may go on."""
        if not piece:
            return
        self._hush()
        if self._open != job:
            self._end_line()
            self._parts.append(prefix)
        elif self._halved and piece.startswith(b"#"):
            piece = b" " + piece
        piece = self._harmless(piece)
        self._halved = self._folds is not None and piece.endswith(b"#")
        whole = piece.endswith(b"\n")
        if prefix:
            last = len(piece) - 1 if whole else len(piece)
            piece = piece[:last].replace(b"\n", b"\n" + prefix) + piece[last:]
        self._parts.append(piece)
        self._open = "" if whole else job
        self._blank = False

    def command(self, text: str) -> None:
        """A command to the host CI, which must hear it."""
        if not text:
            return
        self._end_line()
        self.aloud()
        self._parts.append(text.rstrip("\n").encode() + b"\n")

    def fold(self, title: str) -> None:
        """Begin a group."""
        self.unfold()
        if self._folds:
            self.command(self._folds.group(title))
            self._folded = True

    def unfold(self, *, ok: bool = True) -> None:
        """End the group, if there is one."""
        if self._folds and self._folded:
            self._folded = False
            self.command(self._folds.endgroup(ok=ok))

    def annotate(self, message: str, place: str, kind: str) -> None:
        """A message beside the code, where the host CI shows such."""
        if self._folds:
            file, _, line = plain(place).rpartition(":")
            number = int(line) if file and line.isdecimal() else 0
            file = file if number else plain(place)
            self.command(self._folds.annotation(plain(message), file, number, kind))

    def aloud(self) -> None:
        """Let commands count again."""
        if self._folds and self._token:
            self._end_line()
            token, self._token = self._token, ""
            self._control(self._folds.loud(token))

    def flush(self) -> None:
        """Write it all; a reader that is gone is done without."""
        text, self._parts = b"".join(self._parts), []
        if text and not self._gone:
            self._gone = not write_all(self._stream, text)

    def _hush(self) -> None:
        if self._folds and not self._token:
            self._end_line()
            self._token = os.urandom(16).hex()
            self._control(self._folds.quiet(self._token))

    def _control(self, text: str) -> None:
        if text:
            self._parts.append(text.rstrip("\n").encode() + b"\n")

    def _end_line(self) -> None:
        if self._open:
            self._parts.append(b"\n")
            self._open = ""

    def _harmless(self, piece: bytes) -> bytes:
        if self._folds and b"##" in piece:
            return _OLD_COMMAND.sub(b"# #", piece)
        return piece


def write_all(stream: Stream, text: bytes) -> bool:
    """Write it all, however long that takes; False: the reader is gone."""
    while text:
        try:
            written = stream.write(text)
        except BlockingIOError:  # somebody made the terminal we share non-blocking
            written = None
        except (OSError, ValueError):  # the reader hung up (S6), or somebody closed the stream
            return False
        if written is None:
            select.select([], [], [], _PATIENCE)
        text = text[written or 0 :]
    return True
