"""The figures of the README: ``make bench``, or ``python -m bench.figures NAME`` for one of them.

Each is a pair measured in one run (``bench/pairs.py``) against the bare command beside it, with a
real intake in a process of its own. A figure over its bound is marked, and the exit code says so.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.pairs import Cost, cost, pair

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
RUN = [str(Path(PYTHON).with_name("signalbox"))]
GIGABYTE = 1_000_000_000


class Bench:
    """A workspace under git, an environment with an intake, and the table of what was found."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(path),
            "PYTHONPATH": str(ROOT),
            "DD_API_KEY": "0" * 32,
            "SIGNALBOX_INTAKE_URL": url,
        }
        self.over: list[str] = []

    def write(self, text: str) -> None:
        (self.path / "pipeline.yml").write_text(text)

    def fresh(self) -> None:
        shutil.rmtree(self.path / ".signalbox", ignore_errors=True)

    def run(self, *arguments: str, **env: str) -> Cost:
        return cost([*RUN, *arguments], cwd=str(self.path), env=self.env | env)

    def beside(self, *command: str) -> Cost:
        return cost(command, cwd=str(self.path), env=self.env)

    def row(self, name: str, found: str, bound: str, *, good: bool) -> None:
        if not good:
            self.over.append(name)
        print(f"{'ok  ' if good else 'OVER'} {name:<44} {found:<58} {bound}", flush=True)


def first_step(bench: Bench) -> None:
    """From our start to the first step's process, against `python3 -c pass`."""
    bench.write("name: P\njobs: { a: { steps: ['date +%s%N > started'] } }\n")

    def ours() -> Cost:
        begin = time.time_ns()
        found = bench.run("run")
        started = int((bench.path / "started").read_text())
        return Cost(wall=(started - begin) / 1e9, cpu=found.cpu, memory=found.memory)

    found = pair(ours, lambda: bench.beside(PYTHON, "-c", "pass"))
    text = (
        f"{found.ratio:.1f} x  ({found.ours.wall * 1e3:.0f} ms / {found.theirs.wall * 1e3:.0f} ms)"
    )
    bench.row("first step's process started", text, "<= 9 x", good=found.ratio <= 9)


def one_step(bench: Bench) -> None:
    """One step `true`, delivered, whole process."""
    bench.write("name: P\njobs: { a: { steps: ['true'] } }\n")
    found = pair(lambda: bench.run("run"), lambda: bench.beside("bash", "-c", "true"))
    text = (
        f"{found.ours.wall * 1e3:.0f} ms, {found.ours.cpu * 1e3:.0f} ms CPU, "
        f"{found.ours.memory:.0f} MB  (bash {found.theirs.wall * 1e3:.1f} ms)"
    )
    good = found.ours.wall <= 0.28 and found.ours.memory <= 50
    bench.row("1 step `true`, delivered, whole process", text, "<= 280 ms, 50 MB", good=good)


def _steps(bench: Bench, count: int) -> Callable[[], Cost]:
    bench.fresh()
    steps = ", ".join(["'true'"] * count)
    bench.write(f"name: P\njobs: {{ a: {{ steps: [{steps}] }} }}\n")
    return lambda: bench.run("run")


def thousand_steps(bench: Bench) -> None:
    """1,000 steps in one job, start-up excluded, per step, against a bash loop."""
    loop = "for i in $(seq 1000); do bash -eo pipefail -c true; done"
    _steps(bench, 1)
    start = min(bench.run("run").wall for _ in range(5))
    ours = _steps(bench, 1000)

    def less_start() -> Cost:
        found = ours()
        return Cost(wall=found.wall - start, cpu=found.cpu, memory=found.memory)

    found = pair(less_start, lambda: bench.beside("bash", "-c", loop), rounds=15)
    text = (
        f"{found.ratio:.2f} x  ({found.ours.wall:.2f} ms / {found.theirs.wall:.2f} ms a step), "
        f"CPU {found.ours.cpu / found.theirs.cpu:.2f} x"
    )
    bench.row("1,000 steps `true`, per step", text, "<= 2.2 x", good=found.ratio <= 2.2)


def ten_thousand_steps(bench: Bench) -> None:
    """Cost per step at 10,000 against 1,000; memory."""
    small = _steps(bench, 1000)
    per_small = min(small().wall for _ in range(3)) / 1000
    big = _steps(bench, 10_000)
    found = big()
    ratio = (found.wall / 10_000) / per_small
    text = f"{ratio:.2f} x  ({found.wall:.1f} s), {found.memory:.0f} MB"
    good = ratio <= 1.2 and found.memory <= 120
    bench.row("cost per step at 10,000 against 1,000", text, "<= 1.2 x, 120 MB", good=good)


