"""The attributes a query can name, and where the store has them.

Owns the names (those of Datadog's facets) and the units of numbers. Pure.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from runner.viewer import tables
from runner.viewer.query import QueryError
from runner.viewer.rows import Level

MILLISECOND: Final = 1_000_000
"""Nanoseconds, in which durations are compared and given."""
_UNITS: Final = {
    "": 1,
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": MILLISECOND,
    "s": 1_000 * MILLISECOND,
    "m": 60_000 * MILLISECOND,
    "min": 60_000 * MILLISECOND,
    "h": 3_600_000 * MILLISECOND,
    "d": 86_400_000 * MILLISECOND,
    "day": 86_400_000 * MILLISECOND,
    "days": 86_400_000 * MILLISECOND,
    "w": 604_800_000 * MILLISECOND,
}
_AMOUNT: Final = re.compile(
    r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:e[+-]?\d{1,2})?)([a-zµ]*)"
)


class Words(msgspec.Struct, frozen=True):
    """A column of texts."""

    column: str


class Number(msgspec.Struct, frozen=True):
    """A column of milliseconds, told in nanoseconds."""

    column: str


class Flag(msgspec.Struct, frozen=True):
    """A bit of the flags."""

    bit: int


class LevelOf(msgspec.Struct, frozen=True):
    """The level itself."""


class RunOf(msgspec.Struct, frozen=True):
    """The unique id of the pipeline's execution."""


class Member(msgspec.Struct, frozen=True):
    """Something in the payload: a JSON path for each level that has it."""

    paths: Mapping[str, str]


class Items(msgspec.Struct, frozen=True):
    """A list in the payload, or an object, whose items are ``key:value``."""

    path: str


class Tag(msgspec.Struct, frozen=True):
    """A tag or a measure of whoever sent it."""

    key: str


Attribute = Words | Number | Flag | LevelOf | RunOf | Member | Items | Tag


def _everywhere(path: str) -> Member:
    return Member(dict.fromkeys(("pipeline", "stage", "job", "step"), path))


_KNOWN: Final[Mapping[str, Attribute]] = {
    "ci_level": LevelOf(),
    "ci.status": Words("status"),
    "status": Words("status"),
    "ci.pipeline.id": RunOf(),
    "ci.pipeline.name": Words("pipeline"),
    "ci.stage.name": Words("stage"),
    "ci.job.name": Words("job"),
    "ci.step.name": Words("step"),
    "ci.provider.name": Words("provider"),
    "ci.provider.instance": Words("service"),
    "service": Words("service"),
    "env": Words("env"),
    "ci.node.name": Words("node"),
    "ci.node.hostname": _everywhere("$.node.hostname"),
    "ci.node.workspace": _everywhere("$.node.workspace"),
    "ci.node.labels": Items("$.node.labels"),
    "ci.parameters": Items("$.parameters"),
    "ci.pipeline.url": Member({"pipeline": "$.url"}),
    "ci.pipeline.pipeline_id": Member({"pipeline": "$.pipeline_id"}),
    "ci.stage.id": Member({"stage": "$.id", "job": "$.stage_id", "step": "$.stage_id"}),
    "ci.job.id": Member({"job": "$.id", "step": "$.job_id"}),
    "ci.job.url": Member({"job": "$.url"}),
    "ci.step.id": Member({"step": "$.id"}),
    "ci.step.url": Member({"step": "$.url"}),
    "ci.pipeline.previous_attempt.id": Member({"pipeline": "$.previous_attempt.id"}),
    "ci.pipeline.parent.id": Member({"pipeline": "$.parent_pipeline.id"}),
    "ci.is_manual": Flag(tables.MANUAL),
    "ci.partial_retry": Flag(tables.PARTIAL),
    "ci.is_resumed": Flag(tables.RESUMED),
    "ci.queue_time": Number("queue"),
    "duration": Number("duration"),
    "git.repository_url": _everywhere("$.git.repository_url"),
    "git.repository.id": Words("repository"),
    "git.repository.id_v2": Words("repository"),
    "git.branch": Words("branch"),
    "git.tag": Words("tag"),
    "git.default_branch": _everywhere("$.git.default_branch"),
    "git.is_default_branch": Flag(tables.DEFAULT),
    "git.commit.sha": Words("sha"),
    "git.commit.message": _everywhere("$.git.message"),
    "git.commit.author.name": _everywhere("$.git.author_name"),
    "git.commit.author.email": Words("author"),
    "git.commit.committer.name": _everywhere("$.git.committer_name"),
    "git.commit.committer.email": _everywhere("$.git.committer_email"),
    "error.domain": Words("domain"),
    "error.type": Words("fault"),
    "error.message": _everywhere("$.error.message"),
    "error.stack": _everywhere("$.error.stack"),
}


def attribute(name: str) -> Attribute:
    """What a name in a query means: ``@`` or not, what is not ours is a tag."""
    plain = name.removeprefix("@")
    return _KNOWN.get(plain) or Tag(plain)


def at_level(known: Attribute, level: Level) -> Attribute | None:
    """The same for one level; None: things of this level do not have it."""
    if known == Words("step"):
        return Words("name") if level == "step" else None
    return known


def amount(text: str) -> float:
    """``1.5s`` in nanoseconds, a number without a unit as it is; raises ``QueryError``."""
    match = _AMOUNT.fullmatch(text.strip().lower())
    if not match or match[2] not in _UNITS:
        raise QueryError(f"{text[:60]!r} is no number: 100, 1.5s, 10min, 7days", 1)
    return float(match[1]) * _UNITS[match[2]]
