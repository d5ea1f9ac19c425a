"""The action, without its container: inputs become a run, and its end outputs and a page."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner import manifest
from runner.cli import inputs
from runner.cli.action import written
from runner.pipeline import Job
from tests.conftest import KEY, ROOT, Ended, Workspace, by_level
from tests.intake_server import Answer, Server

PIPELINE = """
name: Docs
parameters: { TARGET: { default: staging } }
jobs:
  build:
    steps:
      - echo "building for $TARGET"
      - run: |
          echo "**built**" >> "$SIGNALBOX_SUMMARY"
          env | grep -c '^INPUT_\\|^GITHUB_OUTPUT' || true
  approve: { needs: [build], gate: "Deploy to $TARGET?" }
  deploy:
    needs: [approve]
    steps: [echo deployed]
"""


class Action:
    """The action in a workspace, with the runner's files around it."""

    def __init__(self, workspace: Workspace, place: Path) -> None:
        self.workspace, self.output, self.page = workspace, place / "output", place / "page"
        self.event = place / "event.json"
        self.event.write_text("{}")
        workspace.write(PIPELINE)
        self.sha = workspace.commit()

    def post(self, inputs: dict[str, str]) -> Ended:
        return self._run(("action", "--post"), inputs, {})

    def run(self, inputs: dict[str, str], **environ: str) -> Ended:
        return self._run(("action",), inputs, environ)

    def _run(
        self, arguments: tuple[str, ...], inputs: dict[str, str], environ: dict[str, str]
    ) -> Ended:
        self.output.write_text("")
        self.page.write_text("")
        around = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "team/app",
            "GITHUB_RUN_ID": "7340912",
            "GITHUB_JOB": "build",
            "GITHUB_SHA": self.sha,
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.page),
            "GITHUB_EVENT_PATH": str(self.event),
            **environ,
        }
        given = {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
        return self.workspace.run(*arguments, within=30, **{**around, **given})

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs, as the runner reads them."""
        lines = iter(self.output.read_text().splitlines())
        found = {}
        for line in lines:
            name, _, end = line.partition("<<")
            found[name] = "\n".join(iter(lines.__next__, end))
        return found


@pytest.fixture
def action(workspace: Workspace, tmp_path: Path) -> Action:
    return Action(workspace, tmp_path)


@pytest.mark.parametrize("names", ["-", "_"])
def test_inputs_are_read_in_both_spellings(action: Action, server: Server, names: str) -> None:
    inputs = {"api-key": "canary-0123456789abcdef0123456789ab", "intake-url": server.url}
    inputs |= {"job": "build", "parameters": "TARGET=production", "tags": "team:web\nkind:docs"}
    done = action.run({name.replace("-", names): value for name, value in inputs.items()})
    assert done.code == 0, done.text
    assert "building for production" in done.text
    (pipeline,) = by_level(server.events, "pipeline")
    assert {"team:web", "kind:docs"} <= {*pipeline["tags"]}


def test_outputs_and_page_tell_of_the_execution(action: Action) -> None:
    done = action.run({"job": "build"})
    assert done.code == 0, done.text
    assert action.outputs["status"] == "success"
    assert len(action.outputs["pipeline-id"]) == 36
    assert "actions/runs/7340912" in action.outputs["url"]
    assert action.outputs["gate"] == ""
    page = action.page.read_text()
    assert page.startswith("## ✅ Docs")
    assert page.rstrip().endswith("**built**")


def test_a_step_sees_no_input(action: Action) -> None:
    done = action.run({"job": "build", "api-key": "canary-of-the-step"})
    assert "│ 0\n" in done.text or "\n0\n" in done.text, done.text
    assert "canary-of-the-step" not in done.text


@pytest.mark.parametrize(("shown", "code"), [("", 0), ("success", 0), ("failure", 75)])
def test_a_gate_shows_as_the_workflow_wants_it(action: Action, shown: str, code: int) -> None:
    assert action.run({"blocked": shown}).code == code
    assert (action.outputs["status"], action.outputs["gate"]) == ("blocked", "approve")


def test_an_answer_goes_on(action: Action) -> None:
    action.run({})
    first = action.outputs["pipeline-id"]
    done = action.run({"resume-run": "latest", "approve": "approve", "reason": "fine"})
    assert done.code == 0, done.text
    assert "deployed" in done.text
    assert action.outputs["pipeline-id"] == first


def test_a_rejection_ends_it_canceled_and_says_why(action: Action, server: Server) -> None:
    to = {"api-key": KEY, "intake-url": server.url}
    action.run(to)
    answer = {"resume-run": "latest", "reject": "approve", "reason": "not on a Friday", **to}
    assert action.run(answer).code == 1
    assert action.outputs["status"] == "canceled"
    assert "gate.approve.reason:not on a Friday" in by_level(server.events, "pipeline")[-1]["tags"]


def test_commands_in_place_of_a_file(action: Action) -> None:
    done = action.run({"steps": "echo one $HOME\n\n  exit 3\n", "name": "Two commands"})
    assert done.code == 1, done.text
    assert action.outputs["status"] == "error"
    assert "## ❌ Two commands" in action.page.read_text()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"pipeline": "a.yml", "steps": "true"}, "pipeline and steps exclude each other"),
        ({"resume-run": "latest", "job": "build"}, "resume-run and job exclude each other"),
        ({"approve": "approve"}, "approve answers a gate"),
        ({"blocked": "maybe"}, "'maybe' is none of success, failure"),
        ({"tags": "web"}, "'web' is not key:value"),
    ],
)
def test_inputs_that_make_no_sense_are_refused(
    action: Action, inputs: dict[str, str], said: str
) -> None:
    done = action.run(inputs)
    assert done.code == 2
    assert said in done.err


def test_T1_a_forks_code_beside_secrets_is_refused(action: Action) -> None:
    event = {"pull_request": {"head": {"repo": {"full_name": "mallory/app"}}}}
    action.event.write_text(json.dumps(event))
    forked = {"GITHUB_EVENT_NAME": "pull_request_target", "GITHUB_SHA": "f" * 40}
    done = action.run({"job": "build"}, **forked)
    assert done.code == 5
    assert "building" not in done.text
    assert action.run({"job": "build", "allow-untrusted": "true"}, **forked).code == 0


def test_T1_our_own_commit_runs_whoever_caused_the_event(action: Action) -> None:
    action.event.write_text("not json")
    assert action.run({"job": "build"}, GITHUB_EVENT_NAME="workflow_run").code == 0
    other = {"GITHUB_EVENT_NAME": "workflow_run", "GITHUB_SHA": "f" * 40}
    assert action.run({"job": "build"}, **other).code == 5


ODDITIES = """
name: "Odd::set-output name=a::b"
jobs:
  quiet:
    name: "::add-mask::quiet"
    steps:
      - echo '::add-path::/evil'; echo '##[set-env name=A]b'; printf '\\r::warning::x\\n'
  loud:
    steps:
      - annotations: true
        run: |
          echo '::warning file=a.py,line=3::key is hunter2-hunter2'
          echo '::add-mask::evil'
          echo '::notice::two::add-mask::three'
  broken:
    steps:
      - { working-directory: src, run: python3 bad.py, name: "%0A::error::x" }
"""


def heard(text: str) -> list[str]:
    """The commands that GitHub's runner would carry out (``ActionCommandManager``)."""
    token, found = "", []
    for line in re.split(r"[\n\r]", text):
        command = line.lstrip()
        if token and command in {f"::{token}::", f"##[{token}]"}:
            token = ""
        elif not token and command.startswith("::stop-commands::"):
            token = command.removeprefix("::stop-commands::")
        elif not token and re.match(r"::[\w-]+( .*?)?::", command):
            found.append(command)
        elif not token and re.search(r"##\[[\w-]+", line):
            found.append(line)
    return found


def test_T12_only_our_commands_and_allowed_annotations_are_heard(action: Action) -> None:
    action.workspace.write(ODDITIES, "sub/pipeline.yml")
    source = action.workspace.path / "sub/src"
    source.mkdir()
    (source / "bad.py").write_text("import os\nraise ValueError('no::x')\n")
    done = action.run({"pipeline": "sub/pipeline.yml"}, DEPLOY_TOKEN="hunter2-hunter2")
    assert done.code == 1, done.text
    commands = [line for line in heard(done.text) if not re.match("::(end)?group", line)]
    assert sorted(commands) == [
        "::error file=sub/src/bad.py,line=2::%250A::error::x: ExitCode: ValueError: no::x",
        "::notice::two::add-mask::three",
        "::warning file=a.py,line=3::key is ***",
    ]


def test_mistakes_in_the_file_are_noted_beside_it(action: Action) -> None:
    action.workspace.write("name: A\njobs:\n  a: { steps: ['true'], imege: '::x' }\n")
    done = action.run({})
    assert done.code == 2
    (noted,) = heard(done.text)
    assert noted.startswith("::error file=pipeline.yml,line=3::")
    assert action.outputs["status"] == "error"


@pytest.mark.parametrize("file", ["output", "page"])
def test_T13_a_pipe_in_place_of_a_file_is_not_waited_for(action: Action, file: str) -> None:
    path = getattr(action, file)
    done = action.run({"steps": f"rm {path}; mkfifo {path}"})
    assert done.code == 0, done.text
    assert "warning" in done.err


def test_the_page_leaves_room_for_what_stands_there(action: Action) -> None:
    filler = "python3 -c \"print('x' * 900_000)\" >> {}"
    page = filler.format(action.page)
    summary = filler.format("$SIGNALBOX_SUMMARY")
    done = action.run({"steps": f"{page}\n{summary}"})
    assert done.code == 0, done.text
    assert "Steps" in action.page.read_text()
    assert action.page.stat().st_size <= 1024 * 1024


def test_the_report_is_a_page_to_upload(action: Action) -> None:
    done = action.run({"job": "build", "report": "page.html"})
    assert done.code == 0, done.text
    assert action.outputs["report"] == "page.html"
    assert "<!doctype html" in (action.workspace.path / "page.html").read_text().lower()


def test_T16_a_pipe_in_place_of_the_report_is_not_opened(action: Action) -> None:
    done = action.run({"steps": "mkfifo page.html", "report": "page.html"})
    assert done.code == 0, done.text
    assert action.outputs["report"] == ""
    assert "page.html is no file" in done.err


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [("check", 0, "no mistakes"), ("plan", 0, "deploy"), ("flush", 2, "nowhere to send")],
)
def test_another_command_by_input(action: Action, asked: str, code: int, said: str) -> None:
    done = action.run({"command": asked})
    assert (done.code, said in done.text) == (code, True), done.text
    assert action.outputs["status"] == ("error" if code else "success")
    assert not heard(done.text)
    assert "building" not in done.text


