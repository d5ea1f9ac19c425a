"""One command carried out as one step of one job of one pipeline, and nobody notices.

Owns what is different from ``run``: streams, terminal, signals and exit code are the command's, and
we speak only of trouble, on standard error, when it is over.
"""

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from runner import plan
from runner.cli import defect, launch, places
from runner.cli import settings as environment
from runner.cli.request import Options, Request
from runner.cli.setup import Setup
from runner.engine import Engine, Surroundings
from runner.executors.foreground import Foreground
from runner.pipeline import Job, Pipeline, Step
from runner.redact import Masker

_TITLE: Final = 80
"""Characters of a command line that name a step."""
_PASSED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""All that a wrapper may be sent. Those the caller ignores (``nohup``) stay ignored."""
_SI_KERNEL: Final = 0x80  # asm-generic/siginfo.h
"""Who sent what was typed at the terminal: to the whole process group, the command's too."""


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
    arguments: Sequence[str], called: Names, options: Options, environ: Mapping[str, str]
) -> int:
    """Carry the command out; its exit code, and one of ours only when it could not begin."""
    setup = Setup(_request(called, options), environ)
    begun = launch.begin(setup)
    setup.quiet = begun.target is None
    watched = {number for number in _PASSED if signal.getsignal(number) is not signal.SIG_IGN}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would take the exit code with it
    foreground = Foreground(arguments, before)
    around = _surroundings(setup, begun, foreground)
    engine = Engine(setup.request.plan, around, (begun.record, begun.backstage), parallel=1)
    foreground.stopped = engine.cancel
    threading.Thread(target=_pass_on, args=(watched, foreground), daemon=True).start()
    try:
        finished = engine.carry_out()
        delivered = begun.backstage.end(interrupted=bool(finished.signal))
        if foreground.exit and not foreground.started:
            setup.voice.warn(foreground.exit.message)
        setup.voice.trouble(begun.journal, delivered, engine.observer_errors)
        begun.journal.close()
    except Exception as error:  # whatever is wrong with us, the code is the command's
        if foreground.exit is None:
            raise
        with contextlib.suppress(OSError):
            defect.report(error)
    assert foreground.exit  # noqa: S101 - the engine has carried out the one step
    return foreground.exit.code


def _request(called: Names, options: Options) -> Request:
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


def _pass_on(watched: set[signal.Signals], foreground: Foreground) -> None:
    """The thread that waits for signals: only so it is known who sent them."""
    while True:
        arrived = signal.sigwaitinfo(watched)
        foreground.pass_on(arrived.si_signo, typed=arrived.si_code == _SI_KERNEL)
