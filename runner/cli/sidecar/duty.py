"""What the sidecar does, in its own process, until the run closes its pipes.

Owns loading what takes long at once, and carrying out what the channels ask for. Decides
nothing: an answer is a value, and what follows from it is the run's.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Final, assert_never

from runner.cli import places
from runner.cli.sidecar.channel import (
    Channel,
    Cutting,
    Loading,
    LostError,
    Message,
    Opening,
    Sending,
)
from runner.errors import SignalboxError
from runner.intake import Wire
from runner.pipeline import Pipeline

_LOWER: Final = 10
"""How much nicer than the build we are: it comes first where cores are short."""
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What a terminal or a CI sends to all of us is for the run, which still needs us at its end."""


def serve(
    channels: Iterable[Channel], exit_: Callable[[int], None], *, reads: bool, sends: bool
) -> None:
    """Work until the run is gone."""
    os.nice(_LOWER)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for channel in channels:
        threading.Thread(target=_listen, args=(channel, exit_), daemon=True).start()
    # All that takes its time, before anybody asks, and in the order in which it is asked for.
    if reads:
        from runner import manifest  # noqa: F401 - loaded is all it is to be

    if sends:
        from runner.intake import http  # noqa: F401 - as said

    threading.Event().wait()


def _listen(channel: Channel, exit_: Callable[[int], None]) -> None:
    """Take what is said; the work is another thread's, so that it can be cut."""
    desk = _Desk(channel)
    threading.Thread(target=desk.work, daemon=True).start()
    try:
        while True:
            message = channel.get(Message)
            if isinstance(message, Cutting):
                desk.cut()
            else:
                desk.queue.put(message)
    except LostError:
        exit_(0)  # the run is gone, and with it the reason for us


def _load(place: places.Place) -> tuple[bytes, Pipeline] | None:
    try:
        return places.read(place)
    except SignalboxError:  # who reads it again will see why
        return None


class _Desk:
    """One channel's work, one thing after the other."""

    def __init__(self, channel: Channel) -> None:
        self.queue: SimpleQueue[Loading | Opening | Sending] = SimpleQueue()
        self._channel = channel
        self._intake: Wire | None = None

    def cut(self) -> None:
        """From another thread: end the attempt under way."""
        if self._intake:
            self._intake.cut(0)

    def work(self) -> None:
        """A defect closes the channel: the run goes on without us."""
        try:
            while True:
                self._carry_out(self.queue.get())
        except Exception:  # noqa: BLE001 - nobody is there to be told
            self._channel.close()

    def _carry_out(self, message: Loading | Opening | Sending) -> None:
        match message:
            case Loading():
                self._channel.put(_load(message.place))
            case Opening():
                from runner.intake.http import Intake

                self._intake = Intake(message.to, environ=message.environ, version=message.version)
            case Sending():
                assert self._intake  # noqa: S101 - opened before
                self._channel.put(self._intake.send(message.body, within=message.within))
            case _:
                assert_never(message)
