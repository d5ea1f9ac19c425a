"""One job carried out: its steps in order, their attempts, limits and conditions, on one thread.

Owns what happens inside a job. Tells the engine's thread what happened and goes on only when that
is on disk (``Inbox``). Does not choose jobs and writes no journal.
"""

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from runner import files, scope
from runner.engine import outbox
from runner.engine.transcript import Transcript
from runner.event import Domain, Failure
from runner.execution import SECOND, Clock, Execution
from runner.executors import Command, Executor, Place, Session, Stop
from runner.notice import (
    Exit,
    Image,
    JobFinished,
    JobStarted,
    Notice,
    Outcome,
    Reason,
    Result,
    Said,
    Screen,
    StepFinished,
    StepStarted,
    Warned,
)
from runner.pipeline import Condition, Step
from runner.plan import PlannedJob
from runner.redact import Masker

ALWAYS_BUDGET: Final = 30.0
"""Seconds that steps with ``if: always`` have after the job's own limit (interface, section 2)."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all jobs of an execution share."""

    execution: Execution
    executor: Executor
    masker: Masker
    screen: Screen
    clock: Clock
    directory: str
    """Where steps start: the pipeline file's directory."""
    runs: str
    """The execution's own directory, for logs and the files of steps."""
    base: Mapping[str, str]
    """The environment every step begins with."""
    inside: Mapping[str, str] = {}
    """The same for steps in an image, which has one of its own."""
    inside_own: Mapping[str, str] = {}
    own: Mapping[str, str]
    """What every step sees of us: CI, SIGNALBOX, ..., set last."""


class Inbox(Protocol):
    """The engine's thread, as a worker sees it."""

    def tell(self, *notices: Notice) -> None:
        """Hand over what happened and wait until every observer has taken it in."""

    def leave(self, *notices: Notice) -> None:
        """Hand over the last of it; do not wait."""

    def crashed(self, defect: Exception) -> None:
        """Say that the worker itself failed."""


