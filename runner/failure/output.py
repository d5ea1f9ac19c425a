"""The end of a program's output as lines, and what a reader finds in them.

Owns what of terminal control is taken out, and how text is cut to a limit. Knows no tool.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from runner.event import MESSAGE_LIMIT
from runner.notice import Exit, Reason

LINES: Final = 1500
"""Lines from the end that are read."""
LINE: Final = 2000
"""Characters of a line that are read: patterns take time."""
_COMPOSED: Final = r"^[\w.-]+-\d+ +\| ?"
"""What docker compose puts before a container's lines."""
Hit = tuple[int, re.Match[str]]


class Weight(IntEnum):
    """How much a finding explains."""

    CONSEQUENCE = 0
    """Something else failed, says a tool around it: ``make: *** [all] Error 2``."""
    PLAIN = 1
    """A line that calls itself an error, of whatever program."""
    CAUSE = 2
    """What a reader of that tool knows to be the reason."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one reader saw in the lines ``start``..``end``."""

    start: int
    end: int
    message: str
    weight: Weight = Weight.CAUSE
    place: str = ""
    stack: str = ""
    reason: Reason | None = None
    provider: bool = False
    """Not the code's failure: the network, a registry, the machine."""
    peer: bool = False
    """Who it talked to failed, or the machine: it goes before what that led to."""
    test: bool = False
    """A test failed: what it talked to was its own choice."""
    more: bool = False
    """What follows in other lines may belong to the message."""


class Output:
    """Lines as they stood on a terminal at last; ``ended`` is how the program did."""

    def __init__(self, ended: Exit, tail: str) -> None:
        self.ended = ended
        self.lines: Sequence[str] = [cut(line, LINE) for line in shown(tail)[-LINES:]]
        self.text = "\n".join(self.lines)
        if "failed to solve" in self.text:  # BuildKit: "#7 0.512 what was printed"
            self._without(r"^(?:#\d+ )?(?:\d+\.\d{2,3} )?")
        if re.search(_COMPOSED, self.text, re.MULTILINE):
            self._without(_COMPOSED)

    def _without(self, prefix: str) -> None:
        self.lines = [re.sub(prefix, "", line, count=1) for line in self.lines]
        self.text = "\n".join(self.lines)

    def has(self, *words: str) -> bool:
        """Whether one of ``words`` is in it at all: cheaper than any pattern."""
        return any(word in self.text for word in words)

    def find(self, pattern: str, start: int = 0, end: int | None = None) -> Iterator[Hit]:
        """Lines that begin as ``pattern`` says, from ``start`` up to ``end``."""
        compiled = re.compile(pattern)
        stop = len(self.lines) if end is None else min(end, len(self.lines))
        for at in range(start, stop):
            if match := compiled.match(self.lines[at]):
                yield at, match

    def last(self, pattern: str, end: int | None = None) -> int:
        """The last such line before ``end``; -1 when there is none."""
        compiled = re.compile(pattern)
        stop = len(self.lines) if end is None else end
        return next((at for at in range(stop - 1, -1, -1) if compiled.match(self.lines[at])), -1)

    def run(self, pattern: str, start: int, limit: int = 400) -> int:
        """The last of the lines from ``start`` on that all begin so; ``start - 1``: not one."""
        compiled, at = re.compile(pattern), start
        stop = min(len(self.lines), start + limit)
        while at < stop and compiled.match(self.lines[at]):
            at += 1
        return at - 1


Reader = Callable[[Output], Iterator[Finding]]

_SEQUENCE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b\n]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shown(text: str) -> list[str]:
    """The lines as they stood on a terminal at last, without what steers one."""
    last = (line.rstrip("\r").rpartition("\r")[2] for line in _SEQUENCE.sub("", text).split("\n"))
    return [_CONTROL.sub("", line).rstrip() for line in last]


def cut(line: str, width: int) -> str:
    """At most ``width`` characters of a line."""
    return line if len(line) <= width else line[: width - 1] + "…"


def fitted(lines: Iterable[str], limit: int = MESSAGE_LIMIT) -> str:
    """The first line and as many of the last as fit; a line that is too long by itself is cut."""
    first, *rest = (cut(line, limit // 2 - 1) for line in lines)
    room = limit - len(first)
    kept = len(rest)
    while kept and len(rest[kept - 1]) < room:
        kept -= 1
        room -= len(rest[kept]) + 1
    return "\n".join([first, *rest[kept:]])


def joined(lines: Iterable[str]) -> str:
    """Lines of a message: stripped, none empty, none twice in a row of the same."""
    return "\n".join(dict.fromkeys(line.strip() for line in lines if line.strip()))
