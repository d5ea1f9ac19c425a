"""A process beside the run, so that its steps need not wait for what only the reports need.

Owns starting it, asking it and ending it. GitPython and requests are two thirds of all that a run
loads, and one interpreter loads one thing at a time: so a fork, made once what both need is loaded
(this module's imports), loads these two on another core, reads the commit and carries bodies to the
intake. What to send, when, and what an answer means stays with the run. Without it, or once it is
lost (a step may kill what it likes), the run does the same itself, only later.

It has no part in the steps: they are not its children, and it is niced below them.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Mapping
from typing import Final

from runner import commit
from runner.cli.sidecar import duty
from runner.cli.sidecar.channel import (
    Channel,
    Cutting,
    LostError,
    Opening,
    Pinning,
    Reading,
    Sending,
)
from runner.commit import Pin
from runner.event import Git
from runner.execution import Commit
from runner.intake import Intake, Reply, Target, Wire

_PIN: Final = 5.0
"""Seconds for two calls of git, which end after 2 s each."""
_LATE: Final = 2.0
"""Seconds by which an attempt may be over its time before nobody believes in it any more."""


class Sidecar:
    """The process, as the run sees it; with ``pid`` 0 there is none, and all is done here."""

    def __init__(self, pid: int = 0, pipes: tuple[tuple[int, int], ...] = ()) -> None:
        self._pid = pid
        self._channels = tuple(Channel(*pair) for pair in pipes)
        self._asked = ""

    def foresee(self, directory: str, environ: Mapping[str, str]) -> None:
        """The commit around ``directory`` will be asked for: let it be looked up by then."""
        self._asked = directory
        if self._channels:
            with contextlib.suppress(LostError):  # which the answer will say, too
                self._channels[0].put(Pinning(directory=directory, environ=dict(environ)))

    def pin(self, directory: str, environ: Mapping[str, str]) -> Pin | None:
        """``commit.pin``."""
        if self._asked != directory:
            self.foresee(directory, environ)
        self._asked = ""
        with contextlib.suppress(LostError):
            if self._channels:
                pin: Pin | None = self._channels[0].get(Pin | None, _PIN)
                return pin
        return commit.pin(directory, environ)

    def read(
        self, pin: Pin | None, ci: Commit, overrides: Commit, environ: Mapping[str, str]
    ) -> tuple[Git | None, tuple[str, ...]]:
        """``commit.read``."""
        with contextlib.suppress(LostError):
            if self._channels:
                asked = Reading(pin=pin, ci=ci, overrides=overrides, environ=dict(environ))
                self._channels[0].put(asked)
                git, warnings = self._channels[0].get(tuple[Git | None, tuple[str, ...]])
                return git, warnings
        return commit.read(pin, ci, overrides, environ)

    def intake(self, to: Target, environ: Mapping[str, str], version: str) -> Wire:
        """An ``Intake``; at most one for events and one for log lines."""
        if not self._channels:
            return Intake(to, environ=environ, version=version)
        channel = self._channels[1 if to.carries == "events" else 2]
        return _Line(channel, to, environ, version)

    def close(self) -> None:
        """End it. All that is finished has been told; the rest nobody waits for."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


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
            channel.put(Opening(to=to, environ=dict(environ), version=version))
        except LostError:
            self._open()

    def send(self, body: bytes, *, within: float) -> Reply:
        """``Intake.send``. What was lost on the way is sent again, the same bytes."""
        self._over.clear()
        try:
            if self._here is None:
                self._channel.put(Sending(body=body, within=within))
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
                self._channel.put(Cutting())

    def close(self) -> None:
        """The connection ends with the sidecar."""
        if self._here:
            self._here.close()

    def _open(self) -> Wire:
        if self._here is None:
            self._here = Intake(self._to, environ=self._environ, version=self._version)
        return self._here


def start() -> Sidecar:
    """Fork it. Call it before threads start, and once this process is undumpable."""
    asks, answers = [os.pipe() for _ in range(3)], [os.pipe() for _ in range(3)]
    try:
        pid = os.fork()
    except OSError:  # no process to be had: later, perhaps, for a step
        return Sidecar()
    theirs = tuple((ask[0], answer[1]) for ask, answer in zip(asks, answers, strict=True))
    ours = tuple((answer[0], ask[1]) for ask, answer in zip(asks, answers, strict=True))
    for fd in (fd for pair in (theirs if pid else ours) for fd in pair):
        os.close(fd)
    if pid:
        return Sidecar(pid, ours)
    try:
        _work(theirs)
    finally:
        os._exit(1)


def _work(pipes: tuple[tuple[int, int], ...]) -> None:
    """In the new process: nobody shall wait for us to close what others share with us."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    duty.serve(tuple(Channel(*pair) for pair in pipes), os.environ, os._exit)
