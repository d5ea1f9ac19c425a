"""What a command asks to be carried out: a plan, where it lies, what a person said of it.

Owns the shape of a request. Carries nothing out (``launch``).
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from runner import plan
from runner.cli.identity import Reserved
from runner.cli.places import Place
from runner.cli.words import Options, options
from runner.commit import Look
from runner.errors import UsageError
from runner.execution import Link
from runner.journal import Claim, Stored
from runner.notice import Result

__all__ = ["Options", "Request", "link", "options"]


_LINK: Final = re.compile(r"([^\s=]{1,200})(?:=(https?://[^\s/@]{1,300}(?:/\S{0,1700})?)?)?")


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
    reserved: Reserved | None = None
    """Of ``exec``, whose command runs by now."""
    warnings: tuple[str, ...] = ()
    """What was found on the way here; said when the run has begun."""

    @property
    def before(self) -> Stored | None:
        """The execution that this one goes on from or retries."""
        return self.blocked or self.retried


def link(text: str | None) -> Link | None:
    """``ID[=URL]`` as a link; raises ``UsageError`` for what no event may carry."""
    if not text:
        return None
    match = _LINK.fullmatch(text)
    if match is None:
        raise UsageError(
            "--parent is not ID[=URL]: a short id, an address of http or https without credentials",
            'as a step sees it: --parent "$SIGNALBOX_PIPELINE_ID=$SIGNALBOX_PIPELINE_URL"',
        )
    return Link(id=match[1], url=match[2] or "")
