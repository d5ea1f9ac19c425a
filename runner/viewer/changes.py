"""What has just come: so that a page need not ask for everything again and again.

Owns the memory of the last changes and waking those who wait for the next. Lost with the process:
who asks about a time before it began is told that anything may have changed.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from runner.viewer.rows import Changes

_KEPT: Final = 4096
"""Changes that are remembered."""


class News:
    """What one commit brought."""

    def __init__(self) -> None:
        self.executions: set[str] = set()
        self.logs: set[str] = set()
        self.waiting = False
        """Whether the relay has something new."""


class Memory:
    """The last changes, numbered. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 1
        self._kept: deque[tuple[int, bool, str]] = deque(maxlen=_KEPT)
        self._listeners: list[Callable[[News], None]] = []

    def listen(self, listener: Callable[[News], None]) -> Callable[[], None]:
        """Have ``listener`` called after every change, in the thread that writes; it must return
        at once. The answer ends it.
        """
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return end

    @property
    def now(self) -> int:
        """The number of the last change."""
        return self._now

    def tell(self, news: News) -> None:
        """Something has been committed."""
        with self._lock:
            if news.executions or news.logs:
                self._now += 1
            self._kept.extend((self._now, False, one) for one in news.executions)
            self._kept.extend((self._now, True, one) for one in news.logs)
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(news)

    def since(self, moment: int) -> Changes:
        """What has changed after ``moment``; 0: everything."""
        with self._lock:
            oldest = self._kept[0][0] if len(self._kept) == _KEPT else 2
            if moment + 1 < oldest or moment > self._now:
                return Changes(now=self._now, all=True)
            found = [(log, one) for at, log, one in self._kept if at > moment]
        return Changes(
            now=self._now,
            executions=tuple({one: None for log, one in found if not log}),
            logs=tuple({one: None for log, one in found if log}),
        )
