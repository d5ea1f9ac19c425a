"""`signalbox run`, whole: real processes, a real journal, a real HTTP intake."""

import json
import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Workspace, by_level, killed, tags
from tests.intake_server import Server

SIMPLE = """
    name: Simple
    service: docs
    tags: { team: web }
    jobs:
      lint:
        stage: check
        steps: [echo linted]
      test:
        stage: check
        needs: [lint]
        steps:
          - echo one
          - { name: Two, run: echo two }
      ship:
        stage: release
        needs: [test]
        steps: [echo shipped]
"""


def test_every_level_is_reported_and_hangs_together(workspace: Workspace, server: Server) -> None:
    workspace.write(SIMPLE)
    sha = workspace.commit()
    ended = workspace.to(server).run("run")
    assert ended.code == 0, ended.err
    assert ended.out == ""
    pipeline = server.event("pipeline")
    assert (pipeline["status"], pipeline["name"]) == ("success", "Simple")
    assert pipeline["git"]["sha"] == sha
    assert pipeline["git"]["branch"] == "main"
    assert pipeline["git"]["repository_url"] == "https://git.example.test/team/app.git"
    jobs = {job["name"]: job for job in by_level(server.events, "job")}
    assert jobs["test"]["dependencies"] == [jobs["lint"]["id"]]
    assert jobs["test"]["stage_name"] == "check"
    assert [step["name"] for step in by_level(server.events, "step")] == [
        "echo linted",
        "echo one",
        "Two",
        "echo shipped",
    ]
    stages = {stage["name"]: stage for stage in by_level(server.events, "stage")}
    assert stages["release"]["dependencies"] == [stages["check"]["id"]]
    assert {tags(event)["team"] for event in server.events} == {"web"}
    running = [e["level"] for e in server.events if e["status"] == "running"]
    assert running.count("pipeline") == 1
    assert len({event["pipeline_unique_id"] for event in jobs.values()}) == 1


def test_without_a_key_nothing_is_needed_and_nothing_is_sent(workspace: Workspace) -> None:
    workspace.write(SIMPLE)
    ended = workspace.run("run")
    assert ended.code == 0, ended.err
    shown = workspace.run("show", "latest", "--json").json
    assert shown["status"] == "success"


def test_a_failure_stops_what_needs_it_and_nothing_else(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          J1: { steps: [echo fine] }
          J2: { needs: [J1], steps: ["echo 'no such thing: frob' >&2; exit 3"] }
          J3: { needs: [J2], steps: [echo never] }
          other: { steps: [echo other] }
    """)
    ended = workspace.to(server).run("run")
    assert ended.code == 1
    statuses = {job["name"]: job["status"] for job in by_level(server.events, "job")}
    assert statuses == {"J1": "success", "J2": "error", "other": "success"}
    pipeline = server.event("pipeline")
    assert pipeline["status"] == "error"
    assert tags(pipeline)["jobs.not_started"] == "1"
    for event in (pipeline, server.event("job", "J2")):
        assert event["error"]["type"] == "ExitCode"
        assert event["error"]["domain"] == "user"
        assert "frob" in event["error"]["message"]
    assert "J3" in ended.err


def test_a_matrix_runs_a_leg_for_each_value(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs:
          test:
            matrix: { PYTHON: ["3.10", 3.20] }
            steps: ['test "$PYTHON" = 3.10 -o "$PYTHON" = 3.20']
    """)
    assert workspace.to(server).run("run").code == 0
    names = {job["name"] for job in by_level(server.events, "job")}
    assert names == {"test (3.10)", "test (3.20)"}


