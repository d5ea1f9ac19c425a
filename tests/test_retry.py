"""Retries as Datadog's guide has them: which jobs run again, what is carried over, what is told."""

import contextlib
import shutil
import signal
import sqlite3
import time
from typing import Any

import pytest

from tests.conftest import Ended, Workspace, by_level, killed, tags
from tests.intake_server import Server

pytestmark = pytest.mark.usefixtures("forked")

SEQUENCE = """
    name: P
    jobs:
      J1: { stage: one, steps: ['echo J1 >> ran; echo "VERSION=7" >> "$SIGNALBOX_OUTPUT"'] }
      J2: { stage: two, needs: [J1], steps: [echo J2 >> ran; test -e fixed] }
      J3: { stage: two, needs: [J2, J1], steps: ['test "$VERSION" = 7', echo J3 >> ran] }
"""


def ran(workspace: Workspace) -> str:
    """Which jobs have run since this was last asked."""
    file = workspace.path / "ran"
    said = " ".join(file.read_text().split()) if file.exists() else ""
    file.unlink(missing_ok=True)
    return said


def told_again(ended: Ended) -> list[str]:
    """The command that the last lines give for running a failed job again."""
    line = next(line for line in ended.err.splitlines() if line.strip().startswith("again:"))
    return line.split()[2:]


def pipelines(server: Server) -> list[dict[str, Any]]:
    """The final pipeline events, by start."""
    return sorted(by_level(server.events, "pipeline"), key=lambda event: event["start"])


