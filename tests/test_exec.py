"""`signalbox exec`: one command as one step; streams, terminal, signals and code are its own."""

import hashlib
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import termios
from datetime import datetime
from pathlib import Path

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.cli import exec as by_click
from runner.cli import words
from runner.errors import UsageError
from runner.executors import Command, Stop
from runner.executors.foreground import Foreground
from runner.state import Place
from tests.conftest import KEY, ROOT, Workspace, by_level, killed, tags
from tests.intake_server import Answer, Server

RUNNER = (sys.executable, "-m", "runner")


def test_one_command_is_one_step_and_nothing_is_said(workspace: Workspace, server: Server) -> None:
    workspace.write("text", "file")
    sha = workspace.commit()
    ended = workspace.to(server).run(
        "exec",
        "--tag",
        "team:web",
        "--measure",
        "size:3",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2",
    )
    assert (ended.code, ended.out, ended.err) == (0, "out\n", "err\n")
    pipeline, job = server.event("pipeline"), server.event("job")
    (step,) = by_level(server.events, "step")
    assert (pipeline["name"], job["name"]) == ("sh", "sh")
    assert step["name"] == "sh -c 'echo out; echo err >&2'"
    assert step["job_id"] == job["id"]
    assert {event["status"] for event in (pipeline, job, step)} == {"success"}
    assert {tags(event)["team"] for event in server.events} == {"web"}
    assert pipeline["metrics"] == ["size:3"]
    assert pipeline["git"]["sha"] == sha


def test_names_are_what_was_asked_for(workspace: Workspace, server: Server) -> None:
    arguments = ("--name", "a $1 step", "--job", "J $X", "--pipeline", "P $$", "true")
    assert workspace.to(server).run("exec", *arguments).code == 0
    assert server.event("pipeline")["name"] == "P $$"
    assert server.event("job")["name"] == "J $X"
    assert server.event("step")["name"] == "a $1 step"


def test_without_a_key_nothing_is_needed_and_nothing_is_said(workspace: Workspace) -> None:
    ended = workspace.run("exec", "--", "echo", "hi")
    assert (ended.code, ended.out, ended.err) == (0, "hi\n", "")
    assert workspace.run("show", "latest", "--json").json["status"] == "success"


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["sh", "-c", "echo 'no such thing: frob' >&2; exit 3"], 3, "ExitCode"),
        (["sh", "-c", "kill -KILL $$"], 137, "Signal"),
        (["frobnicate"], 127, "CommandNotFound"),
        (["./plain"], 126, "NotExecutable"),
        (["./folder"], 126, "NotExecutable"),
        (["./lost"], 127, "CommandNotFound"),
    ],
)
def test_the_code_is_the_commands(
    workspace: Workspace, server: Server, arguments: list[str], code: int, kind: str
) -> None:
    workspace.write("text", "plain")
    (workspace.path / "folder").mkdir()
    workspace.write("#!/no/such/interpreter\n", "lost").chmod(0o755)
    ended = workspace.to(server).run("exec", "--", *arguments)
    assert ended.code == code
    assert ended.out == ""
    for level in ("pipeline", "job", "step"):
        assert server.event(level)["error"]["type"] == kind
    if code == 3:
        assert "frob" in server.event("step")["error"]["message"]
    if code in (126, 127):
        assert arguments[0].removeprefix("./") in ended.err


def test_a_script_without_an_interpreter_runs_as_everywhere(workspace: Workspace) -> None:
    workspace.write("echo ran $1\n", "script").chmod(0o755)
    assert workspace.run("exec", "./script", "well").out == "ran well\n"


@pytest.mark.parametrize(
    "arguments", [["--tag", "nocolon"], ["--measure", "a:b"], ["--frob"], []], ids=str
)
def test_mistakes_are_found_before_the_command_starts(
    workspace: Workspace, arguments: list[str]
) -> None:
    ended = workspace.run("exec", *arguments, *(["--", "touch", "ran"] if arguments else []))
    assert ended.code == 2
    assert not (workspace.path / "ran").exists()