def test_names_are_replaced_once_and_a_steps_own_variables_count(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        parameters: { FEE: { default: x } }
        jobs:
          cost:
            name: costs $FEE
            matrix: { V: ["$$1"] }
            steps:
              - name: to $WHOM
                run: 'echo "OUT=5 $" >> "$SIGNALBOX_OUTPUT"'
                env: { WHOM: ada }
                tags: { whom: $WHOM }
          later:
            needs: [cost]
            name: in $OUT
            matrix: { V: ["$$2"] }
            steps: ['true']
          never: { needs: [cost], name: in $NONE, matrix: { V: ["$$3"] }, steps: ['true'] }
    """)
    ended = workspace.to(server).run("run", "-p", "FEE=$HOME")
    assert "costs $HOME ($$1)" in ended.err
    assert "unknown variable $HOME" not in ended.err
    assert server.event("job", "costs $HOME ($$1)")["status"] == "success"
    assert server.event("job", "in 5 $ ($$2)")["status"] == "success"
    assert server.event("job", "in $NONE ($$3)")["status"] == "success"
    assert tags(server.event("step", "to ada"))["whom"] == "ada"


def test_retries_are_attempts_and_an_allowed_failure_is_told(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a:
            steps:
              - { name: flaky, run: 'test "$SIGNALBOX_ATTEMPT" = 2', retry: 2 }
              - { name: allowed, run: exit 9, allow-failure: true }
              - { name: after, run: "true" }
    """)
    assert workspace.to(server).run("run").code == 0
    steps = [(s["name"], s["status"], tags(s)) for s in by_level(server.events, "step")]
    assert steps == [
        ("flaky", "error", {"attempt": "1"}),
        ("flaky", "success", {"attempt": "2"}),
        ("allowed", "error", {"allowed_failure": "true"}),
        ("after", "success", {}),
    ]
    assert server.event("job", "a")["status"] == "success"


def test_conditions_of_steps(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs:
          a:
            steps:
              - { name: bad, run: exit 1 }
              - { name: skipped, run: "true" }
              - { name: on failure, run: "true", if: failure }
              - { name: always, run: "true", if: always }
    """)
    assert workspace.to(server).run("run").code == 1
    names = [step["name"] for step in by_level(server.events, "step")]
    assert names == ["bad", "on failure", "always"]


def test_a_job_that_was_left_out_has_no_log_to_miss(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { steps: [echo a] }
          b: { needs: [a], if: failure, steps: [echo b] }
    """)
    workspace.run("run")
    logs = workspace.run("logs")
    assert (logs.out, logs.err) == ("a\n", "")
    missing = workspace.run("logs", "latest", "b")
    assert (missing.code, "'b' was left out" in missing.err) == (2, True)


def test_a_step_speaks_through_its_files(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs:
          a:
            stage: s
            steps:
              - run: |
                  echo 'color:red' >> "$SIGNALBOX_TAGS"
                  echo 'job speed:fast' >> "$SIGNALBOX_TAGS"
                  echo 'pipeline release:1.2' >> "$SIGNALBOX_TAGS"
                  echo 'stage size:12.5' >> "$SIGNALBOX_MEASURES"
                  echo 'VERSION=1.2.3' >> "$SIGNALBOX_OUTPUT"
                  echo 'not an entry' >> "$SIGNALBOX_TAGS"
              - test "$VERSION" = 1.2.3
          b:
            name: ship $VERSION
            needs: [a]
            steps: ['test "$VERSION" = 1.2.3']
    """)
    ended = workspace.to(server).run("run")
    assert ended.code == 0, ended.err
    assert tags(by_level(server.events, "step")[0])["color"] == "red"
    assert tags(server.event("job", "a"))["speed"] == "fast"
    assert tags(server.event("pipeline"))["release"] == "1.2"
    assert server.event("stage", "s")["metrics"] == ["size:12.5"]
    assert server.event("job", "ship 1.2.3")
    assert "not an entry" in ended.err


def test_the_commands_tag_and_measure_write_the_same_files(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a:
            steps:
              - |
                python3 -m runner tag --level job --tags team:web --tags a:b
                python3 -m runner measure --level step --measures size:3
    """)
    python = str(Path(os.sys.executable).parent)  # type: ignore[attr-defined]
    path = f"{python}:{workspace.environ['PATH']}"
    ended = workspace.to(server).run("run", PATH=path)
    assert ended.code == 0, ended.err
    assert tags(server.event("job", "a")) == {"team": "web", "a": "b"}
    assert by_level(server.events, "step")[0]["metrics"] == ["size:3"]