def jobs_of(server: Server, pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    mine = by_level(server.events, "job")
    return {j["name"]: j for j in mine if j["pipeline_unique_id"] == pipeline["unique_id"]}


@pytest.fixture
def failed(workspace: Workspace, server: Server) -> Workspace:
    workspace.write(SEQUENCE)
    (workspace.path / ".gitignore").write_text("ran\nfixed\n")
    workspace.commit()
    assert workspace.to(server).run("run").code == 1
    assert ran(workspace) == "J1 J2"
    return workspace


def test_the_guides_own_example(failed: Workspace, server: Server) -> None:
    """Three payloads beside stages and steps, then three; ids as the guide says, one by one."""
    (failed.path / "fixed").touch()
    ended = failed.run("retry")
    assert ended.code == 0, ended.err
    assert ran(failed) == "J2 J3"
    p_1, p_2 = pipelines(server)
    first, second = jobs_of(server, p_1), jobs_of(server, p_2)
    assert {name: job["status"] for name, job in first.items()} == {"J1": "success", "J2": "error"}
    assert {n: job["status"] for n, job in second.items()} == {"J2": "success", "J3": "success"}
    ids = [p_1["unique_id"], p_2["unique_id"]]
    ids += [job["id"] for job in (*first.values(), *second.values())]
    assert len(set(ids)) == len(ids) == 6
    assert (p_1["partial_retry"], p_1.get("previous_attempt")) == (False, None)
    assert p_2["partial_retry"] is True
    assert p_2["previous_attempt"] == {"id": p_1["unique_id"]}
    assert p_2["pipeline_id"] == p_1["pipeline_id"] == p_1["unique_id"]
    assert (p_2["status"], p_2["is_manual"], p_2.get("is_resumed")) == ("success", True, None)
    assert p_2["start"] >= p_1["end"]
    assert second["J3"]["dependencies"] == [second["J2"]["id"]]
    assert second["J2"].get("dependencies", []) == []
    assert failed.run("logs", "latest", "J1").code == 2


def test_R10_from_runs_a_job_and_what_depends_on_it(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { steps: [echo a >> ran] }
          b: { needs: [a], matrix: { V: ["1", "2"] }, steps: [echo b$V >> ran] }
          c: { needs: [b], steps: [echo c >> ran] }
          d: { needs: [a], steps: [echo d >> ran] }
    """)
    workspace.to(server)
    assert workspace.run("run", "--max-parallel", "1").code == 0
    ran(workspace)
    assert workspace.run("retry", "--from", "b (2)", "--max-parallel", "1").code == 0
    assert ran(workspace) == "b2 c"
    assert workspace.run("retry", "--from", "b", "--max-parallel", "1").code == 0
    assert ran(workspace) == "b1 b2 c"
    assert workspace.run("retry", "--all", "--max-parallel", "1").code == 0
    assert ran(workspace) == "a b1 b2 d c"
    first, *rest = pipelines(server)
    previous = [event["previous_attempt"]["id"] for event in rest]
    assert previous == [event["unique_id"] for event in (first, *rest[:-1])]
    # The second runs more than the first ran, and so does the third: only the first leaves any out.
    assert [event["partial_retry"] for event in rest] == [True, False, False]
    assert workspace.run("retry", "--from", "e").code == 2


def test_R10_what_cannot_be_retried_is_refused_and_changes_nothing(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("name: P\njobs: { a: { steps: [test ! -e slow || sleep 30] } }\n")
    workspace.to(server)
    assert workspace.run("retry").code == 2
    assert workspace.run("run").code == 0
    sent = len(server.events)
    refused = workspace.run("retry")
    assert (refused.code, "nothing failed" in refused.err) == (5, True)
    assert workspace.run("retry", "--from", "a", "--all").code == 2
    assert workspace.run("retry", "--from", "nothing").code == 2
    assert len(server.events) == sent
    (workspace.path / "slow").touch()
    with workspace.start("run") as process, killed(process):
        workspace.until(lambda: len(workspace.run("list", "--json").json) == 2)
        refused = workspace.run("retry", "--all")
        assert (refused.code, "still running" in refused.err) == (5, True)


@pytest.mark.parametrize("command", ["retry", "resume --approve a", "export x.tar", "flush"])
def test_where_nothing_has_run_no_state_is_made(workspace: Workspace, command: str) -> None:
    workspace.environ |= {"DD_API_KEY": "0" * 32, "SIGNALBOX_INTAKE_URL": "http://127.0.0.1:9"}
    for place in (".signalbox", "/nonexistent/state"):
        ended = workspace.run(*command.split(), "--state", place)
        assert ended.code == (0 if command == "flush" else 2), ended.err
        assert f"there is no {workspace.path / place}" in ended.err
    assert not (workspace.path / ".signalbox").exists()


def test_a_canceled_run_is_retried(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { steps: [echo a >> ran] }
          b: { needs: [a], steps: [echo b >> ran, test -e fixed || sleep 30] }
          c: { needs: [b], steps: [echo c >> ran] }
    """)
    process = workspace.to(server).start("run")
    file = workspace.path / "ran"
    with killed(process):
        workspace.until(lambda: file.exists() and "b" in file.read_text().split())
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    assert ran(workspace) == "a b"
    (workspace.path / "fixed").touch()
    assert workspace.run("retry").code == 0
    assert ran(workspace) == "b c"
    assert [event["status"] for event in pipelines(server)] == ["canceled", "success"]


def test_a_killed_run_is_retried_from_what_it_had_done(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { steps: ['echo a >> ran; echo "V=1" >> "$SIGNALBOX_OUTPUT"'] }
          b: { needs: [a], steps: ['echo b$V >> ran; test -e fixed || sleep 30'] }
    """)
    process = workspace.to(server).start("run")
    file = workspace.path / "ran"
    workspace.until(lambda: file.exists() and "b1" in file.read_text())
    with killed(process):
        time.sleep(0.05)
    (workspace.path / "fixed").touch()
    ran(workspace)
    ended = workspace.run("retry")
    assert ended.code == 0, ended.err
    assert "was killed" in ended.err
    assert ran(workspace) == "b1"
    assert workspace.run("flush").code == 0
    first, second = pipelines(server)
    assert first["error"]["type"] == "RunnerLost"
    assert second["partial_retry"] is True


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (("resume", "--approve", "a"), {}),
        (("retry", "--from", "nothing"), {}),
        (("retry",), {"SIGNALBOX_STATE_KEY": "so that nothing unsigned is believed"}),
        (("retry",), {"SIGNALBOX_LOGS": "perhaps"}),
    ],
)
def test_who_is_refused_is_told_all_the_same_that_a_killed_run_was_closed(
    workspace: Workspace, arguments: tuple[str, ...], environ: dict[str, str]
) -> None:
    workspace.write("name: P\njobs: { a: { steps: [touch ran; sleep 30] } }\n")
    with workspace.start("run") as process, killed(process):
        workspace.until((workspace.path / "ran").exists)
    refused = workspace.run(*arguments, within=30, **environ)
    assert refused.code in {2, 5}
    assert refused.err.count("was killed before it could end; it is closed as failed") == 1
    assert len(workspace.run("list", "--json").json) == 1


def test_a_failed_job_that_a_retry_leaves_alone_still_fails_it(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { steps: [exit 1] }
          b: { steps: [test -e fixed] }
          c: { needs: [a, b], steps: [echo c >> ran] }
    """)
    assert workspace.to(server).run("run").code == 1
    (workspace.path / "fixed").touch()
    ended = workspace.run("retry", "--from", "b")
    assert ended.code == 1, ended.err
    assert "this retry fails: a did not end well, and does not run again" in ended.err
    second = pipelines(server)[1]
    assert (second["status"], second["partial_retry"]) == ("error", True)
    assert list(jobs_of(server, second)) == ["b"]
    refused = workspace.run("retry", "--from", "c")
    assert (refused.code, "would run: a did not end well" in refused.err) == (5, True)
    assert len(workspace.run("list", "--json").json) == 2
    assert ran(workspace) == ""


def test_what_failed_in_a_retry_is_run_again_by_retrying_that(failed: Workspace) -> None:
    bad = failed.run("retry")
    retry = failed.run("list", "--json").json[0]["id"][:8]
    assert (bad.code, told_again(bad)) == (1, ["retry", retry])
    (failed.path / "fixed").touch()
    ran(failed)
    assert failed.run(*told_again(bad)).code == 0
    assert ran(failed) == "J2 J3"


def test_a_changed_file_or_commit_is_refused_unless_accepted(failed: Workspace) -> None:
    failed.write(SEQUENCE.replace("test -e fixed", "true"))
    refused = failed.run("retry")
    assert (refused.code, "--accept-changed" in refused.err) == (5, True)
    assert failed.run("retry", "--accept-changed").code == 0
    assert ran(failed) == "J2 J3"


def test_an_output_that_held_a_secret_is_missed_before_anything_runs(
    workspace: Workspace,
) -> None:
    workspace.write("""
        name: P
        secrets: [PASS_PHRASE]
        jobs:
          a: { steps: ['echo "CODE=$PASS_PHRASE" >> "$SIGNALBOX_OUTPUT"'] }
          b: { needs: [a], steps: ['test -n "$CODE" && test -e fixed'] }
    """)
    secret = {"PASS_PHRASE": "correct-horse-battery"}
    assert workspace.run("run", within=30, **secret).code == 1
    refused = workspace.run("retry", within=30, **secret)
    assert (refused.code, "CODE" in refused.err) == (2, True)
    assert len(workspace.run("list", "--json").json) == 1
    (workspace.path / "fixed").touch()
    assert workspace.run("retry", "--from", "a", within=30, **secret).code == 0


CHAIN = """
    name: Chain
    jobs:
      build: { steps: ['echo build >> ran; echo "V=1" >> "$SIGNALBOX_OUTPUT"'] }
      first: { needs: [build], gate: "First?" }
      deploy: { needs: [first], steps: ['echo deploy$V >> ran; test -e fixed'] }
      second: { needs: [deploy], gate: "Second?" }
      release: { needs: [second, build], steps: ['echo release$V >> ran'] }
"""


def test_a_chain_of_everything_holds_together(workspace: Workspace, server: Server) -> None:
    """Blocked -> resumed -> failed -> retried -> blocked -> resumed: one pipeline id, one story."""
    workspace.write(CHAIN)
    workspace.to(server)
    assert workspace.run("run").code == 75
    bad = workspace.run("resume", "--approve", "first")
    assert bad.code == 1
    (workspace.path / "fixed").touch()
    assert workspace.run(*told_again(bad)).code == 75
    assert workspace.run("resume", "--approve", "second", "--reason", "it works").code == 0
    assert ran(workspace) == "build1 deploy1 deploy1 release1".replace("build1", "build")
    blocked, failed, retried, last = pipelines(server)
    found = [event["status"] for event in (blocked, failed, retried, last)]
    assert found == ["blocked", "error", "blocked", "success"]
    assert {e["pipeline_id"] for e in pipelines(server)} == {blocked["unique_id"]}
    assert tags(failed)["resumed_from"] == blocked["unique_id"]
    assert retried["previous_attempt"]["id"] == failed["unique_id"]
    assert "resumed_from" not in tags(retried)
    assert retried["partial_retry"] is False  # all that ran in the attempt before runs again
    assert tags(last)["resumed_from"] == retried["unique_id"]
    assert "previous_attempt" not in last
    assert [e.get("is_resumed") for e in (blocked, failed, retried, last)] == [None, True] * 2
    shown = workspace.run("show", "--json").json
    assert shown["pipeline_id"] == blocked["unique_id"]
    assert tags(shown)["gate.second.reason"] == "it works"
    told = workspace.run("show").out.partition("4 executions, one story\n")[2]
    lines = [line.split(" · ") for line in told.splitlines() if " · " in line]
    assert [line[0].split()[1] for line in lines] == [e["unique_id"][:8] for e in pipelines(server)]
    ends = ["stopped", "failed", "stopped", "succeeded"]
    assert [line[2].partition(" ")[0] for line in lines] == ends
    assert "second approved by" in told
    assert "it works" in told
    assert workspace.run("retry", "--from", "release").code == 0  # its gate is carried
    assert ran(workspace) == "release1"


def test_a_gate_behind_a_job_that_runs_again_is_asked_again(
    workspace: Workspace, server: Server
) -> None:
    workspace.write(CHAIN)
    (workspace.path / "fixed").touch()
    assert workspace.to(server).run("run").code == 75
    refused = workspace.run("retry", "--all")
    assert (refused.code, "answer it first" in refused.err) == (5, True)
    assert workspace.run("resume", "--approve", "first").code == 75
    assert workspace.run("resume", "--approve", "second").code == 0
    assert workspace.run("retry", "--from", "deploy").code == 75
    assert ran(workspace) == "build deploy1 release1 deploy1"
    assert [gate["gate"] for gate in workspace.run("show", "--json").json["questions"]] == [
        "second"
    ]
    assert workspace.run("resume", "--approve", "second").code == 0
    assert workspace.run("retry", "--all").code == 75
    assert pipelines(server)[-1]["partial_retry"] is False
    assert [gate["gate"] for gate in workspace.run("show", "--json").json["questions"]] == ["first"]


def test_a_rejected_gate_is_asked_again(workspace: Workspace, server: Server) -> None:
    workspace.write(CHAIN)
    assert workspace.to(server).run("run").code == 75
    assert workspace.run("resume", "--reject", "first").code == 1
    assert workspace.run("retry").code == 75
    assert ran(workspace) == "build"
    assert pipelines(server)[-1]["previous_attempt"]["id"] == pipelines(server)[-2]["unique_id"]


def test_a_re_run_by_the_host_ci_names_the_attempt_before_it(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['true'] } }\n")
    github = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": "41",
        "GITHUB_JOB": "build",
        "GITHUB_REPOSITORY": "team/app",
        "INPUT_JOB-INDEX": "0",
    }
    workspace.to(server)
    assert workspace.run("run", within=30, **github, GITHUB_RUN_ATTEMPT="1").code == 0
    assert workspace.run("run", within=30, **github, GITHUB_RUN_ATTEMPT="2").code == 0
    first, second = pipelines(server)
    assert second["previous_attempt"] == {"id": first["unique_id"]}
    assert (first["partial_retry"], second["partial_retry"]) == (False, False)
    del github["INPUT_JOB-INDEX"]  # legs cannot be told apart: no id is derived, none linked
    assert workspace.run("run", within=30, **github, GITHUB_RUN_ATTEMPT="2").code == 0
    assert "previous_attempt" not in pipelines(server)[2]


