"""Runs beside ``serve``: their journals appear live, runs report to it, and it passes things on."""

import gzip
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from tests.conftest import KEY, Workspace
from tests.intake_server import Answer, Server, intake
from tests.serve_place import LOGS, Serve, ago, part, pipeline, serving

PIPELINE_FILE = """
    name: Shown
    jobs:
      first: { steps: ['echo one', { name: two, run: echo two } ] }
      second: { needs: [first], steps: ['echo three; until [ -e go ]; do sleep 0.05; done'] }
"""


def until(condition: Callable[[], Any], within: float = 15) -> Any:
    """What the condition gives once it is true."""
    ends = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.05)
    return found


def status(viewer: Serve, query: str) -> list[str]:
    return [one["attributes"]["ci"]["status"] for one in viewer.search(query)]


def _are(viewer: Serve, query: str, count: int) -> bool:
    return len(viewer.search(query)) == count


def log(viewer: Serve, job: str) -> str:
    """The page with what a job printed."""
    [found] = viewer.search(f"ci_level:job @ci.job.name:{job}")
    ci = found["attributes"]["ci"]
    page = f"/executions/{ci['pipeline']['id']}?tab=logs&job={ci['job']['id']}"
    answer = viewer.ask("GET", page)
    assert answer.status == 200
    return answer.body.decode()


def test_a_run_appears_while_it_runs_and_ends(workspace: Workspace) -> None:
    workspace.write(PIPELINE_FILE)
    sha = workspace.commit()
    state = workspace.path / ".signalbox"
    with serving(state) as viewer:
        assert viewer.search("") == []
        with workspace.start("run", "--local") as process:
            job = "ci_level:job @ci.job.name:second @ci.status:running"
            until(lambda: viewer.search(job))
            assert status(viewer, "ci_level:pipeline") == ["running"]
            assert len(viewer.search("ci_level:step")) == 2
            (workspace.path / "go").touch()
            process.communicate(timeout=20)
        until(lambda: status(viewer, "ci_level:pipeline") == ["success"])
        assert len(viewer.search("ci_level:step @ci.status:success")) == 3
        until(lambda: len(viewer.search(f"@git.commit.sha:{sha}")) == 6)
        assert "two" in log(viewer, "first"), "out of the journal's own file"
        assert "three" in log(viewer, "second")
        viewer.end()
    with serving(state) as viewer:
        assert len(viewer.search("")) == 6, "nothing is copied twice"


def test_a_journal_that_is_removed_and_made_anew_is_followed(workspace: Workspace) -> None:
    workspace.write("name: Shown\njobs: { a: { steps: ['true'] } }\n")
    workspace.commit()
    other = workspace.path.parent / "other"
    with serving(other / "state", "--state", str(workspace.path / ".signalbox")) as viewer:
        for count in (1, 2):
            assert workspace.run("run", "--local").code == 0
            ended = "ci_level:pipeline @ci.status:success"
            until(partial(_are, viewer, ended, count))
            workspace.git("clean", "-fdxq")
    assert not (workspace.path / ".signalbox").exists(), "it made nothing there"


def test_a_run_reports_to_it_as_to_datadog(workspace: Workspace) -> None:
    workspace.write(PIPELINE_FILE)
    workspace.commit()
    (workspace.path / "go").touch()
    with serving(workspace.path.parent / "elsewhere") as viewer:
        workspace.environ |= {"SIGNALBOX_INTAKE_URL": viewer.url, "DD_API_KEY": KEY}
        done = workspace.run("run", SIGNALBOX_LOGS="on")
        assert done.code == 0, done.text
        assert len(viewer.search("@ci.status:success")) == 6
        assert len(viewer.search("@ci.provider.name:signalbox")) == 6
        assert "three" in log(viewer, "second")
        kept = b"".join(path.read_bytes() for path in viewer.state.rglob("*") if path.is_file())
        assert KEY.encode() not in kept


# ── the relay ────────────────────────────────────────────────────────────────────────────────────


class Forward(TypedDict):
    """The environment of a relay."""

    SIGNALBOX_INTAKE_URL: str
    DD_API_KEY: str


def forward(server: Server) -> Forward:
    return {"SIGNALBOX_INTAKE_URL": server.url, "DD_API_KEY": KEY}


def test_what_comes_in_goes_on_byte_for_byte_and_is_accounted_for(tmp_path: Path) -> None:
    line = {"message": "hi", "pipeline_unique_id": "p", "job_id": "j", "line_number": 1}
    line |= {
        "provider_name": "custom-ci",
        "section_name": "s",
        "status": "info",
        "timestamp": ago(),
    }
    with (
        intake(key=KEY) as server,
        serving(tmp_path / "s", "--forward", **forward(server)) as viewer,
    ):
        sent = [pipeline("p", novelty="é"), part("job", "p", "j"), part("step", "p", "s")]
        assert viewer.ask("POST", LOGS, [line]).status == 202
        viewer.take(*sent)
        server.wait(lambda: len(server.events) == 3 and server.log_requests == 1, 15)
        assert server.events == [one["attributes"]["resource"] for one in sent]  # type: ignore[index]
        [packed] = [one for one in server.requests if one.path == LOGS]
        assert json.loads(gzip.decompress(packed.body)) == [line]
        until(lambda: b"0" in viewer.ask("GET", "/executions").body)


def test_the_outbox_outlives_trouble_and_a_kill(tmp_path: Path) -> None:
    state = tmp_path / "s"
    with intake(key=KEY) as server:
        server.default = Answer(status=503)
        with serving(state, "--forward", **forward(server)) as viewer:
            viewer.take(*(part("step", "p", str(n)) for n in range(50)))
            server.wait(lambda: server.answered > 0, 15)
            viewer.end(9)
        server.default = Answer()
        with serving(state, "--forward", **forward(server)):
            server.wait(
                lambda: {one["id"] for one in server.events} == set(map(str, range(50))), 15
            )


def test_a_refused_event_holds_up_no_other(tmp_path: Path) -> None:
    def picky(request: Any) -> Answer | None:
        return Answer(status=400) if b'"poison"' in request.body else None

    with (
        intake(key=KEY) as server,
        serving(tmp_path / "s", "--forward", **forward(server)) as viewer,
    ):
        server.rule = picky
        names = [str(n) for n in range(10)] + ["poison"]
        viewer.take(*(part("step", "p", name) for name in names))
        server.wait(lambda: {one["id"] for one in server.events} >= set(names[:10]), 15)


def test_running_and_final_events_of_one_thing_go_in_two_requests(tmp_path: Path) -> None:
    start = ago(90)
    with (
        intake(key=KEY) as server,
        serving(tmp_path / "s", "--forward", **forward(server)) as viewer,
    ):
        running = pipeline("p", start=start, status="running", end=None)
        viewer.take(running, pipeline("p", start=start), part("step", "p", "s"))
        server.wait(lambda: len(server.events) == 3, 15)
        requests = [json.loads(one.body)["data"] for one in server.requests]
        pipelines = [
            sum(one["attributes"]["resource"]["level"] == "pipeline" for one in elements)
            for elements in requests
        ]
        assert pipelines == [1, 1]
        assert [one["status"] for one in server.events if one["level"] == "pipeline"] == [
            "running",
            "success",
        ]


def test_there_must_be_somewhere_to_forward_to(tmp_path: Path, workspace: Workspace) -> None:
    done = workspace.run("serve", "--forward", "--port", "0")
    assert done.code == 2
    assert "DD_API_KEY" in done.text