def test_T7_secrets_are_masked_in_every_sink(workspace: Workspace, server: Server) -> None:
    secret = "s3cr3t-canary-value"
    workspace.write("""
        name: P
        secrets: [NPM_TOKEN]
        jobs:
          a:
            steps:
              - run: |
                  echo "token is $NPM_TOKEN"
                  echo "key:$NPM_TOKEN" >> "$SIGNALBOX_TAGS"
                  echo "$NPM_TOKEN" | base64
                  late=$(printf "late-%s" canary-0123)
                  echo "$late" >> "$SIGNALBOX_MASK"
                  echo "found $late" >&2
                  exit 1
    """)
    ended = workspace.to(server).run("run", NPM_TOKEN=secret)
    assert ended.code == 1
    server.check(secrets=[secret, "late-canary-0123"])
    everything = ended.text.encode() + b"".join(
        file.read_bytes() for file in workspace.path.rglob(".signalbox/**/*") if file.is_file()
    )
    for canary in (secret, "late-canary-0123"):
        assert canary.encode() not in everything
    assert "token is ***" in ended.err


def test_T7_what_a_killed_run_was_told_to_mask_does_not_stay(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { steps: ['printf "late-%s\\n" canary >> "$SIGNALBOX_MASK"; touch on; sleep 60'] }
    """)
    with workspace.start("run", "--local") as process, killed(process):
        workspace.until((workspace.path / "on").exists)
        process.kill()
        process.communicate()
    assert "closed as failed" in workspace.run("clean").err
    for file in workspace.path.rglob(".signalbox/**/*"):
        assert not file.is_file() or b"late-canary" not in file.read_bytes()


def test_T2_a_step_never_sees_the_key(workspace: Workspace, server: Server) -> None:
    workspace.write("name: P\nsecrets: [DD_API_KEY]\njobs: { a: { steps: [env | sort > seen] } }\n")
    extra = {
        "INPUT_API_KEY": "x" * 20,
        "GITHUB_TOKEN": "y" * 20,
        "ACTIONS_RUNTIME_TOKEN": "z" * 20,
        "SIGNALBOX_STATE_KEY": "w" * 20,
        "PLAIN": "seen",
    }
    workspace.to(server).environ |= extra
    assert workspace.run("run").code == 0
    seen = "\n" + (workspace.path / "seen").read_text()
    assert "PLAIN=seen" in seen
    for name in (*list(extra)[:-1], "DD_API_KEY"):
        assert f"\n{name}=" not in seen
    for name in ("CI=true", "SIGNALBOX=true", "SIGNALBOX_JOB=a", "SIGNALBOX_ATTEMPT=1"):
        assert f"\n{name}\n" in seen
    assert re.search(r"\nTRACEPARENT=00-[0-9a-f]{32}-[0-9a-f]{16}-01\n", seen)


def test_a_parameter_that_holds_a_secret_is_refused(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        parameters: { TARGET: { default: staging } }
        jobs: { a: { steps: [touch ran] } }
    """)
    ended = workspace.run("run", "-p", "TARGET=hush-hush-1", MY_TOKEN="hush-hush-1")
    assert ended.code == 2
    assert "TARGET" in ended.err
    assert "hush" not in ended.err
    assert not (workspace.path / "ran").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_S4_a_signal_closes_everything_as_canceled(
    workspace: Workspace, server: Server, number: signal.Signals, code: int
) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { stage: s, steps: [touch started; sleep 60, touch never] }
          b: { needs: [a], steps: [touch never] }
    """)
    process = workspace.to(server).start("run")
    with killed(process):
        workspace.until((workspace.path / "started").exists)
        process.send_signal(number)
        began = time.monotonic()
        process.wait(timeout=7)
        assert time.monotonic() - began < 7
    assert process.returncode == code
    assert not (workspace.path / "never").exists()
    assert server.event("pipeline")["status"] == "canceled"
    assert server.event("job", "a")["status"] == "canceled"
    assert server.event("stage", "s")["status"] == "canceled"
    step = by_level(server.events, "step")[0]
    assert (step["status"], step["error"]["type"]) == ("error", "Canceled")


def test_a_limit_ends_a_step_and_always_still_runs(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs:
          a:
            timeout: 1s
            steps:
              - { name: slow, run: sleep 60 }
              - { name: tidy, run: touch tidied, if: always }
    """)
    assert workspace.to(server).run("run").code == 1
    assert (workspace.path / "tidied").exists()
    assert server.event("job", "a")["error"]["type"] == "Timeout"


