"""A past execution, read from the journal for commands that only look.

Owns turning what the journal has into what reports are made from. Changes nothing on disk.
"""

import os
from collections.abc import Mapping

import msgspec

from runner import event, report
from runner.cli import places, settings
from runner.commit import Pin
from runner.errors import UsageError
from runner.execution import MILLISECOND, clock, rfc3339
from runner.intake import target
from runner.journal import GateWaiting, Journal, State, Stored, Tally
from runner.notice import Outcome
from runner.report.table import Listed


def open_journal(state: str | None, environ: Mapping[str, str]) -> Journal:
    """The journal, to look at; raises ``UsageError`` when there is none."""
    where = places.state(state, environ)
    see(where)
    return Journal.read(where)


def see(state: str) -> None:
    """Raise ``UsageError`` when there is no journal: who goes on from something makes none."""
    if not places.is_there(os.path.join(state, "journal.db")):
        raise UsageError(f"no executions: there is no {state}", "signalbox run makes the first")


def tell(journal: Journal, stored: Stored, environ: Mapping[str, str]) -> report.Told:
    """One execution, whole."""
    git = msgspec.json.decode(stored.git, type=event.Git) if stored.git else None
    left = [r for r in journal.results(stored.id).values() if r.outcome is Outcome.NOT_STARTED]
    beside = report.Beside(
        git=git,
        envelope=msgspec.json.decode(stored.header.envelope, type=event.Envelope),
        chain=_chain(journal, stored),
        not_started=tuple(report.NotStarted(name=result.job, why=result.why) for result in left),
        questions=() if stored.answered_by else tuple(map(_question, stored.gates)),
        delivery=_delivery(journal.tally(execution=stored.id, binding=binding(environ))),
        now=0 if stored.ended_at else clock()(),
    )
    rows = journal.events(stored.id)
    told = (row for row in rows if row.final or row.state is not State.SUPERSEDED)
    return report.tell((event.decode(row.body) for row in told), beside)


def _chain(journal: Journal, stored: Stored) -> tuple[report.Kin, ...]:
    """The execution and those it belongs with, the first begun first."""
    root = stored.header.root or stored.id
    kin = [one for one in journal.stored() if root in {one.id, one.header.root}]
    return tuple(_kin(journal, one) for one in reversed(kin))


def _kin(journal: Journal, stored: Stored) -> report.Kin:
    execution = stored.header.execution
    ended = stored.ended_at
    return report.Kin(
        id=stored.id,
        status=stored.status or event.Status.RUNNING,
        start=rfc3339(execution.start),
        duration_ms=None if ended is None else (ended - execution.start) // MILLISECOND,
        resumed_from=execution.resumed_from,
        retries=execution.previous.id if execution.previous else "",
        answers=tuple(
            report.Answered(
                gate=answer.gate,
                approved=answer.approved,
                expired=answer.expired,
                who=answer.who,
                reason=answer.reason,
                at=rfc3339(answer.at),
            )
            for answer in journal.answers(stored.id).values()
        ),
    )


def summaries(journal: Journal, stored: Stored) -> list[str]:
    """The Markdown that steps gave, job by job."""
    results = journal.results(stored.id).values()
    return [result.summary for result in results if result.summary]


def binding(environ: Mapping[str, str]) -> str:
    """The site and key of this environment, as executions remember them; empty: none, or wrong."""
    try:
        found = settings.read(environ)
        to = target(
            site=found.site,
            key=found.key,
            intake_url=found.intake_url,
            token=found.token,
            warn=lambda _: None,
        )
    except UsageError:
        return ""
    return to.binding if to else ""


def _question(gate: GateWaiting) -> report.Question:
    return report.Question(
        gate=gate.gate,
        question=gate.question,
        approvers=gate.approvers,
        expires=rfc3339(gate.expires) if gate.expires else "",
    )


def _delivery(tally: Tally) -> report.Delivery:
    return report.Delivery(
        delivered=tally.delivered,
        waiting=tally.waiting,
        refused=tally.refused,
        expired=tally.expired,
        held=tally.held,
        local=tally.local,
    )


def pin_of(stored: Stored) -> Pin | None:
    """The commit that was checked out."""
    pin = stored.header.pin
    return msgspec.json.decode(pin, type=Pin | None) if pin else None


def listed(journal: Journal, stored: Stored, environ: Mapping[str, str]) -> Listed:
    """One line of the list."""
    execution = stored.header.execution
    git = msgspec.json.decode(stored.git, type=event.Git) if stored.git else None
    pin = pin_of(stored)  # what HEAD was, also where the events must leave git out
    took = (stored.ended_at - execution.start) // MILLISECOND if stored.ended_at else None
    return Listed(
        id=stored.id,
        name=execution.pipeline,
        status=stored.status or event.Status.RUNNING,
        start=execution.start,
        duration_ms=took,
        branch=(git.branch or git.tag or "") if git else pin.branch if pin else "",
        answered_by=stored.answered_by,
        delivery=_delivery(journal.tally(execution=stored.id, binding=binding(environ))),
    )
