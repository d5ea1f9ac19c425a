"""A step of a past execution: what it had there, found in the journal and told.

Owns finding the step (``look``) and the form of what is printed (``Recipe``). Runs nothing
(``again``).
"""

import os
import shlex
from collections.abc import Mapping
from typing import Final

import msgspec

from runner import manifest, plan, report
from runner.cli import custody, past, places
from runner.cli.origin import here, see_pipeline
from runner.errors import UsageError
from runner.event import Status
from runner.execution import Execution
from runner.journal import Journal, Stored
from runner.notice import Answer, History, Result
from runner.pipeline import Condition, Step
from runner.plan import Decision, Plan, PlannedJob

_BESIDE: Final = "../reproduce"


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What a step had, for a person or a program."""

    run: str
    pipeline: str
    job: str
    steps: tuple[str, ...]
    commit: str
    repository: str
    directory: str
    """Where it starts, relative to the work tree."""
    shell: str
    scripts: tuple[str, ...]
    variables: Mapping[str, str]
    """What the pipeline file, parameters, matrix, gates and needed jobs gave it."""
    missing: tuple[str, ...]
    """Secrets it had, by name, that are not set here."""
    gone: tuple[str, ...]
    """Outputs that held a secret: they are in no file."""
    image: str = ""
    digest: str = ""
    platform: str = ""
    before: tuple[str, ...] = ()
    """The steps of its job that ran before it there, and do not here."""
    kept: tuple[str, ...] = ()
    """Archives of what the jobs it needs kept."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was found, and what it takes to run it."""

    recipe: Recipe
    stored: Stored
    plan: Plan
    """Its job alone, with these steps alone."""
    state: str
    directory: str
    """The run's own."""
    kept: tuple[tuple[str, str, tuple[str, ...]], ...]
    """The same archives, each with its sha256 and the patterns."""


# ── look ─────────────────────────────────────────────────────────────────────────────────────────


def look(
    run: str, job: str | None, steps: tuple[str, ...], state: str | None, environ: Mapping[str, str]
) -> Found:
    """Find the step; raises ``UsageError`` when there is none such."""
    journal = past.open_journal(state, environ)
    try:
        stored = here(journal.find(run), journal.state)
        told = past.tell(journal, stored, environ)
        whole = _plan(journal, stored)
        planned = _job(whole, told, job)
        outputs = _outputs(journal, stored, planned)
        named = _named(planned, _variables(whole, planned, outputs))
        chosen = _steps(named, told, steps)
        alone = _alone(whole, planned, chosen, outputs)
        kept = tuple(_kept(journal, stored, whole, planned))
        recipe = _recipe(stored, whole, named, chosen, journal, environ)
        return Found(
            recipe=msgspec.structs.replace(recipe, kept=tuple(archive for archive, *_ in kept)),
            stored=stored,
            plan=alone,
            state=places.state(state, environ),
            directory=journal.directory(stored.id),
            kept=kept,
        )
    finally:
        journal.close()


def _plan(journal: Journal, stored: Stored) -> Plan:
    """The plan as it was, by its own pipeline file."""
    see_pipeline(stored)
    pipeline = manifest.load(stored.header.source, stored.header.file)
    answers: dict[str, Answer] = {}
    for one in custody.chain(journal, stored):
        answers |= journal.answers(one.id)
    return plan.make(
        pipeline,
        given=stored.header.parameters,
        selection=stored.header.selection,
        history=History(answers=answers),
    )


def _job(whole: Plan, told: report.Told, name: str | None) -> PlannedJob:
    bad = {job.id for job in told.jobs if job.status in {Status.ERROR, Status.CANCELED}}
    failed = [one for one in whole.jobs if _identity(told).job_id(one.key) in bad]
    if name is None and not failed:
        raise UsageError("no job of it failed", f"say --job, one of: {_keys(whole)}")
    if name is None:
        return failed[0]
    named = [one for one in whole.jobs if name in {one.key, one.name, one.job.key}]
    if not named:
        raise UsageError(f"no job is called {name!r}", f"jobs: {_keys(whole)}")
    return next((one for one in named if one in failed), named[0])


