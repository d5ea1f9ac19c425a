"""``signalbox action``: what the container does when a CI starts it as an action or a plugin.

Owns the translation: inputs into a run, a resume or a retry, and how that ended into outputs, the
job page and an exit code; and what comes after the job. The run itself is ``launch``'s, as at a
desk.
"""

import os
from collections.abc import Mapping
from typing import Final

import click
import msgspec

from runner import commit, manifest, plan
from runner.cli import launch, places
from runner.cli import settings as environment
from runner.cli.handover import Handover
from runner.cli.inputs import NEW, Inputs
from runner.cli.launch import Options, Request
from runner.cli.ownership import give_back
from runner.cli.places import Place
from runner.cli.sidecar import Sidecar
from runner.errors import BLOCKED, SUCCESS, RefusedError, SignalboxError, UsageError
from runner.journal import Journal, Stored
from runner.pipeline import Pipeline

_COMMANDS: Final = ("run", "check", "plan", "flush")
"""What the input ``command`` may ask for."""
_PRIVILEGED: Final = {
    "pull_request_target": "pull_request.head.repo.full_name",
    "workflow_run": "workflow_run.head_repository.full_name",
}
"""Events that a fork can cause and that run with secrets: where the event names the fork."""
_GIVING: Final = 10.0
"""Seconds for giving back what a killed run left."""
_EVENT_LIMIT: Final = 25 * 1024 * 1024
"""Bytes of an event file: GitHub sends no larger payload."""


@click.command("action", hidden=True)
@click.option("--post", is_flag=True, help="after the job: send what is left")
@click.pass_obj
def command(sidecar: Sidecar | None, /, post: bool) -> int:
    """Run as an action or a plugin: everything is said by INPUT_* or PLUGIN_* variables."""
    inputs = Inputs(os.environ)
    for name in [name for name in os.environ if name.startswith("PLUGIN_")]:
        del os.environ[name]  # no step sees an input
    environ = {**os.environ, **inputs.settings()}
    if post:
        return _post(inputs, environ)
    handover = Handover(environ, _warn)
    try:
        return _carry_out(inputs, environ, handover, sidecar)
    except SignalboxError as error:
        handover.failed(error)
        raise


def _carry_out(
    inputs: Inputs, environ: Mapping[str, str], handover: Handover, sidecar: Sidecar | None
) -> int:
    asked = inputs.choice("command", *_COMMANDS)
    blocked = inputs.choice("blocked", "success", "failure")
    if inputs.choice("allow-untrusted", "false", "true") == "false":
        refuse_untrusted(os.environ, inputs["pipeline"])
    if asked != "run":
        return _other(asked, inputs, environ, handover)
    _bring(inputs, environ)
    request = _request(inputs, environ)
    code = launch.run(request, environ, sidecar)
    state = places.state(request.options.state, environ, request.place.workspace)
    handover.write(state, code, inputs["report"])
    return SUCCESS if code == BLOCKED and blocked == "success" else code


def _warn(text: str) -> None:
    click.echo(f"! warning: {text}", err=True)


def _post(inputs: Inputs, environ: Mapping[str, str]) -> int:
    """What a killed run left open is closed, its files are given to the workspace's owner, what is
    unsent is sent. Nothing here fails a job.
    """
    from runner.cli import flush  # what a run does not need

    try:
        state = places.state(_options(inputs).state, environ)
        if not os.path.exists(os.path.join(state, "journal.db")):
            return SUCCESS
        left = _open(state)
        flush.rest(state, environ)
        for stored in left:
            start = stored.header.execution.start
            give_back(stored.header.workspace, start, within=_GIVING)
    except Exception as error:  # noqa: BLE001 - whatever it is, the job's result stands
        _warn(str(error))
    return SUCCESS


def _open(state: str) -> list[Stored]:
    """The executions that have not ended."""
    journal = Journal.read(state)
    try:
        return [stored for stored in journal.stored() if stored.status is None]
    finally:
        journal.close()


def _other(asked: str, inputs: Inputs, environ: Mapping[str, str], handover: Handover) -> int:
    """Another command than ``run``, as at a desk; what it prints cannot steer the CI."""
    from runner import cli

    os.environ.update(environ)
    files = [] if asked == "flush" else [inputs["pipeline"]]
    state = ["--state", inputs["state"]] if asked == "flush" and inputs["state"] else []
    with handover.quiet():
        code = cli.run([asked, *filter(None, (*state, *files))])
    handover.end(code)
    return code


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
    from runner.cli import import_

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
    extra = [name for name in NEW if inputs[name]]
    if extra:
        raise UsageError(
            f"inputs resume-run and {extra[0]} exclude each other",
            "a resumed run keeps what it was started with",
        )
    from runner.cli import answer  # by who answers

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
    extra = [name for name in (*NEW, "approve", "reject", "reason") if inputs[name]]
    if extra:
        raise UsageError(f"inputs retry and {extra[0]} exclude each other")
    named = inputs.lines("retry")
    jobs = () if named in {("failed",), ("all",)} else named
    again = plan.Again(jobs=jobs, everything=named == ("all",))
    from runner.cli import attempt  # by who tries again

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
        if inputs["image"]:
            raise UsageError(
                "input image says where steps run", "a pipeline file says image: itself"
            )
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
    image = {"image": inputs["image"].replace("$", "$$")} if inputs["image"] else {}
    declared = {"name": name, "jobs": {job: {**image, "steps": inputs.lines("steps")}}}
    return msgspec.json.encode(declared).decode()


# ── who may be trusted ───────────────────────────────────────────────────────────────────────────


def refuse_untrusted(environ: Mapping[str, str], pipeline: str) -> None:
    """Refuse a fork's code checked out in a workflow that has this repository's secrets: its
    pipeline file is a stranger's program (GitHub Security Lab, "Preventing pwn requests").

    In both events ``GITHUB_SHA`` is a commit of this repository. What cannot be told is refused.
    The fork may lie here, or beside ours with its ``pipeline`` in it.
    """
    event = environ.get("GITHUB_EVENT_NAME", "")
    if event not in _PRIVILEGED or _source(environ) == environ.get("GITHUB_REPOSITORY"):
        return
    here = {os.getcwd(), os.path.dirname(os.path.realpath(pipeline or "-"))}
    pins = [commit.pin(directory, environ) for directory in here]
    if all(pin and pin.sha and pin.sha == environ.get("GITHUB_SHA") for pin in pins):
        return
    raise RefusedError(
        f"the event is {event} from a fork, whose code is checked out beside our secrets",
        "use the event pull_request, or say allow-untrusted: true if you trust the fork",
    )


def _source(environ: Mapping[str, str]) -> object:
    """The repository that caused the event; None if that cannot be told."""
    try:
        with open(environ.get("GITHUB_EVENT_PATH", ""), "rb") as file:
            found = msgspec.json.decode(file.read(_EVENT_LIMIT))
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    for name in _PRIVILEGED[environ["GITHUB_EVENT_NAME"]].split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
