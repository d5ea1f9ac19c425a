"""One execution from the first row to the exit code: what commands that start one share.

Owns the wiring: who observes whom, what starts when, what is waited for at the end. The first step
starts after two git calls and one commit; GitPython is loaded while it runs, requests by a process
of its own (``sidecar``).
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Final

import msgspec

from runner import commit, errors, event, files, recorder
from runner.cli import places
from runner.cli.backstage import Backstage
from runner.cli.identity import owner
from runner.cli.ownership import give_back
from runner.cli.request import Options, Request, link, options
from runner.cli.setup import Setup
from runner.cli.sidecar import Sidecar
from runner.cli.voice import Voice, last_words
from runner.commit import Pin
from runner.engine import Engine
from runner.execution import Commit, Execution, clock
from runner.journal import Journal
from runner.notice import ExecutionFinished, Observer, Outcome
from runner.state import Place

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
    "signals",
]

SHORT: Final = 0.5
"""Seconds for giving files back when a signal ends the run: a host CI leaves 7.5 s for all."""


def open_journal(
    state: str | Place,
    workspace: str,
    warn: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
) -> Journal:
    """The journal for a command that writes. What killed runs left open is closed first, and what
    waited for an answer that never came is ended.
    """
    now = clock()()
    place = state if isinstance(state, Place) else Place.of(state, workspace)
    journal = Journal.open(place, warn=warn)
    for unique_id in recorder.close_dead(journal, owner()):
        files.remove_all(journal.directory(unique_id))
        warn(f"execution {unique_id[:8]} was killed before it could end; it is closed as failed")
    waiting = (gate for stored in journal.waiting() for gate in stored.gates)
    if any(gate.expires and gate.expires < now for gate in waiting):
        from runner.cli import expiry  # 10 ms that are seldom needed

        expiry.settle(journal, os.environ if environ is None else environ, warn)
    return journal


def run(request: Request, environ: Mapping[str, str], sidecar: Sidecar | None = None) -> int:
    """Carry the request out, and what a person at the terminal makes of it; the exit code."""
    environ = dict(environ)  # the process's own is emptied of what steps may not see
    onward: Request | None = request
    code = errors.SUCCESS
    while onward:
        with last_words(onward.warnings):
            setup = Setup(onward, environ, sidecar)
        with last_words(setup.voice.early):
            setup.engine.reach()
            code, ended = _carry_out(setup)
        onward = _ask(setup, ended) if code == errors.BLOCKED else None
    return code


def _ask(setup: Setup, ended: str) -> Request | None:
    """What goes on from a blocked execution at once; None: nothing."""
    if not setup.request.options.ask:
        return None
    from runner.cli import ask

    if ask.possible():
        return ask.onward(setup, ended)
    setup.voice.warn("--ask needs a terminal: nobody was asked")
    return None


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
    workspace, reserved = request.place.workspace, request.reserved
    state = (
        reserved.state
        if reserved
        else places.state(request.options.state, setup.environ, workspace)
    )
    journal = open_journal(state, workspace, setup.voice.warn, setup.environ)
    pin = setup.pin()
    target = setup.target()
    setup.quiet = setup.quiet or not (target or setup.outer)
    before = request.before
    with contextlib.ExitStack() as held:
        if before:
            from runner.cli import custody  # 12 ms that a first run does not need

            held.enter_context(custody.turn(journal, before))
            custody.take_over(journal, before, request.plan, request.place, setup.environ)
            setup.engine.pinned = custody.images(journal.results(before.id))
        execution, record = _first_row(setup, journal, pin, target)
    backstage = Backstage(
        journal=journal,
        execution=execution.unique_id,
        read_git=setup.git_reader(pin),
        target=target,
        connect=setup.connect,
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
    taken = journal.ids()
    while True:
        execution = setup.identify(taken)
        header = setup.header(execution, pin, target)
        labels, logs = setup.labels(pin), setup.settings.logs
        record = recorder.Recorder(
            journal, header, request.plan, labels, logs=logs, relay=setup.relay()
        )
        change = msgspec.structs.replace(record.first(), results=tuple(request.results.values()))
        try:
            journal.begin(header, change, request.claim, alone=request.before is not None)
        except errors.TakenError:
            if execution.unique_id in taken:
                raise
            taken.add(execution.unique_id)
        else:
            return execution, record


def _carry_out(setup: Setup) -> tuple[int, str]:
    """The program, as a list; the exit code and the id of the execution."""
    request, begun = setup.request, begin(setup)
    journal, execution, backstage = begun.journal, begun.execution, begun.backstage
    console = setup.screen(execution, begun.pin, journal)
    engine = Engine(
        request.plan,
        setup.surroundings(execution, begun.runs, console),
        (begun.record, *_keepers(setup, begun), console, setup.voice, backstage),
        parallel=setup.parallel(),
        fail_fast=request.options.fail_fast,
    )

    setup.engine.sweep(journal, setup.voice.warn)

    def stop(number: int) -> None:
        setup.voice.stopping()
        engine.cancel(number)

    with setup.voice.shown(), signals(stop):
        finished = engine.carry_out()
        patience = SHORT if finished.signal else None
        if not give_back(request.place.workspace, execution.start, within=patience):
            setup.voice.warn("not every file in the workspace was given to its owner")
        delivered = backstage.end(interrupted=bool(finished.signal))
        setup.leave()
        setup.engine.settle(interrupted=bool(finished.signal))
    code = _code(finished, journal, setup.voice)
    lost, relayed = engine.observer_errors, bool(setup.outer)
    setup.voice.end(
        journal, execution, begun.target, delivered, lost, relayed=relayed, state=setup.where
    )
    journal.close()
    return code, execution.unique_id


def _keepers(setup: Setup, begun: Begun) -> tuple[Observer, ...]:
    """Who archives what jobs keep, and who seals what there is, if any does."""
    request = setup.request
    keeps = any(job.job.keep for job in request.plan.jobs)
    signs = setup.environ.get("SIGNALBOX_STATE_KEY")
    if not keeps and not signs:
        return ()
    from runner.cli import custody

    scope = custody.scope_of(request.place, os.path.dirname(os.path.dirname(begun.runs)))
    execution, warn = begun.execution, setup.voice.warn
    keeper = (custody.Keeper(request.plan, execution, begun.runs, scope, warn),) if keeps else ()
    sealed = (begun.journal, execution.unique_id, setup.environ, warn)
    return (*keeper, custody.Sealer(*sealed)) if signs else keeper


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


@contextlib.contextmanager
def signals(cancel: Callable[[int], None]) -> Iterator[None]:
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
