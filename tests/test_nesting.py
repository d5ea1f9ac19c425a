"""A signalbox inside a step: no key, and the run around it reports what it tells, and no more."""

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner import outbox
from runner.event import encode, join
from runner.execution import SECOND, Execution, rfc3339
from tests.conftest import KEY, Workspace, by_level, killed, tags
from tests.intake_model import Judge, Model, take_apart
from tests.intake_server import Server

INNER = """
    name: Inner
    jobs:
      build:
        stage: make
        steps: [echo built, { name: speak, run: 'echo job a:b >> "$SIGNALBOX_TAGS"' }]
      test: { stage: check, needs: [build], steps: [echo tested] }
"""
OUTER = """
    name: Outer
    tags: { team: web }
    jobs:
      first: { steps: [echo first] }
      nest:
        stage: s
        needs: [first]
        steps: ['{command}']
"""


@pytest.fixture
def nested(workspace: Workspace) -> Workspace:
    """A workspace in whose steps ``signalbox`` is this one."""
    program = workspace.path.parent / "bin" / "signalbox"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m runner "$@"\n')
    program.chmod(0o755)
    workspace.environ["PATH"] = f"{program.parent}:{workspace.environ['PATH']}"
    workspace.write(INNER, "inner/pipeline.yml")
    return workspace


def outer(workspace: Workspace, command: str) -> None:
    workspace.write(OUTER.replace("{command}", command))
    workspace.commit()


def named(events: list[dict[str, Any]], level: str, name: str) -> dict[str, Any]:
    return next(event for event in by_level(events, level) if event["name"] == name)


def test_a_run_in_a_step_is_downstream(nested: Workspace, server: Server) -> None:
    outer(nested, "signalbox run inner/pipeline.yml --state .inner")
    ended = nested.to(server).run("run")
    assert ended.code == 0, ended.err
    assert "reported through the run around it" in ended.err
    above, below = (named(server.events, "pipeline", name) for name in ("Outer", "Inner"))
    assert below["parent_pipeline"]["id"] == above["unique_id"]
    assert "parent_pipeline" not in above
    assert below["git"] == above["git"]
    inner = [e for e in server.events if e.get("pipeline_unique_id") == below["unique_id"]]
    assert {job["name"] for job in by_level(inner, "job")} == {"build", "test"}
    assert {stage["name"] for stage in by_level(inner, "stage")} == {"make", "check"}
    assert [s["name"] for s in by_level(inner, "step")] == ["echo built", "speak", "echo tested"]
    assert tags(named(inner, "job", "build")) == {"a": "b"}
    assert named(inner, "job", "test")["dependencies"] == [named(inner, "job", "build")["id"]]
    mine = [e for e in server.events if e.get("pipeline_unique_id") == above["unique_id"]]
    assert {job["name"] for job in by_level(mine, "job")} == {"first", "nest"}
    shown = nested.run("show", "latest", "--json").json
    assert (shown["id"], shown["name"]) == (above["unique_id"], "Outer")
    assert [job["name"] for stage in shown["stages"] for job in stage["jobs"]] == ["first", "nest"]
    shown = nested.run("show", below["unique_id"], "--json", "--state", ".inner").json
    assert shown["parent"]["id"] == above["unique_id"]


def test_one_state_for_both_is_well(nested: Workspace, server: Server) -> None:
    outer(nested, "signalbox run inner/pipeline.yml; signalbox run inner/pipeline.yml")
    assert nested.to(server).run("run").code == 0
    names = [pipeline["name"] for pipeline in by_level(server.events, "pipeline")]
    assert sorted(names) == ["Inner", "Inner", "Outer"]
    shown = nested.run("show", "latest", "--json").json
    assert shown["name"] == "Outer"
    assert shown["status"] == "success"
    assert nested.run("flush").code == 0
    assert len(by_level(server.events, "pipeline")) == 3


