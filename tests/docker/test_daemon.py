"""What becomes of a job when its engine goes, comes back, or does not answer: never a success, and
never a run that hangs.
"""

import threading
import time
from collections.abc import Callable

import pytest

from runner.executors import Stop
from runner.executors.docker import session
from runner.notice import Exit, Reason
from tests.contract.conftest import cancel
from tests.docker.conftest import Jobs
from tests.docker.daemon import Daemon

pytestmark = [
    pytest.mark.engine,
    # The SDK drops a socket that could not be connected instead of closing it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
IN_TIME = 10.0
"""Seconds; a host CI gives 10 between the first signal and the last."""


def later(seconds: float, call: Callable[[], object]) -> threading.Thread:
    """Do it while a step runs."""
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


def test_K2_an_engine_that_is_killed_loses_the_step(
    there: Jobs, second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RECONNECT", 0.5)
    job = there.open()
    killing = later(0.5, second.kill)
    ran = job.run("echo before; sleep 60")
    killing.join()
    assert (ran.exit.reason, ran.output) == (Reason.CONTAINER_LOST, b"before\n")
    assert job.run("true").exit.reason is Reason.CONTAINER_LOST


def test_K3_an_engine_that_is_started_again_loses_the_step(there: Jobs, second: Daemon) -> None:
    job = there.open()
    restarting = later(0.5, second.restart)
    ran = job.run("sleep 60")
    restarting.join()
    assert ran.exit.reason is Reason.CONTAINER_LOST
    job.session.close()
    assert there.left() == []


def test_an_engine_that_hangs_does_not_keep_a_step_beyond_its_limit(
    there: Jobs, second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CLOSING", 1.0)
    job = there.open()
    with second.frozen(after=0.5):
        ran = job.run("sleep 60", limit=1.0)
        job.session.close()
    assert ran.exit.reason is Reason.TIMEOUT
    assert ran.seconds < IN_TIME


def test_an_engine_that_hangs_does_not_keep_a_canceled_run(there: Jobs, second: Daemon) -> None:
    job = there.open()
    with second.frozen(after=0.5):
        ran = job.run("sleep 60", ask=cancel, after=1.0)
        job.session.close()
    assert ran.exit.reason is Reason.CANCELED
    assert ran.seconds < 1 + IN_TIME


def test_an_engine_that_hangs_does_not_keep_a_job_from_being_canceled(
    there: Jobs, second: Daemon
) -> None:
    there.open("first").session.close()  # so that the image is known
    stop = Stop()
    with second.frozen():
        canceling = later(0.2, lambda: cancel(stop))
        started = time.monotonic()
        opened = there.try_to_open(stop=stop)
        canceling.join()
        assert time.monotonic() - started < IN_TIME
    assert isinstance(opened, Exit)
    assert opened.reason is Reason.CANCELED
