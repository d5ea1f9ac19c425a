"""A command that runs already, reported as one step of one job of one pipeline.

Owns what is different from ``run``: streams, terminal, signals and exit code are the command's, and
we speak only of trouble, on standard error, when it is over. How it was started is ``ahead``'s.
"""

import contextlib
import sys
from typing import assert_never

from runner import plan
from runner.cli import launch, relay
from runner.cli.ahead import Names, Started
from runner.cli.identity import Reserved
from runner.cli.request import Request
from runner.cli.settings import Outer
from runner.cli.setup import Setup
from runner.cli.sidecar import Sidecar
from runner.engine import Engine, Surroundings
from runner.event import Failure, Status, StepEvent, encode
from runner.execution import rfc3339
from runner.executors import Command, Stop
from runner.notice import Exit
from runner.pipeline import Job, Pipeline, Step


def report(started: Started, sidecar: Sidecar | None) -> None:
    """Wait for the command's end, and report it to whom it is for."""
    match started.told:
        case Outer() as outer:
            _further(started, outer)
        case Reserved() as reserved:
            _carry_out(started, reserved, sidecar)
        case _:
            assert_never(started.told)


def _carry_out(started: Started, reserved: Reserved, sidecar: Sidecar | None) -> None:
    """As an execution of its own: the engine finds it running."""
    foreground, request = started.foreground, _request(started, reserved)
    setup = Setup(request, started.caller.environ, sidecar, started.caller)
    setup.quiet = reserved.target is None
    begun = launch.begin(setup)
    around = _surroundings(started, setup, begun)
    engine = Engine(request.plan, around, (begun.record, begun.backstage), parallel=1)
    foreground.stopped = engine.cancel
    finished = engine.carry_out()
    delivered = begun.backstage.end(interrupted=bool(finished.signal))
    setup.leave()
    if foreground.refusal:
        setup.voice.warn(foreground.refusal)
    setup.voice.trouble(begun.journal, delivered, engine.observer_errors)
    begun.journal.close()


def _further(started: Started, outer: Outer) -> None:
    """In a step of another run: the command is a further step of that job, and no pipeline."""
    caller, called, foreground = started.caller, started.called, started.foreground
    tail, start = _Tail(), foreground.now()
    ended = foreground.run(Command(script="", cwd="", env={}), tail, Stop())
    options, masker = started.words.options, caller.masker
    tags = {**caller.settings.tags, **options.tags}
    step = StepEvent(
        id=called.job,
        name=called.step,
        pipeline_unique_id="",
        pipeline_name="",
        start=rfc3339(start),
        end=rfc3339(foreground.now()),
        status=Status.SUCCESS if ended.ok else Status.ERROR,
        tags=tuple(f"{key}:{value}" for key, value in tags.items()),
        metrics=tuple(f"{key}:{value:.15g}" for key, value in options.measures.items()),
        error=None if ended.ok else _why(ended, masker.bytes(tail.text)),
    )
    with contextlib.suppress(OSError):
        if foreground.refusal:
            print(f"signalbox: {foreground.refusal}", file=sys.stderr)
        relay.further(outer, masker.bytes(encode(step)))
    foreground.close()


def _why(ended: Exit, tail: bytes) -> Failure:
    from runner import failure  # 3 ms that a good end does not need

    return failure.explain(ended, tail[-failure.TAIL :], limit=None).failure


class _Tail:
    """The end of what the command wrote into pipes."""

    text = b""

    def write(self, piece: bytes) -> None:
        """All of it, at once."""
        self.text += piece

    def idle(self) -> None:
        """It is over."""


def _request(started: Started, reserved: Reserved) -> Request:
    """A pipeline of one job of one step."""
    return Request(
        place=started.place,
        text=b"",
        given={},
        selection=plan.Selection(),
        plan=plan.make(_pipeline(started.called)),
        options=started.words.options,
        look=started.look,
        reserved=reserved,
        warnings=tuple(started.warnings),
    )


def _pipeline(called: Names) -> Pipeline:
    """Names are as they stand: a dollar in them is a dollar."""
    step = Step(name=called.step.replace("$", "$$"), run="")
    job = Job(key=called.job, name=called.job.replace("$", "$$"), steps=(step,))
    return Pipeline(name=called.pipeline, jobs=(job,))


def _surroundings(started: Started, setup: Setup, begun: launch.Begun) -> Surroundings:
    """What the one job finds around it. The command has its environment."""
    return Surroundings(
        execution=begun.execution,
        executor=started.foreground,
        masker=setup.masker,
        screen=_Dark(),
        clock=started.foreground.now,
        directory=setup.request.place.directory,
        runs=begun.runs,
        base={},
        own={},
    )


class _Dark:
    """A screen that shows nothing: the command's output is on its way already."""

    def output(self, job: str, piece: bytes) -> None:
        """It has been seen."""
