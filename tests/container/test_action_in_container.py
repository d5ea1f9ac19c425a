"""The action as GitHub's runner starts it: real containers, a real intake, signals to PID 1."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.conftest import KEY, by_level
from tests.container.engine import docker
from tests.container.runner_job import OWNER, RunnerJob
from tests.intake_server import Answer, Fault, Resource, Server, intake

pytestmark = pytest.mark.engine

PIPELINE = """
name: Docs
jobs:
  build:
    steps:
      - name: Build
        run: |
          mkdir -p site/deep && echo page > site/deep/index.html && ln -s index.html site/deep/link
          git log --format=%s -1
          echo "::warning::not a command"
          echo "**built**" >> "$SIGNALBOX_SUMMARY"
      - { name: Broken, run: "echo 'it broke' >&2; exit 3", allow-failure: true }
  approve: { needs: [build], gate: Deploy? }
  deploy: { needs: [approve], steps: [cat site/deep/index.html] }
"""
SLEEPER = """
name: Sleeper
jobs:
  one: { steps: [{ name: Sleep, run: "touch left; echo asleep; sleep 60" }] }
  two: { needs: [one], steps: ["true"] }
"""
STUBBORN = """
name: Stubborn
jobs:
  one: { steps: [{ name: Sleep, run: "trap '' INT TERM; echo asleep; while :; do sleep 1; done" }] }
"""
THIEF = """
name: Thief
jobs:
  steal:
    steps:
      - run: |
          id -u
          python3 - <<'EOF'
          import os, re, time
          wanted = "REVERSED"[::-1].encode()
          ours, found, looked = {os.getpid(), os.getppid()}, set(), set()

          def read(path):
              try:
                  with open(path, "rb") as file:
                      return file.read(1 << 20)
              except OSError:
                  return b""

          def memory(pid):
              for line in read(f"/proc/{pid}/maps").decode().splitlines():
                  start, end = (int(part, 16) for part in line.split()[0].split("-"))
                  try:
                      with open(f"/proc/{pid}/mem", "rb") as file:
                          file.seek(start)
                          yield file.read(end - start)
                  except (OSError, OverflowError, ValueError):
                      continue

          until = time.monotonic() + 1.5
          while time.monotonic() < until:
              for pid in {int(name) for name in os.listdir("/proc") if name.isdigit()} - ours:
                  looked.add(pid)
                  texts = [read(f"/proc/{pid}/{name}") for name in ("environ", "cmdline")]
                  if any(wanted in text for text in (*texts, *memory(pid))):
                      found.add(pid)
          print("looked at", 1 in looked, len(looked) > 1, "found", sorted(found))
          EOF
      - env
"""


def foreign(workspace: Path) -> dict[str, tuple[int, int]]:
    """What in a workspace belongs to somebody else than its owner."""
    return {
        str(path.relative_to(workspace)): (status.st_uid, status.st_gid)
        for path in workspace.rglob("*")
        if ((status := path.lstat()).st_uid, status.st_gid) != OWNER
    }


def reporting(server: Server) -> dict[str, str]:
    """The inputs by which the action reports to the tests' intake."""
    return {"api-key": KEY, "intake-url": server.url}


class Blocked(msgspec.Struct, frozen=True):
    """The first pipeline, run to its gate, and what was seen then."""

    runner: RunnerJob
    server: Server
    code: int
    printed: str
    events: list[Resource]
    outputs: dict[str, str]
    page: str


@pytest.fixture(scope="module")
def blocked(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blocked]:
    runner = RunnerJob(tmp_path_factory.mktemp("blocked"), image, PIPELINE)
    with intake(key=KEY) as server:
        code, printed = runner.run(reporting(server))
        page = (runner.commands / "summary").read_text()
        yield Blocked(runner, server, code, printed, server.events, runner.outputs(), page)
        server.check(secrets=[KEY])