def test_job_logs_by_input(action: Action, server: Server) -> None:
    inputs = {"api-key": KEY, "intake-url": server.url, "logs": "true", "job": "build"}
    done = action.run(inputs)
    assert done.code == 0, done.text
    assert "building for staging" in [line["message"] for line in server.lines("build")]
    assert action.run({"logs": "maybe"}).code == 2


@pytest.mark.parametrize("left", ["nothing", "no journal at all", "no state that is valid"])
def test_after_the_job_nothing_changes_its_result(action: Action, left: str) -> None:
    state = action.workspace.path / ".signalbox"
    if left != "nothing":
        state.mkdir()
        (state / "journal.db").write_text(left)
    done = action.post({"tags": "no tag" if left != "nothing" else ""})
    assert done.code == 0, done.text
    assert ("warning" in done.err) == (left != "nothing")


def test_after_the_job_what_was_not_delivered_is(action: Action, server: Server) -> None:
    inputs = {"api-key": KEY, "intake-url": server.url, "job": "build"}
    server.rule = lambda _: Answer(status=503)
    assert action.run(inputs).code == 0
    assert not server.events
    server.rule = None
    assert action.post(inputs).code == 0
    assert by_level(server.events, "pipeline")[0]["status"] == "success"


def test_an_image_for_commands_in_place(action: Action) -> None:
    assert action.run({"image": "debian:bookworm-slim"}).code == 2
    text = inputs.Inputs({"INPUT_STEPS": "true", "INPUT_IMAGE": "registry.test/$x:1"})
    (job,) = manifest.load(written(text).encode(), "input steps").jobs
    assert isinstance(job, Job)
    assert (job.image, job.steps[0].run) == ("registry.test/$$x:1", "true")


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({"PLUGIN_TAGS": "a:1,b:2"}, ("a:1", "b:2")),
        ({"PLUGIN_TAGS": "a:1,2\nb:3"}, ("a:1,2", "b:3")),
        ({"PLUGIN_TAGS": '{"a": 1, "b": "x,y"}'}, ("a:1", "b:x,y")),
        ({"PLUGIN_TAGS": '["a:1", "b:2,3"]'}, ("a:1", "b:2,3")),
        ({"PLUGIN_TAGS": "[not json"}, ("[not json",)),
        ({"PLUGIN_TAGS": "a:1", "INPUT_TAGS": "b:2,3"}, ("b:2,3",)),
        ({"PLUGIN_TAGS": "a:1", "INPUT_TAGS": " "}, ("a:1",)),
    ],
)
def test_a_plugins_lists_and_maps_are_lines(given: dict[str, str], lines: tuple[str, ...]) -> None:
    assert inputs.Inputs(given).lines("tags") == lines


