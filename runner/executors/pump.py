"""The output of a job on its way from pipes to a sink.

Owns the poll object that a job's thread waits with. Does not know steps: ``process`` adds pipes and
the descriptors to wake up for.
"""

import math
import os
import select
from collections.abc import Callable
from typing import Final

from runner.executors import Sink, Stop

PIECE: Final = 65_536
IDLE: Final = 0.2
"""Seconds of silence after a piece until the sink is told."""
QUIET: Final = 0.25
DRAIN: Final = 2.0
"""After a step's end its output is read on until it ends, is quiet for QUIET, or for so long."""
KEPT: Final = 32
"""Pipes of background processes kept open per job; for one more, the oldest is closed."""


class Pump:
    """The pipes of a job, read in turn, and the descriptors to wake up for."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.pipes: dict[int, None] = {}
        self._monotonic = monotonic
        self._poll = select.poll()
        self._watched: set[int] = set()
        self._idle_at = math.inf

    def add(self, pipe: int) -> None:
        """Read this pipe, too, until its end; a step begins."""
        if len(self.pipes) >= KEPT:
            self._drop(next(iter(self.pipes)))
        self.pipes[pipe] = None
        self._poll.register(pipe, select.POLLIN)
        self._idle_at = math.inf

    def watch(self, fd: int) -> None:
        """End a turn when ``fd`` is ready; it stays ready until it is ignored."""
        self._watched.add(fd)
        self._poll.register(fd, select.POLLIN)

    def ignore(self, fd: int) -> None:
        """Watch it no more."""
        if fd in self._watched:
            self._watched.discard(fd)
            self._poll.unregister(fd)

    def turn(self, sink: Sink, timeout: float) -> list[int]:
        """Wait until something is ready, take one piece of every ready pipe; what was ready."""
        wait = timeout
        if self._idle_at != math.inf:
            wait = min(timeout, self._idle_at - self._monotonic())
        ready = [fd for fd, _ in self._poll.poll(max(0, math.ceil(wait * 1000)))]
        for fd in ready:
            if fd in self.pipes:
                self._take(fd, sink)
        if self._idle_at != math.inf and self._monotonic() >= self._idle_at:
            self._idle_at = math.inf
            sink.idle()
        return ready

    def give(self, piece: bytes, sink: Sink) -> None:
        """A piece that came another way than by a pipe."""
        for start in range(0, len(piece), PIECE):
            sink.write(piece[start : start + PIECE])
        self._idle_at = self._monotonic() + IDLE

    def run(self, sink: Sink, seconds: float) -> None:
        """Take turns for so long."""
        until = self._monotonic() + seconds
        while (rest := until - self._monotonic()) > 0:
            self.turn(sink, rest)

    def drain(self, pipe: int, sink: Sink, stop: Stop) -> None:
        """Read what is left of a step's output. A background process may hold the pipe for ever:
        then it stays here, so that its writer neither blocks nor dies while later steps run.
        """
        now = start = self._monotonic()
        latest, quiet = start + DRAIN, start + QUIET
        while pipe in self.pipes and now < min(latest, quiet):
            ready = self.turn(sink, min(latest, quiet) - now)
            now = self._monotonic()
            if pipe in ready:
                quiet = now + QUIET
            if stop.reason is not None:
                self.ignore(stop.fd)
                latest = min(latest, start + QUIET)

    def drop(self, pipe: int) -> None:
        """Read it no more; whoever writes there gets SIGPIPE."""
        if pipe in self.pipes:
            self._drop(pipe)

    def close(self) -> None:
        """Close what is still open; whoever writes there gets SIGPIPE."""
        for pipe in tuple(self.pipes):
            self._drop(pipe)

    def _take(self, pipe: int, sink: Sink) -> None:
        piece = os.read(pipe, PIECE)
        if not piece:
            self._drop(pipe)
            return
        sink.write(piece)
        self._idle_at = self._monotonic() + IDLE

    def _drop(self, pipe: int) -> None:
        del self.pipes[pipe]
        self._poll.unregister(pipe)
        os.close(pipe)
