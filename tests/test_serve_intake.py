"""``serve`` takes what Datadog's intake takes, refuses what it refuses, and keeps what it took."""

import gzip
import http.client
import itertools
import json
import shutil
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import have
from tests.serve_place import (
    JSON,
    LOGS,
    PIPELINE,
    READ,
    SERVE,
    SHA,
    Serve,
    ago,
    git,
    part,
    pipeline,
    serving,
)

GUIDE = f"""
      {{
        "data": {{
          "attributes": {{
            "provider_name": "<YOUR_CI_PROVIDER>",
            "resource": {{
              "level": "pipeline",
              "unique_id": "b3262537-a573-44eb-b777-4c0f37912b05",
              "name": "Documentation Build",
              "git": {{
                "repository_url": "https://github.com/Datadog/documentation",
                "author_email": "contributor@github.com",
                "sha": "{SHA}"
              }},
              "status": "success",
              "start": "2024-08-22T11:36:29-07:00",
              "end": "2024-08-22T14:36:00-07:00",
              "partial_retry": false,
              "url": ""
            }}
          }},
          "type": "cipipeline_resource_request"
        }}
      }}
"""


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with serving(tmp_path_factory.mktemp("serve") / "state") as running:
        yield running


# ── what is taken ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not have("curl"), reason="no curl")
def test_the_curl_of_the_guide_works_as_it_stands(viewer: Serve) -> None:
    command = ["curl", "-s", "-w", "%{http_code}", "-X", "POST", f"{viewer.url}{PIPELINE}"]
    headers = ["-H", "Content-Type: application/json", "-H", "DD-API-KEY: <YOUR_API_KEY>"]
    done = subprocess.run(
        [*command, *headers, "-d", "@-"], input=GUIDE, capture_output=True, text=True, check=True
    )
    assert done.stdout == '{"data":null}202'
    [found] = viewer.search("@ci.pipeline.id:b3262537-a573-44eb-b777-4c0f37912b05")
    assert found["attributes"]["git"]["repository"]["id"] == "github.com/Datadog/documentation"
    assert found["attributes"]["duration"] == 10_771 * 10**9


def test_one_event_or_many_of_all_levels(viewer: Serve) -> None:
    assert viewer.ask("POST", PIPELINE, {"data": pipeline("levels")}).status == 202
    parts = [part(level, "levels", level) for level in ("stage", "job", "step")]
    answer = viewer.send(*parts)
    assert (answer.status, answer.body) == (202, b'{"data":null}')
    assert answer.headers["content-type"] == "application/vnd.api+json"
    found = viewer.search("@ci.pipeline.id:levels")
    assert {one["ci_level"] for one in found} == {"pipeline", "stage", "job", "step"}


def test_a_thousand_events_are_taken_and_one_more_is_not(viewer: Serve) -> None:
    many = [part("step", "thousand", f"s{n}") for n in range(1001)]
    assert "1000 at most" in viewer.send(*many).errors
    assert not viewer.search("@ci.pipeline.id:thousand")
    assert viewer.send(*many[:1000]).status == 202
    assert len(viewer.search("@ci.pipeline.id:thousand")) == 1000


def test_members_that_no_schema_names_are_taken_and_kept(viewer: Serve) -> None:
    assert viewer.send(pipeline("open", novelty={"a": [1, {"b": None}]})).status == 202


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_compressed_bodies_are_unpacked(viewer: Serve, encoding: str) -> None:
    plain = json.dumps({"data": pipeline(f"packed-{encoding}")}).encode()
    packed = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}.get(encoding, plain)
    answer = viewer.ask("POST", PIPELINE, packed, {**JSON, "Content-Encoding": encoding})
    assert answer.status == 202
    assert viewer.search(f"@ci.pipeline.id:packed-{encoding}")


