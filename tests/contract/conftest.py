"""What a contract test needs: every executor in turn, a job in it, a sink that remembers.

A new executor adds its name to ``EXECUTORS`` and a branch to ``executor``; the tests know none.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Timer
from typing import Final

import msgspec
import pytest

from runner.executors import Command, Executor, Place, Session, Stop
from runner.executors.docker import connection, labels
from runner.executors.docker.executor import Around, DockerExecutor
from runner.executors.docker.session import DockerSession
from runner.executors.process import ProcessExecutor
from runner.notice import Exit, Reason
from tests.container import engine

EXECUTORS: Final = ("process",)
HOSTILE: Final = Path(__file__).with_name("hostile")
PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class Memory:
    """A sink that keeps everything, and when the executor said that nothing came."""

    def __init__(self, first: Callable[[], None] = lambda: None) -> None:
        self.pieces: list[bytes] = []
        self.idles: list[bytes] = []
        self._first = first

    def write(self, piece: bytes) -> None:
        self.pieces.append(piece)
        if len(self.pieces) == 1:
            self._first()

    def idle(self) -> None:
        self.idles.append(self.text)

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """A step that is over."""

    exit: Exit
    output: bytes
    idles: list[bytes]
    longest: int
    seconds: float


class Job:
    """One session of an executor, and a directory that its steps and the test both see."""

    def __init__(self, session: Session, workspace: Path, job_id: str) -> None:
        self.session = session
        self.workspace = workspace
        self.id = job_id
        contained = isinstance(session, DockerSession)
        self.own = {b"HOME", b"HOSTNAME", b"PWD"} if contained else set()
        """Variables that the place itself sets."""
        self.slack = 3.0 if contained else 0.0
        """Seconds that an engine may take on a loaded machine."""

    def run(
        self,
        script: str,
        *,
        shell: str = "",
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        limit: float | None = None,
        grace: float = 0.3,
        stop: Stop | None = None,
        ask: Callable[[Stop], None] | None = None,
        after: float | None = None,
    ) -> Ran:
        """Run a step; ``ask`` something of its stop ``after`` so long, else at its first output."""
        command = Command(
            script=script,
            shell=shell,
            cwd=cwd or str(self.workspace),
            env={"PATH": PATH, "SIGNALBOX_STEP_ID": str(uuid.uuid4()), **(env or {})},
            limit=limit,
            grace=grace,
        )
        stop = asked = stop or Stop()
        asking = Timer(after or 0, lambda: ask(asked) if ask else None)
        sink = Memory(asking.start if ask and after is None else lambda: None)
        started = time.monotonic()
        if after is not None:
            asking.start()
        try:
            ended = self.session.run(command, sink, stop)
        finally:
            asking.cancel()
            if asking.ident:
                asking.join()
            stop.close()
        return Ran(
            exit=ended,
            output=sink.text,
            idles=sink.idles,
            longest=max(map(len, sink.pieces), default=0),
            seconds=time.monotonic() - started,
        )

    def hostile(self, name: str, **options: float) -> Ran:
        """Run a program of ``hostile/``."""
        return self.run((HOSTILE / f"{name}.sh").read_text(), limit=options.get("limit"))

    def beats(self) -> bool:
        """Whether a program of ``hostile/`` still writes into its file ``beat``; it may be slow."""
        return self._grows(within=5.0)

    def silent(self) -> bool:
        """Whether it writes no more: five of its beats are waited for."""
        return not self._grows(within=0.1)

    def _grows(self, within: float) -> bool:
        beat = self.workspace / "beat"
        before = beat.stat().st_size if beat.exists() else 0
        until = time.monotonic() + within
        while time.monotonic() < until:
            time.sleep(0.01)
            if beat.exists() and beat.stat().st_size > before:
                return True
        return False


def cancel(stop: Stop) -> None:
    """What a first signal does."""
    stop.ask(Reason.CANCELED)


def kill(stop: Stop) -> None:
    """What a second signal does."""
    stop.ask(Reason.CANCELED, now=True)


def opened_in(executor: Executor, workspace: Path) -> Job:
    """A job of its own in this workspace. Its id, which marks its processes, is nobody else's."""
    job_id = str(uuid.uuid4())
    directory = workspace.parent / "runs" / job_id
    directory.mkdir(parents=True)
    (directory / "tags").touch()
    stop, image = Stop(), engine.base_image() if isinstance(executor, DockerExecutor) else ""
    place = Place(job_id=job_id, directory=str(directory), image=image, pull="never")
    session = executor.open(place, stop)
    stop.close()
    assert not isinstance(session, Exit), session
    return Job(session, workspace, job_id)


@pytest.fixture(params=[*EXECUTORS, pytest.param("docker", marks=pytest.mark.engine)])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Executor:
    """Each executor, one after the other."""
    if request.param == "docker":
        return _docker(request, tmp_path)
    return ProcessExecutor(str(tmp_path / "scratch"), time.monotonic)


def _docker(request: pytest.FixtureRequest, tmp_path: Path) -> Executor:
    request.getfixturevalue("base")
    workspace, runs = tmp_path / "workspace", tmp_path / "runs"
    runs.mkdir()
    (tmp_path / "workspace").mkdir(exist_ok=True)
    (workspace / "pipeline.yml").touch()
    around = Around(
        owner=labels.Owner.of(str(runs), "tests", host="tests", boot="tests", pid=os.getpid()),
        workspace=str(workspace),
        witness=str(workspace / "pipeline.yml"),
        runs=str(runs),
        mask=bytes,
        warn=print,
    )
    return DockerExecutor(connection.connect(os.environ), around, time.monotonic)


@pytest.fixture
def job(executor: Executor, tmp_path: Path) -> Iterator[Job]:
    """A job that is closed at the end."""
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    opened = opened_in(executor, workspace)
    yield opened
    opened.session.close()
