"""What job logs cost: ``python -m bench.logs``. A million lines, with and without them.

The step's own speed is what it says itself, from its first line to its last: it writes into a pipe
that the runner empties. Memory is the runner's peak. An intake in a process of its own takes
everything; so it shares two cores with the step and the runner, as a remote one would not.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.figures import RUN, sink

LINES = 1_000_000
ROUNDS = 9
STEP = """
import os, time
line = b"2026-03-02T09:15:00Z INFO a line of ordinary output, as builds print it by the ton\\n"
begin = time.monotonic()
for _ in range(%d // 500):
    os.write(1, line * 500)
open("took", "w").write(str(time.monotonic() - begin))
"""


def once(place: Path, url: str, logs: str) -> tuple[float, float, str]:
    """The step's seconds, the peak of memory in MB, the last words."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "DD_API_KEY": "0" * 32,
        "SIGNALBOX_INTAKE_URL": url,
        "SIGNALBOX_LOGS": logs,
        "S_TOKEN": "a-secret-of-some-length",
    }
    with (place / "said").open("w") as said:
        process = subprocess.Popen([*RUN, "run"], cwd=place, env=env, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    with (place / "said").open("rb") as said:  # all of it would be in the next one's ru_maxrss
        said.seek(-500, os.SEEK_END)
        words = said.read().decode(errors="replace").splitlines()[-2:]
    step = float((place / "took").read_text())
    return step, used.ru_maxrss / 1024, " / ".join(filter(None, words))


def main() -> None:
    """Print the ratio of speeds, and the memory."""
    with sink() as url, tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        (place / "step.py").write_text(STEP % LINES)
        (place / "pipeline.yml").write_text(
            f"name: P\njobs: {{ a: {{ steps: ['{sys.executable} step.py'] }} }}\n"
        )
        ratios, peaks = [], []
        for _ in range(ROUNDS):
            off, before, _ = once(place, url, "off")
            on, peak, words = once(place, url, "on")
            ratios.append(off / on)
            peaks.append(peak)
            print(f"off {off:.2f} s, {before:.0f} MB; on {on:.2f} s, {peak:.0f} MB, {words}")
        ratio = statistics.median(ratios)
        good = ratio >= 0.9 and max(peaks) <= 100
        mark = "ok  " if good else "OVER"
        print(f"{mark} speed {ratio:.2f} x, {max(peaks):.0f} MB  (>= 0.9 x, <= 100 MB)")


if __name__ == "__main__":
    main()