def test_a_step_is_not_split_at_its_commas() -> None:
    commands = inputs.Inputs({"PLUGIN_STEPS": "cut -d, -f1"})
    assert commands.lines("steps") == ("cut -d, -f1",)
    listed = inputs.Inputs({"PLUGIN_STEPS": '["make a,b", "make c"]'})
    assert listed.lines("steps") == ("make a,b", "make c")


def test_bytes_that_are_no_text_are_no_defect() -> None:
    odd = inputs.Inputs({"INPUT_STEPS": "echo \udcff"})
    assert "echo \ufffd" in written(odd)


def test_no_first_step_waits_for_what_only_its_end_needs() -> None:
    program = "import sys, runner.cli.launch, runner.cli.run, runner.manifest\n"
    program += "before = {*sys.modules}\n"
    program += "import runner.cli.action; print(*sorted({*sys.modules} - before))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [
        "runner.cli.action",
        "runner.cli.handover",
        "runner.cli.inputs",
    ]


def test_T1_another_spelling_does_not_outvote_the_runners_own() -> None:
    for order in (1, -1):
        both = {"INPUT_ALLOW-UNTRUSTED": "false", "INPUT_ALLOW_UNTRUSTED": "true"}
        assert inputs.Inputs(dict([*both.items()][::order]))["allow-untrusted"] == "false"


