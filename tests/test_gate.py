"""The gate: blocked, exit 75, answered exactly once, never walked round."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Workspace, by_level, tags
from tests.intake_server import Server

GATED = """
    name: Gated
    parameters: { TARGET: { default: staging } }
    jobs:
      build: { stage: build, steps: ['echo "VERSION=7" >> "$SIGNALBOX_OUTPUT"'] }
      approve: { needs: [build], gate: "Deploy to $TARGET?" }
      deploy:
        stage: release
        needs: [approve]
        steps: ['test "$VERSION" = 7 && echo once >> deployed']
"""


@pytest.fixture
def blocked(workspace: Workspace, server: Server) -> Workspace:
    workspace.write(GATED)
    workspace.commit()
    ended = workspace.to(server).run("run")
    assert ended.code == 75, ended.err
    assert "Deploy to staging?" in ended.err
    assert "signalbox resume" in ended.err
    return workspace


def test_R1_a_gate_blocks_with_a_final_event(blocked: Workspace, server: Server) -> None:
    pipeline = server.event("pipeline")
    assert pipeline["status"] == "blocked"
    assert "end" in pipeline
    assert {job["name"] for job in by_level(server.events, "job")} == {"build"}


def test_R5_a_resume_is_a_new_execution_with_the_rest(blocked: Workspace, server: Server) -> None:
    first = server.event("pipeline")
    ended = blocked.run("resume", "--approve", "approve", "--reason", "it is Monday")
    assert ended.code == 0, ended.err
    second = next(e for e in by_level(server.events, "pipeline") if e["status"] == "success")
    assert second["unique_id"] != first["unique_id"]
    assert second["pipeline_id"] == first["pipeline_id"]
    assert second["is_resumed"] is True
    assert second["partial_retry"] is False
    assert "previous_attempt" not in second
    assert tags(second)["resumed_from"] == first["unique_id"]
    assert "it is Monday" in tags(second).values()
    mine = [
        job["name"]
        for job in by_level(server.events, "job")
        if job["pipeline_unique_id"] == second["unique_id"]
    ]
    assert mine == ["deploy"]
    assert server.event("job", "deploy").get("dependencies", []) == []
    assert (blocked.path / "deployed").read_text() == "once\n"


def test_R8_a_rejection_ends_it_canceled(blocked: Workspace, server: Server) -> None:
    ended = blocked.run("resume", "--reject", "approve", "--reason", "not on a Friday")
    assert ended.code == 1, ended.err
    last = by_level(server.events, "pipeline")[-1]
    assert last["status"] == "canceled"
    assert last["error"]["type"] == "GateRejected"
    assert "not on a Friday" in last["error"]["message"]
    assert server.event("job", "deploy")["status"] == "skipped"
    assert not (blocked.path / "deployed").exists()


def test_R4_what_cannot_be_answered_is_refused_and_changes_nothing(
    blocked: Workspace, server: Server
) -> None:
    sent = len(server.events)
    assert blocked.run("resume", "--approve", "aprove").code == 5
    assert blocked.run("resume", "ffffffff", "--approve", "approve").code == 2
    assert blocked.run("resume").code == 2
    assert len(server.events) == sent
    assert blocked.run("resume", "--approve", "approve").code == 0
    again = blocked.run("resume", "--approve", "approve")
    assert again.code == 5
    assert "not blocked" in again.err


def test_R2_of_many_answers_exactly_one_goes_on(blocked: Workspace, server: Server) -> None:
    run = blocked.run("list", "--json").json[0]["id"]
    with ThreadPoolExecutor(4) as pool:
        answers = [
            pool.submit(blocked.run, "resume", run, "--approve", "approve") for _ in range(4)
        ]
        codes = sorted(answer.result().code for answer in answers)
    assert codes == [0, 5, 5, 5]
    assert (blocked.path / "deployed").read_text() == "once\n"


def test_R8_a_changed_file_or_commit_is_refused_unless_accepted(blocked: Workspace) -> None:
    blocked.write(GATED + "\n# changed\n")
    refused = blocked.run("resume", "--approve", "approve")
    assert refused.code == 5
    assert "--accept-changed" in refused.err
    blocked.commit("another")
    assert blocked.run("resume", "--approve", "approve", "--accept-changed").code == 0


def test_a_selection_meets_the_gate_all_the_same(workspace: Workspace) -> None:
    workspace.write(GATED)
    assert workspace.run("run", "--only", "deploy").code == 75
    assert not (workspace.path / "deployed").exists()


def test_a_failed_job_elsewhere_ends_it_and_the_gate_is_not_asked(
    workspace: Workspace, server: Server
) -> None:
    workspace.write(GATED + "      bad: { steps: [exit 1] }\n")
    ended = workspace.to(server).run("run")
    assert ended.code == 1
    assert server.event("pipeline")["status"] == "error"
    assert workspace.run("resume", "--approve", "approve").code == 5


def test_two_gates_are_answered_one_after_the_other(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: Two
        jobs:
          a: { gate: "A?" }
          b: { gate: "B?" }
          x: { needs: [a], steps: ['true'] }
          y: { needs: [b], steps: ['true'] }
          z: { needs: [x, y], steps: ['true'] }
    """)
    workspace.to(server)
    assert workspace.run("run").code == 75
    assert workspace.run("resume", "--approve", "a").code == 75
    assert workspace.run("resume", "--approve", "b").code == 0
    names = [job["name"] for job in by_level(server.events, "job")]
    assert names == ["x", "y", "z"]
    assert len({e["unique_id"] for e in by_level(server.events, "pipeline")}) == 3
    assert len({e["pipeline_id"] for e in by_level(server.events, "pipeline")}) == 1