# ── what is refused, and how ─────────────────────────────────────────────────────────────────────

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": None}, "resource.name: is required"),
    "an empty name": ({"name": ""}, "resource.name:"),
    "a status of no level": ({"status": "failed"}, "resource.status:"),
    "a level of none": ({"level": "joob"}, "resource.level:"),
    "no offset": ({"start": "2026-03-02T09:15:00"}, "resource.start:"),
    "no time": ({"end": "yesterday"}, "resource.end:"),
    "no end": ({"end": None}, "resource.end: is required when status is success"),
    "an end before the start": ({"end": ago(9000)}, "resource.end: lies before start"),
    "more than a year": ({"start": "2020-01-01T00:00:00Z"}, "resource.end: lies more than one"),
    "the sha of the guide": (
        {"git": git(sha="cf852e17dea14008ac83036430843a1c")},
        "resource.git.sha: must be 40 hexadecimal digits",
    ),
    "a sha with its newline": ({"git": git(sha=SHA + "\n")}, "resource.git.sha:"),
    "git without its author": (
        {"git": {"repository_url": "x", "sha": SHA}},
        "resource.git.author_email: is required",
    ),
    "a queue time below nothing": ({"queue_time": -1}, "resource.queue_time:"),
    "a number as a parameter": ({"parameters": {"A": 1}}, "resource.parameters"),
    "a long message": ({"error": {"message": "x" * 5001}}, "resource.error.message:"),
    "a domain of none": ({"error": {"domain": "code"}}, "resource.error.domain:"),
    "a truth as text": ({"partial_retry": "false"}, "resource.partial_retry:"),
    "measures as an object": ({"metrics": {"a": 1}}, "resource.metrics:"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_the_field(viewer: Serve, case: str) -> None:
    changes, field = REFUSED[case]
    wrong = pipeline("refused")
    resource = wrong["attributes"]["resource"]  # type: ignore[index]
    resource.update(changes)
    for name in [name for name, value in changes.items() if value is None]:
        del resource[name]
    answer = viewer.send(pipeline("refused-beside"), wrong)
    assert answer.status == 400
    [error] = answer.json["errors"]
    assert error["detail"].startswith(f"data[1].attributes.{field}"), error
    assert (error["title"], error["status"]) == ("Bad Request", "400")
    assert not viewer.search("@ci.pipeline.id:refused-beside"), "all of a request or nothing"


def test_all_mistakes_of_a_request_are_named(viewer: Serve) -> None:
    answer = viewer.send(*(pipeline("many", name="") for _ in range(30)))
    errors = answer.json["errors"]
    assert len(errors) == 21
    assert "10 more" in errors[-1]["detail"]


@pytest.mark.parametrize("status", ["canceled", "skipped", "running", "blocked"])
def test_a_step_succeeds_or_fails_and_nothing_else(viewer: Serve, status: str) -> None:
    assert "status" in viewer.send(part("step", "x", "s", status=status)).errors


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"data":3}',
        b'{"data":[3]}',
        b'{"data":{}}',
        b"\xff\xfe",
        b'{"data":' + b"[" * 100_000,
        b'{"data":{"attributes":{"resource":' + b'{"a":' * 100_000,
        b'{"data":{"type":"another","attributes":{"resource":{}}}}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_event_gets_a_400_that_says_so(viewer: Serve, body: bytes) -> None:
    answer = viewer.ask("POST", PIPELINE, body)
    assert answer.status == 400
    assert answer.json["errors"][0]["detail"]


def test_bombs_and_floods_are_refused(viewer: Serve) -> None:
    bomb = gzip.compress(b" " * 60_000_000)
    assert viewer.ask("POST", PIPELINE, bomb, {"Content-Encoding": "gzip"}).status == 413
    bomb = zlib.compress(b" " * 60_000_000)
    assert viewer.ask("POST", PIPELINE, bomb, {"Content-Encoding": "deflate"}).status == 413
    assert viewer.ask("POST", PIPELINE, b" " * 6_000_000).status == 413
    with viewer.connect() as wire:  # what nobody would hear out is answered before it comes
        wire.sendall(b"POST %b HTTP/1.1\r\nHost: localhost\r\n" % PIPELINE.encode())
        wire.sendall(b"Content-Type: application/json\r\nContent-Length: 900000000\r\n\r\n")
        assert wire.recv(100).startswith(b"HTTP/1.1 413")
    for encoding, body in (("gzip", b"no gzip"), ("gzip", gzip.compress(b"{}")[:-4])):
        assert viewer.ask("POST", PIPELINE, body, {"Content-Encoding": encoding}).status == 400
    assert viewer.ask("POST", PIPELINE, b"{}", {"Content-Encoding": "zstd"}).status == 415
    assert viewer.ask("POST", PIPELINE, b"{}", {"Content-Type": "text/plain"}).status == 415


# ── one thing, told several times ────────────────────────────────────────────────────────────────


def only(viewer: Serve, execution: str) -> dict[str, Any]:
    [found] = viewer.search(f"@ci.pipeline.id:{execution}")
    attributes: dict[str, Any] = found["attributes"]
    return attributes | {"tags": found["tags"]}


def test_a_running_pipeline_grows_and_ends(viewer: Serve) -> None:
    start = ago(90)
    running = {"status": "running", "end": None, "start": start}
    viewer.take(pipeline("grows", **running, tags=["a:1"]))
    assert only(viewer, "grows")["ci"]["status"] == "running"
    assert "duration" not in only(viewer, "grows")
    viewer.take(pipeline("grows", **running, git=None, is_manual=True))
    assert only(viewer, "grows")["git"]["branch"] == "main", "what was known stays"
    assert only(viewer, "grows")["ci"]["is_manual"] is True
    viewer.take(pipeline("grows", start=start, status="error", tags=["a:1", "b:2"]))
    found = only(viewer, "grows")
    assert found["ci"]["status"] == "error"
    assert found["tags"] == ["a:1", "b:2"]
    assert found["ci"]["is_manual"] is True


def test_a_final_event_beats_a_running_one_that_comes_late(viewer: Serve) -> None:
    start = ago(90)
    viewer.take(pipeline("late", start=start))
    viewer.take(pipeline("late", start=start, status="running", end=None, is_manual=True))
    assert only(viewer, "late")["ci"]["status"] == "success"
    assert only(viewer, "late")["ci"]["is_manual"] is True


