"""Another attempt at an execution: which one, whether it may be, what of it is carried over.

Owns every refusal of a retry: what is said is the state of the run, and nothing changes. Which jobs
run again is ``plan.retry``'s.
"""

import os
from collections.abc import Mapping
from typing import Final

import msgspec

from runner import event, plan
from runner.cli import launch, origin, past, places
from runner.cli.identity import owner
from runner.cli.request import Options, Request
from runner.cli.voice import last_words
from runner.engine.graph import Graph, Ready
from runner.errors import RefusedError
from runner.event import Status
from runner.journal import Journal, Stored
from runner.plan import Again, Decision, Plan

_NAMED: Final = 10
"""Jobs that are named in one line."""


def request(
    run: str,
    again: Again,
    options: Options,
    environ: Mapping[str, str],
    *,
    accept_changed: bool,
) -> Request:
    """The execution that runs again; raises ``RefusedError`` when there is nothing to."""
    state = places.state(options.state, environ)
    past.see(state)
    warnings: list[str] = []
    with last_words(warnings):
        journal = launch.open_journal(state, os.path.dirname(state), warnings.append, environ)
        try:
            stored = origin.here(journal.find(run), state)
            origin.see_pipeline(stored)
            _see_ended(stored, again)
            journal.see_alone(stored, owner())
            warnings += _tried(journal, stored)
            history = origin.history(journal, stored)
            ran = _ran(journal, stored)
        finally:
            journal.close()
        declared = origin.declared(stored, environ, accept_changed=accept_changed)
        made = plan.make(
            declared.pipeline,
            given=declared.given(stored),
            selection=stored.header.selection,
            history=history,
            again=again,
        )
        warnings += _alone(made, stored)
    return Request(
        place=declared.place,
        text=declared.text,
        given=stored.header.parameters,
        selection=stored.header.selection,
        plan=made,
        options=msgspec.structs.replace(options, state=state),
        retried=stored,
        partial=bool(ran - _to_run(made, stored)),
        results={job.key: job.result for job in made.jobs if job.result},
        warnings=tuple(warnings),
    )


def _see_ended(stored: Stored, again: Again) -> None:
    short, status = stored.id[:8], stored.status
    if status is None:
        raise RefusedError(f"{short} is still running", "wait until it has ended")
    if status is Status.BLOCKED and stored.answered_by:
        raise RefusedError(
            f"{short} was answered: execution {stored.answered_by[:8]} goes on from it",
            f"signalbox retry {stored.answered_by[:8]}",
        )
    if status is Status.BLOCKED:
        gates = ", ".join(gate.gate for gate in stored.gates)
        raise RefusedError(
            f"{short} is blocked at {gates}: answer it first",
            f"signalbox resume {short} --approve or --reject",
        )
    good = status in {Status.SUCCESS, Status.SKIPPED}
    if good and not again.jobs and not again.everything:
        raise RefusedError(
            f"nothing failed in {short}: it ended with {status.value}",
            "--from JOB or --all runs it again all the same",
        )


def _tried(journal: Journal, stored: Stored) -> list[str]:
    """What a person may not know: somebody has retried it before, and how that ended."""
    for other in journal.stored():
        before, status = other.header.execution.previous, other.status
        if before and status and before.id == stored.id:
            short = other.id[:8]
            was = f"{stored.id[:8]} was retried already: {short} ended with {status.value}"
            return [f"{was}, and signalbox retry {short} would go on from there"]
    return []


def _alone(made: Plan, stored: Stored) -> list[str]:
    """That jobs which did not end well stay as they are, so that it fails whatever it runs. Raises
    ``RefusedError`` when nothing runs, for nothing stands before them.
    """
    left = [job.key for job in made.jobs if job.result and not job.result.well]
    if not left:
        return []
    names = ", ".join(left[:_NAMED]) + (f" and {len(left) - _NAMED} more" if left[_NAMED:] else "")
    if not any(isinstance(move, Ready) for move in Graph(made).begin()):
        short = stored.id[:8]
        raise RefusedError(
            f"nothing of {short} would run: {names} did not end well, and would not run again",
            f"signalbox retry {short} runs all that did not end well",
        )
    return [f"this retry fails: {names} did not end well, and does not run again"]


def _ran(journal: Journal, stored: Stored) -> set[str]:
    """The ids of the jobs that ran in this very execution."""
    rows = (row for row in journal.events(stored.id) if row.level == "job")
    return {row.id for row in rows if event.decode(row.body).status is not Status.SKIPPED}


def _to_run(made: Plan, stored: Stored) -> set[str]:
    """The ids that the jobs which run again had in it."""
    execution = stored.header.execution
    again = (job.key for job in made.jobs if job.decision is not Decision.DONE)
    return {execution.job_id(key) for key in again}
