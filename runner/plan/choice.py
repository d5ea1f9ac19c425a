"""Which jobs and gates belong to an execution: the legs of a matrix, what a person selected.

Owns the names of legs and the edges between what was chosen. Decides nothing (``plan``).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import msgspec

from runner import scope
from runner.errors import UsageError
from runner.pipeline import Gate, Job, Pipeline


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a person asked for: ``jobs`` with what they need, ``only`` without. Empty: all."""

    jobs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One job, one leg of a matrix."""

    key: str
    name: str
    template: str
    """Of a name in which outputs are missing: the name with what is to be replaced."""
    job: Job
    leg: Mapping[str, str]


def legs(pipeline: Pipeline, values: Mapping[str, str]) -> dict[str, tuple[Leg, ...]]:
    """The legs of every job, by its key in the file; a job without a matrix is its one leg."""
    jobs = (node for node in pipeline.jobs if isinstance(node, Job))
    return {job.key: tuple(_legs_of(pipeline, values, job)) for job in jobs}


def _legs_of(pipeline: Pipeline, values: Mapping[str, str], job: Job) -> Iterable[Leg]:
    known = scope.merge((pipeline.env, values, job.env))
    for combination in product(*job.matrix.values()):
        leg = dict(zip(job.matrix, combination, strict=True))
        suffix = f" ({', '.join(combination)})" if leg else ""
        name, template = _named(job, {**known, **leg}, leg, suffix)
        yield Leg(key=job.key + suffix, name=name, template=template, job=job, leg=leg)


def _named(
    job: Job, values: Mapping[str, str], leg: Mapping[str, str], suffix: str
) -> tuple[str, str]:
    """What a leg is called, and what is still to be replaced in it: of a whole name, nothing."""
    rest = "" if set(leg) <= set(scope.names(job.name)) else suffix
    try:
        return scope.replace(job.name, values) + rest, ""
    except scope.UnknownNameError:
        return job.name + rest, job.name + rest.replace("$", "$$")


class Chosen:
    """The jobs and gates of one execution and the edges between them.

    A gate is never dropped: where a selection leaves a job out, what that job needed is needed in
    its place, so that a gate above it still stands before what was chosen.
    """

    def __init__(
        self, pipeline: Pipeline, legs: Mapping[str, tuple[Leg, ...]], selection: Selection
    ) -> None:
        self._nodes = {node.key: node for node in pipeline.jobs}
        self._legs = legs
        self._keys = self._choose(selection)
        self.gates = tuple(self._gate(node) for node in pipeline.jobs if self._is_gate(node.key))
        chosen = (leg for job in legs.values() for leg in job if leg.key in self._keys)
        self.jobs = tuple((leg, self._needs(leg.job.key)) for leg in chosen)
        self.needs = {gate.key: above for gate, above in self.gates}
        self.needs |= {leg.key: above for leg, above in self.jobs}

    def named(self, name: str) -> set[str]:
        """A job, all its legs or one leg, or a gate, if it was chosen; raises ``UsageError``."""
        self._base(name)
        found = self._named(name) & self._keys
        if not found:
            hint = f"jobs: {listed(leg.key for leg, _ in self.jobs)}"
            raise UsageError(f"{name!r} is no part of this run", hint)
        return found

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
        raise UsageError(f"no job is called {name!r}", f"jobs: {listed(names)}")

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


def fill(template: str, values: Mapping[str, str]) -> str:
    """``template`` with what is known; as it stands when an output is still missing."""
    try:
        return scope.replace(template, values)
    except scope.UnknownNameError:
        return template


def topological(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The keys, each after what it needs; recursion is as deep as the needs are."""
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


def listed(names: Iterable[str]) -> str:
    """Names for a message."""
    return ", ".join(names)
