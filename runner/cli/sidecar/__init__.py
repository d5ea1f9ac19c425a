"""Two processes beside a run, so that its steps need not wait for what only the reports need.

Owns starting them, asking them and ending them. GitPython and requests are two thirds of all that a
run loads, and one interpreter loads one thing at a time. So two forks, made once what all need is
loaded (this module's imports), load one of them each, on another core: one reads the commit, one
carries bodies to the intake. What to send, when, and what an answer means stays with the run.
Without them, or once they are lost (a step may kill what it likes), the run does the same itself,
only later.

They have no part in the steps, which are not their children, and are niced below them.
"""

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Final

from runner import commit
from runner.cli.settings import forget
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

_SENDS: Final = ("DD_API_KEY", "DATADOG_API_KEY", "SIGNALBOX_INTAKE_URL")
"""One of these is set where something will be sent."""
_PIN: Final = 5.0
"""Seconds for two calls of git, which end after 2 s each."""
_LATE: Final = 2.0
"""Seconds by which an attempt may be over its time before nobody believes in it any more."""


class Sidecar:
    """Both processes, as the run sees them. Of one that is not there its part is done here."""

    def __init__(self, commits: "_Fork | None" = None, wires: "_Fork | None" = None) -> None:
        self._forks = [fork for fork in (commits, wires) if fork]
        self._commits = commits.channels[0] if commits else None
        self._wires = wires.channels if wires else None
        self._asked = ""

    def foresee(self, directory: str, environ: Mapping[str, str]) -> None:
        """The commit around ``directory`` will be asked for: let it be looked up by then."""
        self._asked = directory
        if self._commits:
            with contextlib.suppress(LostError):  # which the answer will say, too
                self._commits.put(Pinning(directory=directory, environ=dict(environ)))

    def pin(self, directory: str, environ: Mapping[str, str]) -> Pin | None:
        """``commit.pin``."""
        if self._asked != directory:
            self.foresee(directory, environ)
        self._asked = ""
        with contextlib.suppress(LostError):
            if self._commits:
                pin: Pin | None = self._commits.get(Pin | None, _PIN)
                return pin
        return commit.pin(directory, environ)

    def read(
        self, pin: Pin | None, ci: Commit, overrides: Commit, environ: Mapping[str, str]
    ) -> tuple[Git | None, tuple[str, ...]]:
        """``commit.read``."""
        with contextlib.suppress(LostError):
            if self._commits:
                asked = Reading(pin=pin, ci=ci, overrides=overrides, environ=dict(environ))
                self._commits.put(asked)
                git, warnings = self._commits.get(tuple[Git | None, tuple[str, ...]])
                return git, warnings
        return commit.read(pin, ci, overrides, environ)

    def intake(self, to: Target, environ: Mapping[str, str], version: str) -> Wire:
        """An ``Intake``; at most one for events and one for log lines."""
        if not self._wires:
            return Intake(to, environ=environ, version=version)
        return _Line(self._wires[to.carries != "events"], to, environ, version)

    def close(self) -> None:
        """End them. All that is finished has been told; the rest nobody waits for."""
        for fork in self._forks:
            os.kill(fork.pid, signal.SIGKILL)
        for fork in self._forks:
            os.waitpid(fork.pid, 0)
        self._forks = []


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


class _Fork:
    """A process of ours and the channels to it."""

    def __init__(self, load: Callable[[], None], count: int) -> None:
        """``OSError`` when there is no process to be had."""
        asks, answers = [os.pipe() for _ in range(count)], [os.pipe() for _ in range(count)]
        ours = [(answer[0], ask[1]) for ask, answer in zip(asks, answers, strict=True)]
        theirs = [(ask[0], answer[1]) for ask, answer in zip(asks, answers, strict=True)]
        self.pid = os.fork()
        if not self.pid:
            try:
                _close(ours)
                _work(load, theirs)
            finally:
                os._exit(1)
        _close(theirs)
        self.channels = [Channel(*pair) for pair in ours]


def start(environ: Mapping[str, str]) -> Sidecar:
    """Fork them. Call it before threads start, and once this process is undumpable."""
    gc.freeze()  # pages that nobody looks through for garbage stay shared
    wires = None
    try:
        if any(map(environ.get, _SENDS)):
            wires = _Fork(duty.load_requests, 2)
        return Sidecar(_Fork(duty.load_git, 1), wires)
    except OSError:  # later, perhaps, for a step
        return Sidecar(None, wires)


def _work(load: Callable[[], None], pipes: list[tuple[int, int]]) -> None:
    """In the new process: nobody shall wait for us to close what others share with us."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    forget(os.environ)
    duty.serve([Channel(*pair) for pair in pipes], load, os._exit)


def _close(pipes: list[tuple[int, int]]) -> None:
    for fd in (fd for pair in pipes for fd in pair):
        os.close(fd)
