"""What was declared in a pipeline file: plain, frozen, complete.

Owns the shape of a declaration after shorthands and defaults are gone (a step is always a ``Step``,
durations are seconds, every job carries its own shell). Does not read YAML (``manifest``) and
decides nothing (``plan``). Key by key: interface, section 2.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

JOB_LIMIT: Final = 6 * 3600.0
"""Seconds a job may run when it says nothing: interface, section 2."""


class Condition(Enum):
    """When a job or step runs: of a job about its needs, of a step about the steps before it."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


class Kind(Enum):
    """What a parameter's value is; in the environment all are texts."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"


_SHAPES: Final = {
    Kind.NUMBER: (re.compile(r"-?[0-9]+(\.[0-9]+)?"), "a number such as 3 or -0.5"),
    Kind.BOOLEAN: (re.compile("true|false"), "true or false"),
}


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A value a person may set at start, or a field of a gate. No default: it must be given."""

    default: str | None = None
    type: Kind = Kind.STRING
    choices: tuple[str, ...] = ()
    description: str = ""

    def refusal(self, value: str) -> str:
        """What ``value`` would have to be; empty: it may be this parameter's."""
        if self.choices and value not in self.choices:
            return f"one of {', '.join(self.choices)}"
        shape, what = _SHAPES.get(self.type, (None, ""))
        return what if shape and not shape.fullmatch(value) else ""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A container beside a job: a database, a broker."""

    image: str
    env: Mapping[str, str] = {}
    ready: str = ""
    ports: tuple[str, ...] = ()
    command: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One command of a job. ``name`` may hold $NAME; ``timeout`` is seconds per attempt."""

    name: str
    run: str
    condition: Condition = Condition.SUCCESS
    env: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    timeout: float | None = None
    retry: int = 0
    allow_failure: bool = False
    shell: str = ""
    """``bash``, ``sh``, or a command line that gets the script's path; empty: bash, else sh."""
    working_directory: str = ""
    """Relative to the file's directory; empty: that directory itself."""
    annotations: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Steps that run in order on one node. ``key`` is the key in the file."""

    key: str
    name: str
    """What is shown and reported; may hold $NAME. Legs of a matrix get their values appended."""
    stage: str = ""
    needs: tuple[str, ...] = ()
    condition: Condition = Condition.SUCCESS
    image: str = ""
    matrix: Mapping[str, tuple[str, ...]] = {}
    services: Mapping[str, Service] = {}
    env: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    timeout: float = JOB_LIMIT
    allow_failure: bool = False
    user: str = ""
    isolation: str = "job"
    """``job``: one container for all steps; ``step``: one for each."""
    cpus: float | None = None
    memory: str = ""
    pids: int | None = None
    pull: str = ""
    """``always``, ``missing`` or ``never``; empty: missing, but always for ``latest``."""
    keep: tuple[str, ...] = ()
    steps: tuple[Step, ...]


class Gate(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A place where the pipeline stops until a person answers."""

    key: str
    name: str
    question: str
    stage: str = ""
    needs: tuple[str, ...] = ()
    expires: float | None = None
    """Seconds after the gate was reached."""
    approvers: tuple[str, ...] = ()
    not_initiator: bool = False
    fields: Mapping[str, Parameter] = {}


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """A whole pipeline file. ``jobs`` in the order of the file."""

    name: str
    service: str = ""
    env: Mapping[str, str] = {}
    parameters: Mapping[str, Parameter] = {}
    tags: Mapping[str, str] = {}
    measures: Mapping[str, float] = {}
    secrets: tuple[str, ...] = ()
    jobs: tuple[Job | Gate, ...]
