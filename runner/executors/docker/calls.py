"""A client of the engine whose patience has bounds, and calls that nobody has to wait for.

Owns how long an engine that does not answer is waited for: the SDK knows one time for all calls,
and cannot be interrupted. What is called is the callers' business.
"""

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from docker import APIClient

from runner.executors import Stop

PATIENCE: Final = 120.0
"""Seconds for one answer: a loaded engine starts a container in half a minute."""
BRISK: Final = 3.0
"""The same while a job is being ended: a host CI gives 7.5 s for everything."""

CLOSING: Final = 10.0
"""The same while what a job had is removed."""
UNDOING: Final = 5.0
"""Seconds in which a call that nobody wants any more may still end, and undo what it did."""
LAST: Final = 1.0
"""The same when it has kept us waiting already."""

_T = TypeVar("_T")


class Client(APIClient):
    """A client that is less patient for a while, in one thread."""

    _patience = threading.local()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Wait at most so long for each answer, meanwhile."""
        before = getattr(self._patience, "seconds", PATIENCE)
        self._patience.seconds = min(seconds, before)
        try:
            yield
        finally:
            self._patience.seconds = before

    def heading(self, at: str, **query: str) -> Mapping[str, str] | None:
        """The head alone of an answer, which the SDK never asks for; None: it is no good one."""
        url = f"{self.base_url}/v{self.api_version}{at}"
        answer = self.head(url, params=query, **self._set_request_timeout({}))
        return answer.headers if answer.ok else None

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The one place by which every request of the SDK goes."""
        patience = min(getattr(self._patience, "seconds", PATIENCE), self.timeout or PATIENCE)
        kwargs.setdefault("timeout", patience)
        return kwargs


def unless_stopped(call: Callable[[], _T], stop: Stop, late: Callable[[_T], object]) -> _T | None:
    """What ``call`` returns or raises; None when somebody asks to stop, and UNDOING seconds later
    it still has not: then ``late`` is given what it returns in the end, if we live to see it.
    """
    if stop.reason is not None:
        return None
    running = _Running(call)
    running.start()
    if running.is_over(stop):
        return running.result()  # type: ignore[no-any-return]
    running.leave(late)
    return None


class _Running(threading.Thread):
    """One call, while somebody waits for it and after."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(name="engine", daemon=True)
        self._call = call
        self._late: Callable[[Any], object] | None = None
        self._lock = threading.Lock()
        self._over = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._returned: Any = None
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._returned = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self._raised = error
        with self._lock:
            self._over = True
            os.eventfd_write(self._fd, 1)
        if self._late:
            self._hand_over(self._late)

    def is_over(self, stop: Stop) -> bool:
        """Wait for it; False: somebody asks to stop, and it has been waited for enough."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(stop.fd, select.POLLIN)
        poll.poll()
        poll.unregister(stop.fd)
        return bool(poll.poll(UNDOING * 1000))

    def result(self) -> Any:
        """Of a call that is over."""
        os.close(self._fd)
        if self._raised is not None:
            raise self._raised
        return self._returned

    def leave(self, late: Callable[[Any], object]) -> None:
        """Nobody waits any more."""
        with self._lock:
            if not self._over:
                self._late = late
                return
        self._hand_over(late)

    def _hand_over(self, late: Callable[[Any], object]) -> None:
        os.close(self._fd)
        if self._raised is None:
            late(self._returned)