def thousand_jobs(bench: Bench) -> None:
    """1,000 jobs ready at once, 16 at a time, 256 descriptors."""
    bench.fresh()
    jobs = "\n".join(f"  j{i}: {{ steps: ['true'] }}" for i in range(1000))
    bench.write(f"name: P\njobs:\n{jobs}\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        found = bench.run("run", "--max-parallel", "16")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    text = f"finished in {found.wall:.1f} s, {found.memory:.0f} MB"
    bench.row("1,000 jobs at once, 16 at a time, 256 fds", text, "finishes", good=True)


def gigabyte(bench: Bench) -> None:
    """1 GB of output with 10 secrets, against `cat` of the same."""
    bench.fresh()
    line = b"2026-03-02T09:15:00Z INFO a line of ordinary output, as builds print it by the ton\n"
    big = bench.path / "big"
    with big.open("wb") as file:
        block = line * (1_000_000 // len(line))
        for _ in range(GIGABYTE // len(block)):
            file.write(block)
    size = big.stat().st_size
    bench.write("name: P\njobs: { a: { steps: ['cat big'] } }\n")
    secrets = {f"S{i}_TOKEN": f"secret-{i}-" + "abcdefghij0123456789"[i:] for i in range(10)}
    found = pair(lambda: bench.run("run", **secrets), lambda: bench.beside("cat", "big"), rounds=3)
    rate = size / found.ours.wall / 1e6
    text = f"{rate:.0f} MB/s, {found.ours.memory:.0f} MB  ({found.ratio:.0f} x `cat` to nowhere)"
    good = rate >= 80 and found.ours.memory <= 60
    bench.row("1 GB of output, 10 secrets", text, ">= 80 MB/s, 60 MB", good=good)
    big.unlink()


def start(bench: Bench) -> None:
    """`--help` against `python3 -c pass`."""
    found = pair(lambda: bench.run("--help"), lambda: bench.beside(PYTHON, "-c", "pass"))
    text = f"{found.ratio:.1f} x  ({found.ours.wall * 1e3:.0f} ms)"
    bench.row("--help", text, "<= 5 x", good=found.ratio <= 5)


def exec_true(bench: Bench) -> None:
    """`exec true`, delivered, whole process."""
    ours = ("exec", "--", "true")
    found = pair(lambda: bench.run(*ours), lambda: bench.beside(PYTHON, "-c", "pass"))
    text = f"{found.ours.wall * 1e3:.0f} ms  ({found.ratio:.0f} x `python3 -c pass`)"
    bench.row("exec true, delivered", text, "<= 270 ms", good=found.ours.wall <= 0.27)


def exec_sleep(bench: Bench) -> None:
    """`exec sleep 1` over `sleep 1`."""
    ours, theirs = ("exec", "--", "sleep", "1"), ("sleep", "1")
    found = pair(lambda: bench.run(*ours), lambda: bench.beside(*theirs), rounds=5)
    more = found.ours.wall - found.theirs.wall
    bench.row("exec sleep 1", f"{more * 1e3:.0f} ms over it", "<= 60 ms", good=more <= 0.06)


FIGURES = {
    "start": start,
    "first": first_step,
    "one": one_step,
    "exec": exec_true,
    "exec-sleep": exec_sleep,
    "thousand": thousand_steps,
    "ten-thousand": ten_thousand_steps,
    "jobs": thousand_jobs,
    "gigabyte": gigabyte,
}


@contextmanager
def sink() -> Iterator[str]:
    """An intake that counts and forgets, in a process of its own."""
    command = [PYTHON, "-m", "tests.intake_server", "--sink"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.stdout.read()


def main() -> None:
    names = sys.argv[1:] or list(FIGURES)
    with sink() as url, tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), url)
        git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.test"]
        for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
            subprocess.run([*git, *command], cwd=place, check=True)
        remote = ["remote", "add", "origin", "https://git.example.test/a/b.git"]
        subprocess.run([*git, *remote], cwd=place, check=True)
        for name in names:
            FIGURES[name](bench)
    if bench.over:
        sys.exit(f"over their bounds: {', '.join(bench.over)}")


if __name__ == "__main__":
    main()
