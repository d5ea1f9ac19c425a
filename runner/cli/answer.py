"""A person's answer to a gate, checked against the blocked execution it is for.

Owns every refusal of a resume: what is said is the state of the run, and nothing changes. The
answer itself counts when the new execution begins (``Journal.begin`` with its claim): of many at
once exactly one.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from runner import execution, plan, providers
from runner.cli import identity, launch, origin, past, places
from runner.cli import settings as environment
from runner.cli.voice import last_words
from runner.errors import RefusedError, UsageError
from runner.event import Status
from runner.execution import rfc3339
from runner.journal import Claim, Journal, Stored
from runner.notice import Answer, GateWaiting
from runner.redact import Masker


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
    past.see(state)
    warnings: list[str] = []
    with last_words(warnings):
        journal = launch.open_journal(state, os.path.dirname(state), warnings.append, environ)
        try:
            stored = origin.here(journal.find(run), state)
            gates = _open_gates(journal, stored)
            history = origin.history(journal, stored)
        finally:
            journal.close()
        answers = _answers(stored, said, gates, environ)
        declared = origin.declared(stored, environ, accept_changed=accept_changed)
        known = {**history.answers, **{answer.gate: answer for answer in answers}}
        made = plan.make(
            declared.pipeline,
            given=declared.given(stored),
            selection=stored.header.selection,
            history=msgspec.structs.replace(history, answers=known),
        )
    return launch.Request(
        place=declared.place,
        text=declared.text,
        given=stored.header.parameters,
        selection=stored.header.selection,
        plan=made,
        options=msgspec.structs.replace(options, state=state),
        blocked=stored,
        claim=Claim(blocked=stored.id, answers=answers),
        results=history.results,
        warnings=tuple(warnings),
    )


def who(environ: Mapping[str, str]) -> str:
    """Whoever answers here."""
    return identity.actor(providers.detect(environ, providers.read_file).host)


def refusal(gate: GateWaiting, stored: Stored, person: str) -> RefusedError | None:
    """Why ``person`` may not answer ``gate``; None: they may."""
    if gate.approvers and person not in gate.approvers:
        may = f"approvers: {', '.join(gate.approvers)}"
        return RefusedError(f"{person} may not answer {gate.gate}", may)
    header = stored.header
    if gate.not_initiator and person in {header.actor, *header.retriers}:
        did = "started" if person == header.actor else "retried"
        return RefusedError(
            f"{person} {did} {(header.root or stored.id)[:8]} and so may not answer {gate.gate}",
            "neither who started it nor who retried it may: somebody else must",
        )
    return None


def _form(said: Said) -> None:
    if not said.approved and not said.rejected:
        raise UsageError("nothing is answered", "say --approve GATE or --reject GATE")
    both = set(said.approved) & set(said.rejected)
    if both:
        names = ", ".join(sorted(both))
        raise UsageError(f"{names} is both approved and rejected", "say one of the two")


def _open_gates(journal: Journal, stored: Stored) -> dict[str, GateWaiting]:
    """The gates that wait; raises when the run is in another state."""
    short = stored.id[:8]
    _see_in_time((*stored.header.answers, *journal.answers(stored.id).values()), stored)
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
    journal.see_alone(stored, identity.owner())
    return {gate.gate: gate for gate in stored.gates}


def _see_in_time(answers: Iterable[Answer], stored: Stored) -> None:
    for answer in answers:
        if answer.expired:
            raise _late(answer.gate, answer.at, stored)


def _late(gate: str, at: int, stored: Stored) -> RefusedError:
    return RefusedError(
        f"gate {gate} of {stored.id[:8]} expired at {rfc3339(at)}",
        "signalbox retry asks it again",
    )


def _answers(
    stored: Stored, said: Said, gates: Mapping[str, GateWaiting], environ: Mapping[str, str]
) -> tuple[Answer, ...]:
    at, person = execution.clock()(), who(environ)
    named = {**dict.fromkeys(said.approved, True), **dict.fromkeys(said.rejected, False)}
    unknown = [name for name in named if name not in gates]
    if unknown:
        raise RefusedError(
            f"no gate {', '.join(unknown)} waits in {stored.id[:8]}",
            f"these do: {', '.join(gates)}",
        )
    for name in named:
        _see_allowed(gates[name], stored, person, at)
    fields = _fields([gates[name] for name in said.approved], said.fields)
    masker = Masker(environment.secrets(environ, ()).values())
    return tuple(
        Answer(
            gate=name,
            approved=approved,
            who=person,
            at=at,
            reason=masker.text(said.reason),
            fields={key: fields[key] for key in gates[name].fields} if approved else {},
        )
        for name, approved in named.items()
    )


def _fields(gates: Sequence[GateWaiting], given: Mapping[str, str]) -> dict[str, str]:
    """One value of each name, for it becomes one variable; every gate that asks for it agrees."""
    declared = {name: field for gate in gates for name, field in gate.fields.items()}
    values = plan.parameters(declared, given, noun="field", option="--field")
    for gate in gates:
        mine = {name: values[name] for name in gate.fields}
        plan.parameters(gate.fields, mine, noun=f"{gate.gate}'s field", option="--field")
    return values


def _see_allowed(gate: GateWaiting, stored: Stored, person: str, at: int) -> None:
    if gate.expires is not None and at > gate.expires:
        raise _late(gate.gate, gate.expires, stored)
    refused = refusal(gate, stored, person)
    if refused:
        raise refused
