"""One job's outbox: the directory through which a signalbox inside its steps reports.

Owns that directory and when it is looked into. Reading what lies there is ``reports``', which most
runs never need.
"""

import contextlib
import os
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

from runner.execution import Execution
from runner.notice import Reported, Warned

if TYPE_CHECKING:
    from runner.engine.reports import Reader

NAME: Final = "outbox"
VARIABLE: Final = "SIGNALBOX_OUTBOX"
_MOST: Final = 1_001
"""Files that are looked at, one more than are read: a step may make a million."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make(directory: str) -> None:
    """The directory, for steps of any user; each removes only what is its own."""
    path = f"{directory}/{NAME}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        os.chmod(path, 0o1777)  # noqa: S103 - as /tmp, inside a directory of ours alone


class Outbox:
    """Used by the engine's thread alone."""

    def __init__(
        self, directory: str, job: str, execution: Execution, mask: Callable[[str], str]
    ) -> None:
        self._path = f"{directory}/{NAME}"
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
