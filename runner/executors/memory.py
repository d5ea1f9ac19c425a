"""Whether a process was killed for want of memory: the kernel counts it, and tells no parent.

Owns the reading of that count. Which process it was is not said: an end by SIGKILL together with
a count that rose is taken for one. A container's engine says it itself.
"""

import contextlib
import signal
from typing import Final

import msgspec

from runner.notice import Exit, Reason

COUNTS: Final = "/proc/vmstat"
"""Its line ``oom_kill`` counts whom the kernel has killed for want of memory, in any cgroup."""
_KILLED: Final = 128 + signal.SIGKILL


class Memory:
    """What the kernel has killed since it was last asked. ``counts``: where it says so."""

    def __init__(self, counts: str = COUNTS) -> None:
        self._counts = counts
        self._seen = self._count()

    def judge(self, ended: Exit) -> Exit:
        """An end by SIGKILL, the step's or that of what its shell ran, becomes OUT_OF_MEMORY."""
        if ended.code != _KILLED or (count := self._count()) <= self._seen:
            return ended
        self._seen = count
        return msgspec.structs.replace(ended, reason=Reason.OUT_OF_MEMORY)

    def _count(self) -> int:
        with contextlib.suppress(OSError, ValueError), open(self._counts, "rb") as file:
            return next((int(line[9:]) for line in file if line.startswith(b"oom_kill ")), 0)
        return 0
