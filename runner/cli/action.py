"""``signalbox action``: what the container does when a GitHub workflow starts it as an action.

Owns the translation: inputs (``INPUT_*``) into a run or a resume, and how that ended into outputs,
the job page and an exit code. The run itself is ``launch``'s, as at a desk.
"""

import json
import os
from collections.abc import Mapping
from typing import Final

import click

from runner import commit, manifest, plan
from runner.cli import answer, attempt, launch, places
from runner.cli import settings as environment
from runner.cli.handover import Handover
from runner.cli.launch import Options, Request
from runner.cli.places import Place
from runner.errors import BLOCKED, SUCCESS, RefusedError, UsageError
from runner.pipeline import Pipeline

_SETTINGS: Final = {
    "api-key": "DD_API_KEY",
    "site": "DD_SITE",
    "intake-url": "SIGNALBOX_INTAKE_URL",
    "env": "DD_ENV",
    "service": "DD_SERVICE",
}
"""Inputs that stand for a variable."""
_NEW: Final = ("pipeline", "steps", "name", "job", "parameters")
"""Inputs of a run that starts from nothing."""
_PRIVILEGED: Final = {
    "pull_request_target": "pull_request.head.repo.full_name",
    "workflow_run": "workflow_run.head_repository.full_name",
}
"""Events that a fork can cause and that run with secrets: where the event names the fork."""
_EVENT_LIMIT: Final = 25 * 1024 * 1024
"""Bytes of an event file: GitHub sends no larger payload."""


