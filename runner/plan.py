"""Pipeline + History + answers -> Plan: what to run, what is done, what waits, and why not.

Owns the choice of jobs, the legs of a matrix, the values of parameters and what stands behind a
gate. Pure: no clock, no disk; conditions that hang on how a job ends are the engine's. Rules:
interface, section 2 "Meaning" and section 6 "Gates".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from itertools import product

import msgspec

from runner import scope
from runner.errors import UsageError
from runner.notice import Answer, History, Outcome, Result
from runner.pipeline import Gate, Job, Parameter, Pipeline


class Decision(Enum):
    """What this execution does with a job or a gate."""

    RUN = "run"
    DONE = "done"
    """An earlier execution of the chain has done it: a job ended well, a gate was approved."""
    WAIT = "wait"
    """A gate that nobody answered, or a job behind one: it belongs to the next execution."""
    CUT = "cut"
    """A gate that was rejected, or a job behind one."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a person asked for: ``jobs`` with what they need, ``only`` without. Empty: all."""

    jobs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


class PlannedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job, one leg of a matrix. ``key`` is its name in every later execution too."""

    key: str
    name: str
    """Replaced as far as the values are known before anything ran."""
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
    """One gate, its question with the values filled in as far as they are known."""

    key: str
    gate: Gate
    question: str
    needs: tuple[str, ...] = ()
    decision: Decision
    answer: Answer | None = None


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
    def fields(self) -> Mapping[str, str]:
        """What people filled in at the gates: variables of every job."""
        return scope.merge(gate.answer.fields for gate in self.gates if gate.answer)


def parameters(declared: Mapping[str, Parameter], given: Mapping[str, str]) -> dict[str, str]:
    """The value of every parameter; raises ``UsageError`` with all that is wrong with ``given``."""
    wrong = [f"unknown parameter {name}" for name in given if name not in declared]
    values: dict[str, str] = {}
    for name, parameter in declared.items():
        value = given.get(name, parameter.default)
        if value is None:
            wrong.append(f"parameter {name} has no default and was not given")
        elif parameter.choices and value not in parameter.choices:
            wrong.append(f"parameter {name}: {value!r} is not one of {_list(parameter.choices)}")
        else:
            values[name] = value
    if wrong:
        known = f"declared: {_list(declared)}" if declared else "the pipeline declares none"
        raise UsageError("\n".join(wrong), f"give values with -p NAME=VALUE; {known}")
    return values


def make(
    pipeline: Pipeline,
    *,
    given: Mapping[str, str] | None = None,
    selection: Selection | None = None,
    history: History | None = None,
) -> Plan:
    """The plan of one execution; raises ``UsageError`` for wrong parameters or unknown jobs."""
    values = parameters(pipeline.parameters, given or {})
    legs = _legs(pipeline, values)
    chosen = _Chosen(pipeline, legs, selection or Selection())
    plan = _decide(pipeline, values, chosen, history or History())
    _miss_withheld(plan)
    return plan


def variables(pipeline: Pipeline, values: Mapping[str, str], planned: PlannedJob) -> dict[str, str]:
    """What is known of a job's variables before anything ran."""
    return scope.merge((pipeline.env, values, planned.job.env, planned.leg))