def test_one_retry_of_a_chain_runs_at_a_time(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        jobs: { a: { steps: [test -e fixed, echo a >> ran, test ! -e slow || sleep 30] } }
    """)
    assert workspace.run("run").code == 1
    for name in ("fixed", "slow"):
        (workspace.path / name).touch()
    (failed,) = (one["id"] for one in workspace.run("list", "--json").json)
    with workspace.start("retry", failed) as process, killed(process):
        workspace.until((workspace.path / "ran").exists)
        refused = workspace.run("retry", failed)
        retry = workspace.run("list", "--json").json[0]["id"]
        assert (refused.code, f"{retry[:8]} of the same chain is running" in refused.err) == (
            5,
            True,
        )
    (workspace.path / "slow").unlink()
    again = workspace.run("retry", failed)
    assert again.code == 0, again.err
    assert f"{failed[:8]} was retried already: {retry[:8]} ended with error" in again.err
    assert ran(workspace) == "a a"
    assert len(workspace.run("list", "--json").json) == 3


def test_a_gate_is_not_answered_while_a_retry_of_its_chain_runs(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { steps: [test -e fixed, echo a >> ran, until test -e go; do sleep .05; done] }
          gate: { needs: [a], gate: "Go?" }
          b: { needs: [gate], steps: [echo b >> ran] }
    """)
    assert workspace.run("run").code == 1
    for name in ("fixed", "go"):
        (workspace.path / name).touch()
    assert workspace.run("retry").code == 75
    blocked, failed = (one["id"] for one in workspace.run("list", "--json").json)
    ran(workspace)
    (workspace.path / "go").unlink()
    with workspace.start("retry", failed) as process, killed(process):
        workspace.until((workspace.path / "ran").exists)
        refused = workspace.run("resume", blocked, "--approve", "gate")
        assert (refused.code, "of the same chain is running" in refused.err) == (5, True)
        (workspace.path / "go").touch()
        assert process.wait(20) == 75
    assert workspace.run("resume", blocked, "--approve", "gate").code == 0
    assert ran(workspace) == "a b"


