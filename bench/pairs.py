"""Pairs of commands, interleaved in one run: the median of ratios, CPU time and memory beside it.

Owns measuring; what is measured stands in ``bench/figures.py``. Milliseconds differ from machine to
machine and from minute to minute; a ratio taken in the same second does not.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one process cost, its waited-for children included: seconds, CPU seconds, peak MB."""

    wall: float
    cpu: float
    memory: float


def cost(command: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Cost:
    """Run a command to its end."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 1}:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Cost(wall=wall, cpu=usage.ru_utime + usage.ru_stime, memory=usage.ru_maxrss / 1024)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of two sides measured in turn."""

    ours: Cost
    theirs: Cost
    ratio: float
    """Median of the rounds' ratios of wall time."""


def pair(ours: Callable[[], Cost], theirs: Callable[[], Cost], *, rounds: int = 15) -> Pair:
    """Measure both sides in turn, after one round that does not count."""
    ours(), theirs()
    found = [(ours(), theirs()) for _ in range(rounds)]
    return Pair(
        ours=_median([one for one, _ in found]),
        theirs=_median([other for _, other in found]),
        ratio=statistics.median(one.wall / other.wall for one, other in found),
    )


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        wall=statistics.median(c.wall for c in costs),
        cpu=statistics.median(c.cpu for c in costs),
        memory=max(c.memory for c in costs),
    )
