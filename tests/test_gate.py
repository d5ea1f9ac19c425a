"""The gate: blocked, exit 75, answered exactly once, never walked round."""

import os
import pty
import select
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.conftest import Workspace, by_level, killed, tags
from tests.intake_server import Server

pytestmark = pytest.mark.usefixtures("forked")

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


def test_a_gate_asks_with_the_outputs_and_fields_before_it(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        parameters: { TARGET: { default: staging } }
        secrets: [PASS_PHRASE]
        jobs:
          build:
            steps:
              - 'echo "VERSION=7 $" >> "$SIGNALBOX_OUTPUT"'
              - 'echo "PASS=$PASS_PHRASE" >> "$SIGNALBOX_OUTPUT"'
          a: { needs: [build], gate: "Deploy $VERSION with $PASS?", fields: { WHERE: {} } }
          b: { needs: [a], gate: "$VERSION to $WHERE and $TARGET ($$1)?" }
          c: { needs: [a], gate: "$NOTHING to $TARGET?" }
    """)
    ended = workspace.run("run", PASS_PHRASE="correct-horse-battery")
    assert (ended.code, "Deploy 7 $ with ***?" in ended.err) == (75, True)
    ended = workspace.run("resume", "--approve", "a", "--field", "WHERE=$HOME")
    assert (ended.code, "7 $ to $HOME and staging ($1)?" in ended.err) == (75, True)
    asked = [one["question"] for one in workspace.run("show", "--json").json["questions"]]
    assert asked == ["7 $ to $HOME and staging ($1)?", "$NOTHING to $TARGET?"]


ROUNDS = int(os.environ.get("SIGNALBOX_ROUNDS", "20"))
RACE = """
import os, shutil, sys, time
import git  # what each of them would import for itself
from runner.cli import answer, custody, resume, run

def fork(at, *arguments):
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        time.sleep(max(at - time.monotonic(), 0))
        os._exit(run(["resume", *arguments]))
    return child

for number in range(int(sys.argv[2])):
    state = f"../states/{number}"
    shutil.copytree(".signalbox", state)
    at = time.monotonic() + 0.02
    said = [sys.argv[1], "--approve", "a", "--state", state]
    many = [fork(at, *said) for _ in range(2 + number % 7)]
    print(*sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in many))
