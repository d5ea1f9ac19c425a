"""The tree of a pipeline file -> Pipeline: shorthands written out, defaults applied and gone.

Owns how what was read becomes the structs of ``pipeline``. Does not know forms (``keys``) nor what
must hold between jobs (``check``).
"""

from collections.abc import Mapping
from typing import Any, Final

from runner.manifest.keys import PIPELINE
from runner.manifest.problems import Problems
from runner.manifest.tree import Node
from runner.pipeline import Gate, Job, Pipeline, Step

_TITLE: Final = 80
"""Characters of a step's name when it is the first line of its script."""


def read(root: Node, problems: Problems) -> Pipeline:
    """The pipeline in ``root``; where there are mistakes, something in their place."""
    values = PIPELINE.read(root, "", problems)
    values.pop("signalbox", None)
    defaults = values.pop("defaults", {})
    jobs = values.pop("jobs").items()
    return Pipeline(**values, jobs=tuple(_job_or_gate(key, job, defaults) for key, job in jobs))


def _job_or_gate(key: str, values: dict[str, Any], defaults: Mapping[str, Any]) -> Job | Gate:
    named = {"key": key, "name": _escaped(key)} | values
    if "question" in values:
        return Gate(**named | {"question": values["question"].strip()})
    inherited = ("timeout", "image", "shell", "working_directory")
    named = {name: defaults[name] for name in inherited if name in defaults} | named
    if "env" in defaults:
        named["env"] = defaults["env"] | named.get("env", {})
    of_steps = {name: named.pop(name) for name in inherited[2:] if name in named}
    steps = tuple(_step(of_steps | step) for step in named.pop("steps"))
    return Job(**named, steps=steps)


def _step(values: dict[str, Any]) -> Step:
    return Step(**{"name": _title(values["run"])} | values)


def _title(script: str) -> str:
    """The first line that says something, as it stands: its ``$`` are the shell's, not ours."""
    line = script.strip().partition("\n")[0].rstrip()
    return _escaped(line[:_TITLE])


def _escaped(name: str) -> str:
    return name.replace("$", "$$")
