"""What would happen: a plan as text or JSON, and a run that runs nothing.

Owns ``plan``'s and ``--dry-run``'s words. The dry run is the real engine and the real recorder with
an executor that does nothing, so its bytes are those of a run in which every step succeeds at once.
"""

import os
from collections.abc import Mapping

import click
import msgspec

from runner import commit, event, recorder
from runner.cli.request import Request
from runner.cli.setup import Setup
from runner.engine import Engine
from runner.executors import Command, Place, Sink, Stop
from runner.journal import Change
from runner.notice import Exit, Image
from runner.pipeline import Job
from runner.plan import Decision, Plan, PlannedGate, PlannedJob, fill, variables
from runner.timing import spoken


def show(request: Request, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Print what a run would do, or every byte it would send."""
    if as_json:
        click.echo(_rehearse(Setup(request, environ)))
    else:
        click.echo(as_text(request.plan))
    return 0


# ── the dry run ──────────────────────────────────────────────────────────────────────────────────


def _rehearse(setup: Setup) -> bytes:
    """The request body of a run in which every step succeeds at once; nothing runs."""
    pin = commit.pin(setup.request.place.directory, setup.environ)
    execution = setup.identify(())
    header = setup.header(execution, pin, None)
    paper = _Paper()
    record = recorder.Recorder(paper, header, setup.request.plan, setup.labels(pin))
    paper.append(execution.unique_id, record.first())
    console = setup.console(execution, pin)
    around = msgspec.structs.replace(
        setup.surroundings(execution, os.devnull, console), executor=_Idle()
    )
    Engine(setup.request.plan, around, (record,), parallel=1).carry_out()
    git = setup.git_reader(pin)()
    setup.voice.release()
    events = (event.join(header.envelope, git, body) for body in paper.bodies)
    return b'{"data":[%b]}' % b",".join(events)


class _Paper:
    """What a rehearsal writes on instead of a journal."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def append(self, execution: str, change: Change) -> None:
        del execution
        self.bodies += [row.body for row in change.rows]


class _Idle:
    """An executor and a place in which every step is done before it began."""

    image: Image | None = None

    def open(self, place: Place, stop: Stop) -> "_Idle":
        del place, stop
        return self

    def run(self, command: Command, sink: Sink, stop: Stop) -> Exit:
        del command, sink, stop
        return Exit(code=0)

    def close(self) -> None:
        """Nothing was opened."""


# ── words ───────────────────────────────────────────────────────────────────────────────────────


def as_json(plan: Plan, way: str = "") -> bytes:
    """Jobs in the order in which they can start, gates among them. ``way``: how the workspace gets
    into containers.
    """
    rows = [_row(plan, node, way) for node in order(plan)]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2)


def as_text(plan: Plan, way: str = "") -> str:
    """One line a job: number, name, stage, what it waits for, why it would not run."""
    nodes = order(plan)
    width = max((len(_name(node)) for node in nodes), default=0)
    lines = [f"{plan.pipeline.name}"]
    lines += [f"{n:>3}  {_name(node):<{width}}  {_said(node)}" for n, node in enumerate(nodes, 1)]
    for name, value in plan.parameters.items():
        lines.append(f"     {name}={value}")
    if way:
        lines.append(f"     workspace in containers: {way}")
    return "\n".join(lines)


def order(plan: Plan) -> list[PlannedJob | PlannedGate]:
    """Jobs and gates, each after what it needs, else as in the file."""
    nodes: list[PlannedJob | PlannedGate] = [*plan.jobs, *plan.gates]
    rest = {node.key: node for node in nodes}
    placed: dict[str, PlannedJob | PlannedGate] = {}
    while rest:
        ready = [node for node in rest.values() if all(need in placed for need in node.needs)]
        for node in ready:
            placed[node.key] = rest.pop(node.key)
    return list(placed.values())


def _name(node: PlannedJob | PlannedGate) -> str:
    return node.name if isinstance(node, PlannedJob) else node.key


def _said(node: PlannedJob | PlannedGate) -> str:
    if isinstance(node, PlannedGate):
        return f"gate: {node.question}{_after(node)}"
    job = node.job
    steps = f"{len(job.steps)} step{'s' * (len(job.steps) != 1)}"
    facts = [job.stage, steps, *_place(job), _if(node)]
    facts.append("behind a gate" if node.decision is Decision.WAIT else "")
    limit = f"limit {spoken(int(job.timeout * 1e9))}"
    return ", ".join(filter(None, [*facts, limit])) + _after(node)


def _place(job: Job) -> list[str]:
    if not job.image:
        return []
    services = f"beside {', '.join(job.services)}" if job.services else ""
    return [f"image {job.image}", f"pull {job.pull}" if job.pull else "", services]


def _if(node: PlannedJob) -> str:
    condition = node.job.condition.value
    return "" if condition == "success" else f"if {condition}"


def _after(node: PlannedJob | PlannedGate) -> str:
    return f" (after {', '.join(node.needs)})" if node.needs else ""


class _Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One element of ``plan --json``."""

    key: str
    kind: str
    name: str
    decision: str
    needs: tuple[str, ...] = ()
    stage: str = ""
    image: str = ""
    pull: str = ""
    workspace: str = ""
    """How its container gets the workspace, and why."""
    condition: str = "success"
    matrix: Mapping[str, str] = {}
    steps: tuple[str, ...] = ()


def _row(plan: Plan, node: PlannedJob | PlannedGate, way: str) -> _Row:
    decision = node.decision.value
    if isinstance(node, PlannedGate):
        return _Row(
            key=node.key, kind="gate", name=node.question, decision=decision, needs=node.needs
        )
    known = variables(plan.pipeline, plan.parameters, node)
    return _Row(
        key=node.key,
        kind="job",
        name=node.name,
        decision=decision,
        needs=node.needs,
        stage=node.job.stage,
        image=node.job.image,
        pull=node.job.pull,
        workspace=way if node.job.image else "",
        condition=node.job.condition.value,
        matrix=node.leg,
        steps=tuple(fill(step.name, {**known, **step.env}) for step in node.job.steps),
    )
