"""What every executor promises, case by case; ``hostile/`` holds the programs that try it.

Fault ids (P1, P3, ...) are those of the project's list of faults.
"""

import base64
import os

import pytest

from runner.executors import Executor, Stop
from runner.notice import Exit, Reason
from tests.contract.conftest import PATH, Job, cancel, kill, opened_in

# ── what a step is given ─────────────────────────────────────────────────────────────────────────


def test_the_environment_is_what_was_given_and_the_mark(job: Job) -> None:
    given = {"A": "1", "EMPTY": "", "LINES": "a\nb", "BYTES": "a'\udcff", "É": "ü"}
    given["SIGNALBOX_STEP_ID"] = "step-of-the-test"
    ran = job.run("", shell="cat /proc/self/environ", env=given)
    seen = dict(entry.split(b"=", 1) for entry in ran.output.split(b"\0") if entry)
    expected = {**given, "PATH": PATH, "SIGNALBOX_JOB_ID": job.id}
    assert {os.fsdecode(n): os.fsdecode(v) for n, v in seen.items() if n not in job.own} == expected


def test_a_step_starts_in_its_directory(job: Job) -> None:
    (job.workspace / "src").mkdir()
    assert job.run("pwd", cwd=str(job.workspace / "src")).output == b"%s/src\n" % bytes(
        job.workspace
    )


def test_P15_standard_input_is_empty(job: Job) -> None:
    assert job.run("cat; echo ended").output == b"ended\n"


@pytest.mark.parametrize(
    ("shell", "script", "output"),
    [
        ("", "false | true; echo not reached", b""),
        ("bash", "[[ -n $BASH_VERSION ]] && echo bash", b"bash\n"),
        ("bash", "false; echo not reached", b""),
        ("sh", "false | true; echo reached", b"reached\n"),
        ("sh", "false; echo not reached", b""),
        ("bash", "-v 2>&- || echo a script", b"a script\n"),
        ("sh", "-v 2>&- || echo a script", b"a script\n"),
        ("cat", "the script's file\n", b"the script's file\n"),
        ("sh -x", "true", b"+ true\n"),
        ("sh -c 'tail -n 1 \"$0\"; echo; echo $1' {0} after", "first\nlast", b"last\nafter\n"),
    ],
)
def test_a_shell_runs_the_script(job: Job, shell: str, script: str, output: bytes) -> None:
    assert job.run(script, shell=shell).output == output


def test_without_bash_a_step_runs_in_sh(job: Job) -> None:
    place = job.workspace / "bin"
    place.mkdir()
    (place / "sh").symlink_to("/bin/sh")
    ran = job.run("echo ${BASH_VERSION-none} $0; false; echo no", env={"PATH": str(place)})
    assert ran.output == b"none sh\n"


@pytest.mark.parametrize("shell", ["bash", "sh", "sh -e"])
def test_a_script_of_a_megabyte_runs(job: Job, shell: str) -> None:
    script = "# " + "x" * 1_000_000 + "\necho end\nfalse\necho not reached"
    ran = job.run(script, shell=shell)
    assert (ran.exit.code, ran.output) == (1, b"end\n")


def test_P18_what_a_step_changes_is_as_before_in_the_next(job: Job) -> None:
    look = "umask; pwd; ulimit -n; echo ${CHANGED-unset}"
    before = job.run(look).output
    job.run("umask 000; cd /; ulimit -n 16; export CHANGED=1")
    assert job.run(look).output == before


# ── how a step ends ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "code"), [(0, 0), (1, 1), (126, 126), (127, 127), (255, 255), (300, 44)]
)
def test_P13_an_exit_code_is_told_as_it_is(job: Job, said: int, code: int) -> None:
    assert job.run(f"exit {said}").exit == Exit(code=code)


@pytest.mark.parametrize(("name", "number"), [("SEGV", 11), ("KILL", 9), ("TERM", 15)])
def test_P12_an_end_by_signal_says_which(job: Job, name: str, number: int) -> None:
    expected = Exit(code=128 + number, signal=number, reason=Reason.SIGNAL)
    assert job.run(f"ulimit -c 0; kill -{name} $$").exit == expected


def test_P16_a_step_may_close_its_output_and_run_on(job: Job) -> None:
    ran = job.run("echo before; exec >&- 2>&-; sleep 0.1; exit 7")
    assert (ran.exit, ran.output) == (Exit(code=7), b"before\n")


