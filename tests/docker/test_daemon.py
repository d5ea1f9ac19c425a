"""What becomes of a job when its engine goes, comes back, or does not answer: never a success, and
never a run that hangs.
"""

import signal
import threading
import time

import pytest

from runner.errors import SurroundingsError
from runner.executors import Stop
from runner.executors.docker import calls, connection, container, session
from runner.notice import Exit, Reason
from tests.conftest import Workspace, killed
from tests.contract.conftest import cancel
from tests.docker.conftest import Jobs
from tests.docker.daemon import Daemon, when

pytestmark = [
    pytest.mark.engine,
    # The SDK drops a socket that could not be connected instead of closing it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
IN_TIME = 10.0
"""Seconds; a host CI gives 10 between the first signal and the last."""


def test_K2_an_engine_that_is_killed_loses_the_step(
    there: Jobs, second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RECONNECT", 0.5)
    job = there.open()
    killing = when(there.workspace / "begun", second.kill)
    ran = job.run("echo before; touch begun; sleep 60")
    killing.join()
    assert (ran.exit.reason, ran.output) == (Reason.CONTAINER_LOST, b"before\n")
    assert job.run("true").exit.reason is Reason.CONTAINER_LOST


def test_K3_an_engine_that_is_started_again_loses_the_step(there: Jobs, second: Daemon) -> None:
    job = there.open()
    restarting = when(there.workspace / "begun", second.restart)
    ran = job.run("touch begun; sleep 60")
    restarting.join()
    assert (there.workspace / "begun").exists(), ran.exit
    assert ran.exit.reason is Reason.CONTAINER_LOST
    job.session.close()
    assert there.left() == []


def test_an_engine_that_hangs_does_not_keep_a_step_beyond_its_limit(
    there: Jobs, second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CLOSING", 1.0)
    job = there.open()
    with second.frozen(once=there.workspace / "begun"):
        ran = job.run("touch begun; sleep 60", limit=1.0)
        job.session.close()
    assert ran.exit.reason is Reason.TIMEOUT
    assert ran.seconds < IN_TIME


def test_an_engine_that_hangs_does_not_keep_a_canceled_step(
    there: Jobs, second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "BRISK", 1.0)
    job = there.open()
    with second.frozen(once=there.workspace / "begun"):
        ran = job.run("touch begun; sleep 60", ask=cancel, after=1.0)
        job.session.close()
    assert ran.exit.reason is Reason.CANCELED
    assert ran.seconds < 1 + IN_TIME


def test_an_engine_that_hangs_does_not_keep_a_job_from_being_canceled(
    there: Jobs, second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "UNDOING", 1.0)
    there.open("first").session.close()  # so that the image is known
    stop = Stop()
    with second.frozen():
        canceling = threading.Timer(0.2, cancel, [stop])
        canceling.start()
        started = time.monotonic()
        opened = there.try_to_open(stop=stop)
        canceling.join()
        assert time.monotonic() - started < IN_TIME
    assert isinstance(opened, Exit)
    assert opened.reason is Reason.CANCELED


def test_K8_a_paused_container_does_not_keep_a_step_beyond_its_limit(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "KILL_WAIT", 0.5)
    job = jobs.open()
    pausing = when(jobs.workspace / "begun", lambda: jobs.api.pause(jobs.container()))
    ran = job.run("touch begun; sleep 60", limit=1.0)
    pausing.join()
    assert ran.exit.reason is Reason.TIMEOUT
    job.session.close()
    assert jobs.left() == []


def test_K16_a_container_ends_by_itself_when_the_jobs_time_is_up(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "SLACK", 1)
    job = jobs.open(limit=1.0)
    assert job.run("sleep 60").exit.reason is Reason.CONTAINER_LOST
    until = time.monotonic() + 10
    while jobs.left() and time.monotonic() < until:
        time.sleep(0.1)
    assert jobs.left() == []


def test_each_step_has_a_container_of_its_own_if_it_is_isolated(jobs: Jobs) -> None:
    job = jobs.open(isolation="step")
    first = job.run("touch /mine here; hostname; sleep 60 & true")
    second = job.run("test ! -e /mine; test -e here; hostname")
    assert (first.exit.code, second.exit.code) == (0, 0)
    assert first.output != second.output
    assert jobs.left() == []


def test_a_whole_run_is_canceled_in_time_though_its_engine_hangs(
    workspace: Workspace, second: Daemon, base: str
) -> None:
    workspace.environ["DOCKER_HOST"] = second.url
    steps = "[touch begun; sleep 60]"
    workspace.write(f"name: P\njobs: {{ a: {{ image: '{base}', steps: {steps} }} }}")
    begun = workspace.path / "begun"
    with second.frozen(once=begun), workspace.start("run") as process, killed(process):
        workspace.until(begun.exists, within=30)
        time.sleep(0.2)  # until it is frozen
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert time.monotonic() - started < IN_TIME
    assert process.returncode == 130


def test_K1_an_engine_that_hangs_from_the_start_is_none(
    second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GREETING", 0.5)
    with second.frozen(), pytest.raises(SurroundingsError, match="did not answer"):
        connection.connect({"DOCKER_HOST": second.url})
