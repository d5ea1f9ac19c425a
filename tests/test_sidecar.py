"""The process beside a run: what it is asked for it answers, and without it all goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread, Timer

import pytest

from runner.cli import places
from runner.cli.sidecar import Sidecar
from runner.errors import PipelineFileError
from runner.intake import Verdict, target
from runner.pipeline import Pipeline
from tests.conftest import KEY, ROOT, Workspace, by_level, killed
from tests.intake_server import Answer, Server, intake

# The parent of a step is the runner; its other child is the sidecar.
SIGNAL = "kill -%s $(tr ' ' '\\n' < /proc/$PPID/task/$PPID/children | grep -vx $$)"
MANIFESTS = sorted((ROOT / "tests" / "manifests").glob("*.yml"))


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    made = Sidecar(reads=True, sends=True)
    yield made
    made.close()


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def outcome(read: Callable[[], tuple[bytes, Pipeline]]) -> tuple[bytes, Pipeline] | str:
    try:
        return read()
    except PipelineFileError as mistakes:
        return str(mistakes)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_a_file_says_the_same_wherever_it_was_read(sidecar: Sidecar, file: Path) -> None:
    place = places.place(str(file))
    sidecar.foresee(place)
    assert outcome(lambda: sidecar.read(place)) == outcome(lambda: places.read(place))


def test_it_carries_bodies_as_an_intake_does(sidecar: Sidecar) -> None:
    with intake(key=KEY) as server:
        to = target(site="", key=KEY, intake_url=server.url, token="", warn=print)
        assert to
        wire = sidecar.intake(to, {}, "1.2.3")
        server.script([Answer(status=429), Answer(status=202)])
        replies = [wire.send(b"{}", within=5).verdict for _ in range(2)]
        assert replies == [Verdict.RETRY, Verdict.DELIVERED]
        assert wire.send(b" " * 3_000_000, within=5).verdict is Verdict.DELIVERED
        assert [len(request.body) for request in server.requests] == [2, 2, 3_000_000]
        wire.close()


def test_an_attempt_can_be_cut(sidecar: Sidecar) -> None:
    with intake(key=KEY) as server:
        to = target(site="", key=KEY, intake_url=server.url, token="", warn=print)
        assert to
        wire = sidecar.intake(to, {}, "1.2.3")
        assert wire.send(b"{}", within=5).status  # requests is loaded
        server.script([Answer(delay=20)])
        Timer(0.3, wire.cut, (0,)).start()
        begin = time.monotonic()
        assert wire.send(b"{}", within=10).verdict is Verdict.RETRY
        assert time.monotonic() - begin < 5


def test_once_it_is_lost_all_is_done_here(sidecar: Sidecar, workspace: Workspace) -> None:
    place = places.place(str(workspace.write("name: P\njobs: { a: { steps: ['true'] } }\n")))
    sidecar.end()
    sidecar.foresee(place)
    assert sidecar.read(place) == places.read(place)


@pytest.mark.parametrize("number", ["KILL", "SEGV", "TERM"])
def test_a_step_that_ends_it_changes_nothing(
    workspace: Workspace, server: Server, number: str
) -> None:
    workspace.write(SIGNAL % number, "signal.sh")
    workspace.write("name: P\njobs: { a: { steps: ['. ./signal.sh', 'sleep 0.5'] } }\n")
    sha = workspace.commit()
    ended = workspace.to(server).run("run")
    assert (ended.code, len(by_level(server.events, "step"))) == (0, 2)
    assert server.event("pipeline")["git"]["sha"] == sha


def test_a_step_that_stops_it_delays_nothing_but_the_delivery(
    workspace: Workspace, server: Server
) -> None:
    workspace.write(SIGNAL % "STOP", "signal.sh")
    workspace.write("name: P\njobs: { a: { steps: ['. ./signal.sh'] } }\n")
    workspace.commit()
    assert workspace.to(server).run("run").code == 0
    assert workspace.run("flush").code == 0
    assert server.event("pipeline")["status"] == "success"


def test_whoever_ignores_the_end_of_children_changes_nothing(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['true'] } }\n")
    workspace.commit()
    command = f"trap '' CHLD; exec {sys.executable} -m runner run"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=workspace.path,
        env=workspace.to(server).environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, server.event("pipeline")["status"]) == (0, "success"), done.stderr


def test_a_stopped_one_takes_nothing_and_holds_nobody_up(sidecar: Sidecar) -> None:
    to = target(site="", key=KEY, intake_url="http://127.0.0.1:9", token="", warn=print)
    assert to
    wire = sidecar.intake(to, {}, "1.2.3")
    os.kill(children(os.getpid())[-1], signal.SIGSTOP)
    sending = Thread(target=wire.send, args=(bytes(1_000_000),), kwargs={"within": 1})
    sending.start()
    begin = time.monotonic()
    wire.cut(0)
    assert time.monotonic() - begin < 0.5
    sending.join(10)
    assert not sending.is_alive()


@pytest.fixture
def running(workspace: Workspace, server: Server) -> Iterator[subprocess.Popen[str]]:
    """A run in its first step, whose first event has arrived."""
    workspace.write("name: P\njobs: { a: { steps: ['sleep 30'] } }\n")
    workspace.commit()
    process = workspace.to(server).start("run")
    with killed(process):
        workspace.until(lambda: bool(server.events))
        yield process


def test_it_is_gone_with_the_run(workspace: Workspace, running: subprocess.Popen[str]) -> None:
    (beside,) = [pid for pid in children(running.pid) if os.getsid(pid) == running.pid]
    running.kill()
    workspace.until(lambda: gone(beside), within=3)


def test_what_a_group_is_sent_is_for_the_run(
    server: Server, running: subprocess.Popen[str]
) -> None:
    os.killpg(running.pid, signal.SIGTERM)
    assert running.wait(10) == 143
    assert server.event("pipeline")["status"] == "canceled"


def test_nobody_waits_for_what_it_holds_open(workspace: Workspace) -> None:
    """Neither the reader of our output nor the owner of a lock that we were started with."""
    workspace.write("name: P\njobs: { a: { steps: ['true'] } }\n")
    made = "sidecar.Sidecar(reads=True, sends=True)"
    program = f"import os\nfrom runner.cli import sidecar\n{made}\nos._exit(0)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=workspace.path,
        env=workspace.environ,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.communicate(timeout=5)[0] == b""
