"""What the live terminal costs: ``python -m bench.live``, on a pseudo-terminal.

A chatty pipeline of four jobs for half a minute, our own process's CPU alone; and 1,000 steps, the
view against lines on the same terminal, in turn.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Bench
from bench.pairs import Cost, pair
from tests.ptys import Pty

SECONDS = 30
CHATTY = """
name: P
jobs:
  j:
    matrix: {{ N: ["1", "2", "3", "4"] }}
    steps: ["{python} -u chatty.py"]
"""
TALK = f"""
import time
end = time.monotonic() + {SECONDS}
n = 0
while time.monotonic() < end:
    n += 1
    print(f"2026-03-02T09:15:00Z \\x1b[32mINFO\\x1b[0m line {{n}} of ordinary output", flush=True)
    time.sleep(0.04)
"""
LINES = {"TERM": "dumb"}
"""A terminal that cannot show the view."""


def _run(bench: Bench, *arguments: str, **env: str) -> tuple[Cost, int]:
    """Its time, our own process's CPU, and the bytes it wrote."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "runner", "run", "--local", *arguments]
    shown = Pty(command, cwd=str(bench.path), env=bench.env | env, keep=False)
    os.waitid(os.P_PID, shown.process.pid, os.WEXITED | os.WNOWAIT)
    wall = time.perf_counter() - begin
    fields = Path(f"/proc/{shown.process.pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    shown.end()
    return Cost(wall=wall, cpu=cpu, memory=0), shown.bytes


def chatty(bench: Bench) -> None:
    """CPU of the whole program and, beside it, of the same in lines."""
    bench.write(CHATTY.format(python=sys.executable))
    (bench.path / "chatty.py").write_text(TALK)
    live, written = _run(bench, "--max-parallel", "4")
    lines, more = _run(bench, "--max-parallel", "4", **LINES)
    minute = live.cpu * 60 / live.wall
    text = (
        f"{minute:.2f} s, {written / live.wall / 1e3:.0f} kB/s  "
        f"(lines {lines.cpu * 60 / lines.wall:.2f} s, {more / lines.wall / 1e3:.0f} kB/s)"
    )
    bench.row("live, 100 lines/s: CPU a minute", text, "<= 2.5 s", good=minute <= 2.5)


def thousand_steps(bench: Bench) -> None:
    """1,000 steps `true`, live against lines."""
    bench.fresh()
    bench.write(f"name: P\njobs: {{ a: {{ steps: [{', '.join(['true'] * 1000)}] }} }}\n")
    found = pair(lambda: _run(bench)[0], lambda: _run(bench, **LINES)[0], rounds=7)
    text = (
        f"{found.ratio:.3f} x  ({found.ours.wall:.2f} s / {found.theirs.wall:.2f} s), "
        f"CPU {found.ours.cpu:.2f} s / {found.theirs.cpu:.2f} s"
    )
    bench.row("1,000 steps `true`, live against lines", text, "<= 1.1 x", good=found.ratio <= 1.1)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), "")
        for name in ("DD_API_KEY", "SIGNALBOX_INTAKE_URL"):
            del bench.env[name]
        chatty(bench)
        thousand_steps(bench)
    if bench.over:
        sys.exit(f"over their bounds: {', '.join(bench.over)}")


if __name__ == "__main__":
    main()
