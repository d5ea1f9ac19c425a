"""Every key of a pipeline file: its form, what it fills and a sentence for the editor.

Owns the table that the reader and the JSON Schema are made of (interface, section 2). Does not know
how keys work together (``check``). A new key is one line here and one field in ``pipeline``.
"""

from collections.abc import Mapping
from typing import Any, Final

from runner.manifest import forms
from runner.manifest.forms import Field, Form, made, many, number, one_of, record, table, text
from runner.manifest.problems import Problems
from runner.manifest.tree import Mapping as MappingNode
from runner.manifest.tree import Node, Scalar
from runner.manifest.version import version_range
from runner.pipeline import Condition, Kind, Parameter, Service


def _keys(*fields: tuple[str, Form[Any], str]) -> dict[str, Field]:
    """Fields by their key; a ``*`` behind the key says that it is required."""
    return {
        key.rstrip("*"): Field(
            form=form, about=about, target=_TARGETS.get(key) or key.rstrip("*").replace("-", "_"),
            required=key.endswith("*"),
        )
        for key, form, about in fields
    }  # fmt: skip


_TARGETS: Final = {"if": "condition", "gate*": "question"}
"""Where the struct cannot use the file's word."""

_TEXT: Final = text(forms.ANY, "a text ('' for an empty one)")
_PROSE: Final = text(forms.PROSE, "a text")
_SCRIPT: Final = text(forms.SCRIPT, "a command")
_NAME: Final = text(forms.LINE, forms.A_NAME)
_KEY: Final = text(forms.KEY, forms.A_KEY)
_IMAGE: Final = text(forms.WORD, "the name of an image")
_DURATION: Final = forms.duration()
_FLAG: Final = forms.flag()
_CONDITION: Final = one_of({condition.value: condition for condition in Condition})
_KIND: Final = one_of({kind.value: kind for kind in Kind})
_ENV: Final = table(_TEXT)
_TAGS: Final = table(text(forms.LINE, forms.A_VALUE), forms.TAG, forms.A_TAG)
_NEEDS: Final = many(text(forms.PROSE, "a job's key"), unique=True)
_PORT: Final = text(r"([0-9]{1,5}:)?[0-9]{1,5}(/(tcp|udp))?", "a port such as 5432 or 8080:80")
_HOST: Final = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_MEMORY: Final = text(r"[1-9][0-9]{0,14}[bkmgBKMG]?", "an amount of memory such as 512m or 2g")
_INSIDE: Final = text(r"(?!/)(?!([\s\S]*/)?\.\.(/|$))[^\x00\n]+", "a pattern inside the workspace")

PARAMETER: Final = made(
    record(
        "a parameter",
        _keys(
            ("default", _TEXT, "The value when none is given; without it one must be given."),
            ("type", _KIND, "string (default), number, or boolean: true or false."),
            ("choices", many(_TEXT, low=1, unique=True), "The values it may have."),
            ("description", _PROSE, "What it is for."),
        ),
    ),
    Parameter,
)
SERVICE: Final = made(
    record(
        "a service",
        _keys(
            ("image*", text(forms.SCRIPT, "the name of an image"), "Its image; $NAME is replaced."),
            ("env", _ENV, "Its environment."),
            ("ready", _SCRIPT, "A command inside it that succeeds as soon as it is ready."),
            ("ports", many(_PORT), "Ports that jobs without an image reach on localhost."),
            ("command", _SCRIPT, "What it runs instead of the image's own command."),
        ),
    ),
    Service,
)

_STEP_KEYS: Final = _keys(
    ("name", _NAME, "What is shown and reported; $NAME is replaced. Default: the first line."),
    ("run*", _SCRIPT, "A script for the shell, bash -eo pipefail by default."),
    ("if", _CONDITION, "Run after earlier steps succeeded (default), failed, or always."),
    ("env", _ENV, "Variables of this step."),
    ("tags", _TAGS, "Tags reported with this step; $NAME is replaced."),
    ("timeout", _DURATION, "The limit of each attempt. Default: none."),
    ("retry", forms.integer(0, 100), "How many more attempts after a failed one. Default: 0."),
    ("allow-failure", _FLAG, "A failure is reported, and the job goes on and succeeds."),
    ("shell", _SCRIPT, "bash, sh, or a command line that is given the script's path."),
    ("working-directory", _PROSE, "Where it runs, seen from the file's directory."),
    ("annotations", _FLAG, "Let its own error, warning and notice commands through to the CI."),
)
_GATE_KEYS: Final = _keys(
    ("name", _NAME, "What is shown; $NAME is replaced. Default: the key."),
    ("needs", _NEEDS, "Jobs and gates that come before it."),
    ("stage", _NAME, "A label for grouping."),
    ("gate*", _PROSE, "The question; the pipeline stops until a person answers it."),
    ("expires", _DURATION, "How long an answer is waited for. Default: for ever."),
    ("approvers", many(_NAME, low=1, unique=True), "Who may answer. Default: everybody."),
    ("not-initiator", _FLAG, "Whoever started or retried the pipeline may not answer."),
    ("fields", table(PARAMETER), "Values that whoever approves may set."),
)


