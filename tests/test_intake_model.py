"""The test intake itself: it accepts a sound execution and objects to every way of spoiling it."""

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.intake_model import Judge, Model, Stored, take_apart
from tests.intake_server import intake

Data = list[dict[str, Any]]
SECRET = "hunter2-hunter2"
JUDGE = Judge()


def wrapped(resource: dict[str, Any]) -> dict[str, Any]:
    attributes = {"provider_name": "signalbox", "resource": resource}
    return {"type": "cipipeline_resource_request", "attributes": attributes}


def at(second: int) -> str:
    return f"2026-03-02T09:15:{second:02d}.120Z"


def sound() -> Data:
    """An execution of one stage, one job, one step: running events first, the pipeline last."""
    git = {
        "repository_url": "https://git.example/a",
        "sha": "4f1c2a9be0d35f6718a4c0b7d2e98f30516a7bcd",
        "author_email": "dev@example.test",
        "branch": "main",
    }
    head = {"pipeline_unique_id": "p", "pipeline_name": "P", "git": git}
    pipeline = {
        "level": "pipeline",
        "unique_id": "p",
        "name": "P",
        "url": "",
        "start": at(0),
        "partial_retry": False,
        "git": git,
    }
    job = {"level": "job", "id": "j", "name": "J", "url": "", "start": at(1), **head}
    step = {"level": "step", "id": "s", "name": "S", "start": at(2), "end": at(3), **head}
    stage = {"level": "stage", "id": "t", "name": "T", "start": at(1), "end": at(4), **head}
    staged = {"stage_id": "t", "stage_name": "T"}
    resources: Data = [
        {**pipeline, "status": "running", "tags": ["a:1"]},
        {**job, **staged, "status": "running"},
        {**step, **staged, "job_id": "j", "job_name": "J", "status": "success"},
        {**job, **staged, "end": at(4), "status": "success", "metrics": ["m:1.5"]},
        {**stage, "status": "success"},
        {**pipeline, "end": at(5), "status": "success"},
    ]
    return [wrapped(copy.deepcopy(resource)) for resource in resources]


def findings(data: Data) -> list[str]:
    taken = events(data)
    model = Model()
    for event in taken:
        model.take(event)
    own = [finding for event in taken for finding in JUDGE.event(event)]
    return own + model.findings + list(model.incomplete())


def member(index: int, name: str, value: object) -> Callable[[Data], None]:
    def spoil(data: Data) -> None:
        data[index]["attributes"]["resource"][name] = value

    return spoil


def git(name: str, value: object) -> Callable[[Data], None]:
    def spoil(data: Data) -> None:
        data[2]["attributes"]["resource"]["git"][name] = value

    return spoil


def again(index: int, **changes: object) -> Callable[[Data], None]:
    def spoil(data: Data) -> None:
        repeated = copy.deepcopy(data[index])
        repeated["attributes"]["resource"].update(changes)
        data.append(repeated)

    return spoil


def without(index: int) -> Callable[[Data], None]:
    return lambda data: [data.pop(index)].clear()


def test_a_sound_execution_has_no_findings() -> None:
    assert findings(sound()) == []
    data = sound()
    again(2)(data)
    data.insert(1, copy.deepcopy(data[0]))
    data[1]["attributes"]["resource"]["tags"].append("b:2")
    assert findings(data) == []
    assert JUDGE.whole({"data": data}) == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (member(2, "status", "canceled"), "canceled"),
        (member(4, "status", "running"), "no event of this level"),
        (member(2, "surprise", 1), "unknown member"),
        (member(3, "queue_time", -1), "queue_time"),
        (member(3, "queue_time", "7"), "queue_time"),
        (member(2, "start", "2026-03-02 09:15"), "start"),
        (member(2, "start", "2026-13-02T09:15:00Z"), "start"),
        (member(2, "start", at(4)), "before it starts"),
        (member(2, "tags", ["nothing"]), "not key:value"),
        (member(2, "tags", [1]), "tags"),
        (member(3, "metrics", ["m:many"]), "not key:number"),
        (member(2, "name", ""), "name is empty"),
        (member(1, "end", at(4)), "running event has an end"),
        (member(2, "error", {"message": "x" * 5001}), "too long"),
        (member(2, "error", {"domain": "code"}), "domain"),
        (git("sha", "4f1c2a9be0d35f6718a4c0b7d2e98f30516a7bcd\n"), "40 hex digits"),
        (git("tag", "v1"), "both branch and tag"),
        (git("repository_url", "https://me:pw@git.example/a"), "holds a"),
        (git("repository_url", "https://me@git.example/a"), "holds a user"),
        (git("author_mail", "x"), "unknown member"),
        (lambda data: data[0].update(type="event"), "type is"),
        (lambda data: data[0]["attributes"].update(provider_name="a,b"), "comma"),
        (lambda data: data[0]["attributes"].update(ci="x"), "unknown attribute"),
        (again(2, name="Other"), "different bytes"),
        (again(5, end=at(6)), "different bytes"),
        (again(1), "running after final"),
        (again(0), "running after final"),
        (member(5, "start", at(1)), "start moved"),
        (member(2, "pipeline_name", "Q"), "not its pipeline's name"),
        (member(2, "job_name", "Q"), "not its job's name"),
        (member(2, "end", at(9)), "inside its job"),
        (member(3, "dependencies", ["x"]), "which was never sent"),
        (without(3), "never ended though"),
        (without(4), "its stage was never sent"),
    ],
)
def test_it_objects_to_what_is_wrong(spoil: Callable[[Data], None], told: str) -> None:
    data = sound()
    spoil(data)
    assert any(told in finding for finding in findings(data)), findings(data)


@pytest.mark.parametrize(
    ("name", "value"), [("status", "failed"), ("start", "soon"), ("queue_time", -1), ("tags", [1])]
)
def test_the_fast_verdict_is_the_schemas_own(name: str, value: object) -> None:
    judge = Judge()
    for _ in range(2):
        assert not [f for event in events(sound()) for f in judge.event(event)]
    spoilt = sound()
    member(3, name, value)(spoilt)
    assert [f for event in events(spoilt) for f in judge.event(event)]
    assert judge.whole({"data": spoilt})


def events(data: Data) -> list[Stored]:
    return take_apart(json.dumps({"data": data}).encode())


@pytest.mark.parametrize("shift", range(3))
def test_a_secret_is_found_in_disguise(shift: int) -> None:
    coded = base64.b64encode(b"x" * shift + SECRET.encode() + b"tail").decode()
    for text in (SECRET, coded):
        data = sound()
        member(2, "name", f"run {text}")(data)
        with intake() as server:
            url = f"{server.url}/api/v2/ci/pipeline"
            requests.post(url, json={"data": data}, timeout=5)
            assert server.findings(secrets=["something-else"]) == []
            assert any("a secret" in finding for finding in server.findings(secrets=[SECRET]))