class Inputs:
    """The inputs, by the names in ``action.yml``; an empty one was not given.

    GitHub keeps the hyphens of a name, other runners make underscores of them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._given = {
            name.removeprefix("INPUT_").replace("_", "-").lower(): value.strip()
            for name, value in environ.items()
            if name.startswith("INPUT_") and value.strip()
        }

    def __getitem__(self, name: str) -> str:
        return self._given.get(name, "")

    def lines(self, name: str) -> tuple[str, ...]:
        """An input that takes one thing a line."""
        return tuple(line.strip() for line in self[name].splitlines() if line.strip())

    def choice(self, name: str, *known: str) -> str:
        """One of the ``known`` values; the first when none was given."""
        chosen = self[name] or known[0]
        if chosen not in known:
            raise UsageError(f"input {name}: {chosen!r} is none of {', '.join(known)}")
        return chosen


@click.command("action", hidden=True)
def command() -> int:
    """Run as a GitHub Action: everything is said by INPUT_* variables."""
    inputs = Inputs(os.environ)
    blocked = inputs.choice("blocked", "success", "failure")
    if inputs.choice("allow-untrusted", "false", "true") == "false":
        refuse_untrusted(os.environ)
    settings = {name: inputs[given] for given, name in _SETTINGS.items() if inputs[given]}
    environ = {**os.environ, **settings}
    _bring(inputs, environ)
    request = _request(inputs, environ)
    handover = Handover(environ, lambda text: click.echo(f"! warning: {text}", err=True))
    code = launch.run(request, environ)
    handover.write(places.state(request.options.state, environ, request.place.workspace), code)
    return SUCCESS if code == BLOCKED and blocked == "success" else code


def _request(inputs: Inputs, environ: Mapping[str, str]) -> Request:
    if inputs["retry"]:
        return _retry(inputs, environ)
    return _resume(inputs, environ) if inputs["resume-run"] else _run(inputs)


def _bring(inputs: Inputs, environ: Mapping[str, str]) -> None:
    """Import the run in the file that the input ``state`` names, if it names one."""
    if not os.path.isfile(inputs["state"]):
        return
    if not inputs["resume-run"] and not inputs["retry"]:
        raise UsageError(
            f"input state names a file, {inputs['state']}: a run that is to go on",
            "say resume-run: latest, or retry: failed",
        )
    from runner.cli import import_  # noqa: PLC0415

    import_.take_in(inputs["state"], None, environ, lambda text: click.echo(text, err=True))


def _run(inputs: Inputs) -> Request:
    answers = [name for name in ("approve", "reject", "reason") if inputs[name]]
    if answers:
        raise UsageError(f"input {answers[0]} answers a gate", "say with resume-run of which run")
    place, text, pipeline = _declared(inputs)
    given = environment.assignments(inputs.lines("parameters"), "input parameters")
    selection = plan.Selection(jobs=inputs.lines("job"))
    return Request(
        place=place,
        text=text,
        given=given,
        selection=selection,
        plan=plan.make(pipeline, given=given, selection=selection),
        options=_options(inputs),
    )


def _resume(inputs: Inputs, environ: Mapping[str, str]) -> Request:
    extra = [name for name in _NEW if inputs[name]]
    if extra:
        raise UsageError(
            f"inputs resume-run and {extra[0]} exclude each other",
            "a resumed run keeps what it was started with",
        )
    said = answer.Said(
        approved=inputs.lines("approve"),
        rejected=inputs.lines("reject"),
        reason=inputs["reason"],
    )
    return answer.request(
        inputs["resume-run"], said, _options(inputs), environ, accept_changed=False
    )


def _retry(inputs: Inputs, environ: Mapping[str, str]) -> Request:
    """``failed``, ``all``, or the jobs to begin at."""
    extra = [name for name in (*_NEW, "approve", "reject", "reason") if inputs[name]]
    if extra:
        raise UsageError(f"inputs retry and {extra[0]} exclude each other")
    named = inputs.lines("retry")
    jobs = () if named in {("failed",), ("all",)} else named
    again = plan.Again(jobs=jobs, everything=named == ("all",))
    run = inputs["resume-run"] or "latest"
    return attempt.request(run, again, _options(inputs), environ, accept_changed=False)


def _options(inputs: Inputs) -> Options:
    return Options(
        state=None if os.path.isfile(inputs["state"]) else inputs["state"] or None,
        tags=environment.pairs(inputs.lines("tags"), "input tags"),
        measures=environment.measures(inputs.lines("measures"), "input measures"),
    )


def _declared(inputs: Inputs) -> tuple[Place, bytes, Pipeline]:
    """The pipeline file, or one made of the commands given in place."""
    if not inputs["steps"]:
        place = places.place(inputs["pipeline"] or None)
        return place, *places.read(place)
    if inputs["pipeline"]:
        raise UsageError("inputs pipeline and steps exclude each other", "give one of them")
    text = written(inputs).encode()
    here = os.getcwd()
    file = os.path.join(here, places.NAMES[0])  # which is not read: steps start beside it
    place = places.Place(file=file, workspace=places.top_level(here) or here)
    return place, text, manifest.load(text, "input steps")


def written(inputs: Inputs) -> str:
    """The commands as a pipeline file: JSON, which YAML contains."""
    name = inputs["name"] or os.environ.get("GITHUB_WORKFLOW") or "Steps"
    job = os.environ.get("GITHUB_JOB") or "steps"
    return json.dumps({"name": name, "jobs": {job: {"steps": inputs.lines("steps")}}})


# ── who may be trusted ───────────────────────────────────────────────────────────────────────────


def refuse_untrusted(environ: Mapping[str, str]) -> None:
    """Refuse a fork's code checked out in a workflow that has this repository's secrets: its
    pipeline file is a stranger's program (GitHub Security Lab, "Preventing pwn requests").

    In both events ``GITHUB_SHA`` is a commit of this repository. What cannot be told is refused.
    """
    event = environ.get("GITHUB_EVENT_NAME", "")
    if event not in _PRIVILEGED or _source(environ) == environ.get("GITHUB_REPOSITORY"):
        return
    pin = commit.pin(os.getcwd(), environ)
    if pin and pin.sha and pin.sha == environ.get("GITHUB_SHA"):
        return
    raise RefusedError(
        f"the event is {event} from a fork, whose code is checked out beside our secrets",
        "use the event pull_request, or say allow-untrusted: true if you trust the fork",
    )


def _source(environ: Mapping[str, str]) -> object:
    """The repository that caused the event; None if that cannot be told."""
    try:
        with open(environ.get("GITHUB_EVENT_PATH", ""), "rb") as file:
            found = json.loads(file.read(_EVENT_LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    for name in _PRIVILEGED[environ["GITHUB_EVENT_NAME"]].split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
