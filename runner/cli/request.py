"""What a command asks to be carried out: a plan, where it lies, what a person said of it.

Owns the shape of a request and the options that several commands read. Carries nothing out
(``launch``).
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from runner import plan
from runner.cli import settings as environment
from runner.cli.places import Place
from runner.commit import Look
from runner.execution import Link
from runner.journal import Claim, Stored
from runner.notice import Result


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may say about an execution on the command line."""

    state: str | None = None
    tags: Mapping[str, str] = {}
    measures: Mapping[str, float] = {}
    manual: bool | None = None
    max_parallel: int | None = None
    fail_fast: bool = False
    local: bool = False
    ask: bool = False
    """On a terminal, ask at a gate and go on."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An execution to be carried out. ``blocked`` and ``claim``: of a resume; ``retried`` and
    ``partial``: of a retry; ``results``, which earlier executions left, of both.
    """

    place: Place
    text: bytes
    given: Mapping[str, str]
    selection: plan.Selection
    plan: plan.Plan
    queued_at: int | None = None
    parent: Link | None = None
    options: Options
    look: Look | None = None
    """At the commit, begun already."""
    blocked: Stored | None = None
    claim: Claim | None = None
    retried: Stored | None = None
    partial: bool = False
    """Whether a job that ran in the attempt being retried is not run again."""
    results: Mapping[str, Result] = {}
    warnings: tuple[str, ...] = ()
    """What was found on the way here; said when the run has begun."""

    @property
    def before(self) -> Stored | None:
        """The execution that this one goes on from or retries."""
        return self.blocked or self.retried


def options(given: Mapping[str, Any]) -> Options:
    """Options as click has read them."""
    return Options(
        state=given["state"],
        tags=environment.pairs(given["tags"], "--tag"),
        measures=environment.measures(given["measures"], "--measure"),
        manual=given["manual"],
        max_parallel=given.get("max_parallel"),
        fail_fast=given.get("fail_fast", False),
        local=given["local"],
        ask=given.get("ask", False),
    )


def link(text: str | None) -> Link | None:
    """``ID[=URL]`` as a link."""
    if not text:
        return None
    found, _, url = text.partition("=")
    return Link(id=found, url=url)
