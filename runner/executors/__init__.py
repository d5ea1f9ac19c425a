"""The Executor contract: how a job's steps become processes, wherever they run.

Owns what every executor promises; each keeps it in a file of its own and passes
``tests/contract``. Knows nothing above: no plan, no events, no policy of retries.

Promises. ``run`` returns an ``Exit`` and never raises for anything a step or its surroundings did.
Output comes in order, as read, never more than 64 KiB a call, with ``idle`` after 200 ms of silence
that follow a piece. ``stop`` ends the whole tree: TERM, ``grace`` seconds, KILL. A step's end is
known when its process ends, not when the last holder of its output does. Processes that a step
leaves behind live until ``close``, which ends them all.
"""

import os
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from runner.notice import Exit, Image, Reason
from runner.pipeline import JOB_LIMIT, Service

GRACE: Final = 4.0
"""Seconds between TERM and KILL: a host CI gives 7.5 s in all, and events need 2 s of them."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One step, ready to run. ``cwd`` is absolute; ``limit`` is seconds from its start."""

    script: str
    shell: str = ""
    cwd: str
    env: Mapping[str, str]
    limit: float | None = None
    grace: float = GRACE


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a job needs of the place it runs in. ``image`` and those of ``services`` have their
    variables replaced; without an image the place is here, and what follows it means nothing.
    """

    job_id: str
    """Marks its processes (``SIGNALBOX_JOB_ID``)."""
    directory: str = ""
    """The files of its steps (``SIGNALBOX_TAGS``, ...)."""
    image: str = ""
    pull: str = ""
    user: str = ""
    isolation: str = "job"
    cpus: float | None = None
    memory: str = ""
    pids: int | None = None
    limit: float = JOB_LIMIT
    """Seconds after which its time is up."""
    services: Mapping[str, Service] = {}


class Sink(Protocol):
    """Where a step's raw output goes."""

    def write(self, piece: bytes) -> None:
        """A piece of output, as it was read."""

    def idle(self) -> None:
        """Nothing came for 200 ms after a piece."""


class Stop:
    """Asks a running job to stop, from any thread or a signal handler; a file descriptor wakes who
    polls. ``now`` skips the grace.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.reason: Reason | None = None
        self.now = False

    def ask(self, reason: Reason, *, now: bool = False) -> None:
        """Stop because of ``reason`` (CANCELED or TIMEOUT); the first reason stays."""
        self.reason = self.reason or reason
        self.now = self.now or now
        os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


class Session(Protocol):
    """One job's place to run in; used by one thread."""

    @property
    def image(self) -> Image | None:
        """The image it is made of."""

    def run(self, command: Command, sink: Sink, stop: Stop) -> Exit:
        """Run one step to its end."""

    def close(self) -> None:
        """End what the steps left behind and give everything back. Idempotent, never raises."""


class Executor(Protocol):
    """Opens places for jobs. Thread-safe."""

    def open(self, place: Place, stop: Stop) -> Session | Exit:
        """A place for one job; or why it cannot be had, or that it was asked to ``stop``."""