def test_P17_a_step_that_kills_its_group_hits_only_itself(job: Job) -> None:
    assert job.run("kill -KILL 0; sleep 60").exit.signal == 9
    assert job.run("echo next").output == b"next\n"


@pytest.mark.parametrize(
    ("options", "reason", "named"),
    [
        ({"cwd": "/no/such/place"}, Reason.WORKING_DIRECTORY, "/no/such/place"),
        ({"cwd": "/etc/passwd"}, Reason.WORKING_DIRECTORY, "/etc/passwd"),
        ({"shell": "no-such-shell"}, Reason.COMMAND_NOT_FOUND, "no-such-shell"),
        ({"shell": "/no/such/shell -x"}, Reason.COMMAND_NOT_FOUND, "/no/such/shell"),
        ({"shell": "/etc/passwd"}, Reason.NOT_EXECUTABLE, "/etc/passwd"),
        ({"shell": "sh 'unbalanced"}, Reason.NOT_EXECUTABLE, "quotation"),
        ({"script": "echo \0"}, Reason.NOT_EXECUTABLE, "script"),
        ({"env": {"NUL": "a\0b"}}, Reason.NOT_EXECUTABLE, "NUL"),
        ({"env": {"LARGE": "x" * 200_000}}, Reason.NOT_EXECUTABLE, "LARGE"),
    ],
)
def test_P14_a_step_that_cannot_start_says_why_and_the_next_runs(
    job: Job, options: dict[str, str], reason: Reason, named: str
) -> None:
    ran = job.run(**{"script": "true", **options})  # type: ignore[arg-type]  # a table of kinds
    assert (ran.exit.reason, ran.output) == (reason, b"")
    assert ran.exit.code in {126, 127}
    assert named in ran.exit.message
    assert job.run("echo next").output == b"next\n"


# ── output ───────────────────────────────────────────────────────────────────────────────────────


def test_output_and_errors_come_in_the_order_they_were_written(job: Job) -> None:
    ran = job.run("i=0; while [ $i -lt 2000 ]; do echo $i; echo $i >&2; i=$((i+1)); done")
    assert ran.output == b"".join(b"%d\n%d\n" % (i, i) for i in range(2000))


def test_P8_bytes_come_as_they_were_written(job: Job) -> None:
    raw = bytes(range(256)) + b"\xed\xa0\x80 \r\n\x1b[2J \xef\xbb\xbf \xe2\x80\xa8"
    assert job.run(f"echo {base64.b64encode(raw).decode()} | base64 -d").output == raw


def test_P5_a_line_of_ten_megabytes_comes_in_pieces(job: Job) -> None:
    ran = job.run("head -c 10000000 /dev/zero | tr '\\0' x")
    assert ran.output == b"x" * 10_000_000
    assert ran.longest <= 65_536


def test_silence_is_told_once_and_only_after_a_piece(job: Job) -> None:
    ran = job.run("sleep 0.3; printf a; sleep 0.6; printf b; printf c; sleep 0.6; printf d")
    assert (ran.idles, ran.output) == ([b"a", b"abc"], b"abcd")


# ── limits and stops ─────────────────────────────────────────────────────────────────────────────


def test_a_limit_ends_a_step(job: Job) -> None:
    ran = job.run("echo begun; sleep 60", limit=0.2)
    assert ran.exit == Exit(code=124, reason=Reason.TIMEOUT)
    assert ran.output == b"begun\n"
    assert 0.2 <= ran.seconds < 1 + job.slack


def test_a_step_within_its_limit_knows_nothing_of_it(job: Job) -> None:
    assert job.run("exit 3", limit=5).exit == Exit(code=3)


def test_a_stop_ends_a_step(job: Job) -> None:
    ran = job.run("trap 'echo heard; exit 0' TERM; echo begun; sleep 60 & wait", ask=cancel)
    assert ran.exit == Exit(code=143, signal=15, reason=Reason.CANCELED)
    assert ran.output == b"begun\nheard\n"
    assert ran.seconds < 1 + job.slack