def _identity(told: report.Told) -> Execution:
    """As far as the ids of its parts go."""
    return Execution(unique_id=told.id, pipeline_id="", pipeline="", start=0)


def _keys(whole: Plan) -> str:
    return ", ".join(planned.key for planned in whole.jobs)


def _steps(planned: PlannedJob, told: report.Told, names: tuple[str, ...]) -> list[int]:
    """The steps asked for; else the one that failed; else all."""
    if names:
        return [_step(planned, name) for name in names]
    failed = {
        step.id
        for job in told.jobs
        for step in job.steps
        if step.status is Status.ERROR and not step.allowed
    }
    identity = _identity(told)
    every = list(range(len(planned.job.steps)))
    for index in every:
        attempts = range(1, planned.job.steps[index].retry + 2)
        if failed & {identity.step_id(planned.key, index, attempt) for attempt in attempts}:
            return [index]
    return every


def _step(planned: PlannedJob, name: str) -> int:
    steps = planned.job.steps
    for index, step in enumerate(steps):
        if name in {step.name, str(index + 1)}:
            return index
    known = "\n".join(f"{number} {step.name}" for number, step in enumerate(steps, 1))
    raise UsageError(f"{planned.key} has no step {name!r}", known)


def _named(planned: PlannedJob, variables: Mapping[str, str]) -> PlannedJob:
    """The job with the names of its steps as they were shown; a dollar in them is one."""
    shown = [plan.fill(step.name, {**variables, **step.env}) for step in planned.job.steps]
    steps = tuple(
        msgspec.structs.replace(step, name=name)
        for step, name in zip(planned.job.steps, shown, strict=True)
    )
    return msgspec.structs.replace(planned, job=msgspec.structs.replace(planned.job, steps=steps))


def _variables(whole: Plan, planned: PlannedJob, results: Mapping[str, Result]) -> dict[str, str]:
    """What the pipeline file, parameters, matrix, gates, needed jobs and its own steps gave it."""
    seen, _ = plan.outputs(planned, {key: result.outputs for key, result in results.items()})
    own = results[planned.key].outputs if planned.key in results else {}
    known = plan.variables(whole.pipeline, whole.parameters, planned)
    return {**known, **whole.fields, **seen, **own}


def _outputs(journal: Journal, stored: Stored, planned: PlannedJob) -> dict[str, Result]:
    """What the jobs it needs left, and what the job's own steps did."""
    results = journal.results(stored.id)
    return {key: results[key] for key in (*planned.upstream, planned.key) if key in results}


def _alone(
    whole: Plan, planned: PlannedJob, chosen: list[int], outputs: Mapping[str, Result]
) -> Plan:
    """The job with the chosen steps: whatever its conditions, once, and a failure is a failure."""
    own = outputs[planned.key].outputs if planned.key in outputs else {}
    steps = tuple(_once(planned.job.steps[index], own) for index in chosen)
    job = msgspec.structs.replace(
        planned.job, steps=steps, condition=Condition.ALWAYS, allow_failure=False, needs=()
    )
    above = tuple(
        msgspec.structs.replace(one, decision=Decision.DONE, result=outputs.get(one.key), needs=())
        for one in whole.jobs
        if one.key in planned.upstream
    )
    one = msgspec.structs.replace(planned, job=job, needs=(), decision=Decision.RUN, result=None)
    gates = tuple(
        msgspec.structs.replace(gate, needs=(), decision=Decision.DONE)
        for gate in whole.gates
        if gate.answer
    )
    return msgspec.structs.replace(whole, jobs=(*above, one), gates=gates)


def _once(step: Step, outputs: Mapping[str, str]) -> Step:
    return msgspec.structs.replace(
        step,
        condition=Condition.SUCCESS,
        retry=0,
        allow_failure=False,
        env={**outputs, **step.env},
    )


