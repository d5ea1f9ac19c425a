"""One execution from the first row to the exit code: what commands that start one share.

Owns the wiring: who observes whom, what starts when, what is waited for at the end. The first step
starts after two git calls and one commit; GitPython and requests are loaded while it runs.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Final

import msgspec

from runner import commit, errors, event, plan, recorder
from runner.cli import places
from runner.cli.backstage import Backstage
from runner.cli.identity import owner
from runner.cli.ownership import give_back
from runner.cli.request import Options, Request, link, options
from runner.cli.setup import Setup
from runner.cli.voice import Voice
from runner.commit import Pin
from runner.engine import Engine
from runner.execution import Commit, Execution
from runner.journal import Journal
from runner.notice import ExecutionFinished, Outcome

if TYPE_CHECKING:  # loaded when there is a key
    from runner.intake import Target

__all__ = [
    "Begun",
    "Options",
    "Request",
    "begin",
    "link",
    "open_journal",
    "options",
    "owner",
    "run",
    "settle_git",
]

SHORT: Final = 0.5
"""Seconds for giving files back when a signal ends the run: a host CI leaves 7.5 s for all."""


def open_journal(state: str, workspace: str, warn: Callable[[str], None]) -> Journal:
    """The journal for a command that writes; what killed runs left open is closed first."""
    found = os.stat(workspace)
    journal = Journal.open(state, owner=(found.st_uid, found.st_gid), warn=warn)
    for unique_id in recorder.close_dead(journal, owner()):
        warn(f"execution {unique_id[:8]} was killed before it could end; it is closed as failed")
    return journal


def run(request: Request, environ: Mapping[str, str]) -> int:
    """Carry the request out; the exit code."""
    _refuse_images(request.plan)
    return _carry_out(Setup(request, environ))


def settle_git(journal: Journal, environ: Mapping[str, str]) -> None:
    """Read the commit of executions that were killed before they could, by its pinned id."""
    for stored in journal.stored():
        if stored.git_settled or stored.status is None:
            continue
        pin = msgspec.json.decode(stored.header.pin, type=Pin | None)
        nothing = Commit()
        git, _ = commit.read(pin, nothing, nothing, environ)
        journal.freeze_git(stored.id, event.encode(git) if git else None)


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An execution whose first row is on disk."""

    journal: Journal
    execution: Execution
    pin: Pin | None
    target: "Target | None"
    record: recorder.Recorder
    backstage: Backstage

    @property
    def runs(self) -> str:
        """Its own directory."""
        return self.journal.directory(self.execution.unique_id)


def begin(setup: Setup) -> Begun:
    """Everything before the first step."""
    request = setup.request
    journal = open_journal(
        places.state(request.options.state, setup.environ, request.place.workspace),
        request.place.workspace,
        setup.voice.warn,
    )
    pin = commit.pin(request.place.directory, setup.environ)
    target = setup.target()
    execution, record = _first_row(setup, journal, pin, target)
    backstage = Backstage(
        journal=journal,
        execution=execution.unique_id,
        read_git=setup.git_reader(pin),
        target=target,
        environ=setup.environ,
        settings=setup.settings,
        warn=setup.voice.warn,
        clock=setup.clock,
    )
    return Begun(
        journal=journal,
        execution=execution,
        pin=pin,
        target=target,
        record=record,
        backstage=backstage,
    )


def _first_row(
    setup: Setup, journal: Journal, pin: Pin | None, target: "Target | None"
) -> tuple[Execution, recorder.Recorder]:
    """Begin in the journal. Where a CI gives ids, somebody beside us may have taken ours."""
    request = setup.request
    taken = {stored.id for stored in journal.stored()}
    while True:
        execution = setup.identify(taken)
        header = setup.header(execution, pin, target)
        labels, logs = setup.labels(pin), setup.settings.logs
        record = recorder.Recorder(journal, header, request.plan, labels, logs=logs)
        change = msgspec.structs.replace(record.first(), results=tuple(request.results.values()))
        try:
            journal.begin(header, change, request.claim)
        except errors.RefusedError:
            if request.claim or execution.unique_id in taken:
                raise
            taken.add(execution.unique_id)
        else:
            return execution, record


def _carry_out(setup: Setup) -> int:
    """The program, as a list."""
    request, begun = setup.request, begin(setup)
    journal, execution, backstage = begun.journal, begun.execution, begun.backstage
    console = setup.console(execution, begun.pin)
    engine = Engine(
        request.plan,
        setup.surroundings(execution, begun.runs, console),
        (begun.record, console, setup.voice, backstage),
        parallel=setup.parallel(),
        fail_fast=request.options.fail_fast,
    )
    with _signals(engine.cancel):
        finished = engine.carry_out()
        patience = SHORT if finished.signal else None
        if not give_back(request.place.workspace, execution.start, within=patience):
            setup.voice.warn("not every file in the workspace was given to its owner")
        delivered = backstage.end(interrupted=bool(finished.signal))
    code = _code(finished, journal, setup.voice)
    setup.voice.end(journal, execution, begun.target, delivered, engine.observer_errors)
    journal.close()
    return code


def _code(finished: ExecutionFinished, journal: Journal, voice: Voice) -> int:
    if finished.signal:
        interrupted = finished.signal == signal.SIGINT
        return errors.INTERRUPTED if interrupted else errors.TERMINATED
    if finished.gates:
        if not journal.degraded:
            return errors.BLOCKED
        voice.warn("the gate cannot be answered later: its state is on no disk")
        return errors.SurroundingsError.exit_code
    good = finished.outcome in {Outcome.SUCCESS, Outcome.SKIPPED}
    return errors.SUCCESS if good else errors.FAILED


def _refuse_images(chosen: plan.Plan) -> None:
    named = [j.key for j in chosen.jobs if j.decision is plan.Decision.RUN and j.job.image]
    if named:
        raise errors.SurroundingsError(
            f"jobs with an image cannot run yet: {', '.join(named)}",
            "select others with --job, or remove image: to run them here",
        )


@contextlib.contextmanager
def _signals(cancel: Callable[[int], None]) -> Iterator[None]:
    """Signals ask the engine to stop while the block runs; afterwards they are as before."""

    def ask(number: int, _frame: FrameType | None) -> None:
        cancel(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)