def test_fail_fast_stops_the_neighbours(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs:
          bad: { steps: [sleep 0.3; exit 1] }
          slow: { steps: [sleep 60] }
    """)
    assert workspace.to(server).run("run", "--fail-fast", "--max-parallel", "2").code == 1
    assert server.event("job", "slow")["status"] == "canceled"
    assert server.event("pipeline")["status"] == "error"


def test_K1_without_an_engine_nothing_runs_if_a_selected_job_has_an_image(
    workspace: Workspace,
) -> None:
    workspace.write("""
        name: P
        jobs: { here: { steps: [touch ran] }, there: { image: "python:3.12", steps: ["true"] } }
    """)
    workspace.environ["DOCKER_HOST"] = f"unix://{workspace.path}/no.sock"
    ended = workspace.run("run")
    assert ended.code == 4
    assert "need one: there" in ended.err
    assert "no.sock (as DOCKER_HOST says): there is no such socket" in ended.err
    assert not (workspace.path / "ran").exists()
    assert workspace.run("run", "--only", "here").code == 0


def test_mistakes_are_told_all_at_once_and_nothing_runs(workspace: Workspace) -> None:
    workspace.write("name: P\njobs:\n  a: { stepz: [x] }\n  b: { needs: [c], steps: [y] }\n")
    ended = workspace.run("run")
    assert ended.code == 2
    places = [line.partition(": ")[0] for line in ended.err.splitlines()]
    assert places == ["pipeline.yml:3:3", "pipeline.yml:3:8", "pipeline.yml:4:16"]
    assert "'steps'" in ended.err


def test_json_that_nobody_would_write_is_refused(workspace: Workspace) -> None:
    workspace.write("name: P\njobs: { a: { steps: [touch ran] } }\n")
    ended = workspace.run("run", "--json")
    assert (ended.code, "--dry-run" in ended.err) == (2, True)
    assert not (workspace.path / "ran").exists()


def test_what_is_said_to_run_a_job_again_does(workspace: Workspace) -> None:
    job = "{ steps: ['echo \"hello $WHO\"; exit 1'] }"
    text = f"name: x\nparameters: {{ WHO: {{ default: me }} }}\njobs: {{ 'the job': {job} }}\n"
    workspace.write(text, "ci/other.yml")
    ended = workspace.run("run", "ci/other.yml", "-p", "WHO=you two")
    said = _again(ended.err)
    assert said == "run ci/other.yml -p 'WHO=you two' --only 'the job'"
    assert "hello you two" in workspace.run(*shlex.split(said)).err
    workspace.write(text)
    assert _again(workspace.run("run").err) == "run --only 'the job'"


def test_what_goes_on_from_another_run_is_run_again_by_a_retry(workspace: Workspace) -> None:
    first = '{ steps: ["echo WHO=them >> $SIGNALBOX_OUTPUT"] }'
    gate, last = "{ needs: [a], gate: Go? }", '{ needs: [g], steps: ["echo hello $WHO; exit 1"] }'
    workspace.write(f"name: x\njobs: {{ a: {first}, g: {gate}, b: {last} }}\n")
    assert workspace.run("run").code == 75
    said = _again(workspace.run("resume", "--approve", "g").err)
    assert re.fullmatch("retry [0-9a-f]{8}", said)
    ended = workspace.run(*shlex.split(said))
    assert (ended.code, "hello them" in ended.err) == (1, True)


@pytest.mark.parametrize("words", [["--state", "other place"], ["sub/pipeline.yml"]], ids=str)
def test_every_command_that_is_said_finds_the_run_where_it_lies(
    workspace: Workspace, words: list[str]
) -> None:
    workspace.write(
        """
        name: P
        jobs:
          a: { steps: [exit 1], allow-failure: true }
          g: { needs: [a], gate: Go? }
          b: { needs: [g], steps: [exit 1] }
        """,
        words[0] if len(words) == 1 else "pipeline.yml",
    )
    workspace.commit()
    workspace.git("init", "-q", "sub")
    workspace.git("-C", "sub", "commit", "-qm", "all of it", "--allow-empty")
    ended = workspace.run("run", *words)
    said = re.findall(r"signalbox ((?:resume|show) .+)$", ended.err, re.MULTILINE)
    assert len(said) == 3
    ended = workspace.run(*shlex.split(said[0]))
    assert ended.code == 1, ended.err
    said = re.findall(r"signalbox ([a-z]+ .+)$", ended.err, re.MULTILINE)
    assert [line.split()[0] for line in said] == ["retry", "reproduce", "logs", "show"]
    for line in said:
        assert workspace.run(*shlex.split(line)).code in (0, 1), line
    assert not (workspace.path / ".signalbox").exists()


def _again(said: str) -> str:
    found = re.search(r"^  again: +signalbox (.+)$", said, re.MULTILINE)
    assert found, said
    return found[1]


def test_a_check_tells_whether_the_intake_takes_the_key(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("name: P\njobs: { a: { steps: [x] } }\n")
    good = workspace.to(server).run("check", "--intake")
    assert (good.code, "the key works" in good.out) == (0, True)
    bad = workspace.run("check", "--intake", SIGNALBOX_INTAKE_URL="http://127.0.0.1:9")
    assert bad.code == 1
    assert bad.err.splitlines() == ["127.0.0.1:9 cannot be reached: connection refused"]


@pytest.mark.parametrize("named", [".", "nowhere.yml"])
def test_a_file_that_cannot_be_read_is_named_as_it_was(workspace: Workspace, named: str) -> None:
    ended = workspace.run("check", named)
    assert ended.code == 2
    assert ended.err.startswith(f"signalbox: {named}: ")
    assert ("signalbox init" in ended.err) == (named != ".")


def test_no_pipeline_file_says_what_to_do(workspace: Workspace) -> None:
    ended = workspace.run("run")
    assert ended.code == 2
    assert "signalbox init" in ended.err


def test_a_dry_run_prints_the_very_bytes_and_runs_nothing(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("name: P\njobs: { a: { stage: s, steps: [touch ran] } }\n")
    workspace.commit()
    ended = workspace.to(server).run("run", "--dry-run", "--json")
    assert ended.code == 0, ended.err
    body = json.loads(ended.out)
    levels = {element["attributes"]["resource"]["level"] for element in body["data"]}
    assert levels == {"pipeline", "stage", "job", "step"}
    assert not (workspace.path / "ran").exists()
    assert not (workspace.path / ".signalbox").exists()
    assert not server.requests


def test_a_plan_names_steps_as_a_run_does(workspace: Workspace) -> None:
    workspace.write("""
        name: P
        parameters: { TO: { default: staging } }
        jobs:
          a:
            matrix: { V: [1, 2] }
            steps: ['echo "$HOME"', { name: $V to $TO, run: "true" }]
    """)
    rows = workspace.run("plan", "--json").json
    assert [row["steps"] for row in rows] == [
        ['echo "$HOME"', "1 to staging"],
        ['echo "$HOME"', "2 to staging"],
    ]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "many"])
def test_a_measure_is_a_finite_number(workspace: Workspace, number: str) -> None:
    workspace.write("name: P\njobs: { a: { steps: [touch ran] } }\n")
    for command in (["run"], ["exec", "touch", "ran"]):
        ended = workspace.run(command[0], "--measure", f"size:{number}", *command[1:])
        assert (ended.code, f"'size:{number}' is not key:number" in ended.err) == (2, True)
    assert not (workspace.path / "ran").exists()


def test_queue_time_and_parent_are_reported(workspace: Workspace, server: Server) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['true'] } }\n")
    asked = str(time.time() - 5)
    run = workspace.to(server).run(
        "run", "--queued-at", asked, "--parent", "abc=https://ci.example.test/1", "--manual"
    )
    assert run.code == 0, run.err
    pipeline = server.event("pipeline")
    assert 4900 < pipeline["queue_time"] < 30000
    assert pipeline["parent_pipeline"] == {"id": "abc", "url": "https://ci.example.test/1"}
    assert pipeline["is_manual"] is True


@pytest.mark.parametrize(
    "parent",
    ["=https://ci.example.test", "a=javascript:x", "a=https://u:pass@h/", "a b", "x" * 999],
)
def test_a_parent_that_no_event_may_carry_is_a_mistake(workspace: Workspace, parent: str) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['touch ran'] } }\n")
    ended = workspace.run("run", "--local", "--parent", parent)
    assert (ended.code, "--parent is not ID[=URL]" in ended.err) == (2, True)
    assert "pass" not in ended.err
    assert not (workspace.path / "ran").exists()


@pytest.mark.parametrize("parent", ["", "abc=", "abc"])
def test_a_parent_without_an_address(workspace: Workspace, server: Server, parent: str) -> None:
    workspace.write("name: P\njobs: { a: { steps: ['true'] } }\n")
    assert workspace.to(server).run("run", "--parent", parent).code == 0
    assert server.event("pipeline").get("parent_pipeline", {}).get("id", "") == parent[:3]


def test_output_is_shown_and_kept(workspace: Workspace) -> None:
    workspace.write("name: P\njobs: { a: { steps: [echo hello; echo world >&2] } }\n")
    ended = workspace.run("run")
    assert "hello" in ended.err
    logs = workspace.run("logs", "latest", "a")
    assert logs.out == "hello\nworld\n"


def test_rm_of_the_state_in_a_step_costs_a_warning(workspace: Workspace, server: Server) -> None:
    workspace.write("""
        name: P
        jobs: { a: { steps: [rm -rf .signalbox, echo still here] } }
    """)
    ended = workspace.to(server).run("run")
    assert ended.code == 0, ended.err
    assert len(by_level(server.events, "step")) == 2
    assert workspace.run("show", "latest", "--json").json["status"] == "success"


def test_nobody_is_sent_to_what_is_on_no_disk(workspace: Workspace) -> None:
    workspace.write("name: P\njobs: { a: { steps: [exit 1] } }\n")
    state = workspace.write("a file where a directory should be", "place") / "state"
    ended = workspace.run("run", "--state", str(state))
    assert ended.code == 1
    assert "in memory" in ended.err
    assert ended.err.endswith("local: nothing was sent\n")
    assert "signalbox logs" not in ended.err
    assert "signalbox reproduce" not in ended.err
    assert "signalbox run --only a" in ended.err


def test_a_thousand_jobs_are_ready_at_once(workspace: Workspace) -> None:
    jobs = "\n".join(f"  j{i}: {{ steps: ['true'] }}" for i in range(1000))
    workspace.write(f"name: P\njobs:\n{jobs}\n")
    ended = workspace.run("run", "--max-parallel", "16", within=60)
    assert ended.code == 0, ended.err[-2000:]
