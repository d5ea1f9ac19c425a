"""Faults N7 and N12: packets dropped on the way, IPv6 that leads nowhere or is all there is.

Rig: a network namespace for each (``namespace``), the whole program in it.
"""

import os
import subprocess
import sys

import msgspec
import pytest

from runner.intake.http import CONNECT_LIMIT
from tests.conftest import Workspace
from tests.namespace import NO_ROUTE_6, SWALLOWED_6, Told

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network of one's own needs root")
EVENTS = 5
"""The run's and the job's start, the step, the job, the run."""


@pytest.fixture
def inside(workspace: Workspace) -> "Inside":
    workspace.write("name: Cut off\njobs: { job: { steps: ['true'] } }")
    workspace.commit()
    return Inside(workspace)


class Inside:
    """Runs the pipeline in a network of its own."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def __call__(self, *arguments: str) -> Told:
        done = subprocess.run(
            ["unshare", "--net", "--mount", sys.executable, "-m", "tests.namespace", *arguments],
            cwd=self._workspace.path,
            env=self._workspace.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout, type=Told)


def test_N7_packets_that_are_dropped_cost_the_build_nothing_but_the_time_at_exit(
    inside: Inside,
) -> None:
    told = inside("swallowed")
    assert told.code == 0, told.err
    assert "host.docker.internal" in told.err
    assert "cannot be reached: time ran out" in told.err
    assert (told.flushed, told.events) == (0, EVENTS)
    assert told.seconds < 2 * CONNECT_LIMIT  # and not the minute that there was


@pytest.mark.parametrize(
    "addresses",
    [["::1"], [NO_ROUTE_6, "127.0.0.1"], [SWALLOWED_6, "127.0.0.1"]],
    ids=["ipv6-only", "no-route", "swallowed"],
)
def test_N12_whatever_ipv6_is_like_the_events_arrive(inside: Inside, addresses: list[str]) -> None:
    told = inside(*addresses)
    assert (told.code, told.events) == (0, EVENTS), told.err
