"""Answers that were given a moment ago: what costs is not found out anew for every look.

Owns how long an answer may be given again: while nothing has come in, or for twenty times as long
as it took. So a store that grows all the time spends one part in twenty on answering the same.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import msgspec

from runner.viewer.rows import Facets

_KEPT: Final = 64
_TIMES: Final = 20


class _Answer(msgspec.Struct, frozen=True):
    facets: Facets
    moment: int
    """Of the last change that it knows of."""
    until: float


class Recent:
    """The last answers. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, _Answer] = OrderedDict()

    def get(self, asked: Hashable, moment: int, now: float) -> Facets | None:
        """The answer to this, if it may be given again."""
        with self._lock:
            found = self._known.get(asked)
            if found is None or (found.moment != moment and found.until < now):
                return None
            self._known.move_to_end(asked)
            return found.facets

    def put(self, asked: Hashable, facets: Facets, moment: int, began: float, now: float) -> None:
        """An answer that took from ``began`` to ``now``; one that is not complete is not kept."""
        if not facets.complete:
            return
        with self._lock:
            self._known[asked] = _Answer(facets, moment, now + _TIMES * (now - began))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
