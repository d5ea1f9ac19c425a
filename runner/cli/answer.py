"""A person's answer to a gate, checked against the blocked execution it is for.

Owns every refusal of a resume: what is said is the state of the run, and nothing changes. The
answer itself counts when the new execution begins (``Journal.begin`` with its claim): of many at
once exactly one.
"""

import getpass
import hashlib
import os
from collections.abc import Mapping

import msgspec

from runner import commit, execution, manifest, plan, providers
from runner.cli import launch, places
from runner.commit import Pin
from runner.errors import RefusedError, UsageError
from runner.event import Status
from runner.execution import rfc3339
from runner.journal import Claim, GateWaiting, Journal, Stored
from runner.notice import Answer, History
from runner.pipeline import Pipeline


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said on the command line."""

    approved: tuple[str, ...]
    rejected: tuple[str, ...]
    reason: str = ""
    fields: Mapping[str, str] = {}


def request(
    run: str,
    said: Said,
    options: launch.Options,
    environ: Mapping[str, str],
    *,
    accept_changed: bool,
) -> launch.Request:
    """The execution that goes on; raises ``RefusedError`` when the run is not in a state for it."""
    _form(said)
    state = places.state(options.state, environ)
    warnings: list[str] = []
    journal = launch.open_journal(state, os.path.dirname(state), warnings.append)
    try:
        stored = journal.find(run)
        gates = _open_gates(stored)
        history = _history(journal, stored)
    finally:
        journal.close()
    answers = _answers(stored, said, gates, environ)
    place = places.Place(file=stored.header.file, workspace=stored.header.workspace)
    text = stored.header.source
    if accept_changed:
        text, pipeline = places.read(place)
    else:
        pipeline = _unchanged(place, stored, environ)
    known = {**history.answers, **{answer.gate: answer for answer in answers}}
    given, selection = stored.header.parameters, stored.header.selection
    return launch.Request(
        place=place,
        text=text,
        given=given,
        selection=selection,
        plan=plan.make(
            pipeline,
            given={name: value for name, value in given.items() if name in pipeline.parameters},
            selection=selection,
            history=msgspec.structs.replace(history, answers=known),
        ),
        options=msgspec.structs.replace(options, state=state),
        blocked=stored,
        claim=Claim(blocked=stored.id, answers=answers),
        results=history.results,
    )


def _form(said: Said) -> None:
    if not said.approved and not said.rejected:
        raise UsageError("nothing is answered", "say --approve GATE or --reject GATE")
    both = set(said.approved) & set(said.rejected)
    if both:
        raise UsageError(f"{', '.join(sorted(both))} is both approved and rejected")


def _open_gates(stored: Stored) -> dict[str, GateWaiting]:
    """The gates that wait; raises when the run is in another state."""
    short = stored.id[:8]
    if stored.answered_by:
        raise RefusedError(
            f"{short} was answered already: execution {stored.answered_by[:8]} goes on from it",
            f"signalbox show {stored.answered_by[:8]}",
        )
    if stored.status is None:
        raise RefusedError(f"{short} is still running", "wait until it is blocked")
    if stored.status is not Status.BLOCKED:
        raise RefusedError(
            f"{short} is not blocked: it ended with {stored.status.value}",
            "signalbox list shows which executions wait for an answer",
        )
    return {gate.gate: gate for gate in stored.gates}


def _answers(
    stored: Stored, said: Said, gates: Mapping[str, GateWaiting], environ: Mapping[str, str]
) -> tuple[Answer, ...]:
    at, who = execution.clock()(), _who(environ)
    named = {**dict.fromkeys(said.approved, True), **dict.fromkeys(said.rejected, False)}
    unknown = [name for name in named if name not in gates]
    if unknown:
        raise RefusedError(
            f"no gate {', '.join(unknown)} waits in {stored.id[:8]}",
            f"these do: {', '.join(gates)}",
        )
    fields = plan.parameters(
        {name: field for gate in named for name, field in gates[gate].fields.items()}, said.fields
    )
    for name, approved in named.items():
        _allowed(gates[name], who, at, approved=approved)
    return tuple(
        Answer(
            gate=name,
            approved=approved,
            who=who,
            at=at,
            reason=said.reason,
            fields={key: fields[key] for key in gates[name].fields} if approved else {},
        )
        for name, approved in named.items()
    )


def _allowed(gate: GateWaiting, who: str, at: int, *, approved: bool) -> None:
    if gate.expires is not None and at > gate.expires:
        raise RefusedError(
            f"gate {gate.gate} expired at {rfc3339(gate.expires)}", "start a new run"
        )
    if approved and gate.approvers and who not in gate.approvers:
        raise RefusedError(
            f"{who} may not approve {gate.gate}", f"approvers: {', '.join(gate.approvers)}"
        )


def _who(environ: Mapping[str, str]) -> str:
    actor = providers.detect(environ, providers.read_file).host.actor
    if actor:
        return actor
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, in a container
        return f"uid {os.getuid()}"


def _history(journal: Journal, stored: Stored) -> History:
    """Results lie with every execution of a chain; answers with the one they were given to."""
    answers: dict[str, Answer] = {}
    before = stored
    while before.header.execution.resumed_from:
        before = journal.find(before.header.execution.resumed_from)
        answers = {**journal.answers(before.id), **answers}
    return History(results=journal.results(stored.id), answers=answers)


def _unchanged(place: places.Place, stored: Stored, environ: Mapping[str, str]) -> Pipeline:
    try:
        with open(place.file, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        digest = ""
    if digest != stored.header.digest:
        raise RefusedError(
            f"{place.file} is not what {stored.id[:8]} was started with",
            "put it back, or say --accept-changed",
        )
    pinned = msgspec.json.decode(stored.header.pin, type=Pin | None)
    now = commit.pin(place.directory, environ)
    if pinned and (now.sha if now else "") != pinned.sha:
        raise RefusedError(
            f"{stored.id[:8]} was started at commit {pinned.sha[:12] or 'none'}, here is "
            f"{(now.sha[:12] if now else '') or 'none'}",
            f"git checkout {pinned.sha[:12]}, or say --accept-changed",
        )
    return manifest.load(stored.header.source, place.file)