def test_settings_that_mean_nothing_are_found_before_the_command_starts(
    workspace: Workspace,
) -> None:
    assert workspace.run("exec", "touch", "ran", SIGNALBOX_LOGS="perhaps").code == 2
    assert workspace.run("exec", "touch", "ran", SIGNALBOX_INTAKE_URL="ftp://x").code == 2
    assert not (workspace.path / "ran").exists()


def test_the_environment_is_the_callers_less_our_keys(workspace: Workspace, server: Server) -> None:
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    workspace.to(server).environ |= {"GITHUB_OUTPUT": "/tmp/x", "INPUT_A": "b"}
    workspace.environ |= {"SIGNALBOX_STATE_KEY": "k" * 20}
    seen = workspace.run("exec", "--", sys.executable, "-c", code).json
    assert seen.items() >= {"GITHUB_OUTPUT": "/tmp/x", "INPUT_A": "b"}.items()
    assert KEY not in seen.values()
    assert "SIGNALBOX_STATE_KEY" not in seen
    assert "CI" not in seen
    assert seen["SIGNALBOX_PIPELINE_ID"] == server.event("pipeline")["unique_id"]


def test_a_secret_in_the_arguments_is_in_no_name(workspace: Workspace, server: Server) -> None:
    secret = "hush-hush-canary"
    ended = workspace.to(server).run(
        "exec",
        "--tag",
        f"t:{secret}",
        "--",
        "sh",
        "-c",
        f"echo {'x' * 60} {secret}; exit 1",
        MY_TOKEN=secret,
    )
    assert secret in ended.out, "the command's own streams are its own"
    server.check(secrets=[secret[:10]])
    state = b"".join(f.read_bytes() for f in workspace.path.rglob(".signalbox/**/*") if f.is_file())
    assert secret[:10].encode() not in state
    refused = workspace.run("exec", "--pipeline", f"P {secret}", "touch", "ran", MY_TOKEN=secret)
    assert refused.code == 2
    assert not (workspace.path / "ran").exists()


def test_100_megabytes_go_through_unchanged(workspace: Workspace) -> None:
    code = "import os\nfor _ in range(100): os.write(1, b)"
    code = f"import os, random\nb = random.Random(1).randbytes(1_000_000)\n{code}"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    through = subprocess.run(
        [*RUNNER, "exec", "--", sys.executable, "-c", code],
        cwd=workspace.path,
        env=workspace.environ,
        capture_output=True,
        check=True,
    )
    assert hashlib.sha256(through.stdout).digest() == hashlib.sha256(plain).digest()
    assert through.stderr == b""


def test_one_pipe_for_both_keeps_their_order(workspace: Workspace) -> None:
    code = "for i in $(seq 200); do echo o$i; echo e$i >&2; done"
    done = subprocess.run(
        [*RUNNER, "exec", "--", "sh", "-c", code],
        cwd=workspace.path,
        env=workspace.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"{c}{i}" for i in range(1, 201) for c in "oe"]


def test_a_reader_that_goes_ends_the_command_as_it_would(
    workspace: Workspace, server: Server
) -> None:
    workspace.to(server)  # the process beside us holds no end of the command's pipes either
    line = f"{sys.executable} -m runner exec -- yes | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=workspace.path,
        env=workspace.environ,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.split() == ["y", str(128 + signal.SIGPIPE)]


