"""One job's outbox: the directory through which a signalbox inside its steps reports.

Owns when that directory is looked into. Reading what lies there is ``reports``', which most
runs never need.
"""

import contextlib
import os
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

from runner import files
from runner.execution import Execution
from runner.notice import Reported, Warned

if TYPE_CHECKING:
    from runner.engine.reports import Reader

_MOST: Final = 1_001
"""Files that are looked at, one more than are read: a step may make a million."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Outbox:
    """Used by the engine's thread alone."""

    def __init__(
        self, directory: str, job: str, execution: Execution, mask: Callable[[str], str]
    ) -> None:
        self._path = files.path(directory, files.OUTBOX)
        self._job, self._execution, self._mask = job, execution, mask
        self._reader: Reader | None = None

    @property
    def latest(self) -> int:
        """When the last further step was taken in: the job did not end before."""
        return self._reader.latest if self._reader else 0

    def look(self, at: int, *, last: bool = False) -> list[Reported | Warned]:
        """What is new at ``at``. ``last``: the job is over, and so is all that it started."""
        found: list[Reported | Warned] = []
        with contextlib.suppress(OSError):
            directory = os.open(self._path, _DIRECTORY)
            try:
                if names := _names(directory):
                    found += self._read().read(directory, names, at, last=last)
            finally:
                os.close(directory)
        if last and self._reader:
            found += self._reader.close(at)
        return found

    def _read(self) -> "Reader":
        from runner.engine.reports import Reader  # noqa: PLC0415 - by who needs it

        self._reader = self._reader or Reader(self._job, self._execution, self._mask)
        return self._reader


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in islice(entries, _MOST)]
