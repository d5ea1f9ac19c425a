"""The parts of an execution while they are open: what has been said of each so far.

Owns which tag or measure counts when several were said. Makes no event (``shapes``).
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from runner.event import Failure, Node, Status
from runner.execution import rfc3339
from runner.notice import Answer, JobStarted, Level, Said

TAGS: Final = 100
"""Tags, and measures, per event (Datadog's limit for custom tags)."""


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What events carry beside what happened."""

    node: Node | None = None
    job_url: str = ""
    """The host CI's page of the job that we run in: the page of each of our jobs, and steps."""
    tags: Mapping[str, str] = {}
    """On every level, below the file's own (``--tag``, DD_TAGS)."""
    pipeline_tags: Mapping[str, str] = {}
    """On the pipeline alone: the host CI, who answered a gate."""
    measures: Mapping[str, float] = {}


def answered(answer: Answer) -> dict[str, str]:
    """The tags that tell of an answer. A tag's key ends at its first colon: one in the name of the
    gate is an underscore there.
    """
    key = f"gate.{answer.gate.replace(':', '_')}"
    verdict = "approved" if answer.approved else "rejected"
    tags = {
        key: "expired" if answer.expired else verdict,
        f"{key}.by": answer.who,
        f"{key}.at": rfc3339(answer.at),
        f"{key}.reason": answer.reason,
    }
    return {key: value for key, value in tags.items() if value}


class Labeled:
    """The tags and measures of one part while it is open; the last said of a key wins."""

    def __init__(self, *layers: Mapping[str, str]) -> None:
        self.tags: dict[str, str] = {}
        self.measures: dict[str, float] = {}
        for layer in layers:
            self.tags.update(layer)

    def add(self, said: Said, level: Level) -> bool:
        """Take in what was said of this level; whether anything was."""
        tags, measures = said.tags.get(level, {}), said.measures.get(level, {})
        self.tags.update(tags)
        self.measures.update(measures)
        return bool(tags or measures)

    def written(self, **more: str) -> tuple[str, ...]:
        """The tags, as events carry them."""
        tags = self.tags | more
        return tuple(f"{key}:{value}" for key, value in tags.items())[:TAGS]

    def measured(self) -> tuple[str, ...]:
        """The measures, as events carry them."""
        return tuple(f"{key}:{value:.15g}" for key, value in self.measures.items())[:TAGS]


class OpenJob(Labeled):
    """A job that has started."""

    def __init__(self, started: JobStarted, *layers: Mapping[str, str]) -> None:
        super().__init__(*layers, started.tags)
        self.started = started
        self.sections: dict[str, int] = {}
        """Names of steps, and which step had each first."""


class OpenStage(Labeled):
    """A stage while jobs of it are to come: ``left`` counts them."""

    def __init__(self, left: int, *layers: Mapping[str, str]) -> None:
        super().__init__(*layers)
        self.left = left
        self.start = self.end = self.ready = 0
        self.statuses: set[Status] = set()
        self.needs: dict[str, None] = {}
        self.failure: Failure | None = None