def test_of_two_final_events_the_later_counts(viewer: Serve) -> None:
    start, end = ago(90), ago(40)
    viewer.take(pipeline("twice", start=start, end=end, tags=["a:1"]))
    viewer.take(pipeline("twice", start=start, end=end, status="error"))
    assert only(viewer, "twice")["ci"]["status"] == "error"
    assert only(viewer, "twice")["tags"] == []


def test_a_thing_whose_start_moves_is_still_one(viewer: Serve) -> None:
    viewer.take(pipeline("moves", start=ago(500)), pipeline("moves", start=ago(50), end=ago(1)))
    viewer.take(pipeline("moves", start=ago(400)))
    assert only(viewer, "moves")["start"] < (time.time() - 300) * 1e9


def test_ids_are_unique_within_an_execution_and_a_level(viewer: Serve) -> None:
    for execution in ("first", "second"):
        viewer.take(part("job", execution, "same"), part("step", execution, "same"))
    for execution in ("first", "second"):
        assert len(viewer.search(f"@ci.pipeline.id:{execution}")) == 2


# ── logs of jobs ─────────────────────────────────────────────────────────────────────────────────


def line(**more: object) -> dict[str, object]:
    return {"message": "hello", "pipeline_unique_id": "p", "job_id": "j", **more}


def test_lines_are_taken_one_or_many_packed_or_not(viewer: Serve) -> None:
    assert viewer.ask("POST", LOGS, line(line_number=1)).status == 202
    packed = gzip.compress(json.dumps([line(line_number=2, team="web"), line()]).encode())
    assert viewer.ask("POST", LOGS, packed, {"Content-Encoding": "gzip"}).status == 202


@pytest.mark.parametrize(
    "wrong",
    [
        {"message": ""},
        {"job_id": None},
        {"provider_name": "a,b"},
        {"line_number": -1},
        {"timestamp": "2026-03-02T09:15:00"},
        {"team": {"a": 1}},
        {"team": ["a"]},
    ],
    ids=str,
)
def test_a_line_that_is_none_is_refused(viewer: Serve, wrong: dict[str, object]) -> None:
    answer = viewer.ask("POST", LOGS, [line(), line(**wrong)])
    assert answer.status == 400
    assert next(iter(wrong)) in answer.errors


# ── nothing acknowledged is lost ─────────────────────────────────────────────────────────────────


class Load:
    """Steps sent by four threads until the server is gone; ``taken`` were acknowledged."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self._round = 0

    def until_killed(self, running: Serve, more: int) -> None:
        self._round += 1
        wanted = len(self.taken) + more
        threads = [threading.Thread(target=self._send, args=(running, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        while len(self.taken) < wanted:
            time.sleep(0.005)
        running.end(signal.SIGKILL)
        for thread in threads:
            thread.join()

    def _send(self, running: Serve, place: int) -> None:
        for count in itertools.count():
            ids = [f"{self._round}-{place}-{count}-{n}" for n in range(20)]
            try:
                answer = running.send(*(part("step", f"run-{place}", id_) for id_ in ids))
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 202:
                self.taken.update(ids)


def test_a_kill_under_load_loses_no_acknowledged_event(tmp_path: Path) -> None:
    state, load = tmp_path / "state", Load()
    for _ in range(2):
        with serving(state) as running:
            load.until_killed(running, 400)
    with serving(state) as running:
        found = {one["attributes"]["ci"]["step"]["id"] for one in everything(running)}
    assert load.taken <= found


def everything(viewer: Serve) -> Iterator[dict[str, Any]]:
    """All events, page by page."""
    cursor: dict[str, str] = {}
    while True:
        page = {"page": {"limit": 1000} | cursor}
        answer = viewer.ask("POST", f"{READ}/events/search", page).json
        yield from (one["attributes"] for one in answer["data"])
        if "page" not in answer["meta"]:
            return
        cursor = {"cursor": answer["meta"]["page"]["after"]}


def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "state", biggest=400_000) as running:
        taken = 0
        answer = running.send(pipeline("full"))
        while answer.status == 202:
            answer = running.send(*(part("step", f"r{taken}", str(n)) for n in range(20)))
            taken += 20
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert len(list(everything(running))) == 1 + taken - 20


def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "serve"
    folder.mkdir(parents=True)
    (tmp_path / "state" / ".gitignore").write_text("*\n")
    (folder / "store.db").write_bytes(b"something else" * 100)
    command = [*SERVE, "--port", "0", "--state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 4
    assert "store.db cannot be used" in done.stderr
    assert (folder / "store.db").read_bytes().startswith(b"something else")


def test_a_store_that_is_removed_under_it_is_written_anew(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with serving(state) as running:
        running.take(*(part("step", "before", str(n)) for n in range(50)))
        shutil.rmtree(state)  # as `git clean -fdx` does
        assert len(list(everything(running))) == 50
        running.take(part("step", "after", "s"))
        assert len(list(everything(running))) == 51
        running.end(signal.SIGKILL)
    with serving(state) as running:
        assert len(list(everything(running))) == 51
