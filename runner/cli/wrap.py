"""One command carried out as one step of one job of one pipeline, and nobody notices.

Owns what is different from ``run``: streams, terminal, signals and exit code are the command's, and
we speak only of trouble, on standard error, when it is over.
"""

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from runner import execution as executions
from runner import plan
from runner.cli import defect, launch, places
from runner.cli import settings as environment
from runner.cli.pid1 import PASSED, SI_KERNEL
from runner.cli.request import Options, Request
from runner.cli.setup import Setup
from runner.cli.sidecar import Sidecar
from runner.commit import Look
from runner.engine import Engine, Surroundings
from runner.event import Failure, Status, StepEvent, encode
from runner.execution import rfc3339
from runner.executors import Command, Stop
from runner.executors.foreground import Foreground
from runner.notice import Exit
from runner.pipeline import Job, Pipeline, Step
from runner.redact import Masker

_TITLE: Final = 80
"""Characters of a command line that name a step."""


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What the command is called on each level."""

    step: str
    job: str
    pipeline: str


def names(
    arguments: Sequence[str], environ: Mapping[str, str], *, step: str, job: str, pipeline: str
) -> Names:
    """What was given; else the step is named by its command line, its job by the program."""
    job = job or os.path.basename(arguments[0]) or arguments[0]
    step = step or _title(arguments, environ)
    return Names(step=step, job=job, pipeline=pipeline or job)


def run(
    arguments: Sequence[str],
    called: Names,
    options: Options,
    environ: Mapping[str, str],
    look: Look,
    sidecar: Sidecar | None = None,
) -> int:
    """Carry the command out; its exit code, and one of ours only when it could not begin."""
    settings = environment.read(environ)
    if settings.outer and not options.local:
        return _further(arguments, called, options, environ, settings.outer)
    setup = Setup(_request(called, options, look), environ, sidecar)
    begun = launch.begin(setup)
    setup.quiet = begun.target is None
    foreground = _foreground(arguments)
    around = _surroundings(setup, begun, foreground)
    engine = Engine(setup.request.plan, around, (begun.record, begun.backstage), parallel=1)
    foreground.stopped = engine.cancel
    try:
        finished = engine.carry_out()
        delivered = begun.backstage.end(interrupted=bool(finished.signal))
        setup.leave()
        if foreground.refusal:
            setup.voice.warn(foreground.refusal)
        setup.voice.trouble(begun.journal, delivered, engine.observer_errors)
        begun.journal.close()
    except Exception as error:  # whatever is wrong with us, the code is the command's
        if foreground.exit is None:
            raise
        with contextlib.suppress(OSError):
            defect.report(error)
    assert foreground.exit  # noqa: S101 - the engine has carried out the one step
    return foreground.exit.code


def _further(
    arguments: Sequence[str],
    called: Names,
    options: Options,
    environ: Mapping[str, str],
    outer: environment.Outer,
) -> int:
    """In a step of another run: the command is a further step of that job, and no pipeline."""
    from runner.cli import relay  # by who needs it

    clock, end_of, settings = executions.clock(), _End(), environment.read(environ)
    found = environment.secrets(environ, settings.secrets)
    masker = Masker((*found.values(), *environment.masked(environ)))
    foreground = _foreground(arguments)
    command = Command(script="", cwd=os.getcwd(), env=environment.untouched(environ))
    start = clock()
    ended = foreground.run(command, end_of, Stop())
    tags = {**settings.tags, **options.tags}
    step = StepEvent(
        id=called.job,
        name=called.step,
        pipeline_unique_id="",
        pipeline_name="",
        start=rfc3339(start),
        end=rfc3339(clock()),
        status=Status.SUCCESS if ended.ok else Status.ERROR,
        tags=tuple(f"{key}:{value}" for key, value in tags.items()),
        metrics=tuple(f"{key}:{value:.15g}" for key, value in options.measures.items()),
        error=None if ended.ok else _why(ended, masker.bytes(end_of.text)),
    )
    with contextlib.suppress(OSError):
        if foreground.refusal:
            print(f"signalbox: {foreground.refusal}", file=sys.stderr)
        relay.further(outer, masker.bytes(encode(step)))
    return ended.code


def _why(ended: Exit, tail: bytes) -> Failure:
    from runner import failure  # 3 ms that a good end does not need

    return failure.explain(ended, tail[-failure.TAIL :], limit=None).failure


class _End:
    """The end of what the command wrote into pipes."""

    text = b""

    def write(self, piece: bytes) -> None:
        """All of it, at once."""
        self.text += piece

    def idle(self) -> None:
        """It is over."""


def _request(called: Names, options: Options, look: Look) -> Request:
    """A pipeline of one job of one step. Names are as they stand: a dollar in them is a dollar."""
    here = os.getcwd()
    step = Step(name=called.step.replace("$", "$$"), run="")
    job = Job(key=called.job, name=called.job.replace("$", "$$"), steps=(step,))
    return Request(
        place=places.Place(file=f"{here}/", workspace=places.top_level(here) or here),
        text=b"",
        given={},
        selection=plan.Selection(),
        plan=plan.make(Pipeline(name=called.pipeline, jobs=(job,))),
        options=options,
        look=look,
    )


def _title(arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    """The command line's first line. Masked while it is whole: half a secret is no needle."""
    masker = Masker(environment.secrets(environ, ()).values())
    line = masker.text(shlex.join(arguments)).strip().partition("\n")[0]
    return line if len(line) <= _TITLE else f"{line[: _TITLE - 1]}…"


def _surroundings(setup: Setup, begun: launch.Begun, foreground: Foreground) -> Surroundings:
    """The caller's environment, not what a CI's steps would have: nothing shall be different."""
    return Surroundings(
        execution=begun.execution,
        executor=foreground,
        masker=setup.masker,
        screen=_Dark(),
        clock=setup.clock,
        directory=setup.request.place.directory,
        runs=begun.runs,
        base=environment.untouched(setup.environ),
        own=setup.own(begun.execution),
    )


class _Dark:
    """A screen that shows nothing: the command's output is on its way already."""

    def output(self, job: str, piece: bytes) -> None:
        """It has been seen."""


def _foreground(arguments: Sequence[str]) -> Foreground:
    """The command, not started yet; from now on signals are its own."""
    # Those that the caller ignores (``nohup``) stay ignored.
    watched = {number for number in PASSED if signal.getsignal(number) is not signal.SIG_IGN}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    foreground = Foreground(arguments, before)
    threading.Thread(target=_pass_on, args=(watched, foreground), daemon=True).start()
    return foreground


def _pass_on(watched: set[signal.Signals], foreground: Foreground) -> None:
    """The thread that waits for signals: only so it is known who sent them."""
    while True:
        arrived = signal.sigwaitinfo(watched)
        foreground.pass_on(arrived.si_signo, typed=arrived.si_code == SI_KERNEL)