def test_a_run_reports_and_hands_everything_over(blocked: Blocked) -> None:
    assert blocked.code == 0, blocked.printed
    (pipeline,) = by_level(blocked.events, "pipeline")
    assert pipeline["status"] == "blocked"
    assert pipeline["git"]["sha"] == blocked.runner.sha
    assert pipeline["node"]["hostname"] == "runner-1"
    assert KEY not in blocked.printed
    assert blocked.outputs["status"] == "blocked"
    assert blocked.outputs["gate"] == "approve"
    assert blocked.outputs["state"].endswith("state.tar")
    assert blocked.page.startswith("## ✋ Docs")
    assert blocked.page.rstrip().endswith("**built**")


def test_what_steps_print_is_no_command(blocked: Blocked) -> None:
    lines = [line.strip() for line in blocked.printed.splitlines()]
    at = next(i for i, line in enumerate(lines) if "::warning::not a command" in line)
    stops = [line for line in lines[:at] if line.startswith("::stop-commands::")]
    token = stops[-1].removeprefix("::stop-commands::")
    assert f"::{token}::" in lines[at:]
    assert f"::{token}::" not in lines[lines.index(stops[-1]) : at]


def test_T23_what_the_run_left_belongs_to_the_workspaces_owner(blocked: Blocked) -> None:
    workspace = blocked.runner.workspace
    assert (workspace / "site/deep/index.html").read_text() == "page\n"
    assert not foreign(workspace)


def test_a_gate_is_answered_by_another_container(blocked: Blocked) -> None:
    answer = {"resume-run": "latest", "approve": "approve", **reporting(blocked.server)}
    code, printed = blocked.runner.run(answer, GITHUB_JOB="deploy")
    assert code == 0, printed
    assert blocked.runner.outputs()["pipeline-id"] == blocked.outputs["pipeline-id"]
    events = blocked.server.events
    assert {event["name"] for event in by_level(events, "job")} == {"build", "deploy"}


def test_S8_a_canceled_job_is_closed_before_it_is_killed(
    image: str, tmp_path: Path, server: Server
) -> None:
    runner = RunnerJob(tmp_path, image, SLEEPER)
    process = runner.start(reporting(server))
    printed = until(process, "asleep")
    printed += runner.cancel(process)
    assert process.returncode == 130, printed
    levels = {event["level"]: event["status"] for event in server.events}
    assert levels == {"pipeline": "canceled", "job": "canceled", "step": "error"} | {
        level: status for level, status in levels.items() if level == "stage"
    }
    assert runner.outputs()["status"] == "canceled"


def test_S8_a_stubborn_step_and_a_silent_intake_do_not_outlast_the_runners_patience(
    image: str, tmp_path: Path, server: Server
) -> None:
    runner = RunnerJob(tmp_path, image, STUBBORN)
    server.rule = lambda _: Answer(fault=Fault.HANG_HEAD)
    process = runner.start(reporting(server))
    until(process, "asleep")
    printed = runner.cancel(process)
    assert process.returncode in {130, 143}, printed
    assert runner.outputs()["status"] == "canceled"
    server.rule = None
    code, printed = runner.run(reporting(server), post=True)
    assert code == 0, printed
    assert by_level(server.events, "pipeline")[0]["status"] == "canceled"


def test_S1_after_a_kill_the_post_step_closes_and_sends(
    image: str, tmp_path: Path, server: Server
) -> None:
    runner = RunnerJob(tmp_path, image, SLEEPER)
    process = runner.start(reporting(server))
    until(process, "asleep")
    docker("kill", runner.name)
    process.communicate(timeout=30)
    code, printed = runner.run(reporting(server), post=True)
    assert code == 0, printed
    assert [event["status"] for event in by_level(server.events, "pipeline")] == ["error"]
    assert {event["name"] for event in by_level(server.events, "job")} == {"one"}
    assert (runner.workspace / "left").exists()
    assert not foreign(runner.workspace)


def test_where_nothing_is_left_the_post_step_is_silent(image: str, tmp_path: Path) -> None:
    runner = RunnerJob(tmp_path, image, SLEEPER)
    assert runner.run({}, post=True) == (0, "")