def test_of_four_retries_at_once_one_runs(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        jobs: { a: { steps: [test -e fixed, echo a >> ran, until test -e go; do sleep .05; done] } }
    """)
    assert workspace.run("run").code == 1
    (failed,) = (one["id"] for one in workspace.run("list", "--json").json)
    (workspace.path / "fixed").touch()
    many = [workspace.start("retry", failed) for _ in range(4)]
    with contextlib.ExitStack() as held:
        for process in many:
            held.enter_context(killed(process))
        workspace.until(lambda: [p.poll() for p in many].count(5) == 3, within=30)
        (workspace.path / "go").touch()
        assert sorted(process.wait(20) for process in many) == [0, 5, 5, 5]
    assert ran(workspace) == "a"


def test_what_another_machine_had_begun_blocks_no_chain_for_ever(workspace: Workspace) -> None:
    """Its journal alone was carried here: nobody can see its locks any more, or close it."""
    workspace.write("name: P\njobs: { a: { steps: ['test -e good || sleep 20 && false'] } }\n")
    (workspace.path / "good").touch()
    assert workspace.run("run").code == 1
    failed = workspace.run("list", "--json").json[0]["id"]
    (workspace.path / "good").unlink()
    with workspace.start("retry", failed) as process, killed(process):
        workspace.until(lambda: len(workspace.run("list", "--json").json) == 2)
    state = workspace.path / ".signalbox"
    shutil.rmtree(state / "runs")
    elsewhere = '{"host":"elsewhere","boot":"other","pid":1}'
    with contextlib.closing(sqlite3.connect(state / "journal.db", isolation_level=None)) as db:
        db.execute(
            "UPDATE execution"
            " SET header = CAST(json_set(CAST(header AS TEXT), '$.owner', json(?)) AS BLOB)"
            " WHERE status IS NULL",
            (elsewhere,),
        )
    (workspace.path / "good").touch()
    ended = workspace.run("retry", failed)
    assert ended.code == 1, ended.err
    assert "of the same chain" not in ended.err
