"""Jobs in containers beside plain ``docker``, in the same run: ``python -m bench.docker``.

Takes an engine. Each figure is the median of ratios of neighbours; one over its bound is marked,
and the exit code says so.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from bench.pairs import cost
from runner.executors import Command, Place, Session, Stop
from runner.executors.docker import connection, labels
from runner.executors.docker.executor import Around, DockerExecutor
from runner.notice import Exit, Reason
from tests.container.engine import base_image, running

ROOT = Path(__file__).parent.parent
ROUNDS = 9
STEPS = 10
JOBS, AT_ONCE = 8, 4


class Nowhere:
    """A null sink."""

    def write(self, piece: bytes) -> None:
        """Drop it."""

    def idle(self) -> None:
        """Nothing was kept."""


class Bench:
    """A workspace, an image, and the table of what was found."""

    def __init__(self, path: Path, image: str) -> None:
        self.path, self.image, self.over = path, image, 0
        (path / "runs").mkdir()
        (path / "work").mkdir()
        (path / "work/pipeline.yml").touch()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A place for a job, from the first call of the API to the last."""
        work, files = self.path / "work", self.path / "runs/job"
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        (files / "tags").touch()
        me = labels.Owner.of(str(work), "bench", host="bench", boot="bench", pid=os.getpid())
        around = Around(
            owner=me,
            workspace=str(work),
            witness=str(work / "pipeline.yml"),
            runs=str(self.path / "runs"),
            mask=bytes,
            warn=print,
        )
        stop = Stop()
        with connection.connect(os.environ) as api:
            place = Place(job_id="bench", directory=str(files), image=self.image, pull="never")
            opened = DockerExecutor(api, around).open(place, stop)
            if isinstance(opened, Exit):
                raise SystemExit(opened.message)
            yield opened
            opened.close()
        stop.close()

    def step(self, session: Session, script: str = "true", stop: Stop | None = None) -> Exit:
        """One step."""
        asked = stop or Stop()
        command = Command(script=script, cwd=str(self.path / "work"), env={}, limit=60)
        ended = session.run(command, Nowhere(), asked)
        if not stop:
            asked.close()
        return ended

    def run(self, *arguments: str) -> float:
        """The program, on a fresh state."""
        shutil.rmtree(self.path / "work/.signalbox", ignore_errors=True)
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "runner", "run", *arguments]
        return cost(command, cwd=str(self.path / "work"), env=env).wall

    def row(self, name: str, found: str, bound: str, *, good: bool) -> None:
        """A line of the table."""
        self.over += not good
        print(f"{'ok  ' if good else 'OVER'} {name:<44} {found:<48} {bound}", flush=True)

    def pair(
        self, name: str, bound: float, ours: Callable[[], float], theirs: Callable[[], float]
    ) -> None:
        """Both sides in turn, after one round that does not count."""
        ours(), theirs()
        found = [(ours(), theirs()) for _ in range(ROUNDS)]
        ratio = statistics.median(one / other for one, other in found)
        one, other = (statistics.median(side) * 1e3 for side in zip(*found, strict=True))
        text = f"{ratio:.2f} x  ({one:.0f} ms / {other:.0f} ms)"
        self.row(name, text, f"<= {bound} x", good=ratio <= bound)


def docker(*arguments: str) -> str:
    """What ``docker`` prints."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def job(bench: Bench) -> None:
    """Ten steps ``true`` in one container."""

    def ours() -> None:
        with bench.session() as session:
            for _ in range(STEPS):
                assert bench.step(session).ok

    def theirs() -> None:
        mount = f"{bench.path}/work:{bench.path}/work"
        container = docker("run", "--detach", "--volume", mount, bench.image, "sleep", "600")
        for _ in range(STEPS):
            docker("exec", "--workdir", f"{bench.path}/work", container, "true")
        docker("rm", "--force", container)

    steps = "".join("        - 'true'\n" for _ in range(STEPS))
    text = f"name: P\njobs:\n  a:\n    image: {bench.image}\n    pull: never\n    steps:\n{steps}"
    (bench.path / "work/pipeline.yml").write_text(text)
    name = f"a job of {STEPS} steps"
    bench.pair(f"{name}, first call to removal", 0.95, lambda: timed(ours), lambda: timed(theirs))
    bench.pair(f"{name}, whole process", 1.3, bench.run, lambda: timed(theirs))


def step(bench: Bench) -> None:
    """One more step, against an exec by the SDK in the same container."""
    with bench.session() as session, connection.connect(os.environ) as api:
        (container,) = api.containers(filters={"label": f"{labels.JOB}=bench"})

        def theirs() -> None:
            made = api.exec_create(container["Id"], ["true"])
            api.exec_start(made["Id"])
            assert api.exec_inspect(made["Id"])["ExitCode"] == 0

        def many(work: Callable[[], object]) -> float:
            return statistics.median(timed(work) for _ in range(5))

        bench.pair(
            "one more step", 1.15, lambda: many(lambda: bench.step(session)), lambda: many(theirs)
        )


def cancel(bench: Bench) -> None:
    """From the signal to the end of a step that ignores nothing."""
    found = []
    for _ in range(ROUNDS):
        with bench.session() as session:
            stop = Stop()
            asked: list[float] = []

            def ask(stop: Stop = stop, asked: list[float] = asked) -> None:
                asked.append(time.perf_counter())
                stop.ask(Reason.CANCELED)

            Timer(0.5, ask).start()
            assert bench.step(session, "sleep 60", stop).reason is Reason.CANCELED
            found.append(time.perf_counter() - asked[0])
            stop.close()
    middle = statistics.median(found)
    text = f"{middle * 1e3:.0f} ms, at most {max(found) * 1e3:.0f} ms"
    bench.row("cancel of a step", text, "<= 500 ms", good=middle <= 0.5)


def jobs(bench: Bench) -> None:
    """Eight jobs of a step each, four at a time."""
    listed = "".join(
        f"  j{n}: {{ image: '{bench.image}', pull: never, steps: ['true'] }}\n" for n in range(JOBS)
    )
    (bench.path / "work/pipeline.yml").write_text(f"name: P\njobs:\n{listed}")
    by_hand = (
        f"seq {JOBS} | xargs -P {AT_ONCE} -I% sh -c 'c=$(docker run -d -v {bench.path}/work:/work "
        f"-w /work {bench.image} sleep 600) && docker exec $c true && docker rm -f $c' >/dev/null"
    )

    def theirs() -> float:
        return timed(lambda: subprocess.run(["sh", "-c", by_hand], check=True))

    name = f"{JOBS} jobs, {AT_ONCE} at a time, whole process"
    bench.pair(name, 1.3, lambda: bench.run("--max-parallel", str(AT_ONCE)), theirs)


def main() -> None:
    """Print every figure."""
    with running(), tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), base_image())
        for part in (job, step, cancel, jobs):
            if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
                part(bench)
    if bench.over:
        raise SystemExit(f"{bench.over} over their bounds")


if __name__ == "__main__":
    main()