def test_T1_a_fork_beside_our_own_checkout_is_refused(action: Action) -> None:
    fork = Workspace(action.workspace.path / "pr", action.workspace.path)
    shutil.copytree(action.workspace.path, fork.path)
    fork.write(PIPELINE.replace("Docs", "Evil"))
    fork.commit()
    done = action.run({"pipeline": "pr/pipeline.yml"}, GITHUB_EVENT_NAME="pull_request_target")
    assert done.code == 5, done.text


def test_T13_a_file_that_a_step_turned_into_a_link_is_not_followed(
    action: Action, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    done = action.run({"steps": f"ln -sf {victim} {action.output}"})
    assert done.code == 0, done.text
    assert victim.read_text() == "untouched"
    assert "warning" in done.err


def test_state_travels_as_one_file(action: Action, tmp_path: Path) -> None:
    action.run({})
    state, first = action.workspace.path / action.outputs["state"], action.outputs["pipeline-id"]
    box = tmp_path / "downloaded.tar"
    state.rename(box)
    shutil.rmtree(action.workspace.path / ".signalbox")
    assert action.run({"state": str(box)}).code == 2
    answer = {"state": str(box), "resume-run": "latest", "approve": "approve"}
    done = action.run(answer)
    assert done.code == 0, done.text
    assert "deployed" in done.text
    assert (action.outputs["pipeline-id"], action.outputs["state"]) == (first, "")
    assert action.run(answer).code == 5


def test_what_failed_runs_again_from_its_file(action: Action, tmp_path: Path) -> None:
    action.workspace.write("name: Flaky\njobs: { a: { steps: ['test -e mended'] } }\n")
    assert action.run({}).code == 1
    box = tmp_path / "downloaded.tar"
    (action.workspace.path / action.outputs["state"]).rename(box)
    shutil.rmtree(action.workspace.path / ".signalbox")
    (action.workspace.path / "mended").touch()
    assert action.run({"state": str(box), "retry": "failed"}).code == 0