def _recipe(
    stored: Stored,
    whole: Plan,
    planned: PlannedJob,
    chosen: list[int],
    journal: Journal,
    environ: Mapping[str, str],
) -> Recipe:
    results = _outputs(journal, stored, planned)
    steps = [planned.job.steps[index] for index in chosen]
    variables = _variables(whole, planned, results)
    pin = past.pin_of(stored)
    inside = os.path.dirname(os.path.relpath(stored.header.file, stored.header.workspace))
    image = plan.fill(planned.job.image, variables)
    ran = results[planned.key].image if planned.key in results else None
    return Recipe(
        run=stored.id,
        pipeline=stored.header.execution.pipeline,
        job=planned.key,
        steps=tuple(step.name for step in steps),
        commit=pin.sha if pin else "",
        repository=pin.remote if pin else "",
        directory=os.path.normpath(os.path.join(inside, steps[0].working_directory)),
        shell=steps[0].shell,
        scripts=tuple(step.run for step in steps),
        variables=variables | dict(steps[0].env),
        missing=tuple(name for name in whole.pipeline.secrets if not environ.get(name)),
        gone=tuple(name for result in results.values() for name in result.withheld),
        image=image,
        digest=ran.digest if ran else "",
        platform=ran.platform if ran else "",
        before=tuple(step.name for step in planned.job.steps[: min(chosen)]),
    )


def _kept(
    journal: Journal, stored: Stored, whole: Plan, planned: PlannedJob
) -> list[tuple[str, str, tuple[str, ...]]]:
    patterns = {job.key: job.job.keep for job in whole.jobs if job.key in planned.upstream}
    kept = custody.kept_by(journal, custody.chain(journal, stored))
    return [
        (custody.archive_of(journal, one), one.sha256, patterns[key])
        for key, one in kept.items()
        if patterns.get(key) and not one.problem
    ]


# ── tell ─────────────────────────────────────────────────────────────────────────────────────────


def beside(found: Found) -> str:
    """Where a work tree for it has room, seen from here: not in the repository."""
    here, workspace = os.path.realpath("."), os.path.realpath(found.stored.header.workspace)
    if os.path.commonpath((here, workspace)) != workspace:
        return _BESIDE
    return os.path.relpath(os.path.join(os.path.dirname(workspace), "reproduce"), here)


def text(recipe: Recipe, tree: str = _BESIDE) -> str:
    """The recipe, for a person; what could be pasted is shell. ``tree``: for its work tree."""
    out = [f"# {recipe.pipeline} · {recipe.run[:8]} · {recipe.job}"]
    out += [f"# secret {name} is not set here" for name in recipe.missing]
    out += [f"# {name} held a secret and is in no file" for name in recipe.gone]
    if recipe.image:
        digest = f"@{recipe.digest}" if recipe.digest else ", its digest is not known"
        out.append(f"# in a container of {recipe.image}{digest}, {recipe.platform}")
    if recipe.before:
        names = ", ".join(f"{n} {name}" for n, name in enumerate(recipe.before, 1))
        out.append(f"# steps before it, which do not run with it: {names}")
    if recipe.commit:
        out.append(f"git worktree add --detach {shlex.quote(tree)} {shlex.quote(recipe.commit)}")
        # It may have come from elsewhere: --run would not put back a .git, either.
        put_back = f"tar -C {shlex.quote(tree)} --exclude .git -xf"
        out += [f"{put_back} {shlex.quote(archive)}" for archive in recipe.kept]
        place = os.path.normpath(os.path.join(tree, recipe.directory))
        out.append(f"cd {shlex.quote(place)}")
    out += [f"export {name}={shlex.quote(value)}" for name, value in recipe.variables.items()]
    out += [_call(recipe.shell, script) for script in recipe.scripts]
    return _shown("\n".join(out))


def _shown(text: str) -> str:
    """Without what a terminal would obey, but as it can be pasted."""
    return "".join(sign for sign in text if sign in "\n\t" or sign.isprintable())


def _call(shell: str, script: str) -> str:
    known = {"": "bash -eo pipefail", "bash": "bash -eo pipefail", "sh": "sh -e"}
    if shell in known:
        return f"{known[shell]} -c {shlex.quote(script)}"
    return f"printf %s {shlex.quote(script)} | {shell} /dev/stdin"
