"""Pipeline + History + answers -> Plan: what to run, what is done, what waits, and why not.

Owns the choice of jobs, the legs of a matrix, the values of parameters, what stands behind a gate
and what a retry runs again. Pure: no clock, no disk; conditions that hang on how a job ends are the
engine's. Rules: interface, section 2 "Meaning" and section 6 "Gates".
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from runner import scope
from runner.errors import UsageError
from runner.notice import Answer, History, Result
from runner.pipeline import Gate, Job, Parameter, Pipeline
from runner.plan.choice import Chosen, Selection, fill, legs, listed, topological
from runner.plan.retry import Again, kept

__all__ = [
    "Again",
    "Decision",
    "Plan",
    "PlannedGate",
    "PlannedJob",
    "Selection",
    "fill",
    "make",
    "outputs",
    "parameters",
    "question",
    "variables",
]


class Decision(Enum):
    """What this execution does with a job or a gate."""

    RUN = "run"
    DONE = "done"
    """An earlier execution of the chain has done it: a job ended, well unless a retry leaves it as
    it is; a gate was approved.
    """
    WAIT = "wait"
    """A gate that nobody answered, or a job behind one: it belongs to the next execution."""
    CUT = "cut"
    """A gate that was rejected or has expired, or a job behind one."""


class PlannedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job, one leg of a matrix. ``key`` is its name in every later execution too."""

    key: str
    name: str
    template: str = ""
    """What it becomes when the outputs are known that it holds; empty: it holds none."""
    job: Job
    leg: Mapping[str, str] = {}
    needs: tuple[str, ...] = ()
    """Keys of jobs and gates in this plan."""
    upstream: tuple[str, ...] = ()
    """Keys of the jobs it needs, edges through gates joined: whose outputs it sees."""
    decision: Decision
    result: Result | None = None
    """What an earlier execution left, when DONE."""


