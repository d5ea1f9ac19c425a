"""A step of a past execution, once more: what it had (``Recipe``), and running it here.

Owns finding the step and its surroundings in the journal, and the work tree it runs in. Runs it
through the engine, so that it gets what a run would give it; records nothing, reports nothing.
What an imported run brings along are words: its commands run only if the commit that is checked
out has the same pipeline file, or a person says so.
"""

import hashlib
import os
import shlex
import sys
import time
import uuid
from collections.abc import Mapping

import msgspec

from runner import commit, errors, execution, manifest, plan, report
from runner.cli import custody, launch, past, places
from runner.cli import settings as environment
from runner.cli.voice import Voice
from runner.commit import Pin
from runner.console import Scene
from runner.engine import Engine, Surroundings
from runner.errors import RefusedError, SurroundingsError, UsageError
from runner.event import Status
from runner.execution import Execution
from runner.executors.process import ProcessExecutor
from runner.journal import Journal, Stored
from runner.keep import Scope
from runner.notice import Answer, History, Notice, Result, StepFinished
from runner.pipeline import Condition, Step
from runner.plan import Decision, Plan, PlannedJob
from runner.redact import Masker


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
    """What the jobs it needs kept: archive, sha256, patterns."""


# ── look ─────────────────────────────────────────────────────────────────────────────────────────


def look(
    run: str, job: str | None, steps: tuple[str, ...], state: str | None, environ: Mapping[str, str]
) -> Found:
    """Find the step; raises ``UsageError`` when there is none such."""
    journal = past.open_journal(state, environ)
    try:
        stored = journal.find(run)
        told = past.tell(journal, stored, environ)
        whole = _plan(journal, stored)
        planned = _job(whole, told, job)
        chosen = _steps(planned, told, steps)
        outputs = _outputs(journal, stored, planned)
        alone = _alone(whole, planned, chosen, outputs)
        return Found(
            recipe=_recipe(stored, whole, planned, chosen, journal, environ),
            stored=stored,
            plan=alone,
            state=places.state(state, environ),
            directory=journal.directory(stored.id),
            kept=tuple(_kept(journal, stored, whole, planned)),
        )
    finally:
        journal.close()


def _plan(journal: Journal, stored: Stored) -> Plan:
    """The plan as it was, by its own pipeline file."""
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
    seen, _ = plan.outputs(planned, {key: result.outputs for key, result in results.items()})
    steps = [planned.job.steps[index] for index in chosen]
    own = results[planned.key].outputs if planned.key in results else {}
    variables = {
        **plan.variables(whole.pipeline, whole.parameters, planned),
        **whole.fields,
        **seen,
        **own,
    }
    pin = _pin(stored)
    inside = os.path.dirname(os.path.relpath(stored.header.file, stored.header.workspace))
    image = plan.fill(planned.job.image, variables)
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
        digest=custody.seal_of(journal, stored).images.get(image, ""),
        platform=f"{sys.platform}/{os.uname().machine}" if image else "",
        before=tuple(step.name for step in planned.job.steps[: min(chosen)]),
    )


def _pin(stored: Stored) -> Pin | None:
    pin = stored.header.pin
    return msgspec.json.decode(pin, type=Pin | None) if pin else None


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


def text(recipe: Recipe) -> str:
    """The recipe, for a person; what could be pasted is shell."""
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
        out.append(f"git worktree add --detach ../reproduce {shlex.quote(recipe.commit)}")
        out.append(f"cd {shlex.quote(os.path.join('../reproduce', recipe.directory))}")
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


# ── run ──────────────────────────────────────────────────────────────────────────────────────────


def carry_out(found: Found, environ: Mapping[str, str], *, accept_changed: bool) -> int:
    """Run it in a work tree of its commit; the step's exit code."""
    environ = dict(environ)
    environment.forget(os.environ)
    if found.recipe.image:
        raise SurroundingsError(
            f"{found.recipe.job} runs in a container of {found.recipe.image}",
            "signalbox cannot reproduce that yet: what it needs is printed above",
        )
    tree = _tree(found, environ)
    _same_file(found, tree, accept_changed=accept_changed)
    for archive, sha256, patterns in found.kept:
        from runner import keep  # noqa: PLC0415

        scope = Scope(workspace=tree, patterns=patterns, apart=found.state)
        keep.restore(scope, archive, sha256, replace=True)
    return _run(found, tree, environ)


