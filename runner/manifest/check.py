"""What must hold between the parts of a pipeline: needs, names, variables, choices.

Owns the rules that no single key shows. Pure: takes the finished ``Pipeline`` and gives findings
by path; ``problems`` knows where a path stands. Linear in the size of the file.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain, product
from math import prod
from typing import Final

import msgspec

from runner import scope
from runner.manifest.problems import quoted, spelled
from runner.pipeline import Gate, Job, Parameter, Pipeline

LEGS: Final = 256
JOBS: Final = 10_000
"""Jobs of one file, legs of matrices counted."""

MANY: Final = 1_000_000

Path = tuple[str | int, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that is broken at ``path``; ``word`` should have been one of ``known``."""

    path: Path
    message: str
    word: str = ""
    known: Collection[str] = ()


def findings(pipeline: Pipeline) -> Iterator[Finding]:
    """Every rule that ``pipeline`` breaks."""
    yield from _parameters(pipeline)
    yield from _needs(pipeline)
    yield from _cycles({job.key: job.needs for job in pipeline.jobs})
    oversize = list(_sizes(pipeline))
    yield from oversize
    if not oversize:
        yield from _twins(pipeline)
    yield from _variables(pipeline)


# ── parameters ───────────────────────────────────────────────────────────────────────────────────


def _parameters(pipeline: Pipeline) -> Iterator[Finding]:
    declared: list[tuple[Path, Mapping[str, Parameter]]] = [(("parameters",), pipeline.parameters)]
    gates = (job for job in pipeline.jobs if isinstance(job, Gate))
    declared += ((("jobs", gate.key, "fields"), gate.fields) for gate in gates)
    for path, parameters in declared:
        for name, parameter in parameters.items():
            yield from _parameter((*path, name), name, parameter, pipeline.secrets)


def _parameter(
    path: Path, name: str, parameter: Parameter, secrets: Collection[str]
) -> Iterator[Finding]:
    if scope.steers(name):
        message = f"{name} steers a shell, a loader or signalbox; choose another name"
        yield Finding(path=path, message=message)
    if name in secrets:
        yield Finding(path=path, message=f"{name} is a secret; values set at start are reported")
    yield from _values(path, parameter)


def _values(path: Path, parameter: Parameter) -> Iterator[Finding]:
    """The default is one of the choices, and all are of the type."""
    default, choices = parameter.default, parameter.choices
    if default is not None and choices and default not in choices:
        message = f"{quoted(default)} is not one of the choices"
        yield Finding(path=(*path, "default"), message=message, word=default, known=choices)
    elif default is not None and (expected := parameter.refusal(default)):
        yield Finding(path=(*path, "default"), message=f"{quoted(default)} is not {expected}")
    for at, choice in enumerate(choices):
        if expected := parameter.refusal(choice):
            message = f"{quoted(choice)} is not {expected}"
            yield Finding(path=(*path, "choices", at), message=message)


# ── needs ────────────────────────────────────────────────────────────────────────────────────────


def _needs(pipeline: Pipeline) -> Iterator[Finding]:
    keys = {job.key for job in pipeline.jobs}
    for job in pipeline.jobs:
        for index, need in enumerate(job.needs):
            path = ("jobs", job.key, "needs", index)
            base = need.partition(" (")[0]
            if need == job.key:
                yield Finding(path=path, message=f"{quoted(need)} needs itself")
            elif need not in keys and base in keys:
                message = f"a need is a job's key, which means all its legs: {quoted(base)}"
                yield Finding(path=path, message=message)
            elif need and need not in keys:
                message = f"no job is called {quoted(need)}"
                yield Finding(path=path, message=message, word=need, known=keys)


def _cycles(needs: Mapping[str, tuple[str, ...]]) -> Iterator[Finding]:
    """One finding for each cycle that adds a job to those already shown in one.

    A walk along the needs, by a stack of our own: chains may be thousands long.
    """
    done: set[str] = set()
    shown: set[str] = set()
    for start in needs:
        trail: dict[str, int] = {}
        stack = [(start, 0)] if start not in done else []
        while stack:
            key, index = stack.pop()
            trail.setdefault(key, len(trail))
            if index == len(needs[key]):
                done.add(key)
                del trail[key]
                continue
            stack.append((key, index + 1))
            need = needs[key][index]
            if need in trail and need != key:
                if not {key, need} <= shown:
                    cycle = [*trail][trail[need] :]
                    shown.update(cycle)
                    yield _cycle(key, index, cycle)
            elif need in needs and need not in done and need != key:
                stack.append((need, 0))


def _cycle(key: str, index: int, cycle: list[str]) -> Finding:
    names = [*cycle, cycle[0]]
    if len(names) > 10:  # noqa: PLR2004 - what fits a line
        names = [*names[:5], "...", *names[-4:]]
    around = " -> ".join(names)
    return Finding(path=("jobs", key, "needs", index), message=f"jobs need each other: {around}")


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def _sizes(pipeline: Pipeline) -> Iterator[Finding]:
    jobs = 0
    for job in pipeline.jobs:
        legs = prod(map(len, job.matrix.values())) if isinstance(job, Job) else 1
        jobs += legs
        if legs > LEGS:
            message = f"the matrix makes {_many(legs)} jobs; {LEGS} are the most"
            yield Finding(path=("jobs", job.key, "matrix"), message=message)
    if jobs > JOBS:
        yield Finding(path=("jobs",), message=f"{_many(jobs)} jobs; {JOBS:,} are the most")


