"""One job's outbox: what a signalbox inside its steps reports, read while they run.

Owns the directory and how far each of its files was read. What of it is believed is
``runner.outbox``'s. A step may put anything there: links, pipes, files without end. So only plain
files are opened, none is waited for, and what is no report is dropped with one warning.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from runner import outbox
from runner.event import Event
from runner.execution import Execution, rfc3339
from runner.notice import Reported, Warned

NAME: Final = "outbox"
VARIABLE: Final = "SIGNALBOX_OUTBOX"
_AT_ONCE: Final = 1024 * 1024
"""Bytes that are read in one look while the job runs."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
        self._read: dict[str, int] = {}
        self._pipelines: dict[str, outbox.Downstream] = {}
        self._steps: set[str] = set()
        self._spoilt: set[str] = set()
        self._lines = self._bytes = self._room = 0
        self._warned = False
        self.latest = 0
        """When the last further step was taken in: the job did not end before."""

    def look(self, at: int, *, last: bool = False) -> list[Reported | Warned]:
        """What is new at ``at``. ``last``: the job is over, and so is all that it started."""
        found: list[Reported | Warned] = []
        self._room = outbox.SIZE if last else _AT_ONCE
        with contextlib.suppress(OSError):
            directory = os.open(self._path, _DIRECTORY)
            try:
                for name in _names(directory):
                    found += self._file(directory, name, at, last=last)
            finally:
                os.close(directory)
        if last:
            for file, pipeline in self._pipelines.items():
                found += self._reported(file, pipeline.close(at), at)
        return found

    def _file(
        self, directory: int, name: str, at: int, *, last: bool
    ) -> Iterator[Reported | Warned]:
        """One file's news; after the last it is removed, as its lines are not masked."""
        try:
            path = outbox.path_of(name)
            for line in self._news(directory, name):
                yield from self._take(name, path, line, at)
        except outbox.UnbelievableError as why:
            yield from self._drop(str(why))
        except OSError:
            yield from self._drop("something that is no file")
        if last:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)

    def _news(self, directory: int, name: str) -> Iterator[bytes]:
        """The whole lines that were not read before."""
        if name not in self._read and len(self._read) >= outbox.FILES:
            raise outbox.UnbelievableError(f"more than {outbox.FILES} files")
        with open(os.open(name, _FILE, dir_fd=directory), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError
            file.seek(self._read.setdefault(name, 0))
            while self._room > 0 and name not in self._spoilt:
                line = file.readline(outbox.LINE + 1)
                if not line.endswith(b"\n") and len(line) <= outbox.LINE:
                    return  # it is being written, or whoever wrote it was killed
                self._count(name, line)
                yield line

    def _count(self, name: str, line: bytes) -> None:
        self._read[name] += len(line)
        self._room -= len(line)
        self._lines += 1
        self._bytes += len(line)
        if len(line) > outbox.LINE:
            self._spoilt.add(name)
            raise outbox.UnbelievableError(f"a line of more than {outbox.LINE} bytes")
        if self._lines > outbox.EVENTS or self._bytes > outbox.SIZE:
            most = f"{outbox.EVENTS} events or {outbox.SIZE} bytes"
            raise outbox.UnbelievableError(f"more than {most} of one job")

    def _take(
        self, name: str, path: tuple[str, ...], line: bytes, at: int
    ) -> Iterator[Reported | Warned]:
        try:
            event = outbox.read(line, self._mask)
            if path:
                yield from self._reported(name, self._pipeline(name, path).take(event, at), at)
            else:
                yield self._step(name, event, at)
        except outbox.UnbelievableError as why:
            yield from self._drop(str(why))

    def _pipeline(self, name: str, path: tuple[str, ...]) -> outbox.Downstream:
        if name not in self._pipelines:
            self._pipelines[name] = outbox.Downstream(self._execution, path)
        return self._pipelines[name]

    def _step(self, name: str, event: Event, at: int) -> Reported:
        if name in self._steps:
            raise outbox.UnbelievableError("two events of one step")
        self._steps.add(name)
        self.latest = at
        step = outbox.further(event, name, rfc3339(self._execution.start), rfc3339(at))
        return Reported(job=self._job, at=at, event=step)

    def _reported(self, name: str, believed: list[outbox.Believed], at: int) -> Iterator[Reported]:
        for one in believed:
            path = outbox.path_of(name)
            yield Reported(job=self._job, at=at, event=one.event, path=path, lost=one.lost)

    def _drop(self, why: str) -> Iterator[Warned]:
        """One warning a job: a step may put a million bad lines there."""
        if not self._warned:
            self._warned = True
            yield Warned(message=f"{VARIABLE}: dropped: {why}", job=self._job)


def _names(directory: int) -> list[str]:
    """The files there are, but not a million of them."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in islice(entries, outbox.FILES)]
