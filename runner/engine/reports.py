"""Reading one job's outbox: which lines are new, and what becomes of them.

Owns how far each file was read. What of it is believed is ``runner.outbox``'s. Only plain files are
opened, none is waited for, and what is no report is dropped with one warning.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from runner import outbox
from runner.event import Event
from runner.execution import Execution, rfc3339
from runner.notice import Reported, Warned

_AT_ONCE: Final = 1024 * 1024
"""Bytes that are read in one look while the job runs."""
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Reader:
    """What one job's outbox says."""

    def __init__(self, job: str, execution: Execution, mask: Callable[[str], str]) -> None:
        self._job, self._execution, self._mask = job, execution, mask
        self._read: dict[str, int] = {}
        self._pipelines: dict[str, outbox.Downstream] = {}
        self._steps: set[str] = set()
        self._spoilt: set[str] = set()
        self._lines = self._bytes = self._room = 0
        self._warned = False
        self.latest = 0
        """When the last further step was taken in: the job did not end before."""

    def read(
        self, directory: int, names: Sequence[str], at: int, *, last: bool
    ) -> Iterator[Reported | Warned]:
        """What is new at ``at`` in these files of the directory."""
        self._room = outbox.SIZE if last else _AT_ONCE
        for name in names:
            yield from self._file(directory, name, at, last=last)

    def close(self, at: int) -> Iterator[Reported]:
        """The ends of pipelines that nobody can end any more."""
        for file, pipeline in self._pipelines.items():
            yield from self._reported(file, pipeline.close(at), at)

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
            yield Warned(message=f"SIGNALBOX_OUTBOX: dropped: {why}", job=self._job)
