"""Lines at the foot of the screen, painted anew only where they changed, while the rest scrolls.

Owns the few sequences a terminal is sent. Every ``paint`` is one write: a synchronised update,
in which the cursor is hidden and long lines are cut; after it the terminal is as it was found, and
the cursor stands on the last line. So nothing is left to mend when we are killed between two.
"""

from collections.abc import Callable, Sequence
from typing import Final

from runner.terminal import cells, uncoloured

_BEGIN: Final = "\x1b[?2026h\x1b[?25l"
_END: Final = "\x1b[?25h\x1b[?2026l"
_EMPTY: Final = "\x1b[H\x1b[2J"
_NO_WRAP: Final = "\x1b[?7l"
_WRAP: Final = "\x1b[?7h"
_TO_END_OF_LINE: Final = "\x1b[K"
_TO_END_OF_SCREEN: Final = "\x1b[J"


class Canvas:
    """The lines that are on the screen now."""

    def __init__(self, write: Callable[[bytes], object], encode: Callable[[str], bytes]) -> None:
        self._write, self._encode = write, encode
        self._lines: list[str] = []
        self._width = 0

    def paint(self, lines: Sequence[str], width: int, above: bytes = b"") -> None:
        """Show ``lines``, each narrower than ``width``; whole lines ``above`` scroll for good."""
        if above or (width != self._width and self._lines):
            self._send(_BEGIN + self._erased(width), above, self._whole(lines))
        elif list(lines) != self._lines:
            self._send(_BEGIN, b"", self._changed(lines))
        self._lines, self._width = list(lines), width

    def clear(self, width: int, above: bytes = b"") -> None:
        """Take the lines away; the cursor stands where the first of them was."""
        if self._lines or above:
            self._send(_BEGIN + self._erased(width), above, "")
        self._lines = []

    def wipe(self) -> None:
        """Empty the whole screen, whatever others wrote on it."""
        self._write(_EMPTY.encode())
        self._lines = []

    def forget(self) -> None:
        """What is on the screen is lost: everything is painted anew, from where the cursor is."""
        self._lines = []

    def _send(self, before: str, above: bytes, after: str) -> None:
        after = f"{_NO_WRAP}{after}{_WRAP}" if after else ""
        self._write(before.encode() + above + self._encode(after + _END))

    def _erased(self, width: int) -> str:
        """To the first line, and nothing from there. A narrower window has wrapped the lines."""
        rows = sum(max(-(-cells(uncoloured(line)) // width), 1) for line in self._lines[:-1])
        return f"\r{_up(rows)}{_TO_END_OF_SCREEN}"

    def _whole(self, lines: Sequence[str]) -> str:
        return "\r\n".join(lines) + "\r"

    def _changed(self, lines: Sequence[str]) -> str:
        """Only what differs; new lines at the end make the screen scroll."""
        old, parts = self._lines, ["\r"]
        at = max(len(old) - 1, 0)
        for row, line in enumerate(lines):
            if row >= len(old) or old[row] != line:
                parts += [_to(at, row, len(old)), line, _TO_END_OF_LINE, "\r"]
                at = row
        if len(lines) < len(old):
            parts += [_to(at, len(lines), len(old)), _TO_END_OF_SCREEN]
            at = len(lines)
        last = max(len(lines) - 1, 0)
        return "".join([*parts, _to(at, last, len(old))])


def _to(at: int, row: int, known: int) -> str:
    """From line to line; below the ``known`` ones there is nothing yet."""
    if row < at:
        return _up(at - row)
    return "\n" * (row - at) if row >= known else f"\x1b[{row - at}B" * (row > at)


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows else ""