def outputs(
    planned: PlannedJob, results: Mapping[str, Mapping[str, str]]
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


def fill(template: str, values: Mapping[str, str]) -> str:
    """``template`` with what is known; as it stands when an output is still missing."""
    try:
        return scope.replace(template, values)
    except scope.UnknownNameError:
        return template


# ── legs ─────────────────────────────────────────────────────────────────────────────────────────


class _Leg(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    name: str
    job: Job
    leg: Mapping[str, str]


def _legs(pipeline: Pipeline, values: Mapping[str, str]) -> dict[str, tuple[_Leg, ...]]:
    jobs = (node for node in pipeline.jobs if isinstance(node, Job))
    return {job.key: tuple(_legs_of(pipeline, values, job)) for job in jobs}


def _legs_of(pipeline: Pipeline, values: Mapping[str, str], job: Job) -> Iterable[_Leg]:
    known = scope.merge((pipeline.env, values, job.env))
    for combination in product(*job.matrix.values()):
        leg = dict(zip(job.matrix, combination, strict=True))
        suffix = f" ({', '.join(combination)})" if leg else ""
        told = set(leg) <= set(scope.names(job.name))
        name = fill(job.name, {**known, **leg}) + ("" if told else suffix)
        yield _Leg(key=job.key + suffix, name=name, job=job, leg=leg)


# ── selection ────────────────────────────────────────────────────────────────────────────────────


class _Chosen:
    """The jobs and gates of one execution and the edges between them.

    A gate is never dropped: where a selection leaves a job out, what that job needed is needed in
    its place, so that a gate above it still stands before what was chosen.
    """

    def __init__(
        self, pipeline: Pipeline, legs: Mapping[str, tuple[_Leg, ...]], selection: Selection
    ) -> None:
        self._nodes = {node.key: node for node in pipeline.jobs}
        self._legs = legs
        self._keys = self._choose(selection)
        self.gates = tuple(self._gate(node) for node in pipeline.jobs if self._is_gate(node.key))
        chosen = (leg for job in legs.values() for leg in job if leg.key in self._keys)
        self.jobs = tuple((leg, self._needs(leg.job.key)) for leg in chosen)

    def _is_gate(self, key: str) -> bool:
        return isinstance(self._nodes[key], Gate) and key in self._keys

    def _gate(self, node: Job | Gate) -> tuple[Gate, tuple[str, ...]]:
        assert isinstance(node, Gate)  # noqa: S101 - _is_gate has just said so
        return node, self._needs(node.key)

    def _choose(self, selection: Selection) -> set[str]:
        if not selection.jobs and not selection.only:
            every = {leg.key for legs in self._legs.values() for leg in legs}
            return every | {key for key in self._nodes if key not in self._legs}
        keys: set[str] = set()
        for name in selection.only:
            keys |= self._named(name)
            keys |= {up for up in self._above(self._base(name)) if up not in self._legs}
        for name in selection.jobs:
            keys |= self._named(name)
            for up in self._above(self._base(name)):
                keys |= {leg.key for leg in self._legs[up]} if up in self._legs else {up}
        return keys

    def _named(self, name: str) -> set[str]:
        if name in self._legs:
            return {leg.key for leg in self._legs[name]}
        return {name}

    def _base(self, name: str) -> str:
        if name in self._nodes:
            return name
        for key, legs in self._legs.items():
            if any(leg.key == name for leg in legs):
                return key
        names = [leg.key for legs in self._legs.values() for leg in legs]
        raise UsageError(f"no job is called {name!r}", f"jobs: {_list(names)}")

    def _above(self, key: str) -> list[str]:
        found: dict[str, None] = {}
        rest = list(self._nodes[key].needs)
        while rest:
            up = rest.pop()
            if up not in found:
                found[up] = None
                rest += self._nodes[up].needs
        return list(found)

    def _needs(self, key: str) -> tuple[str, ...]:
        keys: dict[str, None] = {}
        for need in self._nodes[key].needs:
            chosen = [k for k in self._expand(need) if k in self._keys]
            keys.update(dict.fromkeys(chosen or self._needs(need)))
        return tuple(keys)

    def _expand(self, need: str) -> list[str]:
        return [leg.key for leg in self._legs[need]] if need in self._legs else [need]


# ── decisions ────────────────────────────────────────────────────────────────────────────────────


def _decide(
    pipeline: Pipeline, values: Mapping[str, str], chosen: _Chosen, history: History
) -> Plan:
    gates = {gate.key: (gate, needs) for gate, needs in chosen.gates}
    needs = {key: entry[1] for key, entry in gates.items()}
    needs |= {leg.key: above for leg, above in chosen.jobs}
    decisions = _Decisions(needs, gates, history)
    known = scope.merge((pipeline.env, values))
    return Plan(
        pipeline=pipeline,
        parameters=values,
        jobs=tuple(
            PlannedJob(
                key=leg.key,
                name=leg.name,
                job=leg.job,
                leg=leg.leg,
                needs=above,
                upstream=_joined(above, needs, gates),
                decision=decisions.of(leg.key),
                result=_well(history.results.get(leg.key)),
            )
            for leg, above in chosen.jobs
        ),
        gates=tuple(
            PlannedGate(
                key=key,
                gate=gate,
                question=fill(gate.question, known),
                needs=above,
                decision=decisions.of(key),
                answer=history.answers.get(key),
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
        for key in _topological(needs):
            self._made[key] = self._decide(key)

    def of(self, key: str) -> Decision:
        return self._made[key]

    def _decide(self, key: str) -> Decision:
        if key not in self._gates and _well(self._history.results.get(key)):
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


def _topological(needs: Mapping[str, Sequence[str]]) -> list[str]:
    order: dict[str, None] = {}
    for key in needs:
        stack = [key]
        while stack:
            missing = [need for need in needs[stack[-1]] if need not in order]
            if missing:
                stack += missing
            else:
                order[stack.pop()] = None
    return list(order)


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


def _well(result: Result | None) -> Result | None:
    if result and (result.allowed or result.outcome in {Outcome.SUCCESS, Outcome.SKIPPED}):
        return result
    return None


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