def test_what_the_command_leaves_behind_lives_on_and_can_write(workspace: Workspace) -> None:
    leave = "(sleep 0.5; echo late; touch lived) & echo early"
    done = subprocess.run(  # returns at the pipe's end, when everybody has closed it
        [*RUNNER, "exec", "--", "sh", "-c", leave],
        cwd=workspace.path,
        env=workspace.environ,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "early\nlate\n"
    assert (workspace.path / "lived").exists()


TELL = """
import os, sys, json
with open("told", "w") as file:
    json.dump([os.isatty(fd) for fd in (0, 1, 2)] + [os.getpgrp() == os.tcgetpgrp(0)], file)
print(input())
"""


def test_a_terminal_stays_a_terminal(workspace: Workspace) -> None:
    arguments = [*RUNNER, "exec", "--", sys.executable, "-c", TELL]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(workspace.path)
        os.execve(arguments[0], arguments, workspace.environ)
    os.write(terminal, b"typed\n")
    said = _read(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert json.loads((workspace.path / "told").read_text()) == [True] * 4
    assert said == b"typed\r\ntyped\r\n"  # the terminal's echo, and the command


def test_what_is_typed_at_a_terminal_reaches_the_command_once(
    workspace: Workspace, server: Server
) -> None:
    code = "trap 'echo got it >> got' INT; touch ready; while [ ! -s got ]; do sleep 0.05; done; "
    code += "sleep 0.3; exit 9"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(workspace.path)
        arguments = [*RUNNER, "exec", "--", "sh", "-c", code]
        os.execve(arguments[0], arguments, workspace.to(server).environ)
    workspace.until((workspace.path / "ready").exists)
    os.write(terminal, termios.tcgetattr(terminal)[6][termios.VINTR])
    _read(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert (workspace.path / "got").read_text() == "got it\n"
    assert server.event("pipeline")["status"] == "canceled"


def test_what_is_interrupted_at_a_terminal_dies_of_it_and_ends_the_callers_loop(
    workspace: Workspace,
) -> None:
    """A shell stops its own loop when what it waited for died of SIGINT, not when that said 130."""
    loop = "for n in 1 2 3; do %s exec --local -- sh -c 'echo $0 >> begun; exec sleep 5' $n; done"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(workspace.path)
        line = loop % shlex.join(RUNNER)
        os.execve("/bin/bash", ["bash", "-c", line], workspace.environ)
    begun = workspace.path / "begun"
    workspace.until(lambda: begun.exists() and bool(begun.read_text()))
    os.write(terminal, termios.tcgetattr(terminal)[6][termios.VINTR])
    _read(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGINT
    assert begun.read_text() == "1\n"
    (told,) = workspace.run("list", "--json").json
    assert told["status"] == "canceled"


def _read(terminal: int) -> bytes:
    said = b""
    while True:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # how Linux says that nobody has it open any more
            return said
        if not piece:
            return said
        said += piece


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_the_event_says_canceled(
    workspace: Workspace, server: Server, number: signal.Signals
) -> None:
    process = workspace.to(server).start("exec", "--", "sh", "-c", "touch ready; exec sleep 60")
    with killed(process):
        workspace.until((workspace.path / "ready").exists)
        process.send_signal(number)
        process.wait(timeout=7)
    assert process.returncode == 128 + number
    assert server.event("pipeline")["status"] == "canceled"
    assert server.event("job")["status"] == "canceled"
    assert server.event("step")["error"]["type"] == "Canceled"


def test_how_a_signal_ends_it_is_the_commands_business(
    workspace: Workspace, server: Server
) -> None:
    traps = "trap 'echo usr' USR1; trap 'sleep 0.2; exit 7' TERM"
    code = f"{traps}; touch ready; while :; do sleep 0.02; done"
    process = workspace.to(server).start("exec", "--", "sh", "-c", code)
    with killed(process):
        workspace.until((workspace.path / "ready").exists)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout
        assert process.stdout.readline() == "usr\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=7) == 7
    assert server.event("pipeline")["status"] == "canceled"


def test_trouble_with_the_intake_is_said_once_and_changes_nothing(
    workspace: Workspace, server: Server
) -> None:
    server.default = Answer(status=503)
    ended = workspace.to(server).run("exec", "echo", "hi", SIGNALBOX_FLUSH_TIMEOUT="0.3")
    assert (ended.code, ended.out) == (0, "hi\n")
    assert ended.err
    assert all(line.startswith("signalbox: ") for line in ended.err.splitlines())
    server.default = Answer()
    assert workspace.run("flush").code == 0
    assert server.event("pipeline")["status"] == "success"


def test_two_at_once_in_one_ci_job_have_an_id_each(workspace: Workspace, server: Server) -> None:
    github = json.loads((ROOT / "tests/environments/github-push.json").read_text())["environ"]
    both = [workspace.to(server).start("exec", "sleep", "0.2", **github) for _ in range(2)]
    for process in both:
        process.communicate(timeout=20)
    assert [process.returncode for process in both] == [0, 0]
    assert len({e["unique_id"] for e in by_level(server.events, "pipeline")}) == 2


def test_a_command_speaks_through_its_files(workspace: Workspace, server: Server) -> None:
    code = 'echo color:red >> "$SIGNALBOX_TAGS"; echo pipeline a:b >> "$SIGNALBOX_TAGS"'
    assert workspace.to(server).run("exec", "--", "sh", "-c", code).code == 0
    assert tags(server.event("step"))["color"] == "red"
    assert tags(server.event("pipeline"))["a"] == "b"


# ── its words, read before click is there ────────────────────────────────────────────────────────

WORDS = (
    "-- --name --job --pipeline --tag --measure --state --local --manual --automatic --help -h -x"
    " --name=a --job= --tag=k:v --tag=k --measure=a:1 --measure=a:b --local=1 --nam --frob --frob=1"
    " a:b c:2 true - -- sh"
)


def by_the_book(arguments: list[str]) -> words.Exec | None:
    """As click reads them; None: it says something else."""
    try:
        context = by_click.command.make_context("exec", list(arguments))
    except (click.exceptions.Exit, click.ClickException):
        return None
    return words.of_exec(context.params)


@given(st.lists(st.sampled_from(WORDS.split()), max_size=7))
@example(["--name", "--", "--", "true"])
@example(["--tag", "a:b", "--tag=c:d", "--manual", "--automatic", "--", "--local"])
def test_plain_words_are_read_as_click_reads_them(arguments: list[str]) -> None:
    try:
        read = words.plain(arguments)
    except UsageError:
        with pytest.raises(UsageError):
            by_the_book(arguments)
        return
    assert read is None or read == by_the_book(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["true"],
        ["--", "--name", "x"],
        ["--local", "--tag", "a:b", "--tag=c:d", "--measure", "n:1", "--", "make", "-j2"],
        ["--name", "N", "--job=J", "--pipeline", "P", "--state", "s", "--automatic", "a", "--b"],
    ],
)
def test_no_usual_command_waits_for_click(arguments: list[str]) -> None:
    assert words.plain(arguments) == by_the_book(arguments) is not None


# ── it runs before there is anything to report it ────────────────────────────────────────────────


class Hand:
    """A clock that somebody turns."""

    at = 1_000

    def __call__(self) -> int:
        return self.at


class Nowhere:
    def write(self, piece: bytes) -> None:
        """Lost."""

    def idle(self) -> None:
        """Nothing."""


def test_what_we_load_meanwhile_is_in_no_duration() -> None:
    clock = Hand()
    command = Command(script="", cwd="/", env={"PATH": os.environ["PATH"]})
    foreground = Foreground(["true"], set(), clock)
    foreground.start(command)
    clock.at = 1_005
    foreground.attend()
    assert foreground.wait().ok  # it has ended, at 1,005; we go on loading
    clock.at = 1_300
    assert foreground.now() == 1_000, "what begins now began with the command"
    assert foreground.run(command, Nowhere(), Stop()).ok
    assert foreground.now() == 1_005
    clock.at = 1_310
    assert foreground.now() == 1_015
    foreground.close()


def test_times_hold_the_commands_own(workspace: Workspace, server: Server) -> None:
    code = "date +%s%3N > began; sleep 0.2; date +%s%3N > ended"
    assert workspace.to(server).run("exec", "--", "sh", "-c", code).code == 0
    began, ended = (int((workspace.path / name).read_text()) for name in ("began", "ended"))
    for level in ("step", "job", "pipeline"):
        event = server.event(level)
        start, end = (
            round(datetime.fromisoformat(event[name]).timestamp() * 1000)
            for name in ("start", "end")
        )
        assert start <= began <= ended <= end + 1, "cut off to milliseconds"


def test_the_commit_is_the_one_that_the_command_found(workspace: Workspace, server: Server) -> None:
    workspace.write("text", "file")
    sha = workspace.commit()
    more = ["git", "-c", "user.name=A", "-c", "user.email=a@example.test"]
    more += ["commit", "-q", "--allow-empty", "-m", "more"]
    assert workspace.to(server).run("exec", "--", *more).code == 0
    assert workspace.git("rev-parse", "HEAD").strip() != sha
    assert server.event("pipeline")["git"]["sha"] == sha


def test_whatever_is_wrong_with_us_afterwards_the_code_is_the_commands(
    workspace: Workspace, server: Server
) -> None:
    """The command itself makes the journal one that is nobody's; and it is said."""
    spoil = "rm -rf .signalbox; ln -s /nowhere .signalbox; sleep 0.3; exit 7"
    ended = workspace.to(server).run("exec", "--", "sh", "-c", spoil)
    assert ended.code == 7
    assert ended.err.startswith("signalbox: ")
    assert "Traceback" not in ended.err


def test_a_directory_that_was_lost_costs_no_execution(workspace: Workspace, server: Server) -> None:
    """Ids of a CI are derived; what the directories do not tell, the journal does."""
    github = json.loads((ROOT / "tests/environments/github-push.json").read_text())["environ"]
    assert workspace.to(server).run("exec", "true", **github).code == 0
    shutil.rmtree(workspace.path / ".signalbox/runs")
    assert workspace.run("exec", "true", **github).code == 0
    assert len({e["unique_id"] for e in by_level(server.events, "pipeline")}) == 2


def test_a_state_that_is_refused_is_so_before_the_command_starts(workspace: Workspace) -> None:
    (workspace.path / ".signalbox").symlink_to("/tmp")
    ended = workspace.run("exec", "touch", "ran")
    assert ended.code == 4
    assert "symbolic link" in ended.err
    assert not (workspace.path / "ran").exists()


def test_a_disk_that_takes_nothing_costs_the_command_nothing(
    workspace: Workspace, server: Server
) -> None:
    workspace.write("a file where a directory should be", "place")
    state = str(workspace.path / "place/state")
    ended = workspace.to(server).run("exec", "--state", state, "--", "sh", "-c", "echo hi; exit 5")
    assert (ended.code, ended.out) == (5, "hi\n")
    assert ended.err.count("in memory") == ended.err.count("cannot be written") == 1
    assert server.event("pipeline")["status"] == "error"


def test_an_id_is_reserved_once(tmp_path: Path) -> None:
    place, other = Place(str(tmp_path / "state")), Place(str(tmp_path / "state"))
    place.prepare()
    assert place.reserve("a")
    assert not other.reserve("a")
    assert other.reserve("b")
    assert sorted(place.runs()) == ["a", "b"]


def test_a_directory_that_is_gone_is_said(workspace: Workspace) -> None:
    script = f"mkdir d; cd d; rmdir ../d; exec {sys.executable} -m runner exec touch ran"
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=workspace.path,
        env=workspace.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "current directory is gone" in done.stderr


def test_an_empty_word_is_no_command(workspace: Workspace) -> None:
    ended = workspace.run("exec", "--", "")
    assert (ended.code, ended.err) == (127, "signalbox: an empty word names no command\n")


def test_a_retry_of_a_command_is_refused_whatever_it_ended_with(workspace: Workspace) -> None:
    for command, code in (("true", 0), ("false", 1)):
        assert workspace.run("exec", command).code == code
        refused = workspace.run("retry")
        assert refused.code == 5
        assert "was one command, not a pipeline" in refused.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_D17_a_strangers_state_is_refused_before_the_command_starts(workspace: Workspace) -> None:
    state = workspace.path / ".signalbox"
    state.mkdir(0o700)
    (state / "journal.db").touch()
    os.chown(state, 1234, 1234)
    refused = workspace.run("exec", "touch", "ran")
    assert refused.code == 4
    assert "belongs to user 1234" in refused.err
    assert not (workspace.path / "ran").exists()
