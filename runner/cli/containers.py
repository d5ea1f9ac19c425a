"""The engine for the jobs that name an image, and which executor a job gets.

Owns that nothing runs when such a job is selected and no engine answers (exit 4). How a job runs in
a container is ``executors.docker``'s, which is loaded when there is such a job.
"""

import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from runner import errors
from runner.cli.identity import owner
from runner.cli.places import Place as Spot
from runner.execution import Execution
from runner.executors import Executor, Place, Session, Stop
from runner.executors.process import ProcessExecutor
from runner.notice import Exit
from runner.plan import Decision, Plan, PlannedJob, fill, variables

if TYPE_CHECKING:  # 100 ms that jobs without an image do not need
    from runner.executors.docker.connection import Client
    from runner.executors.docker.executor import DockerExecutor


def named(plan: Plan) -> tuple[PlannedJob, ...]:
    """The jobs of this execution that name an image."""
    return tuple(j for j in plan.jobs if j.decision is Decision.RUN and j.job.image)


class Executors:
    """Jobs with an image in containers, all others here."""

    def __init__(self, here: Executor, there: "DockerExecutor") -> None:
        self._here, self._there = here, there

    def open(self, place: Place, stop: Stop) -> Session | Exit:
        """A place for one job."""
        return (self._there if place.image else self._here).open(place, stop)


class Engine:
    """What the jobs with an image of one execution share."""

    def __init__(self, plan: Plan, environ: Mapping[str, str]) -> None:
        self._plan, self._environ = plan, environ
        self._api: Client | None = None
        self.pinned: Mapping[str, str] = {}
        """Digests of images, by name, that earlier executions of the chain ran in."""

    def reach(self) -> None:
        """See that there is one, if a job needs it; raises ``SurroundingsError``."""
        jobs = named(self._plan)
        if not jobs:
            return
        from runner.executors.docker import connection  # noqa: PLC0415

        try:
            self._api = connection.connect(self._environ)
        except errors.SurroundingsError as error:
            names = ", ".join(job.key for job in jobs)
            raise errors.SurroundingsError(
                f"{error}\nthese jobs name an image: {names}",
                "start an engine, select other jobs with --job, or remove image: to run them here",
            ) from error

    def executor(self, execution: Execution, spot: Spot, runs: str) -> Executor:
        """Who runs the jobs; what they need is being pulled from now on."""
        here = ProcessExecutor(runs, time.monotonic)
        if self._api is None:
            return here
        from runner.executors.docker.executor import Around, DockerExecutor  # noqa: PLC0415
        from runner.executors.docker.labels import Owner as Name  # noqa: PLC0415

        me, state = owner(), os.path.dirname(os.path.dirname(runs))
        around = Around(
            owner=Name.of(state, execution.unique_id, host=me.host, boot=me.boot, pid=me.pid),
            workspace=spot.workspace,
            witness=spot.file,
            runs=runs,
            pinned=self.pinned,
        )
        there = DockerExecutor(self._api, around)
        there.want(_images(self._plan))
        return Executors(here, there)


def _images(plan: Plan) -> Iterable[tuple[str, str]]:
    """What is known by now of the images: a name may hold an output of another job."""
    for job in named(plan):
        known = {**variables(plan.pipeline, plan.parameters, job), **plan.fields}
        image = fill(job.job.image, known)
        if "$" not in image:
            yield image, job.job.pull
