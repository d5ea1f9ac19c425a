"""What ``serve`` takes is what Datadog's schema takes, member by member."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from runner.viewer import check
from tests.intake_model import Judge

TIMES = {"start": "2026-03-02T09:15:00Z", "end": "2026-03-02T09:16:00.5-01:00"}
WHOLE: dict[str, dict[str, Any]] = {
    "every": {
        "name": "n",
        "git": {
            "repository_url": "https://git.example.test/a/b",
            "sha": "A" * 40,
            "author_email": "a@example.test",
            "author_name": "a",
            "author_time": "then",
            "committer_name": "c",
            "committer_email": "c",
            "commit_time": "then",
            "message": "m",
            "branch": "b",
            "tag": "t",
            "default_branch": "d",
        },
        "node": {"hostname": "h", "name": "n", "labels": ["l"], "workspace": "w"},
        "error": {"domain": "user", "type": "t", "message": "m", "stack": "s"},
        "tags": ["a:b"],
        "metrics": ["a:1"],
        "parameters": {"A": "b"},
    },
    "pipeline": {
        "unique_id": "u",
        "url": "",
        "partial_retry": False,
        "pipeline_id": "p",
        "previous_attempt": {"id": "i", "url": "u"},
        "parent_pipeline": {"id": "i", "url": "u"},
        "is_manual": True,
        "is_resumed": True,
        "queue_time": 1,
    },
    "child": {"id": "i", "pipeline_unique_id": "u", "pipeline_name": "n"},
    "stage": {"dependencies": ["a"], "queue_time": 1},
    "job": {"url": "", "stage_id": "s", "stage_name": "s", "dependencies": ["a"], "queue_time": 1},
    "step": {"url": "u", "job_id": "j", "job_name": "j", "stage_id": "s", "stage_name": "s"},
}
STATUSES = ["success", "error", "canceled", "skipped", "blocked", "running", "failed"]
STRICTER = {f"{name} is ''" for name in ("name", "unique_id", "id", "pipeline_unique_id")}
"""Nobody could find it again."""
STRANGE: list[Any] = [None, 0, -1, 1.5, "x", "", True, [], {}, ["a"], [1], {"a": 1}, {"a": "b"}]


def whole(level: str) -> dict[str, Any]:
    own = WHOLE["pipeline"] if level == "pipeline" else WHOLE["child"] | WHOLE[level]
    return {"level": level, "status": "success", **TIMES, **WHOLE["every"], **own}


def changed(level: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The event with one member missing or strange, and what was done."""
    event = whole(level)
    for status in STATUSES:
        yield f"status {status}", event | {"status": status}
        yield f"{status} without end", {**_without(event, "end"), "status": status}
    yield from _changed(event)
    if level == "pipeline":  # the same objects everywhere
        for name in ("git", "node", "error", "previous_attempt", "parent_pipeline"):
            for what, part in _changed(event[name]):
                yield f"{name}.{what}", event | {name: part}


def _changed(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in event:
        yield f"no {name}", _without(event, name)
        for value in STRANGE:
            yield f"{name} is {value!r}", event | {name: value}


def _without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


@pytest.mark.parametrize("level", ["pipeline", "stage", "job", "step"])
def test_every_member_is_judged_as_the_schema_judges_it(level: str) -> None:
    shapes = Judge()._shapes
    disagree = []
    for what, event in changed(level):
        shape = shapes.get((level, event.get("status") == "running"))
        meant = shape is not None and not any(True for _ in shape(event))
        attributes = {"provider_name": "p", "resource": event}
        body = {"data": {"type": "cipipeline_resource_request", "attributes": attributes}}
        if taken(body) != meant and what not in STRICTER:
            disagree.append(f"{what}: by the schema {meant}")
    assert not disagree


def taken(body: object) -> bool:
    try:
        check.request(json.dumps(body).encode())
    except check.RefusedError:
        return False
    return True