def _many(jobs: int) -> str:
    """A matrix of thousands of axes makes a number of thousands of digits."""
    return f"{jobs:,}" if jobs < MANY else f"more than {MANY:,}"


def _twins(pipeline: Pipeline) -> Iterator[Finding]:
    """Two jobs of one name: as keys, as names, also when only case or normal form differ."""
    keys: dict[str, tuple[str, str]] = {}
    names: dict[str, tuple[str, str]] = {}
    for job in pipeline.jobs:
        legs = _legs(job)
        if twice := next((leg for leg in legs if legs[leg] > 1), None):
            message = f"two jobs of one name: {quoted(job.key + twice)}"
            yield Finding(path=("jobs", job.key, "matrix"), message=message)
        twin = _twin(keys, job.key, [job.key])
        if not twin and "$" not in job.name:
            twin = _twin(names, job.key, [job.name + leg for leg in legs])
        if twin:
            message = f"two jobs of one name: {twin}"
            yield Finding(path=("jobs", job.key, "name"), message=message)


def _legs(job: Job | Gate) -> dict[str, int]:
    """What the legs of a job have behind its name, and how many have it."""
    if isinstance(job, Gate) or not job.matrix:
        return {"": 1}
    legs: dict[str, int] = {}
    for values in product(*job.matrix.values()):
        leg = f" ({', '.join(values)})"
        legs[leg] = legs.get(leg, 0) + 1
    return legs


def _twin(owners: dict[str, tuple[str, str]], key: str, names: list[str]) -> str:
    """Who else has one of ``names``, in words; else they are this job's from now on."""
    for name in names:
        owner, same = owners.setdefault(_folded(name), (key, name))
        if owner != key:
            also = f"{quoted(name)}, also in {spelled(('jobs', owner))}"
            return also if same == name else f"{also} (case and Unicode form do not count)"
    return ""


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    from unicodedata import normalize  # noqa: PLC0415 - most files never need it

    return normalize("NFKC", normalize("NFKC", name).casefold())


# ── variables ────────────────────────────────────────────────────────────────────────────────────


class _Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a template may ask for. ``outputs``: also for what jobs or steps before it may say."""

    layers: tuple[Collection[str], ...]
    secrets: Collection[str]
    outputs: bool = False

    def wider(self, *layers: Collection[str], outputs: bool = False) -> "_Scope":
        both, outputs = (*self.layers, *layers), outputs or self.outputs
        return _Scope(layers=both, secrets=self.secrets, outputs=outputs)

    def unknown(self, template: str, *path: str | int) -> Iterator[Finding]:
        for name in scope.names(template) if "$" in template else ():
            known = any(name in layer for layer in self.layers)
            if name in self.secrets:
                message = f"${name} is a secret; it cannot stand where it is shown"
                yield Finding(path=path, message=message)
            elif not known and (scope.steers(name) or not self.outputs):
                message = f"unknown variable ${name} ($$ is a dollar)"
                names = frozenset(chain(*self.layers))
                yield Finding(path=path, message=message, word=name, known=names)


def _variables(pipeline: Pipeline) -> Iterator[Finding]:
    layers = (pipeline.parameters, pipeline.env)
    base = _Scope(layers=layers, secrets=frozenset(pipeline.secrets))
    yield from _of_tags(base, pipeline.tags, "tags")
    for job in pipeline.jobs:
        if isinstance(job, Job):
            yield from _of_job(job, base)
        else:
            here = base.wider(outputs=bool(job.needs))
            yield from here.unknown(job.name, "jobs", job.key, "name")
            yield from here.unknown(job.question, "jobs", job.key, "gate")


def _of_job(job: Job, base: _Scope) -> Iterator[Finding]:
    here = base.wider(job.env, job.matrix, outputs=bool(job.needs))
    yield from here.unknown(job.name, "jobs", job.key, "name")
    yield from here.unknown(job.image, "jobs", job.key, "image")
    yield from _of_tags(here, job.tags, "jobs", job.key, "tags")
    for name, service in job.services.items():
        yield from here.unknown(service.image, "jobs", job.key, "services", name, "image")
    after_a_step = here.wider(outputs=True)
    for index, step in enumerate(job.steps):
        of_step = after_a_step if index else here
        of_step = of_step.wider(step.env) if step.env else of_step
        yield from of_step.unknown(step.name, "jobs", job.key, "steps", index, "name")
        yield from _of_tags(of_step, step.tags, "jobs", job.key, "steps", index, "tags")


def _of_tags(here: _Scope, tags: Mapping[str, str], *path: str | int) -> Iterator[Finding]:
    for key, template in tags.items():
        yield from here.unknown(template, *path, key)
