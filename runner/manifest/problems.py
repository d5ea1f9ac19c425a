"""Every mistake of one pipeline file, each with its place, its path and the nearest right word.

Owns how mistakes are worded and bounded: what a file holds may be huge or hostile, what is printed
of it never is. Does not know what is a mistake (``forms``, ``check``) and reads no YAML (``tree``).
"""

import re
from collections.abc import Collection
from typing import Final, NoReturn, Protocol

from runner.errors import Mistake

MOST: Final = 500
"""Mistakes told of one file; whoever has more has one mistake that makes the others."""
_COMPARED: Final = 50_000
"""Words compared in search of the nearest, in one file: 4 us each, so 0.2 s at the very most."""
_WIDEST: Final = 60
_BARE: Final = rf"[\w-]{{1,{_WIDEST}}}"
_ELSEWHERE: Final = {
    ours: frozenset(theirs.split())
    for ours, theirs in {
        "allow-failure": "continue-on-error allow_failure soft_fail ignore_errors",
        "env": "environment variables vars environ",
        "gate": "block manual approval",
        "if": "when condition",
        "image": "container docker",
        "keep": "artifacts artifact_paths",
        "matrix": "strategy parallel",
        "needs": "depends_on dependencies requires after",
        "parameters": "inputs params variables",
        "ready": "healthcheck health",
        "retry": "retries attempts",
        "run": "script command commands cmd sh bash",
        "stage": "group",
        "steps": "script command commands run tasks before_script",
        "timeout": "timeout-minutes timeout_in_minutes max-time",
        "working-directory": "cwd dir workdir working_dir",
    }.items()
}
"""What other CIs call it: nearer to what was meant than any word that is spelled alike."""


class Place(Protocol):
    """Anything that knows where it stands; line and column count from 1."""

    @property
    def line(self) -> int: ...  # noqa: D102
    @property
    def column(self) -> int: ...  # noqa: D102


class StopReading(Exception):  # noqa: N818 - it ends the reading; the mistakes are in Problems
    """Nothing more can be read of this file."""


class Problems:
    """The mistakes found so far."""

    def __init__(self) -> None:
        self._found: list[Mistake] = []
        self._compared = 0

    def add(
        self, at: Place, path: str, message: str, *, word: str = "", known: Collection[str] = ()
    ) -> None:
        """One mistake; ``word`` is what should have been one of ``known``."""
        said = f"{path}: {message}{self._nearest(word, known)}" if path else message
        self._found.append(Mistake(line=at.line, column=at.column, message=said))
        if len(self._found) >= MOST:
            self.stop(at.line, at.column, f"{MOST} mistakes; what else is wrong is not shown")

    def stop(self, line: int, column: int, message: str) -> NoReturn:
        """A mistake behind which nothing can be read."""
        self._found.append(Mistake(line=line, column=column, message=message))
        raise StopReading

    def in_order(self) -> tuple[Mistake, ...]:
        """All mistakes by line and column."""
        return tuple(sorted(self._found, key=lambda mistake: (mistake.line, mistake.column)))

    def _nearest(self, word: str, known: Collection[str]) -> str:
        self._compared += len(known)
        if not word or len(word) > _WIDEST or self._compared > _COMPARED:
            return ""
        from difflib import get_close_matches  # noqa: PLC0415 - 2 ms that a right file never pays

        close = get_close_matches(word, known, 1) or get_close_matches(word.lower(), known, 1)
        return f", did you mean {quoted(close[0])}?" if close else ""


def meant(word: str, keys: Collection[str]) -> str:
    """The one of our ``keys`` that goes by another word elsewhere; else ``word`` itself."""
    small = word.lower()
    named = (ours for ours, theirs in _ELSEWHERE.items() if ours in keys and small in theirs)
    begun = (key for key in keys if key != "if" and small.startswith(key))
    return next(named, None) or next(begun, None) or word


def quoted(text: str) -> str:
    """``text`` in quotes, cut, on one line, with nothing in it that a terminal would obey."""
    return repr(text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "...")


def join(path: str, key: str) -> str:
    """The path of ``key`` inside ``path``: ``jobs.test``, ``jobs['my job']``."""
    if not (key.isidentifier() and len(key) <= _WIDEST) and not re.fullmatch(_BARE, key):
        return f"{path}[{quoted(key)}]"
    return f"{path}.{key}" if path else key


def spelled(path: tuple[str | int, ...]) -> str:
    """A whole path: ``jobs.test.steps[0].name``."""
    said = ""
    for part in path:
        said = item(said, part) if isinstance(part, int) else join(said, part)
    return said


def item(path: str, index: int) -> str:
    """The path of the item at ``index``: ``steps[0]``."""
    return f"{path}[{index}]"