def test_a_run_in_a_run_in_a_run(nested: Workspace, server: Server) -> None:
    nested.write(
        "name: Middle\njobs: { m: { steps: [signalbox run ../inner/pipeline.yml] } }\n",
        "middle/pipeline.yml",
    )
    outer(nested, "signalbox run middle/pipeline.yml")
    ended = nested.to(server).run("run")
    assert ended.code == 0, ended.err
    found = {e["name"]: e for e in by_level(server.events, "pipeline")}
    assert found["Inner"]["parent_pipeline"]["id"] == found["Middle"]["unique_id"]
    assert found["Middle"]["parent_pipeline"]["id"] == found["Outer"]["unique_id"]


def test_a_command_in_a_step_is_a_further_step(nested: Workspace, server: Server) -> None:
    outer(
        nested,
        'signalbox exec --tag k:v --measure n:1 -- sh -c "echo in" | cat; '
        'signalbox exec --name bad -- sh -c "echo no such thing; exit 3" || true',
    )
    ended = nested.to(server).run("run")
    assert ended.code == 0, ended.err
    assert len(by_level(server.events, "pipeline")) == 1
    job = named(server.events, "job", "nest")
    steps = [step for step in by_level(server.events, "step") if step["job_id"] == job["id"]]
    good = named(steps, "step", "sh -c 'echo in'")
    bad = named(steps, "step", "bad")
    assert (good["status"], tags(good), good["metrics"]) == (
        "success",
        {"team": "web", "k": "v"},
        ["n:1"],
    )
    assert (bad["status"], bad["error"]["type"]) == ("error", "ExitCode")
    assert good["stage_name"] == "s"
    assert len(steps) == 3


def test_a_failing_run_in_a_step_fails_it_and_says_why(nested: Workspace, server: Server) -> None:
    nested.write("name: Bad\njobs: { a: { steps: [echo frob >&2; exit 3] } }\n", "bad.yml")
    outer(nested, "signalbox run bad.yml")
    assert nested.to(server).run("run").code == 1
    below = named(server.events, "pipeline", "Bad")
    assert (below["status"], below["error"]["type"]) == ("error", "ExitCode")
    above = named(server.events, "step", "signalbox run bad.yml")
    assert above["error"]["message"].splitlines() == ["a · echo frob >&2; exit 3 · exit 3", "frob"]


def test_it_is_told_while_the_step_runs(nested: Workspace, server: Server) -> None:
    nested.write("name: Slow\njobs: { a: { steps: [touch inside; sleep 60] } }\n", "slow.yml")
    outer(nested, "signalbox run slow.yml")
    process = nested.to(server).start("run")
    with killed(process):
        server.wait(lambda: any(e["name"] == "Slow" for e in server.events), within=10)
        assert server.event("pipeline", "Slow", running=True)
        assert not (nested.path / "over").exists()


@pytest.mark.parametrize("whom", ["inner", "outer", "both"])
def test_a_killed_run_leaves_nothing_open(nested: Workspace, server: Server, whom: str) -> None:
    nested.write(
        "name: Slow\njobs: { a: { stage: s, steps: [echo one, echo $PPID $$ > pids; sleep 60] } }",
        "slow.yml",
    )
    outer(nested, "signalbox run slow.yml --state .inner || true")
    process = nested.to(server).start("run")
    pids = nested.path / "pids"
    with killed(process):
        nested.until(lambda: pids.exists() and pids.read_text().endswith("\n"))
        server.wait(lambda: any(e["name"] == "echo one" for e in server.events))
        inner, step = map(int, pids.read_text().split())
        if whom != "inner":
            process.kill()
            process.wait()
        if whom != "outer":
            os.kill(inner, signal.SIGKILL)
        assert (process.wait(20) if whom == "inner" else nested.run("flush").code) == 0
    for pid in (inner, step):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    below = named(server.events, "pipeline", "Slow")
    assert (below["status"], below["error"]["type"]) == ("error", "RunnerLost")
    for level in ("job", "stage"):
        (part,) = [e for e in by_level(server.events, level) if e["pipeline_name"] == "Slow"]
        assert part["status"] == "error"


