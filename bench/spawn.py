"""What a step costs beside a bash loop, and how fast output is pumped.

    python bench/spawn.py

Pairs stand side by side in one run; the median of their ratios counts. CPU time is that of all the
processes. The executor alone: no journal, no masker.
"""

import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runner.executors import Command, Place, Session, Stop
from runner.executors.process import ProcessExecutor

ROUNDS = 15
STEPS = 100
MEGABYTES = 500
PATH = "/usr/local/bin:/usr/bin:/bin"


class Nowhere:
    """A null sink."""

    def write(self, piece: bytes) -> None:
        """Drop it."""

    def idle(self) -> None:
        """Nothing was kept."""


def cpu() -> float:
    """Seconds of CPU so far: ours, and those of children that were waited for."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of ``work``."""
    wall, before = time.monotonic(), cpu()
    work()
    return time.monotonic() - wall, cpu() - before


def steps(session: Session, stop: Stop) -> None:
    """As many steps ``true``, one after the other."""
    command = Command(script="true", cwd="/", env={"PATH": PATH, "LANG": "C"}, limit=60)
    for _ in range(STEPS):
        assert session.run(command, Nowhere(), stop).ok


def loop() -> None:
    """The same by bash."""
    script = f"for ((i = 0; i < {STEPS}; i++)); do bash -eo pipefail -c true; done"
    subprocess.run(["bash", "-c", script], check=True, env={"PATH": PATH, "LANG": "C"})


def pump(session: Session, stop: Stop, file: str) -> None:
    """A large file through ``cat``."""
    command = Command(script=f"cat {file}", cwd="/", env={"PATH": PATH})
    assert session.run(command, Nowhere(), stop).ok


def main() -> None:
    """Print both figures."""
    with tempfile.TemporaryDirectory() as scratch:
        stop = Stop()
        session = ProcessExecutor(scratch).open(Place(job_id="bench"))
        pairs = [(timed(lambda: steps(session, stop)), timed(loop)) for _ in range(ROUNDS)]
        for name, index in (("wall", 0), ("CPU", 1)):
            ratio = statistics.median(ours[index] / theirs[index] for ours, theirs in pairs)
            cost = statistics.median(ours[index] for ours, _ in pairs) / STEPS * 1000
            print(f"a step, {name}: {ratio:.2f} x a bash loop, {cost:.2f} ms")
        file = Path(scratch, "large")
        file.write_bytes(bytes(MEGABYTES * 1_000_000))
        walls = [timed(lambda: pump(session, stop, str(file)))[0] for _ in range(5)]
        print(f"output: {MEGABYTES / statistics.median(walls):.0f} MB/s")
        session.close()


if __name__ == "__main__":
    main()
