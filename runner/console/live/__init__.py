"""The live terminal: jobs as rows that stay where they are, and the newest output below them.

Owns the way from the engine to the view's thread: whoever tells something hands it over and goes
on. Whatever goes wrong with the view, and whenever it is over, everything goes to the ``Console``
in lines. The parts are loaded on that thread, because the first step does not wait for them: what
is known (``board``), how it looks (``layout``), what the terminal is sent (``canvas``), keys
(``keyboard``), and the thread itself (``view``).
"""

import contextlib
import os
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import msgspec

from runner.console import Console
from runner.console.pen import Stream
from runner.console.scene import Scene
from runner.execution import Clock
from runner.notice import ExecutionFinished, Notice, StepStarted
from runner.terminal import Look

OPENS: Final = 0.25
"""Seconds after the first step's start: what is over sooner is shown in lines."""
KEPT: Final = 16 * 1024
"""Bytes of a piece of output that are kept, unless its job is followed."""
BACKLOG: Final = 8 * 1024 * 1024
"""Bytes of output that may wait for a slow terminal; more of it stands in the log alone."""
PATIENCE: Final = 1.0
"""Seconds in which the view gives the terminal back, before or without a stop."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Output of a job; ``skipped`` bytes before it were left out."""

    job: str
    text: bytes
    skipped: int = 0


Item = tuple[Notice, ...] | Piece | Callable[[], None]
"""What waits for the view; a call is for the console."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the view is seen: ``screen`` and ``keys`` are descriptors of one terminal."""

    scene: Scene
    look: Look
    clock: Clock
    stream: Stream
    screen: int = 2
    keys: int = 0


class Outlet:
    """The console's stream: kept back while the view is on the screen."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.held: bytearray | None = None

    def write(self, piece: bytes, /) -> int | None:
        """Write, or keep."""
        if self.held is None:
            return self.stream.write(piece)
        self.held += piece
        return len(piece)

    def take(self) -> bytes:
        """What was kept, up to the end of a line."""
        held = self.held or bytearray()
        end = held.rfind(b"\n") + 1
        whole = bytes(held[:end])
        del held[:end]
        return whole

    def unfinished(self) -> str:
        """The line that goes on."""
        return (self.held or b"").decode(errors="replace").rpartition("\n")[2]


class Live:
    """An ``Observer`` and a ``Screen`` like ``Console``: its methods may be called from any thread,
    ``suspend``, ``resume``, ``went_on`` and ``stop`` from signal handlers.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.outlet = Outlet(place.stream)
        self.console = Console(self.outlet, place.look, place.scene)
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.over = self.suspended = self.continued = self.stopping = False
        self.followed: frozenset[str] = frozenset()
        """Jobs all of whose output is wanted."""
        self.parked = threading.Event()
        self._lock = threading.Lock()
        self._items: deque[Item] | None = deque()
        self._size = 0
        self._skipped: Counter[str] = Counter()
        """Bytes of a job's output that nobody will see, before its next piece."""
        self._thread = threading.Thread(target=self._work, name="live", daemon=True)

    # ── its faces ────────────────────────────────────────────────────────────────────────────────

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """Show what happened. The end is shown in lines."""
        if any(isinstance(notice, ExecutionFinished) for notice in notices):
            self.close()
        if not self._put(notices):
            self.console.observe(notices)
        elif not self._thread.ident and any(isinstance(n, StepStarted) for n in notices):
            self._thread.start()

    def output(self, job: str, piece: bytes) -> None:
        """Show a piece of a job's output."""
        if self._items is None:
            self.console.output(job, piece)
        elif self._size > BACKLOG:
            self._skipped[job] += len(piece)
        else:
            kept = piece if job in self.followed else _end(piece)
            skipped = self._skipped.pop(job, 0) + len(piece) - len(kept)
            if not self._put(Piece(job=job, text=kept, skipped=skipped), len(kept)):
                self.console.output(job, piece)

    def say(self, text: str) -> None:
        """Lines of our own, outside any job."""
        if not self._put(lambda: self.console.say(text)):
            self.console.say(text)

    def warn(self, text: str) -> None:
        """Something a person should know that changes no result."""
        if not self._put(lambda: self.console.warn(text)):
            self.console.warn(text)

    # ── its end, and pauses ──────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Give the terminal back; from now on there are lines."""
        self.over = True
        if self._thread.ident:
            self.rouse()
            self._thread.join()
        self._go_over_to_lines()

    def suspend(self) -> None:
        """Give the terminal back for a while; waits a moment until that is done."""
        if self._thread.is_alive():
            self.parked.clear()
            self.suspended = True
            self.rouse()
            self.parked.wait(PATIENCE)

    def resume(self) -> None:
        """Take the terminal again."""
        self.suspended = False
        self.rouse()

    def went_on(self) -> None:
        """The process was stopped unasked and goes on: others have used the terminal."""
        self.continued = True
        self.rouse()

    def stop(self) -> None:
        """The run was asked to stop."""
        self.stopping = True

    def rouse(self) -> None:
        """Wake the view's thread."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self.wake, 1)

    # ── for the view's thread ────────────────────────────────────────────────────────────────────

    def take(self) -> deque[Item]:
        """What was told since the last time."""
        with self._lock:
            items, self._items, self._size = self._items or deque(), deque(), 0
        return items

    def pass_on(self, item: Item) -> None:
        """Show it in lines."""
        match item:
            case Piece(job=job, text=text, skipped=skipped):
                gap = b"[%d bytes are in the log]\n" % skipped if skipped else b""
                self.console.output(job, gap + text)
            case tuple():
                self.console.observe(item)
            case _:
                item()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _put(self, item: Item, size: int = 0) -> bool:
        """False: nobody takes it, show it in lines."""
        with self._lock:
            if self._items is None:
                return False
            self._items.append(item)
            self._size += size
            return True

    def _work(self) -> None:
        """The view's thread. A defect of the view ends the view, not the run."""
        try:
            if not self._soon_over():
                from runner.console.live.view import View  # noqa: PLC0415 - beside the first step

                View(self).run()
        except Exception as error:  # noqa: BLE001 - what is shown never reaches the build
            self._go_over_to_lines()
            self.console.warn(f"the live view failed: {type(error).__name__}: {error}")
        else:
            self._go_over_to_lines()

    def _soon_over(self) -> bool:
        import select  # noqa: PLC0415 - on this thread

        waiting = select.poll()
        waiting.register(self.wake, select.POLLIN)
        waiting.poll(OPENS * 1000)
        return self.over

    def _go_over_to_lines(self) -> None:
        with self._lock:
            items, self._items = self._items, None
            for item in items or ():
                self.pass_on(item)


def _end(piece: bytes) -> bytes:
    """The newest lines of a piece: what the view can show of it."""
    if len(piece) <= KEPT:
        return piece
    start = piece.find(b"\n", len(piece) - KEPT, len(piece) - 1) + 1 or len(piece) - KEPT
    return piece[start:]