def test_a_signal_cancels_both(nested: Workspace, server: Server) -> None:
    nested.write("name: Slow\njobs: { a: { steps: [touch inside; sleep 60] } }\n", "slow.yml")
    outer(nested, "signalbox run slow.yml")
    process = nested.to(server).start("run")
    with killed(process):
        nested.until((nested.path / "inside").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
    for name in ("Slow", "Outer"):
        assert named(server.events, "pipeline", name)["status"] == "canceled"


def test_T21_garbage_is_one_warning_and_no_event(nested: Workspace, server: Server) -> None:
    foreign = "b3262537-a573-44eb-b777-4c0f37912b05"
    forged = {
        "level": "pipeline",
        "unique_id": foreign,
        "name": "forged",
        "url": "",
        "start": "2026-03-02T09:15:00.000Z",
        "end": "2030-03-02T09:15:00.000Z",
        "status": "success",
        "partial_retry": False,
        "parent_pipeline": {"id": foreign},
    }
    nested.write(json.dumps(forged), "forged")
    nested.write(
        f"""
        cd "$SIGNALBOX_OUTBOX"
        echo rubbish > {"0" * 32}
        cp "$OLDPWD/forged" anything
        cat "$OLDPWD/forged" "$OLDPWD/end" > {"1" * 32}
        mkfifo {"2" * 32}
        ln -s /dev/zero {"3" * 32}
        mkdir {"4" * 32}
        head -c 200000 /dev/zero > {"5" * 32}
        printf '%s' '{{"level":"step"' > step-{"6" * 32}
        """,
        "rubbish.sh",
    )
    nested.write("\n", "end")
    outer(nested, "sh ./rubbish.sh")
    ended = nested.to(server).run("run")
    assert ended.code == 0, ended.err
    assert ended.err.count("SIGNALBOX_OUTBOX: dropped") == 1
    above, below = (named(server.events, "pipeline", name) for name in ("Outer", "forged"))
    assert below["unique_id"] != foreign
    assert below["parent_pipeline"]["id"] == above["unique_id"]
    assert above["start"] <= below["start"] <= below["end"] <= above["end"]
    assert len(server.events) == 10
    left = [path.name for path in nested.path.rglob(".signalbox/runs/*/*/outbox/*")]
    assert left == ["4" * 32]


def test_T7_what_is_reported_is_masked_with_all_that_the_outer_run_knows(
    nested: Workspace, server: Server
) -> None:
    late, plain = "late-canary-0123", "declared-canary-77"
    nested.write(
        f"""
        name: Chatty
        jobs:
          a:
            name: has {late}
            steps: ['echo "$PLAIN {late}"; echo "k:$PLAIN" >> "$SIGNALBOX_TAGS"; exit 1']
        """,
        "chatty.yml",
    )
    nested.write("""
        name: Outer
        secrets: [PLAIN]
        jobs:
          a:
            steps:
              - echo "late-$(echo canary)-0123" >> "$SIGNALBOX_MASK"
              - signalbox run chatty.yml || true
              - 'signalbox exec --name "n $PLAIN" sh -c "echo $PLAIN; exit 1" || true'
    """)
    assert nested.to(server).run("run", PLAIN=plain).code == 0
    assert named(server.events, "job", "has ***")
    assert named(server.events, "step", "n ***")
    server.check(secrets=[late, plain])
    kept = [f.read_bytes() for f in nested.path.rglob(".signalbox/**/*") if f.is_file()]
    # The inner run keeps its pipeline file, where the one secret stands.
    assert not any(plain.encode() in text for text in kept)


def test_local_in_a_step_is_nobodys(nested: Workspace, server: Server) -> None:
    outer(nested, "signalbox run inner/pipeline.yml --local; signalbox exec --local -- true")
    assert nested.to(server).run("run").code == 0
    assert [e["name"] for e in by_level(server.events, "pipeline")] == ["Outer"]


def test_exec_around_a_run_takes_its_reports_too(nested: Workspace, server: Server) -> None:
    ended = nested.to(server).run("exec", "--", "signalbox", "run", "inner/pipeline.yml")
    assert ended.code == 0
    below = named(server.events, "pipeline", "Inner")
    assert (
        below["parent_pipeline"]["id"] == named(server.events, "pipeline", "signalbox")["unique_id"]
    )


# ── what is believed, without processes ──────────────────────────────────────────────────────────

EXECUTION = Execution(
    unique_id="b3262537-a573-44eb-b777-4c0f37912b05", pipeline_id="", pipeline="P", start=SECOND
)
ENVELOPE = b'{"provider_name":"signalbox"}'


def _told(dice: random.Random) -> bytes:
    """An event as nobody sensible would tell it."""

    def some(*values: object) -> Any:
        return dice.choice(values)

    def moment() -> Any:
        good = [rfc3339(dice.randrange(0, 100) * SECOND) for _ in range(30)]
        return some(*good, rfc3339(0), "soon", "2026-13-01T00:00:00.000Z", 7)

    level = some("pipeline", *["stage"] * 3, *["job"] * 9, *["step"] * 9, "nonsense")
    ids = range(1, 20)
    told = {
        "level": level,
        "name": some(*"abcdefgh", "", "x" * 2000),
        "unique_id" if level == "pipeline" else "id": some(*map(str, ids), EXECUTION.unique_id),
        "pipeline_unique_id": some("1", EXECUTION.unique_id),
        "pipeline_name": some("a", "Outer"),
        "url": "",
        "start": moment(),
        "end": moment(),
        "status": "running"
        if level == "pipeline" and dice.random() < 0.9
        else some(*["running"] * 3, *["success"] * 3, "error", "skipped", "blocked"),
        "partial_retry": False,
        "job_id": some(*map(str, ids), None),
        "job_name": "j",
        "stage_id": some("1", "2", None),
        "stage_name": some("s", None),
        "dependencies": [some("1", "2", "3"), some("1", "9")],
        "tags": [some("a:b", "c:d", ":", "nocolon", "k:" + "v" * 500, "x:\n"), some("a:b", "e:f")],
        "metrics": [some("a:1", "a:x", "b:nan", "c:1e400", "d:2.5")],
        "queue_time": some(1, -1, 10**30, None),
        "parent_pipeline": {"id": "forged"},
    }
    if level == "nonsense" and dice.random() < 0.5:
        return bytes(some(b"", b"{", b"\xff", b"[" * 5000, b'{"level":"step"}'))
    return json.dumps({name: value for name, value in told.items() if value is not None}).encode()


def test_T21_whatever_is_told_an_intake_has_nothing_to_object_to() -> None:
    seed = time.time_ns() % 1_000_000
    judge, taken = Judge(), 0
    for round_ in range(25):
        dice, model = random.Random(f"{seed}/{round_}"), Model()
        pipeline, believed = outbox.Downstream(EXECUTION, ("0" * 32,)), []
        for at in range(1, 60):
            with contextlib.suppress(outbox.UnbelievableError):
                believed += pipeline.take(outbox.read(_told(dice), str), at * SECOND)
        believed += pipeline.close(60 * SECOND)
        for event in (one.event for one in believed if not one.lost):
            resource = msgspec.to_builtins(event)
            (stored,) = take_apart(b'{"data":[%b]}' % join(ENVELOPE, None, encode(event)))
            assert stored.pipeline == outbox.unique_id(EXECUTION.unique_id, ("0" * 32,))
            assert resource["start"] >= rfc3339(EXECUTION.start)
            assert list(judge.event(stored)) == [], f"seed {seed}"
            model.take(stored)
            taken += 1
        assert [*model.findings, *model.incomplete()] == [], f"seed {seed}, round {round_}"
    assert taken > 100


def test_what_runs_below_travels_with_it(nested: Workspace, server: Server, tmp_path: Path) -> None:
    """Were only the run itself exported, what waits of the pipelines below would stay behind."""
    outer(nested, "signalbox run inner/pipeline.yml --state .inner")
    nested.environ |= {"DD_API_KEY": KEY, "SIGNALBOX_INTAKE_URL": "http://127.0.0.1:9"}
    assert nested.run("run").code == 0
    assert nested.run("export", str(tmp_path / "run.tar")).code == 0
    there = Workspace(tmp_path / "there", tmp_path).to(server)
    there.path.mkdir()
    there.git("init", "-q")
    assert there.run("import", str(tmp_path / "run.tar")).code == 0
    assert there.run("flush", "latest").code == 0
    below, above = server.event("pipeline", "Inner"), server.event("pipeline", "Outer")
    assert below["parent_pipeline"]["id"] == above["unique_id"]
    assert {e["name"] for e in by_level(server.events, "job")} >= {"nest", "build", "test"}