class Worker(threading.Thread):
    """Runs one planned job; ``variables`` are what the plan and the needed jobs give it."""

    def __init__(
        self,
        planned: PlannedJob,
        around: Surroundings,
        inbox: Inbox,
        *,
        ready: int,
        dependencies: tuple[str, ...],
        variables: Mapping[str, str],
    ) -> None:
        super().__init__(name=planned.key, daemon=True)
        self.planned = planned
        self.stop = Stop()
        self._around, self._inbox, self._ready = around, inbox, ready
        self._dependencies = dependencies
        self._variables = dict(variables)
        self._outputs: dict[str, str] = {}
        self._summaries: list[str] = []
        self._failure: Failure | None = None
        self._image: Image | None = None
        self._limit_hit = False
        self._deadline = 0
        self._last: list[Notice] = []
        self._job_id = around.execution.job_id(planned.key)
        self._directory = f"{around.runs}/{self._job_id}"
        mask = around.masker.text
        self.outbox = outbox.Outbox(self._directory, planned.key, around.execution, mask)

    @property
    def outputs(self) -> Mapping[str, str]:
        """Every output the job's steps have given, secrets too: never leaves memory."""
        return self._outputs

    def run(self) -> None:
        """The thread. A defect of ours ends on the engine's thread, which can say so."""
        try:
            self._run()
        except Exception as defect:  # noqa: BLE001 - it is raised again where it can be reported
            self._inbox.crashed(defect)

    def _run(self) -> None:
        """Open a place, carry the steps out, close it, tell."""
        around = self._around
        directory, log = self._directory, f"{self._directory}.log"
        transcript = Transcript(self.planned.key, directory, log, around.masker, around.screen)
        try:
            place = self._place()
            opened = place if isinstance(place, Exit) else around.executor.open(place, self.stop)
            if isinstance(opened, Exit):
                start, end = self._refused(opened, transcript)
            else:
                with contextlib.closing(opened):
                    start, end = self._through(opened, transcript)
        finally:
            transcript.close()
            files.remove(directory)
        finished = JobFinished(
            job=self.planned.key,
            start=start,
            end=end,
            result=self._result(),
            failure=self._failure,
        )
        self._inbox.leave(*self._last, finished)

    def _through(self, session: Session, transcript: Transcript) -> tuple[int, int]:
        """The job in its place; when it started and ended."""
        start = self._around.clock()
        self._deadline = start + int(self.planned.job.timeout * SECOND)
        if image := session.image:
            name = self._around.masker.text(image.name)
            self._image = msgspec.structs.replace(image, name=name)
        self._begin(start)
        self._carry_out(session, transcript)
        return start, self._around.clock()

    def _refused(self, why: Exit, transcript: Transcript) -> tuple[int, int]:
        """There is no place for the job: all its time was spent in the queue."""
        at = self._around.clock()
        self._begin(at)
        from runner import failure  # noqa: PLC0415 - as in ``_why``

        if why.output:
            transcript.write(why.output)
            transcript.end()
        said = msgspec.structs.replace(why, message=self._around.masker.text(why.message))
        self._failure = failure.explain(said, transcript.tail(), limit=None).failure
        return at, at

    def _place(self) -> Place | Exit:
        """What the job needs of its place; or why that cannot be said."""
        job, known = self.planned.job, self._variables
        try:
            services = {
                name: msgspec.structs.replace(one, image=scope.replace(one.image, known))
                for name, one in job.services.items()
            }
            image = scope.replace(job.image, known)
        except scope.UnknownNameError as unknown:
            return Exit(code=1, reason=Reason.IMAGE_PULL, message=f"{unknown} in {job.image!r}")
        return Place(
            job_id=self._job_id,
            directory=self._directory,
            image=image,
            pull=job.pull,
            user=job.user,
            isolation=job.isolation,
            cpus=job.cpus,
            memory=job.memory,
            pids=job.pids,
            limit=job.timeout,
            services=services,
        )

    # ── the job ──────────────────────────────────────────────────────────────────────────────────

    def _begin(self, start: int) -> None:
        mask = self._around.masker.text
        tags = _tags(self._image)
        tags |= {key: mask(self._fill(text)) for key, text in self.planned.job.tags.items()}
        template = self.planned.template
        name = self._fill(template)  # the template, where there is nothing more to replace
        started = JobStarted(
            job=self.planned.key,
            name=mask(name if name != template else self.planned.name),
            at=start,
            ready=self._ready,
            dependencies=self._dependencies,
            tags=tags,
        )
        self._last.append(started)

    def _carry_out(self, session: Session, transcript: Transcript) -> None:
        for index, step in enumerate(self.planned.job.steps):
            if self._wanted(step):
                self._step(session, transcript, index, step)

    def _wanted(self, step: Step) -> bool:
        if self.stop.reason is Reason.CANCELED:
            return False
        match step.condition:
            case Condition.SUCCESS:
                return self._failure is None
            case Condition.FAILURE:
                return self._failure is not None and not self._limit_hit
            case Condition.ALWAYS:
                return True

    def _result(self) -> Result:
        canceled = self.stop.reason is Reason.CANCELED
        failed = Outcome.CANCELED if canceled else Outcome.ERROR
        hits = self._around.masker.hits
        safe = {name: value for name, value in self._outputs.items() if not hits(value)}
        return Result(
            job=self.planned.key,
            outcome=failed if self._failure or canceled else Outcome.SUCCESS,
            allowed=bool(self._failure) and self.planned.job.allow_failure and not canceled,
            outputs=safe,
            withheld=tuple(name for name in self._outputs if name not in safe),
            summary="\n".join(self._summaries),
            image=self._image,
        )

    # ── a step ───────────────────────────────────────────────────────────────────────────────────

    def _step(self, session: Session, transcript: Transcript, index: int, step: Step) -> None:
        name = self._masked(step.name, step.env)
        for attempt in range(1, step.retry + 2):
            finished = self._attempt(session, transcript, index, step, attempt, name)
            if not finished.again:
                self._settle(step, finished)
                return

    def _attempt(
        self,
        session: Session,
        transcript: Transcript,
        index: int,
        step: Step,
        attempt: int,
        name: str,
    ) -> StepFinished:
        transcript.begin()
        start = self._around.clock()
        started = StepStarted(
            job=self.planned.key,
            index=index,
            attempt=attempt,
            name=name,
            at=start,
            log=transcript.size,
        )
        self._inbox.tell(*self._last, started)
        command = self._command(step, index, attempt, name)
        exit_ = session.run(command, transcript, self.stop)
        end = self._around.clock()
        self._note_limit(exit_, end)
        transcript.end()
        said, warnings = self._said(transcript, keep=exit_.ok)
        again = not exit_.ok and attempt <= step.retry and self.stop.reason is None
        again = again and not self._limit_hit
        why, lines, place = self._why(exit_, transcript, command, step)
        finished = StepFinished(
            job=self.planned.key,
            index=index,
            attempt=attempt,
            name=name,
            start=start,
            end=end,
            exit=exit_,
            failure=why,
            said=said,
            tags={key: self._masked(text, step.env) for key, text in step.tags.items()},
            retried=step.retry > 0,
            allowed=step.allow_failure and not exit_.ok,
            again=again,
            tail=lines,
            place=place,
        )
        self._last = [*warnings, finished]
        return finished

    def _why(
        self, exit_: Exit, transcript: Transcript, command: Command, step: Step
    ) -> tuple[Failure | None, str, str]:
        """The failure, lines for people, the place in the code."""
        if exit_.ok:
            return None, "", ""
        from runner import failure  # noqa: PLC0415 - 3 ms that a run without one does not need

        message = self._around.masker.text(exit_.message)
        said = msgspec.structs.replace(exit_, message=message)
        found = failure.explain(
            said,
            transcript.tail(),
            limit=None if self._limit_hit else step.timeout,
            workspace=self._around.directory,
            directory=command.cwd,
        )
        return found.failure, found.lines, found.place

    def _settle(self, step: Step, finished: StepFinished) -> None:
        if finished.failure and not step.allow_failure and self._failure is None:
            self._failure = finished.failure

    def _note_limit(self, exit_: Exit, end: int) -> None:
        if exit_.reason is Reason.TIMEOUT and not self._limit_hit and end >= self._deadline:
            from runner.failure import span  # noqa: PLC0415 - as in ``_why``

            self._limit_hit = True
            self._failure = self._failure or Failure(
                domain=Domain.UNKNOWN,
                type=Reason.TIMEOUT.value,
                message=f"the job's limit of {span(self.planned.job.timeout)} has passed",
            )
            self._deadline = end + int(ALWAYS_BUDGET * SECOND)

    def _command(self, step: Step, index: int, attempt: int, name: str) -> Command:
        left = max((self._deadline - self._around.clock()) / SECOND, 0.001)
        directory = self._around.directory
        if step.working_directory:
            directory = f"{directory}/{step.working_directory}"
        return Command(
            script=step.run,
            shell=step.shell,
            cwd=directory,
            env=self._environment(step, index, attempt, name),
            limit=min(step.timeout, left) if step.timeout else left,
        )

    def _environment(self, step: Step, index: int, attempt: int, name: str) -> dict[str, str]:
        around, job = self._around, self.planned.key
        ours = files.variables(around.execution, job, index, attempt, name, self._directory)
        base, own = around.base, around.own
        if self.planned.job.image:
            base, own = around.inside, around.inside_own
        return scope.merge((base, self._variables, self._outputs, step.env, own, ours))

    def _said(self, transcript: Transcript, *, keep: bool) -> tuple[Said, list[Warned]]:
        said, short = transcript.said(), transcript.unmasked()
        if said is None and not short:
            return _NOTHING, []
        said = said or _NOTHING
        if keep:
            self._outputs |= said.outputs
        mask = self._around.masker.text
        if said.summary:
            self._summaries.append(mask(said.summary))
        texts = list(said.warnings)
        if short:
            texts.append(f"{short} values in SIGNALBOX_MASK are too short or too many to be masked")
        warnings = [Warned(message=mask(text), job=self.planned.key) for text in texts]
        return _masked(said, mask), warnings

    def _masked(self, text: str, env: Mapping[str, str]) -> str:
        return self._around.masker.text(self._fill(text, env))

    def _fill(self, template: str, env: Mapping[str, str] | None = None) -> str:
        if "$" not in template:
            return template
        try:
            return scope.replace(template, self._variables | self._outputs | dict(env or {}))
        except scope.UnknownNameError as unknown:
            self._last.append(Warned(message=f"{unknown} in {template!r}", job=self.planned.key))
            return template


_NOTHING: Final = Said()


def _tags(image: Image | None) -> dict[str, str]:
    """What a job's event says of its image."""
    if image is None:
        return {}
    found = {"name": image.name, "digest": image.digest, "platform": image.platform}
    return {f"image.{name}": value for name, value in found.items() if value}


def _masked(said: Said, mask: Callable[[str], str]) -> Said:
    """What may be written of what a step said; outputs and summary travel in the ``Result``."""
    tags = {
        level: {mask(key): mask(value) for key, value in pairs.items()}
        for level, pairs in said.tags.items()
    }
    return Said(tags=tags, measures=said.measures)
