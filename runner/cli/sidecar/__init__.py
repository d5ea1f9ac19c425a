"""A process beside a run, so that its steps need not wait for what only its reports need.

Owns starting it, asking it and ending it. Loading libraries is most of what a run does before its
first step and after its last one, and one interpreter loads one thing at a time. So a fork, made
once what both need is loaded (this module's imports), loads PyYAML and requests on another core; it
reads the pipeline file and carries bodies to the intake. What to send, when, and what an answer
means stays with the run. Without it, or once it is lost (a step may kill what it likes), the run
does the same itself, only later.

It has no part in the steps, which are not its children, and is niced below them.
"""

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Mapping
from typing import Final

from runner.cli import places
from runner.cli.places import Place
from runner.cli.settings import forget, sends
from runner.cli.sidecar import duty
from runner.cli.sidecar.channel import (
    Channel,
    Cutting,
    Loading,
    LostError,
    Opening,
    Sending,
)
from runner.intake import Reply, Target, Wire
from runner.pipeline import Pipeline

_FILE: Final = tuple[bytes, Pipeline] | None
_PATIENCE: Final = 5.0
"""Seconds for reading a file, which takes 0.1 at most."""
_AT_ONCE: Final = 0.1
"""Seconds for a word to a process that may be stopped: whoever cuts is at the end of its time."""
_LATE: Final = 2.0
"""Seconds by which an attempt may be over its time before nobody believes in it any more."""


class Sidecar:
    """The process, as the run sees it. ``OSError`` when there is none to be had."""

    def __init__(self, *, reads: bool, sends: bool) -> None:
        asks, answers = [os.pipe(), os.pipe()], [os.pipe(), os.pipe()]
        ours = [(answer[0], ask[1]) for ask, answer in zip(asks, answers, strict=True)]
        theirs = [(ask[0], answer[1]) for ask, answer in zip(asks, answers, strict=True)]
        gc.freeze()  # pages that nobody looks through for garbage stay shared
        self._pid = os.fork()
        if not self._pid:
            try:
                _work(theirs, reads=reads, sends=sends)
            finally:
                os._exit(1)
        for fd in (fd for pair in theirs for fd in pair):
            os.close(fd)
        self._channels = [Channel(*pair) for pair in ours]

    def foresee(self, place: Place) -> None:
        """The pipeline file will be asked for: let it be read by then."""
        with contextlib.suppress(LostError):  # which ``read`` will meet, too
            self._channels[0].put(Loading(place=place), _PATIENCE)

    def read(self, place: Place) -> tuple[bytes, Pipeline]:
        """``places.read`` of the file that was foreseen."""
        with contextlib.suppress(LostError):
            found: tuple[bytes, Pipeline] | None = self._channels[0].get(_FILE, _PATIENCE)
            if found:
                return found
        return places.read(place)

    def intake(self, to: Target, environ: Mapping[str, str], version: str) -> Wire:
        """An ``Intake``; at most one for events and one for log lines."""
        return _Line(self._channels[to.carries != "events"], to, environ, version)

    def end(self) -> None:
        """End it. All that is finished has been told; the rest nobody waits for."""
        with contextlib.suppress(ProcessLookupError):  # who ignores SIGCHLD has no dead children
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and see it gone."""
        self.end()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


class _Line:
    """An intake at the other end of a channel; here, once that is lost."""

    def __init__(
        self, channel: Channel, to: Target, environ: Mapping[str, str], version: str
    ) -> None:
        self._channel, self._to = channel, to
        self._environ, self._version = environ, version
        self._over = threading.Event()
        self._here: Wire | None = None
        try:
            channel.put(Opening(to=to, environ=dict(environ), version=version), _PATIENCE)
        except LostError:
            self._open()

    def send(self, body: bytes, *, within: float) -> Reply:
        """``Intake.send``. What was lost on the way is sent again, the same bytes."""
        self._over.clear()
        try:
            if self._here is None:
                self._channel.put(Sending(body=body, within=within), within)
                reply: Reply = self._channel.get(Reply, within + _LATE)
                return reply
        except LostError:
            pass
        finally:
            self._over.set()
        return self._open().send(body, within=within)

    def cut(self, after: float) -> None:
        """``Intake.cut``."""
        if self._here:
            self._here.cut(after)
        elif not self._over.wait(after):
            with contextlib.suppress(LostError):  # and so is what was to be cut
                self._channel.put(Cutting(), _AT_ONCE)

    def close(self) -> None:
        """The connection ends with the sidecar."""
        if self._here:
            self._here.close()

    def _open(self) -> Wire:
        if self._here is None:
            from runner.intake.http import Intake

            self._here = Intake(self._to, environ=self._environ, version=self._version)
        return self._here


def start(environ: Mapping[str, str], *, reads: bool = True) -> Sidecar | None:
    """Fork it. Call it before threads start, and once this process is undumpable. ``reads``:
    whether it will be asked for a pipeline file.
    """
    with contextlib.suppress(OSError):  # no process to be had: later, perhaps, for a step
        return Sidecar(reads=reads, sends=sends(environ))
    return None


def _work(pipes: list[tuple[int, int]], *, reads: bool, sends: bool) -> None:
    """In the new process: nobody shall wait for us to close what others share with us."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    _close_but({fd for pair in pipes for fd in pair})
    forget(os.environ)
    duty.serve([Channel(*pair) for pair in pipes], os._exit, reads=reads, sends=sends)


def _close_but(kept: set[int]) -> None:
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in {0, 1, 2} | kept:
            with contextlib.suppress(OSError):  # what it was listed by
                os.close(fd)