class PlannedGate(msgspec.Struct, frozen=True, kw_only=True):
    """One gate, its question with the values filled in if they are known before anything ran."""

    key: str
    gate: Gate
    question: str
    needs: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    """As of a job: whose outputs its question sees."""
    decision: Decision
    answer: Answer | None = None
    asked: int = 0
    """When an earlier execution of the chain reached it first; 0: none did."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one execution does. Jobs and gates in the order of the file."""

    pipeline: Pipeline
    parameters: Mapping[str, str] = {}
    jobs: tuple[PlannedJob, ...]
    gates: tuple[PlannedGate, ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of the jobs that this execution runs or cuts off, in order."""
        told = (job for job in self.jobs if job.decision in {Decision.RUN, Decision.CUT})
        return tuple(dict.fromkeys(job.job.stage for job in told if job.job.stage))

    @property
    def broken(self) -> bool:
        """Whether a job that did not end well stays as it is: such an execution is no success."""
        return any(
            job.decision is Decision.DONE and not (job.result and job.result.well)
            for job in self.jobs
        )

    @property
    def fields(self) -> Mapping[str, str]:
        """What people filled in at the gates: variables of every job."""
        return scope.merge(gate.answer.fields for gate in self.gates if gate.answer)


def parameters(
    declared: Mapping[str, Parameter],
    given: Mapping[str, str],
    *,
    noun: str = "parameter",
    option: str = "-p",
) -> dict[str, str]:
    """The value of every parameter; raises ``UsageError`` with all that is wrong with ``given``.

    Fields of a gate are parameters by another ``noun``, given with another ``option``.
    """
    wrong = [f"unknown {noun} {name}" for name in given if name not in declared]
    values: dict[str, str] = {}
    for name, parameter in declared.items():
        value = given.get(name, parameter.default)
        if value is None:
            wrong.append(f"{noun} {name} has no default and was not given")
        elif expected := parameter.refusal(value):
            wrong.append(f"{noun} {name}: {value!r} is not {expected}")
        else:
            values[name] = value
    if wrong:
        known = f"declared: {listed(declared)}" if declared else "none is declared"
        raise UsageError("\n".join(wrong), f"give values with {option} NAME=VALUE; {known}")
    return values


def make(
    pipeline: Pipeline,
    *,
    given: Mapping[str, str] | None = None,
    selection: Selection | None = None,
    history: History | None = None,
    again: Again | None = None,
) -> Plan:
    """The plan of one execution; raises ``UsageError`` for wrong parameters or unknown jobs.

    ``again`` is for a retry: what of the ``history`` it runs once more.
    """
    values = parameters(pipeline.parameters, given or {})
    chosen = Chosen(pipeline, legs(pipeline, values), selection or Selection())
    known = history or History()
    plan = _decide(pipeline, values, chosen, kept(chosen, known, again) if again else known)
    _miss_withheld(plan)
    return plan


def variables(pipeline: Pipeline, values: Mapping[str, str], planned: PlannedJob) -> dict[str, str]:
    """What is known of a job's variables before anything ran."""
    return scope.merge((pipeline.env, values, planned.job.env, planned.leg))


def question(plan: Plan, planned: PlannedGate, results: Mapping[str, Mapping[str, str]]) -> str:
    """What a gate asks when it is reached."""
    seen, _ = outputs(planned, results)
    known = (plan.pipeline.env, plan.parameters, plan.fields, seen)
    return fill(planned.gate.question, scope.merge(known))


def outputs(
    planned: PlannedJob | PlannedGate, results: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The outputs a job sees, and the names on which legs of one matrix do not agree.

    Of two needed jobs the later in ``needs`` wins, of matrix legs the later (interface, section 3).
    """
    seen: dict[str, str] = {}
    giver: dict[str, str] = {}
    differ: dict[str, None] = {}
    for key in planned.upstream:
        job = key.partition(" (")[0]  # legs of one matrix: a job's own key holds no parenthesis
        for name, value in results.get(key, {}).items():
            if giver.get(name) == job and seen[name] != value:
                differ[name] = None
            seen[name], giver[name] = value, job
    return seen, tuple(differ)


def _decide(
    pipeline: Pipeline, values: Mapping[str, str], chosen: Chosen, history: History
) -> Plan:
    gates = {gate.key: (gate, needs) for gate, needs in chosen.gates}
    needs = chosen.needs
    decisions = _Decisions(needs, gates, history)
    known = scope.merge((pipeline.env, values))
    return Plan(
        pipeline=pipeline,
        parameters=values,
        jobs=tuple(
            PlannedJob(
                key=leg.key,
                name=leg.name,
                template=leg.template,
                job=leg.job,
                leg=leg.leg,
                needs=above,
                upstream=_joined(above, needs, gates),
                decision=decisions.of(leg.key),
                result=_kept(leg.key, history),
            )
            for leg, above in chosen.jobs
        ),
        gates=tuple(
            PlannedGate(
                key=key,
                gate=gate,
                question=fill(gate.question, known),
                needs=above,
                upstream=_joined(above, needs, gates),
                decision=decisions.of(key),
                answer=history.answers.get(key),
                asked=history.asked.get(key, 0),
            )
            for key, (gate, above) in gates.items()
        ),
    )


class _Decisions:
    """Decides each node once, what it needs first; recursion is as deep as the needs are."""

    def __init__(
        self,
        needs: Mapping[str, tuple[str, ...]],
        gates: Mapping[str, tuple[Gate, tuple[str, ...]]],
        history: History,
    ) -> None:
        self._needs, self._gates, self._history = needs, gates, history
        self._made: dict[str, Decision] = {}
        for key in topological(needs):
            self._made[key] = self._decide(key)

    def of(self, key: str) -> Decision:
        return self._made[key]

    def _decide(self, key: str) -> Decision:
        if key not in self._gates and _kept(key, self._history):
            return Decision.DONE
        above = [self._made[need] for need in self._needs[key]]
        answer = self._history.answers.get(key) if key in self._gates else None
        if Decision.CUT in above or (answer and not answer.approved):
            return Decision.CUT
        if Decision.WAIT in above or (key in self._gates and not answer):
            return Decision.WAIT
        return Decision.DONE if answer else Decision.RUN


def _miss_withheld(plan: Plan) -> None:
    """A value that held a secret is in no file, so after a resume nobody has it any more."""
    results = {job.key: job.result for job in plan.jobs if job.result}
    for job in plan.jobs:
        if job.decision is not Decision.RUN:
            continue
        text = "\n".join(step.run for step in job.job.steps)
        for key in job.upstream:
            left = results[key].withheld if key in results else ()
            for name in left:
                if re.search(rf"\b{name}\b", text):
                    raise UsageError(
                        f"{job.key} uses {name}, an output of {key} that held a secret: "
                        "it was kept in memory only and is gone",
                        f"run {key} again, or pass the value as a secret of its own",
                    )


def _joined(
    above: Iterable[str],
    needs: Mapping[str, tuple[str, ...]],
    gates: Mapping[str, tuple[Gate, tuple[str, ...]]],
) -> tuple[str, ...]:
    jobs: dict[str, None] = {}
    for key in above:
        found = _joined(needs[key], needs, gates) if key in gates else (key,)
        for job in found:
            jobs.pop(job, None)
            jobs[job] = None
    return tuple(jobs)


def _kept(key: str, history: History) -> Result | None:
    result = history.results.get(key)
    return result if result and (result.well or key in history.left) else None
