"""Why a step failed: facts of its end, and what real shells, Pythons and compilers print."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.event import MESSAGE_LIMIT, TYPE_LIMIT, Domain
from runner.failure import SHOWN, STACK_LIMIT, WIDTH, Explained, explain, linters
from runner.notice import Exit, Reason


def ran(*command: str, cwd: Path | None = None) -> Explained:
    """What is said of a command that really ran."""
    done = subprocess.run(command, stdout=-1, stderr=subprocess.STDOUT, check=False, cwd=cwd)
    if done.returncode >= 0:
        return explain(Exit(code=done.returncode), done.stdout)
    number = -done.returncode
    return explain(Exit(code=128 + number, signal=number, reason=Reason.SIGNAL), done.stdout)


# ── the fact ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [1, 2, 3, 44, 126, 127, 129, 255])
def test_P13_an_exit_code_is_the_users_and_said_as_it_is(code: int) -> None:
    failure = explain(Exit(code=code), b"").failure
    assert (failure.type, failure.domain) == ("ExitCode", Domain.USER)
    assert failure.message == f"exit code {code}"
    assert failure.stack is None


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (6, "SIGABRT")])
def test_P12_a_signal_is_named_whether_it_hit_the_shell_or_a_child(number: int, name: str) -> None:
    direct = ran("bash", "-c", f"kill -{number} $$").failure
    child = ran("bash", "-ec", f"bash -c 'kill -{number} $$'; true").failure
    for failure in (direct, child):
        assert (failure.type, failure.domain) == ("Signal", Domain.UNKNOWN)
        assert failure.message.startswith(f"killed by {name}")


def test_a_signal_without_a_name_has_its_number() -> None:
    assert explain(Exit(code=190, signal=62, reason=Reason.SIGNAL), b"").failure.message == (
        "killed by signal 62"
    )


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (300.0, "no result after 5m"),
        (5400.0, "no result after 1h30m"),
        (21599.97, "no result after 6h"),
        (1.5, "no result after 1.5s"),
        (None, "the job's limit has passed"),
    ],
)
def test_P20_a_limit_is_told_as_it_was_written(limit: float | None, said: str) -> None:
    failure = explain(Exit(code=124, reason=Reason.TIMEOUT), b"waiting\n", limit=limit).failure
    assert (failure.type, failure.domain) == ("Timeout", Domain.UNKNOWN)
    assert failure.message == f"{said}\nwaiting"


def test_a_canceled_step_is_not_explained_by_what_it_had_printed() -> None:
    printed = b'Traceback (most recent call last):\n  File "a.py", line 1\nKeyboardInterrupt\n'
    explained = explain(Exit(code=143, signal=15, reason=Reason.CANCELED), printed)
    assert explained.failure.message == "canceled"
    assert explained.failure.stack is None
    assert explained.lines.endswith("KeyboardInterrupt")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_type_a_domain_and_words(reason: Reason) -> None:
    failure = explain(Exit(code=1, reason=reason, message="/x: gone\udce9"), b"").failure
    assert failure.type == reason.value
    assert len(failure.type) <= TYPE_LIMIT
    assert failure.message.endswith(": /x: gone?")
    user = {"ExitCode", "CommandNotFound", "NotExecutable", "WorkingDirectory"}
    unknown = {"Signal", "Timeout", "Canceled", "OutOfMemory"}
    assert (failure.domain is Domain.USER) == (failure.type in user)
    assert (failure.domain is Domain.UNKNOWN) == (failure.type in unknown)


# ── what shells say ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_P14_a_command_that_is_missing(shell: str) -> None:
    failure = ran(shell, "-ec", "echo before; no-such-command --x").failure
    assert (failure.type, failure.domain) == ("CommandNotFound", Domain.USER)
    assert "no-such-command: " in failure.message
    assert "before" not in failure.message


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_P14_a_file_that_is_not_executable(shell: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("true\n")
    failure = ran(shell, "-ec", "./script", cwd=tmp_path).failure
    assert (failure.type, failure.domain) == ("NotExecutable", Domain.USER)
    assert failure.message.endswith("./script: Permission denied")


def test_P14_a_script_without_its_interpreter(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\r\necho\r\n")
    (tmp_path / "script").chmod(0o755)
    failure = ran("bash", "-ec", "./script", cwd=tmp_path).failure
    assert (failure.type, failure.domain) == ("NotExecutable", Domain.USER)


def test_what_a_shell_says_of_a_step_stands_before_what_was_printed() -> None:
    for script, said in (
        ('set -u; echo start; echo "to $REGION"', "REGION: unbound variable"),
        ("echo start; cd /nothing/there", "/nothing/there: No such file or directory"),
        ("echo start; echo ${a.b}", "${a.b}: bad substitution"),
    ):
        message = ran("bash", "-ec", script).failure.message
        assert message.startswith("bash: line ")
        assert message.endswith(said)


def test_P14_a_code_of_127_alone_names_no_command() -> None:
    assert ran("bash", "-c", "echo nothing of the kind; exit 127").failure.type == "ExitCode"


def test_what_a_shell_said_long_before_is_not_the_reason() -> None:
    survived = b"script: line 1: jq: command not found\n" + b"going on\n" * 9
    assert explain(Exit(code=127), survived).failure.type == "ExitCode"


# ── what programs say ────────────────────────────────────────────────────────────────────────────


def test_a_traceback_becomes_the_stack_its_exception_and_the_cause_of_it_the_message(
    tmp_path: Path,
) -> None:
    script = tmp_path / "deploy.py"
    script.write_text(
        "import json\n"
        "def load():\n"
        "    try:\n"
        "        json.loads('{')\n"
        "    except ValueError as error:\n"
        "        raise RuntimeError('bad settings') from error\n"
        "print('start')\n"
        "load()\n"
    )
    explained = ran(sys.executable, str(script))
    assert explained.failure.type == "ExitCode"
    raised, cause = explained.failure.message.split("\n")
    assert raised == "RuntimeError: bad settings"
    assert cause.startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert explained.failure.stack is not None
    assert explained.failure.stack.startswith("Traceback (most recent call last):\n")
    assert explained.failure.stack.endswith("\nRuntimeError: bad settings")
    assert f"\n{cause}\n\nThe above exception was the direct" in explained.failure.stack
    assert "start" not in explained.failure.stack
    assert explained.place == f"{script}:6"


def test_who_only_says_that_a_command_failed_hides_nothing_with_its_stack(tmp_path: Path) -> None:
    script = tmp_path / "deploy.py"
    script.write_text(
        "import subprocess\n"
        "def a(n): b(n - 1) if n else subprocess.run(['sh', '-c', CODE], check=True)\n"
        "def b(n): a(n)\n"
        "CODE = 'echo tool: cannot open db; exit 3'\n"
        "a(20)\n"
    )
    tool, repeated = ran(sys.executable, str(script)).failure.message.split("\n")
    assert tool == "tool: cannot open db"
    assert repeated.startswith("subprocess.CalledProcessError: Command ")


def test_a_bare_assertion_is_told_with_its_line(tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text("assert 1 == 2\n")
    assert ran(sys.executable, str(script)).failure.message == "AssertionError\nassert 1 == 2"


def test_the_place_is_in_the_users_code_not_in_a_library(tmp_path: Path) -> None:
    script = tmp_path / "read.py"
    script.write_text("import json\n\njson.loads('{')\n")
    assert ran(sys.executable, str(script)).place == f"{script}:3"


def test_a_traceback_between_other_lines_and_indented_is_found() -> None:
    output = b"""start
  | Traceback (most recent call last):
  |   File "/srv/app/main.py", line 3, in <module>
  |     boom()
  | ZeroDivisionError: division by zero
