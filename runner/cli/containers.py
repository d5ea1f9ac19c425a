"""The engine for the jobs that name an image or services, and which executor a job gets.

Owns that nothing runs when such a job is selected and no engine answers (exit 4), and that what
killed runs left in the engine is removed. How a job runs in a container is ``executors.docker``'s,
which is loaded when there is such a job.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from runner import errors
from runner.cli.identity import owner
from runner.cli.places import Place as Spot
from runner.execution import Execution
from runner.executors import Executor, Place, Session, Stop
from runner.executors.process import ProcessExecutor
from runner.journal import Journal
from runner.notice import Exit
from runner.plan import Decision, Plan, PlannedJob, fill, variables

if TYPE_CHECKING:  # 100 ms that jobs without an image do not need
    from runner.executors.docker.calls import Client
    from runner.executors.docker.executor import DockerExecutor


SWEEPING: Final = 5.0
"""Seconds that the end of a run waits for what was begun at its start."""


def needing(plan: Plan) -> tuple[PlannedJob, ...]:
    """The jobs of this execution that need an engine."""
    run = (job for job in plan.jobs if job.decision is Decision.RUN)
    return tuple(job for job in run if job.job.image or job.job.services)


class Executors:
    """Jobs with an image in containers, all others here."""

    def __init__(self, here: Executor, there: "DockerExecutor") -> None:
        self._here, self._there = here, there

    def open(self, place: Place, stop: Stop) -> Session | Exit:
        """A place for one job."""
        if place.image:
            return self._there.open(place, stop)
        if place.services:
            return self._there.beside(place, stop, self._here)
        return self._here.open(place, stop)


class Engine:
    """What the jobs of one execution that need an engine share."""

    def __init__(self, plan: Plan, environ: Mapping[str, str]) -> None:
        self._plan, self._environ = plan, environ
        self._api: Client | None = None
        self._sweeping: threading.Thread | None = None
        self.pinned: Mapping[str, str] = {}
        """Digests of images, by name, that earlier executions of the chain ran in."""

    def reach(self) -> None:
        """See that there is one, if a job needs it; raises ``SurroundingsError``."""
        jobs = needing(self._plan)
        if not jobs:
            return
        from runner.executors.docker import connection

        try:
            self._api = connection.connect(self._environ)
        except errors.SurroundingsError as error:
            names = ", ".join(job.key for job in jobs)
            raise errors.SurroundingsError(
                f"{error}\nthese jobs need one: {names}",
                "start an engine, select other jobs with --job, or remove image: to run them here",
            ) from error

    def executor(
        self,
        execution: Execution,
        spot: Spot,
        runs: str,
        mask: Callable[[bytes], bytes],
        warn: Callable[[str], object],
        tell: Callable[[str], object],
    ) -> Executor:
        """Who runs the jobs; what they need is being pulled from now on."""
        here = ProcessExecutor(runs, time.monotonic)
        if self._api is None:
            return here
        from runner.executors.docker.executor import Around, DockerExecutor
        from runner.executors.docker.labels import Owner as Name

        me, state = owner(), os.path.dirname(os.path.dirname(runs))
        around = Around(
            owner=Name.of(state, execution.unique_id, host=me.host, boot=me.boot, pid=me.pid),
            workspace=spot.workspace,
            witness=spot.file,
            runs=runs,
            mask=mask,
            warn=warn,
            tell=lambda text: tell(mask(text.encode()).decode()),
            pinned=self.pinned,
        )
        there = DockerExecutor(self._api, around)
        there.want(_images(self._plan))
        return Executors(here, there)

    def sweep(self, journal: Journal, warn: Callable[[str], None]) -> None:
        """Remove what killed runs left in the engine, while the first steps run."""
        if self._api is None:
            return
        arguments = (self._api, journal, warn)
        self._sweeping = threading.Thread(target=swept, args=arguments, daemon=True)
        self._sweeping.start()

    def settle(self, *, interrupted: bool) -> None:
        """Wait for that, but not for long: it is done again at the next start."""
        if self._sweeping and not interrupted:
            self._sweeping.join(SWEEPING)


def way(plan: Plan, spot: Spot, environ: Mapping[str, str]) -> str:
    """How jobs with an image would get the workspace, and why; empty: there is none."""
    if not any(job.job.image for job in needing(plan)):
        return ""
    from runner.executors.docker import connection
    from runner.executors.docker.probe import probe

    try:
        with connection.connect(environ) as api:
            view, proved = probe(api, spot.workspace, spot.file)
    except errors.SurroundingsError as error:
        return f"unknown: {error}"
    return f"{view.way.value}: {view.why}" + ("" if proved else " (no image here to prove it with)")


def swept(api: "Client", journal: Journal, warn: Callable[[str], None]) -> list[str]:
    """What killed runs of this state directory left in the engine is removed; the names of it."""
    from runner.executors.docker import sweep
    from runner.executors.docker.labels import identify

    me = owner()
    judge = sweep.Judge(
        state=identify(journal.state, me.boot),
        host=me.host,
        alive=journal.alive,
        now=int(time.time()),
    )
    try:
        with api.within(SWEEPING):
            return sweep.sweep(api, judge)
    except sweep.ERRORS as error:
        warn(f"what earlier runs may have left in the engine was not removed: {error}")
        return []


def _images(plan: Plan) -> Iterable[tuple[str, str]]:
    """What is known by now of the images: a name may hold an output of another job."""
    for job in needing(plan):
        known = {**variables(plan.pipeline, plan.parameters, job), **plan.fields}
        services = (service.image for service in job.job.services.values())
        for name in filter(None, (job.job.image, *services)):
            image = fill(name, known)
            if "$" not in image:
                yield image, job.job.pull