def _read_step(node: Node, path: str, problems: Problems) -> dict[str, Any]:
    if isinstance(node, Scalar):
        return {"run": _SCRIPT.read(node, path, problems)}
    return _STEP_RECORD.read(node, path, problems)


_STEP_RECORD: Final = record("a step", _STEP_KEYS)
STEP: Final = Form(
    read=_read_step,
    schema=lambda: {
        "if": {"type": "object"},
        "then": _STEP_RECORD.schema(),
        "else": _SCRIPT.schema() | {"description": _STEP_KEYS["run"].about},
    },
    what="a command or a mapping with the keys of a step",
    empty={"run": ""},
)
_JOB_KEYS: Final = _keys(
    ("name", _NAME, "What is shown and reported; $NAME is replaced. Default: the key."),
    ("stage", _NAME, "A label for grouping, no barrier."),
    ("needs", _NEEDS, "Jobs and gates that come before it."),
    ("if", _CONDITION, "Run when what it needs succeeded (default), failed, or always."),
    ("image", _IMAGE, "A container of its own; $NAME is replaced. Without one it runs here."),
    ("matrix", table(many(_TEXT, low=1, unique=True), low=1), "One job for each combination."),
    ("services", table(SERVICE, _HOST, "a host's name"), "Containers beside the job."),
    ("env", _ENV, "Variables of every step."),
    ("tags", _TAGS, "Tags reported with this job; $NAME is replaced."),
    ("timeout", _DURATION, "The limit of the whole job. Default: 6h."),
    ("allow-failure", _FLAG, "A failure is reported, and the pipeline goes on and succeeds."),
    ("shell", _SCRIPT, "The shell of steps that name none."),
    ("working-directory", _PROSE, "Where steps run that name no directory."),
    ("user", text(forms.WORD, "a user"), "owner, a uid or a name. Default: the image's own."),
    ("isolation", one_of({"job": "job", "step": "step"}), "One container for the job or a step."),
    ("cpus", number(above=0), "How many CPUs it may use."),
    ("memory", _MEMORY, "How much memory it may use."),
    ("pids", forms.integer(1, 4_194_304), "How many processes it may have."),
    ("pull", one_of({w: w for w in ("missing", "always", "never")}), "When to pull the image."),
    ("keep", many(_INSIDE), "Files carried to a resume or retry on another machine."),
    ("steps*", many(STEP, low=1), "What it does, in order."),
)

_JOB_RECORD: Final = record(
    "a job",
    _JOB_KEYS,
    {key: "it belongs to a gate" for key in _GATE_KEYS if key not in _JOB_KEYS},
)
_GATE_RECORD: Final = record(
    "a gate",
    _GATE_KEYS,
    {key: "it belongs to a job" for key in _JOB_KEYS if key not in _GATE_KEYS},
)


def _read_job(node: Node, path: str, problems: Problems) -> dict[str, Any]:
    gate = isinstance(node, MappingNode) and node.get("gate")
    return (_GATE_RECORD if gate else _JOB_RECORD).read(node, path, problems)


JOB: Final = Form(
    read=_read_job,
    schema=lambda: {
        "type": "object",
        "if": {"required": ["gate"]},
        "then": _GATE_RECORD.schema(),
        "else": _JOB_RECORD.schema(),
    },
    what="a mapping with the keys of a job or a gate",
    empty={"steps": ()},
)
PIPELINE: Final = record(
    "a pipeline",
    _keys(
        ("name*", _NAME, "The pipeline's name, the same in every event of every run."),
        ("service", _NAME, "The service it belongs to."),
        ("env", _ENV, "Variables of every step."),
        ("parameters", table(PARAMETER), "Values a person may set at start, seen as variables."),
        ("tags", _TAGS, "Tags reported at every level; $NAME is replaced."),
        ("measures", table(number(), forms.TAG, forms.A_TAG), "Numbers reported."),
        (
            "secrets",
            many(text(forms.VARIABLE, forms.A_VARIABLE), unique=True),
            "Variables that steps may see and that are masked everywhere.",
        ),
        (
            "defaults",
            record(
                "defaults",
                {
                    k: _JOB_KEYS[k]
                    for k in ("shell", "timeout", "image", "env", "working-directory")
                },
            ),
            "What jobs have that do not say otherwise.",
        ),
        ("jobs*", table(JOB, forms.KEY, forms.A_KEY, low=1), "Jobs and gates by their keys."),
        ("signalbox", version_range(), "The versions of signalbox that can run this file."),
    ),
)


def schema() -> Mapping[str, object]:
    """The whole table as one JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Signalbox pipeline file",
        **PIPELINE.schema(),
    }