def test_T1_a_forks_checkout_is_refused_before_anything_runs(image: str, tmp_path: Path) -> None:
    runner = RunnerJob(tmp_path, image, PIPELINE)
    code, printed = runner.run({}, GITHUB_EVENT_NAME="pull_request_target", GITHUB_SHA="f" * 40)
    assert code == 5, printed
    assert not (runner.workspace / "site").exists()


def test_settings_of_a_plugin_are_inputs(image: str, tmp_path: Path, server: Server) -> None:
    runner = RunnerJob(tmp_path, image, PIPELINE)
    drone = {"DRONE": "true", "CI": "true", "DRONE_COMMIT_SHA": runner.sha}
    settings = {
        "PLUGIN_STEPS": "echo a,b\nenv | grep PLUGIN; true",
        "PLUGIN_TAGS": "team:web,kind:docs",
        "PLUGIN_API_KEY": KEY,
        "PLUGIN_INTAKE_URL": server.url,
    }
    here = str(runner.workspace)
    given = [word for pair in (drone | settings).items() for word in ("--env", "=".join(pair))]
    mount = ["--network", "host", "--volume", f"{here}:{here}", "--workdir", here]
    done = in_container(image, *mount, *given)
    assert done.returncode == 0, done.stdout
    assert "a,b" in done.stdout
    assert "PLUGIN_" not in done.stdout.replace("grep PLUGIN", "")
    assert KEY not in done.stdout
    (pipeline,) = by_level(server.events, "pipeline")
    assert {"team:web", "kind:docs", "host_ci:drone"} <= {*pipeline["tags"]}


def test_the_slim_image_reads_the_commit_and_reports(
    slim: str, tmp_path: Path, server: Server
) -> None:
    runner = RunnerJob(tmp_path, slim, "name: Slim\njobs: { a: { steps: [git log -1] } }\n")
    code, printed = runner.run(reporting(server) | {"report": "page.html"})
    assert code == 0, printed
    (pipeline,) = by_level(server.events, "pipeline")
    assert pipeline["git"]["author_email"] == "ada@example.com"
    assert runner.outputs()["report"] == "page.html"
    page = runner.workspace / "page.html"
    assert "Slim" in page.read_text()
    assert page.stat().st_uid == OWNER[0]


def test_S9_docker_stop_ends_the_run_in_time(image: str, tmp_path: Path, server: Server) -> None:
    runner = RunnerJob(tmp_path, image, SLEEPER)
    process = runner.start(reporting(server))
    until(process, "asleep")
    docker("stop", "--time", "9", runner.name)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert by_level(server.events, "pipeline")[0]["status"] == "canceled"


def test_T2_T3_a_step_finds_the_key_nowhere(image: str, tmp_path: Path, server: Server) -> None:
    runner = RunnerJob(tmp_path, image, THIEF.replace("REVERSED", KEY[::-1]))
    code, printed = runner.run(reporting(server))
    assert code == 0, printed
    assert "looked at True True found []" in printed
    assert "canary" not in printed.replace(KEY[::-1], "")


def test_any_user_may_run_it_in_a_directory_of_their_own(image: str, tmp_path: Path) -> None:
    runner = RunnerJob(tmp_path, image, PIPELINE)
    here = str(runner.workspace)
    uid = ":".join(map(str, OWNER))
    mount = ["--volume", f"{here}:{here}", "--workdir", here, "--user", uid, "--read-only"]
    tmp_path.chmod(0o755)
    homeless = ["--network", "none", "--tmpfs", "/tmp", "--env", "HOME="]
    for command in ("env -u HOME signalbox run --job build", "exec -- git log -1", "show"):
        done = in_container(image, *homeless, *mount, command=command)
        assert done.returncode == 0, done.stdout


def in_container(image: str, *options: str, command: str = "") -> subprocess.CompletedProcess[str]:
    """A container from start to end, as any other CI starts one."""
    return subprocess.run(
        ["docker", "run", "--rm", *options, image, *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def until(process: subprocess.Popen[str], text: str) -> str:
    """What the process printed until a line holds ``text``."""
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if text in line:
            return printed
    pytest.fail(f"it ended before it printed {text!r}:\n{printed}")
