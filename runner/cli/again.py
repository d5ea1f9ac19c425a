"""A step of a past execution, run once more, here.

Owns the work tree it runs in. Runs it through the engine, so that it gets what a run would give
it; records nothing, reports nothing. What an imported run brings along are words: its commands run
only if the commit that is checked out has the same pipeline file, or a person says so.
"""

import hashlib
import os
import shlex
import uuid
from collections.abc import Mapping

from runner import commit, errors, execution
from runner.cli import containers, launch, pid1, places
from runner.cli import settings as environment
from runner.cli.past import pin_of
from runner.cli.recipe import Found
from runner.cli.voice import Voice
from runner.commit import checkout
from runner.console import Scene
from runner.engine import Engine, Surroundings
from runner.errors import RefusedError, SurroundingsError
from runner.execution import Execution
from runner.keep import Scope
from runner.notice import Notice, StepFinished
from runner.redact import Masker
from runner.terminal import plain


def carry_out(found: Found, environ: Mapping[str, str], *, accept_changed: bool) -> int:
    """Run it in a work tree of its commit; the step's exit code."""
    environ = dict(environ)
    environment.forget(os.environ)
    there = containers.Engine(found.plan, environ)
    there.pinned = {found.recipe.image: found.recipe.digest}
    there.reach()
    tree = _tree(found, environ)
    _same_file(found, tree, accept_changed=accept_changed)
    for archive, sha256, patterns in found.kept:
        from runner import keep

        scope = Scope(workspace=tree, patterns=patterns, apart=found.state)
        keep.restore(scope, archive, sha256, replace=True)
    return _run(found, tree, environ, there)


def _tree(found: Found, environ: Mapping[str, str]) -> str:
    """The work tree; the one of an earlier call is used again, as it was left."""
    pin, here = pin_of(found.stored), found.stored.header.workspace
    sha = pin.sha if pin else ""
    if not pin or not sha:
        raise SurroundingsError(
            f"{found.stored.id[:8]} was of no commit: there is nothing to check out",
            f"signalbox run --only {shlex.quote(found.recipe.job)} runs what is here",
        )
    root = places.top_level(here)
    if root is None or not checkout.has(root, sha, environ):
        origin = plain(pin.remote) or "origin"
        raise SurroundingsError(
            f"commit {sha[:12]} is not here",
            f"git fetch {origin} {sha}" if root else f"git clone {origin}, and import it there",
        )
    tree = os.path.join(found.directory, "tree")
    if not os.path.isdir(tree):
        problem = checkout.make(root, sha, tree, environ)
        if problem:
            raise SurroundingsError(f"{tree} cannot be checked out: {problem}")
    return tree


def _same_file(found: Found, tree: str, *, accept_changed: bool) -> None:
    """A file from elsewhere may name any command; the commit's own file names those of the run."""
    header, path = found.stored.header, os.path.join(tree, _inside(found))
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


def _run(found: Found, tree: str, environ: Mapping[str, str], there: containers.Engine) -> int:
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
        commands=lambda job: {"again": _again(found, job)},
    )
    if not pid1.guard():
        voice.warn("this kernel lets steps read what this process was given")
    console = voice.console(scene, None)
    for name in found.recipe.missing:
        voice.warn(f"secret {name} is not set here")
    spot = places.Place(file=os.path.join(tree, _inside(found)), workspace=tree)
    own = {"CI": "true", "SIGNALBOX": "true", "SIGNALBOX_PIPELINE_ID": identity.unique_id}
    around = Surroundings(
        execution=identity,
        executor=there.executor(
            *(identity, spot, runs, masker.bytes), warn=voice.warn, tell=voice.tell
        ),
        masker=masker,
        screen=console,
        clock=clock,
        directory=spot.directory,
        runs=runs,
        base=environment.inherited(environ, found.plan.pipeline.secrets),
        own=own,
        inside=environment.inside(environ, found.plan.pipeline.secrets),
        inside_own={**own, **commit.safe_directory(tree, {}, always=True)},
    )
    engine = Engine(found.plan, around, (ends, console), parallel=1)
    with launch.signals(engine.cancel):
        finished = engine.carry_out()
    voice.release()
    console.say(f"the work tree is {tree}")
    if finished.signal:
        return 128 + finished.signal
    return ends.code or (errors.FAILED if finished.failure else errors.SUCCESS)


def _again(found: Found, job: str) -> str:
    return f"signalbox reproduce {found.stored.id[:8]} --job {shlex.quote(job)} --run"


def _inside(found: Found) -> str:
    """The pipeline file, as seen from the top of a work tree."""
    header = found.stored.header
    return os.path.relpath(header.file, header.workspace)