"""


def test_R2_of_two_to_eight_answers_exactly_one_goes_on_every_round(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        jobs: { a: { gate: "Go?" }, deploy: { needs: [a], steps: [echo once >> deployed] } }
    """)
    assert workspace.run("run").code == 75
    run = workspace.run("list", "--json").json[0]["id"]
    done = subprocess.run(
        [sys.executable, "-c", RACE, run, str(ROUNDS)],
        cwd=workspace.path,
        env=workspace.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [f"0{' 5' * (1 + number % 7)}" for number in range(ROUNDS)]
    assert done.stdout.splitlines() == expected
    assert (workspace.path / "deployed").read_text() == "once\n" * ROUNDS


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


BRANCHES = """
    name: Branches
    jobs:
      a: { gate: "A?" }
      b: { gate: "B?" }
      x: { needs: [a], steps: ['true'] }
      y: { needs: [b], steps: ['true'] }
      z: { needs: [x, y], steps: ['true'] }
"""


def test_two_gates_are_answered_one_after_the_other(workspace: Workspace, server: Server) -> None:
    workspace.write(BRANCHES)
    workspace.to(server)
    assert workspace.run("run", "--parent", "abc").code == 75
    assert workspace.run("resume", "--approve", "a").code == 75
    assert workspace.run("resume", "--approve", "b").code == 0
    names = [job["name"] for job in by_level(server.events, "job")]
    assert names == ["x", "y", "z"]
    assert len({e["unique_id"] for e in by_level(server.events, "pipeline")}) == 3
    assert len({e["pipeline_id"] for e in by_level(server.events, "pipeline")}) == 1
    assert all(e["parent_pipeline"] == {"id": "abc"} for e in by_level(server.events, "pipeline"))


def test_two_gates_are_answered_at_once_one_with_yes_and_one_with_no(
    workspace: Workspace, server: Server
) -> None:
    workspace.write(BRANCHES)
    workspace.to(server)
    assert workspace.run("run").code == 75
    assert workspace.run("resume", "--approve", "a", "--reject", "b").code == 1
    statuses = {job["name"]: job["status"] for job in by_level(server.events, "job")}
    assert statuses == {"x": "success", "y": "skipped", "z": "skipped"}
    said = tags(by_level(server.events, "pipeline")[-1])
    assert (said["gate.a"], said["gate.b"]) == ("approved", "rejected")


def test_R12_who_may_answer_is_checked_and_told(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { gate: "Go?", approvers: [bob, ada], not-initiator: true }
          x: { needs: [a], steps: ['true'] }
          b: { needs: [x], gate: "On?", not-initiator: true }
    """)
    workspace.to(server)
    assert workspace.run("run", LOGNAME="ada").code == 75
    sent = len(server.events)
    stranger = workspace.run("resume", "--approve", "a", LOGNAME="eve")
    assert (stranger.code, "bob, ada" in stranger.err) == (5, True)
    initiator = workspace.run("resume", "--approve", "a", LOGNAME="ada")
    assert (initiator.code, "ada started" in initiator.err) == (5, True)
    assert len(server.events) == sent
    assert workspace.run("resume", "--approve", "a", LOGNAME="bob").code == 75
    said = tags(by_level(server.events, "pipeline")[-1])
    assert said["gate.a.by"] == "bob"
    assert said["gate.a.at"].endswith("Z")
    assert workspace.run("resume", "--approve", "b", LOGNAME="ada").code == 5
    assert workspace.run("resume", "--approve", "b", LOGNAME="bob").code == 0


def test_a_colon_in_a_gates_name_is_none_in_the_keys_of_its_tags(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          "eu:go": { gate: "Go?" }
          x: { needs: ["eu:go"], steps: ['true'] }
          "eu:on": { needs: [x], gate: "On?", expires: 0.01s }
    """)
    assert workspace.to(server).run("run").code == 75
    assert workspace.run("resume", "--approve", "eu:go", "--reason", "why: so").code == 75
    said = tags(by_level(server.events, "pipeline")[-1])
    assert (said["gate.eu_go"], said["gate.eu_go.reason"]) == ("approved", "why: so")
    assert {"gate.eu_go.by", "gate.eu_go.at"} < said.keys()
    assert workspace.run("flush").code == 0
    assert tags(by_level(server.events, "pipeline")[-1])["gate.eu_on"] == "expired"


def test_jobs_behind_a_gate_that_is_not_asked_are_told(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { stage: s, steps: ['true'] }
          clean: { needs: [a], if: failure, steps: ['true'] }
          approve: { needs: [clean], gate: "Go?" }
          b: { stage: s, needs: [approve], steps: [touch ran] }
          again: { needs: [b], gate: "On?" }
          c: { needs: [again], if: always, steps: [touch ran] }
    """)
    ended = workspace.to(server).run("run")
    assert ended.code == 0
    assert "b · approve, whose needs were left out, is not asked" in ended.err
    assert "c · again, whose needs were left out, is not asked" in ended.err
    pipeline = server.event("pipeline")
    assert (pipeline["status"], tags(pipeline)["jobs.not_started"]) == ("success", "2")
    assert [one["name"] for one in workspace.run("show", "--json").json["not_started"]] == [
        "b",
        "c",
    ]
    assert not (workspace.path / "ran").exists()


FIELDS = """
    name: P
    jobs:
      a:
        gate: Go?
        expires: 1h
        fields:
          REGION: { default: eu, choices: [eu, us] }
          NOTE: { description: what is new }
          SHARE: { type: number, default: 10 }
      x: { needs: [a], steps: ['echo "$REGION: $NOTE" >> said'] }
      b: { needs: [x], gate: "On?" }
      y: { needs: [b], steps: ['echo "$REGION" >> said'] }
"""


def test_fields_are_checked_and_become_variables_of_the_jobs_behind(workspace: Workspace) -> None:
    workspace.write(FIELDS)
    assert workspace.run("run").code == 75
    missing = workspace.run("resume", "--approve", "a")
    assert (missing.code, "NOTE" in missing.err) == (2, True)
    wrong = workspace.run("resume", "--approve", "a", "--field", "NOTE=n", "--field", "REGION=mars")
    assert (wrong.code, "eu, us" in wrong.err) == (2, True)
    wrong = workspace.run("resume", "--approve", "a", "--field", "NOTE=n", "--field", "SHARE=half")
    assert (wrong.code, "a number" in wrong.err) == (2, True)
    assert workspace.run("resume", "--approve", "a", "--field", "NOTE=new").code == 75
    assert workspace.run("resume", "--approve", "b").code == 0
    assert (workspace.path / "said").read_text() == "eu: new\neu\n"


def test_a_field_that_two_gates_ask_for_is_as_both_want_it(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { gate: "Go?", fields: { REGION: { choices: [eu, us] } } }
          b: { gate: "On?", fields: { REGION: { choices: [us, asia], default: asia } } }
          x: { needs: [a, b], steps: ['echo $REGION >> said'] }
    """)
    assert workspace.run("run").code == 75
    both = ("resume", "--approve", "a", "--approve", "b")
    for field, why in (
        ((), "a's field REGION: 'asia' is not one of eu, us"),
        (("--field", "REGION=asia"), "a's field REGION: 'asia' is not one of eu, us"),
        (("--field", "REGION=eu"), "field REGION: 'eu' is not one of us, asia"),
    ):
        refused = workspace.run(*both, *field)
        assert (refused.code, why in refused.err) == (2, True), refused.err
    assert workspace.run(*both, "--field", "REGION=us").code == 0
    assert (workspace.path / "said").read_text() == "us\n"


def test_no_secret_is_an_answer_and_a_rejection_needs_no_fields(
    workspace: Workspace, server: Server
) -> None:
    workspace.write(FIELDS)
    assert workspace.to(server).run("run").code == 75
    workspace.environ["MY_TOKEN"] = secret = "correct-horse-battery"
    refused = workspace.run("resume", "--approve", "a", "--field", f"NOTE={secret}")
    assert (refused.code, "NOTE" in refused.err) == (2, True)
    assert workspace.run("resume", "--reject", "a", "--reason", f"no: {secret}").code == 1
    error = by_level(server.events, "pipeline")[-1]["error"]
    assert error["message"].endswith("no: ***")
    assert secret.encode() not in (workspace.path / ".signalbox" / "journal.db").read_bytes()


def test_R12_an_expired_gate_is_settled_once_by_whoever_writes_next(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { gate: "Go?", expires: 0.01s }
          b: { gate: "On?" }
          x: { stage: s, needs: [a], steps: [echo x >> ran] }
          y: { needs: [b], steps: [echo y >> ran] }
    """)
    workspace.commit()
    said = {"DD_GIT_COMMIT_MESSAGE": "what only the first run was told"}
    assert workspace.to(server).run("run", "--tag", "team:web", within=30, **said).code == 75
    first = server.event("pipeline")
    late = workspace.run("resume", "--approve", "a", "--approve", "b")
    assert (late.code, "expired at" in late.err) == (5, True)
    late = workspace.run("resume", first["unique_id"], "--approve", "b")
    assert (late.code, "expired at" in late.err) == (5, True)
    assert workspace.run("clean").code == 0
    assert workspace.run("flush").code == 0
    blocked, ended = by_level(server.events, "pipeline")
    assert (blocked["status"], ended["status"]) == ("blocked", "canceled")
    assert ended["error"]["type"] == "GateExpired"
    assert (ended["is_resumed"], ended["is_manual"]) == (True, False)
    assert ended["pipeline_id"] == blocked["unique_id"]
    assert ended["start"] == ended["end"] > blocked["end"]
    assert ended["git"] == blocked["git"]
    assert {"team": "web", "gate.a": "expired"}.items() <= tags(ended).items()
    assert tags(ended)["resumed_from"] == blocked["unique_id"]
    jobs = {job["name"]: job["status"] for job in by_level(server.events, "job")}
    assert jobs == {"x": "skipped"}
    assert not (workspace.path / "ran").exists()
    assert workspace.run("retry").code == 75  # and the gates are asked again


def test_a_gate_expires_that_long_after_it_was_reached_first(workspace: Workspace) -> None:
    workspace.write(BRANCHES.replace('"B?"', '"B?", expires: 1h'))
    assert workspace.run("run").code == 75
    asked = {one["gate"]: one for one in workspace.run("show", "--json").json["questions"]}
    assert workspace.run("resume", "--approve", "a").code == 75
    assert workspace.run("show", "--json").json["questions"] == [asked["b"]]


class Terminal:
    """The program on a terminal, and a person at it."""

    def __init__(self, workspace: Workspace, *arguments: str) -> None:
        self._master, end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runner", *arguments],
            cwd=workspace.path,
            env=workspace.environ,
            stdin=end,
            stdout=end,
            stderr=end,
            text=True,
            start_new_session=True,
        )
        os.close(end)
        self.shown = ""

    def expect(self, text: str) -> None:
        while text not in self.shown:
            assert select.select([self._master], [], [], 20)[0], self.shown
            self.shown += os.read(self._master, 4096).decode()
        self.shown = self.shown.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._master, text.encode() + b"\n")

    def end(self) -> int:
        with suppress(OSError):  # the terminal is gone when the last that had it open is
            while piece := os.read(self._master, 4096):
                self.shown += piece.decode()
        os.close(self._master)
        return self.process.wait(10)


def test_on_a_terminal_each_gate_is_asked_and_the_run_goes_on(
    workspace: Workspace, server: Server
) -> None:
    workspace.write(FIELDS)
    terminal = Terminal(workspace.to(server), "run", "--ask")
    with killed(terminal.process):
        terminal.expect("ater? ")
        terminal.type("what?")
        terminal.expect("ater? ")
        terminal.type("a")
        terminal.expect("one of eu, us [eu]: ")
        terminal.type("mars")
        terminal.expect("REGION")
        terminal.type("")
        terminal.expect("NOTE (what is new): ")
        terminal.type("new")
        terminal.expect("SHARE, number [10]: ")
        terminal.type("")
        terminal.expect("On?")
        terminal.expect("ater? ")
        terminal.type("r")
        terminal.expect("Why? ")
        terminal.type("not today")
        assert terminal.end() == 1
    assert (workspace.path / "said").read_text() == "eu: new\n"
    events = by_level(server.events, "pipeline")
    assert [event["status"] for event in events] == ["blocked", "blocked", "canceled"]
    assert [event.get("is_resumed") for event in events] == [None, True, True]
    assert [tags(e).get("resumed_from") for e in events[1:]] == [
        event["unique_id"] for event in events[:-1]
    ]
    assert tags(events[2])["gate.b.reason"] == "not today"
    assert len({event["pipeline_id"] for event in events}) == 1


def test_an_answer_for_later_leaves_it_blocked(workspace: Workspace) -> None:
    workspace.write(BRANCHES)
    terminal = Terminal(workspace, "run", "--ask")
    with killed(terminal.process):
        terminal.expect("ater? ")
        terminal.type("l")
        terminal.expect("ater? ")
        terminal.type("")
        assert terminal.end() == 75
    unasked = workspace.run("resume", "--approve", "a", "--ask")
    assert (unasked.code, "needs a terminal" in unasked.err) == (75, True)


def test_a_gate_that_was_answered_is_no_longer_waited_at(workspace: Workspace) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['true'] }, g: { needs: [a], gate: Go? } }\n")
    workspace.git("remote", "remove", "origin")
    workspace.commit()
    assert workspace.run("run").code == 75
    assert workspace.run("list").out.splitlines()[1].startswith("? ")
    assert "waiting for an answer" in workspace.run("show").out
    blocked = workspace.run("list", "--json").json[0]["id"]
    assert workspace.run("resume", "--approve", "g").code == 0
    onward, answered = workspace.run("list", "--json").json
    assert answered["answered_by"] == onward["id"]
    assert answered["branch"] == "main", "HEAD's, though the events carry no git"
    assert workspace.run("list").out.splitlines()[2].startswith("→ ")
    shown = workspace.run("show", blocked).out
    assert "answered, was blocked after" in shown
    assert "waiting for an answer" not in shown