make: *** [Makefile:2: run] Error 1
"""
    explained = explain(Exit(code=2), output)
    assert explained.failure.message == "ZeroDivisionError: division by zero"
    assert explained.failure.stack is not None
    assert explained.failure.stack.splitlines()[0] == "Traceback (most recent call last):"
    assert explained.place == "/srv/app/main.py:3"


def test_a_traceback_that_was_survived_is_not_the_reason() -> None:
    survived = b"""Traceback (most recent call last):
  File "a.py", line 1, in <module>
ValueError: caught and logged
"""
    failure = explain(Exit(code=1), survived + b"line\n" * 60 + b"error: disk on fire\n").failure
    assert failure.stack is None
    assert failure.message == "error: disk on fire"


def test_a_traceback_cut_off_at_the_end_is_left_alone() -> None:
    failure = explain(
        Exit(code=1), b'Traceback (most recent call last):\n  File "a", line 1'
    ).failure
    assert failure.stack is None


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("src/main.c:3:5: error: expected ';' before 'return'", "src/main.c:3"),
        ("src/app.py:12: error: Name 'x' is not defined  [name-defined]", "src/app.py:12"),
        ("tests/test_app.py:7: AssertionError", "tests/test_app.py:7"),
        ("12:30:45: error", ""),
        ("nothing at all", ""),
    ],
)
def test_the_place_that_a_compiler_or_a_checker_names(line: str, place: str) -> None:
    assert explain(Exit(code=1), f"compiling\n{line}\n1 problem\n".encode()).place == place


def test_the_message_begins_where_a_line_sounds_like_a_reason() -> None:
    output = b"one\ntwo\nlinks could not be read: 3\n  a.md\nmake: *** [all] Error 1\n\n"
    assert explain(Exit(code=2), output).failure.message == (
        "links could not be read: 3\n  a.md\nmake: *** [all] Error 1"
    )


def test_the_message_is_the_last_lines_when_none_sounds_like_a_reason() -> None:
    output = b"".join(b"line %d\n" % number for number in range(30))
    assert explain(Exit(code=2), output).failure.message.split("\n")[0] == "line 25"


NOISE = b"".join(b"cleanup %d\n" % number for number in range(1, 81))
LAST = [f"cleanup {number}" for number in range(76, 81)]


@pytest.mark.parametrize(
    "error",
    [
        "ERROR: schema invalid",
        "fatal: no head",
        "migrate: error: no head",
        "2026-11-21 10:00:01,123 ERROR app.db: migration 12 has no head",
        "[ERROR] no head",
        "CRITICAL:root:no head",
        "✗ schema",
    ],
)
def test_an_error_long_before_is_told_when_nothing_after_it_sounds_like_a_reason(
    error: str,
) -> None:
    failure = explain(Exit(code=1), error.encode() + b"\n" + NOISE).failure
    assert failure.message.split("\n") == [error, *LAST]
    nearer = explain(Exit(code=1), error.encode() + b"\n" + NOISE + b"2 of 3 failed\n").failure
    assert nearer.message == "2 of 3 failed"


@pytest.mark.parametrize(
    "said",
    [
        "Error handling is tested first",
        "12 error reports read",
        "ERRORS below are expected",
        "error: 0 errors",
        "ERROR: upload failed, retrying in 1 s",
        "ERROR: no cache\ngoing on without it",
        "warning: error: deprecated",
    ],
)
def test_what_only_speaks_of_errors_or_was_survived_is_not_told(said: str) -> None:
    failure = explain(Exit(code=1), said.encode() + b"\n" + NOISE).failure
    assert failure.message.split("\n") == LAST


def test_an_error_long_before_is_nobody_elses_failure() -> None:
    for said in (
        b"ERROR: api.example.invalid: Name or service not known",
        b"ERROR: cache: No space left on device",
        b"FATAL: out of memory: Killed process 7",
        b"fatal: unable to access 'https://git.example.com/a.git/': error: 503",
    ):
        explained = explain(Exit(code=1), said + b"\n" + NOISE)
        assert (explained.failure.type, explained.failure.domain) == ("ExitCode", Domain.USER)
        assert explained.failure.message.split("\n") == [said.decode(), *LAST]
        assert not explained.place


def test_who_was_stopped_is_not_explained_by_an_error_long_before() -> None:
    killed = Exit(code=137, signal=9, reason=Reason.SIGNAL)
    assert explain(killed, b"ERROR: no head\n" + NOISE).failure.message.split("\n") == [
        "killed by SIGKILL",
        *LAST,
    ]


def test_a_full_disk_is_the_providers_whoever_it_hits(tmp_path: Path) -> None:
    script = tmp_path / "write.py"
    script.write_text("with open('/dev/full', 'w') as file:\n    file.write('x')\n")
    for explained in (
        ran("bash", "-c", "echo x > /dev/full"),
        ran("dd", "if=/dev/zero", "of=/dev/full", "count=1"),
        ran(sys.executable, str(script)),
    ):
        assert (explained.failure.type, explained.failure.domain) == ("DiskFull", Domain.PROVIDER)
        assert "No space left on device" in explained.failure.message
    assert explained.failure.stack is not None


def test_a_full_disk_that_was_survived_is_not_the_reason() -> None:
    survived = b"cache: No space left on device, going on without\na.c:1: error\n" + b"line\n" * 60
    explained = explain(Exit(code=1), survived)
    assert explained.failure.type == "ExitCode"
    assert not explained.place


def test_output_never_takes_back_what_is_known_of_the_end() -> None:
    output = b"script: line 1: x: command not found\n"
    for reason in (Reason.OUT_OF_MEMORY, Reason.IMAGE_PULL, Reason.TIMEOUT, Reason.SIGNAL):
        assert explain(Exit(code=127, reason=reason), output).failure.type == reason.value


def test_an_output_that_ends_within_an_error_is_read() -> None:
    for cut in (
        "ERROR in ./src/a.js",
        "ERROR in ./src/a.js 3:1\n",
        "FAILED: a.o\nninja: build stopped",
    ):
        assert explain(Exit(code=1), cut.encode()).failure.type == "ExitCode"


@pytest.mark.parametrize("words", [words for words, _ in linters.LINTERS])
def test_what_only_has_a_linters_words_is_read_too(words: tuple[str, ...]) -> None:
    for output in ("".join(words), "\n".join(f"x\n{word}\n" for word in words)):
        assert explain(Exit(code=1), f"{output}\n".encode()).failure.message


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


def test_P8_progress_bars_colours_and_titles_leave_what_stood_there_last() -> None:
    output = (
        b"\x1b]0;title\x07\x1b[31;1mfatal:\x1b[0m no\x00thing\xff\r\n"
        b"10%\r50%\r100% done\n\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n\xc2\x9b1mbidi\xe2\x80\xae\n"
    )
    assert explain(Exit(code=1), output).lines == "fatal: nothing\ufffd\n100% done\nlink\nbidi"


def test_how_far_something_got_is_no_reason() -> None:
    output = (
        b"\rDownloading 50%\rDownloading 100%\nsum differs: pkg.tgz\n\r[##  ] 2/4\r[####] 4/4\n"
    )
    assert explain(Exit(code=1), output).failure.message == "sum differs: pkg.tgz"
    assert explain(Exit(code=1), output[:33]).failure.message == "Downloading 100%"


def test_a_cross_is_a_reason_and_the_time_it_took_is_none() -> None:
    output = "✓ unit\n✗ integration: 500, not 200\n\nreal\t0m1.2s\nuser\t0m0.1s\n".encode()
    assert explain(Exit(code=1), output).failure.message == "✗ integration: 500, not 200"


@pytest.mark.parametrize("script", ["time false", "time -p false", "TIMEFORMAT=; time false"])
def test_how_long_a_silent_command_took_is_not_why_it_failed(script: str) -> None:
    assert ran("bash", "-c", script).failure.message == "exit code 1"


def test_lines_for_a_person_are_few_and_short() -> None:
    explained = explain(Exit(code=1), b"x" * 9000 + b"\n\n" + b"line\n\n" * 19)
    assert explained.lines.split("\n") == ["x" * (WIDTH - 1) + "…", *["line"] * 19]
    assert explain(Exit(code=1), b"line\n" * 100).lines.count("line") == SHOWN


def test_a_long_message_loses_whole_lines_from_its_middle() -> None:
    output = b"this failed first\n" + b"".join(
        b"%02d " % number * 250 + b"\n" for number in range(9)
    )
    message = explain(Exit(code=1), output).failure.message
    assert len(message) <= MESSAGE_LIMIT
    first, *rest = message.split("\n")
    assert first == "this failed first"
    assert [line[:2] for line in rest] == [f"{number:02}" for number in range(3, 9)]


def test_a_line_that_is_too_long_by_itself_is_cut() -> None:
    message = explain(Exit(code=1), b"error " + b"a" * 9000 + b"\n" + b"b" * 9000).failure.message
    assert [line[-2:] for line in message.split("\n")] == ["a…", "b…"]
    assert len(message) <= MESSAGE_LIMIT


@settings(max_examples=100)
@given(
    st.builds(Exit, code=st.integers(-300, 300), reason=st.sampled_from(Reason), message=st.text()),
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [
                    b"Traceback (most recent call last):\n",
                    b'  File "x.py", line 3, in f\n',
                    b"ValueError: \xff\x00\n",
                    b"x: No space left on device\n",
                    b": command not found\n",
                    b"error " * 1000,
                    b"\x1b[31m\r",
                    b"x.c:1: error\n",
                ]
            ),
        )
    ),
    st.none() | st.floats(),
)
def test_P8_whatever_came_out_the_event_is_text_within_its_limits(
    ended: Exit, output: list[bytes], limit: float | None
) -> None:
    explained = explain(ended, b"".join(output), limit=limit)
    failure = explained.failure
    assert 0 < len(failure.message) <= MESSAGE_LIMIT
    assert len(failure.stack or "") <= STACK_LIMIT
    assert explained.lines.count("\n") < SHOWN
    for text in (failure.message, failure.stack or "", explained.place, explained.lines):
        assert text.encode().decode() == text
        assert "\0" not in text
        assert "\x1b" not in text