def _tree(found: Found, environ: Mapping[str, str]) -> str:
    """The work tree; the one of an earlier call is used again, as it was left."""
    pin, here = _pin(found.stored), found.stored.header.workspace
    sha = pin.sha if pin else ""
    if not pin or not sha:
        raise SurroundingsError(
            f"{found.stored.id[:8]} was of no commit: there is nothing to check out",
            f"signalbox run --only {shlex.quote(found.recipe.job)} runs what is here",
        )
    root = places.top_level(here)
    if root is None or not commit.has(root, sha, environ):
        origin = pin.remote or "origin"
        raise SurroundingsError(
            f"commit {sha[:12]} is not here",
            f"git fetch {origin} {sha}" if root else f"git clone {origin}, and import it there",
        )
    tree = os.path.join(found.directory, "tree")
    if not os.path.isdir(tree):
        problem = commit.check_out(root, sha, tree, environ)
        if problem:
            raise SurroundingsError(f"{tree} cannot be checked out: {problem}")
    return tree


def _same_file(found: Found, tree: str, *, accept_changed: bool) -> None:
    """A file from elsewhere may name any command; the commit's own file names those of the run."""
    header = found.stored.header
    path = os.path.join(tree, os.path.relpath(header.file, header.workspace))
    try:
        with open(path, "rb") as file:
            there = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        there = ""
    mine = not header.imported and hashlib.sha256(header.source).hexdigest() == header.digest
    if there != header.digest and not mine and not accept_changed:
        raise RefusedError(
            f"the commands of {found.stored.id[:8]} are not those of its commit's pipeline file",
            "they are printed above; say --accept-changed to run them all the same",
        )


class _Ends:
    """An observer that remembers how steps ended."""

    def __init__(self) -> None:
        self.code = 0

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """The last one counts: after a failure no other runs."""
        for notice in notices:
            if isinstance(notice, StepFinished):
                self.code = notice.exit.code


def _run(found: Found, tree: str, environ: Mapping[str, str]) -> int:
    voice, clock, ends = Voice(environ), execution.clock(), _Ends()
    masker = Masker()
    masker.add(environment.secrets(environ, found.plan.pipeline.secrets).values())
    runs = os.path.join(found.directory, "reproduce")
    os.makedirs(runs, mode=0o700, exist_ok=True)
    identity = Execution(
        unique_id=str(uuid.uuid4()),
        pipeline_id=found.stored.header.execution.pipeline_id,
        pipeline=found.recipe.pipeline,
        start=clock(),
    )
    scene = Scene(
        plan=found.plan,
        execution=identity,
        parallel=1,
        commit=found.recipe.commit[:7],
        mask=masker.text,
    )
    console = voice.console(scene, None)
    for name in found.recipe.missing:
        voice.warn(f"secret {name} is not set here")
    around = Surroundings(
        execution=identity,
        executor=ProcessExecutor(runs, time.monotonic),
        masker=masker,
        screen=console,
        clock=clock,
        directory=os.path.join(
            tree, os.path.dirname(os.path.relpath(found.stored.header.file, _home(found)))
        ),
        runs=runs,
        base=environment.inherited(environ, found.plan.pipeline.secrets),
        own={"CI": "true", "SIGNALBOX": "true", "SIGNALBOX_PIPELINE_ID": identity.unique_id},
    )
    engine = Engine(found.plan, around, (ends, console), parallel=1)
    with launch.signals(engine.cancel):
        finished = engine.carry_out()
    voice.release()
    console.say(f"the work tree is {tree}")
    if finished.signal:
        return 128 + finished.signal
    return ends.code or (errors.FAILED if finished.failure else errors.SUCCESS)


def _home(found: Found) -> str:
    return found.stored.header.workspace