def test_a_step_learns_of_its_end_by_a_signal_and_not_by_that_of_its_children(job: Job) -> None:
    """In a container they are told one by one, and 100 stands before 20 where names are sorted."""
    script = """
        trap 'echo heard; exit 0' TERM
        for i in $(seq 150); do sleep 60 & case $! in 1??) first=${first:-$!} ;; esac; done
        echo begun
        wait ${first:-$!}
    """
    assert job.run(script, ask=cancel, grace=5).output == b"begun\nheard\n"


def test_after_a_stop_no_step_starts(job: Job) -> None:
    stop = Stop()
    stop.ask(Reason.CANCELED)
    assert job.run("touch started", stop=stop).exit.reason is Reason.CANCELED
    assert not (job.workspace / "started").exists()


@pytest.mark.parametrize("name", ["ignore_term", "ignore_term_in_background"])
def test_P1_a_step_that_ignores_TERM_is_killed_after_the_grace(job: Job, name: str) -> None:
    ran = job.hostile(name, limit=0.1)
    assert ran.exit.reason is Reason.TIMEOUT
    assert "killed" in ran.exit.message
    assert 0.4 <= ran.seconds < 1.4 + job.slack  # limit + grace, and a second at most
    assert job.silent()


def test_a_second_stop_kills_at_once(job: Job) -> None:
    ran = job.run("trap '' TERM; while :; do sleep 1; done", ask=kill, after=0.1, grace=9)
    assert ran.exit.reason is Reason.CANCELED
    assert ran.seconds < 1 + job.slack


def test_P17_a_step_that_stopped_itself_still_hears_TERM(job: Job) -> None:
    ran = job.hostile("stopped", limit=0.1)
    assert ran.exit.reason is Reason.TIMEOUT
    assert (job.workspace / "heard").read_text() == "heard\n"


def test_P2_a_stop_reaches_a_daemon_of_the_step(job: Job) -> None:
    assert job.hostile("daemon_and_wait", limit=0.2).exit.reason is Reason.TIMEOUT
    assert job.silent()


# ── what a step leaves behind ────────────────────────────────────────────────────────────────────


def test_P3_a_leaked_pipe_does_not_hold_the_step_up(job: Job) -> None:
    ran = job.hostile("background_silent")
    assert (ran.exit, ran.output) == (Exit(code=0), b"started\n")
    assert ran.seconds < 1.5 + job.slack


def test_P3_output_of_a_process_that_ends_a_little_later_is_not_lost(job: Job) -> None:
    assert job.run("(sleep 0.1; echo late) & echo early").output == b"early\nlate\n"


def test_P3_a_background_process_that_writes_is_left_after_two_seconds_and_heard_later(
    job: Job,
) -> None:
    first = job.hostile("background")
    assert first.exit == Exit(code=0)
    assert 1.9 < first.seconds < 3 + job.slack
    ran = job.run("sleep 0.15; echo second")
    assert ran.output.count(b"tick\n") >= 2
    assert b"second\n" in ran.output
    assert job.beats()
    job.session.close()
    assert job.silent()


def test_a_limit_of_a_step_spares_what_an_earlier_one_left(job: Job) -> None:
    job.hostile("daemon")
    assert job.run("sleep 60", limit=0.1).exit.reason is Reason.TIMEOUT
    assert job.beats()


def test_a_stop_of_the_run_spares_nothing(job: Job) -> None:
    job.hostile("daemon")
    job.run("sleep 60", ask=cancel, after=0.1)
    assert job.silent()


@pytest.mark.parametrize("name", ["job_control", "daemon", "daemon_unmarked"])
def test_P2_the_end_of_a_job_ends_what_hides(job: Job, name: str) -> None:
    ran = job.hostile(name)
    assert (ran.exit, ran.output) == (Exit(code=0), b"started\n")
    assert job.beats()
    job.session.close()
    assert job.silent()


def test_the_end_of_a_job_kills_what_ignores_TERM(job: Job) -> None:
    job.run("(trap '' TERM; while :; do echo >>beat; sleep 0.02; done) >/dev/null 2>&1 &")
    assert job.beats()
    job.session.close()
    assert job.silent()


def test_jobs_do_not_end_each_others_processes(job: Job, executor: Executor) -> None:
    job.hostile("daemon")
    other = opened_in(executor, job.workspace)
    assert other.run("sleep 60", ask=cancel, after=0.1).exit.code == 143
    other.session.close()
    assert job.beats()


def test_a_job_may_be_closed_twice(job: Job) -> None:
    job.session.close()
    job.session.close()
