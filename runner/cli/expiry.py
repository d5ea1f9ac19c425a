"""Gates whose time is up: what waited for an answer ends canceled, by the next command that writes.

Owns that one execution: it goes on from the blocked one, runs nothing and is told once, however
many commands find it (``Journal.begin`` with its claim). Where it goes and what it is tagged with
is the blocked execution's.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping

import msgspec

from runner import event, execution, manifest, plan
from runner.cli import custody, origin
from runner.cli import settings as environment
from runner.cli.identity import owner
from runner.errors import RefusedError, SignalboxError
from runner.event import PipelineEvent
from runner.execution import Execution
from runner.journal import Change, Claim, Header, Journal, Stored
from runner.notice import Answer, ExecutionFinished, JobSkipped, Outcome
from runner.plan import Decision, Plan, PlannedJob
from runner.recorder import Labels, Recorder, answered
from runner.redact import Masker


def settle(journal: Journal, environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
    """End every blocked execution with an unanswered gate that has expired."""
    now = execution.clock()()
    for stored in journal.waiting():
        late = tuple(
            Answer(gate=gate.gate, approved=False, who="", at=gate.expires, expired=True)
            for gate in stored.gates
            if gate.expires is not None and now > gate.expires
        )
        if not late or journal.degraded:
            continue
        try:
            ended = _end(journal, stored, late, now, environ)
        except RefusedError:  # another process was first, or nobody believes this state
            continue
        except SignalboxError as error:
            warn(f"{stored.id[:8]} has expired and cannot be ended: {error.message}")
        else:
            custody.close(journal, ended, environ, warn)
            gates = ", ".join(answer.gate for answer in late)
            warn(f"nobody answered {gates} of {stored.id[:8]} in time: it is canceled")


def _end(
    journal: Journal,
    stored: Stored,
    late: tuple[Answer, ...],
    now: int,
    environ: Mapping[str, str],
) -> str:
    """One commit: the answers that never came, and the execution that says so. Its id."""
    custody.believe(journal, stored, environ)
    pipeline = manifest.load(stored.header.source, stored.header.file)
    history = origin.history(journal, stored)
    made = plan.make(
        pipeline,
        given=stored.header.parameters,
        selection=stored.header.selection,
        history=msgspec.structs.replace(
            history, answers={**history.answers, **{answer.gate: answer for answer in late}}
        ),
    )
    header = _header(stored, made, now)
    labels = _labels(journal, stored, late)
    masker = Masker(environment.secrets(environ, pipeline.secrets).values())
    sheet = _Sheet()
    Recorder(sheet, header, made, labels).observe(
        (
            *(_skipped(job, now, masker) for job in made.jobs if job.decision is Decision.CUT),
            ExecutionFinished(at=now, outcome=Outcome.CANCELED),
        )
    )
    results = (*history.results.values(), *sheet.change.results)
    change = msgspec.structs.replace(sheet.change, results=results)
    journal.begin(header, change, Claim(blocked=stored.id, answers=late))
    if stored.git_settled:
        journal.freeze_git(header.execution.unique_id, stored.git)
    return header.execution.unique_id


class _Sheet:
    """What the recorder writes on, so that all of it begins in one commit."""

    change = Change()

    def append(self, execution: str, change: Change) -> None:
        """Keep it."""
        del execution
        self.change = change


def _header(stored: Stored, made: Plan, now: int) -> Header:
    before = stored.header.execution
    lineage = Execution(
        unique_id=str(uuid.uuid4()),
        pipeline_id=before.pipeline_id,
        pipeline=before.pipeline,
        start=now,
        url=before.url,
        parent=before.parent,
        resumed_from=before.unique_id,
    )
    return msgspec.structs.replace(
        stored.header,
        execution=lineage,
        owner=owner(),
        root=stored.header.root or stored.id,
        answers=tuple(gate.answer for gate in made.gates if gate.answer),
    )


def _labels(journal: Journal, stored: Stored, late: Iterable[Answer]) -> Labels:
    rows = journal.events(stored.id)
    ends = (event.decode(row.body) for row in rows if row.level == "pipeline" and row.final)
    blocked = next((end for end in ends if isinstance(end, PipelineEvent)), None)
    told = dict(tag.split(":", 1) for tag in (blocked.tags if blocked else ()))
    tags = {key: value for key, value in told.items() if not key.startswith("gate.")}
    tags["resumed_from"] = stored.id
    for answer in late:
        tags |= answered(answer)
    return Labels(node=blocked.node if blocked else None, pipeline_tags=tags)


def _skipped(job: PlannedJob, now: int, masker: Masker) -> JobSkipped:
    return JobSkipped(
        job=job.key,
        name=masker.text(job.name),
        at=now,
        outcome=Outcome.SKIPPED,
        why="a gate that it stands behind has expired",
    )
