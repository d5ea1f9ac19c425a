"""The output of a job on its way from pipes to a sink.

Owns the poll object that a job's thread waits with. Does not know steps: ``process`` adds pipes and
the descriptors to wake up for.
"""

import math
import os
import select
from collections.abc import Callable
from typing import Final

from runner.executors import Sink

PIECE: Final = 65_536
IDLE: Final = 0.2
"""Seconds of silence after a piece until the sink is told."""
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

    def run(self, sink: Sink, seconds: float) -> None:
        """Take turns for so long."""
        until = self._monotonic() + seconds
        while (rest := until - self._monotonic()) > 0:
            self.turn(sink, rest)

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
