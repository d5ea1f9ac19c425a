"""Steps as processes: what is true of this machine's kernel, beside the contract of executors."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runner.executors import Command, Place, Stop, memory
from runner.executors.process import ProcessExecutor
from runner.executors.pump import KEPT, Pump
from runner.notice import Exit, Reason
from tests.contract.conftest import HOSTILE, PATH, Memory

DAEMON = "(setsid sleep 60 >/dev/null 2>&1 &);"
PREAMBLE = """
import os, resource, signal, sys, threading
from runner.executors import Command, Place, Stop
from runner.executors.process import ProcessExecutor
class Nowhere:
    def write(self, piece): pass
    def idle(self): pass
def step(script, **more):
    return Command(script=script, cwd="/", env={"PATH": "/usr/bin:/bin"}, shell="sh", **more)
executor, stop = ProcessExecutor(sys.argv[1]), Stop()
"""


def a_job(name: str) -> Place:
    """A job whose id no other test has, in no other process either: the id marks its processes."""
    return Place(job_id=f"{name}-{uuid.uuid4()}")


class Raising(Memory):
    """A sink with a defect."""

    def write(self, piece: bytes) -> None:
        raise ZeroDivisionError


class Slow(Memory):
    """A sink that takes its time."""

    def write(self, piece: bytes) -> None:
        time.sleep(0.15)
        super().write(piece)


STRANGERS: set[int] = set()
"""Children that other tests left to this process."""


@pytest.fixture(autouse=True)
def nobody_elses_children() -> None:
    """An executor makes this process a subreaper: orphans of other tests are ours to end."""
    while strangers := [pid for pid in pids() if comm(pid) in {"sleep", "sh", "bash", "cat"}]:
        for pid in strangers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # what it had begun is ours next
    while _buried():
        pass
    STRANGERS.update(pids())


def _buried() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


@pytest.fixture
def executor(tmp_path: Path) -> ProcessExecutor:
    return ProcessExecutor(str(tmp_path / "scratch"))


@pytest.fixture
def stop() -> Iterator[Stop]:
    stop = Stop()
    yield stop
    stop.close()


def step(script: str, **options: object) -> Command:
    defaults = {"shell": "sh", "cwd": "/", "env": {"PATH": PATH}}
    return Command(script=script, **{**defaults, **options})  # type: ignore[arg-type]


def alone(program: str, scratch: Path) -> str:
    """What a process of its own prints that runs ``program``: limits and signals are its own."""
    argv = [sys.executable, "-c", PREAMBLE + program, str(scratch)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def pids() -> list[int]:
    """All our children."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def comm(pid: int) -> str:
    """The name of a child, which is there until we reap it."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def children() -> list[str]:
    """The states of all our children, Z for those that nobody has reaped."""
    ours = [pid for pid in pids() if pid not in STRANGERS]
    return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in ours]


def test_P21_hundreds_of_steps_leave_no_descriptor_child_or_file(
    executor: ProcessExecutor, stop: Stop, tmp_path: Path
) -> None:
    session = executor.open(a_job("many"))
    before = descriptors()
    for number in range(250):
        session.run(step("exit 1"), Memory(), stop)
        if number % 50 == 0:
            session.run(step("true", cwd="/nowhere"), Memory(), stop)
            session.run(step("true", shell="no-such-shell"), Memory(), stop)
            session.run(step("true", shell="cat"), Memory(), stop)
            session.run(step(f"{DAEMON} true"), Memory(), stop)
    session.close()
    assert descriptors() == before
    assert children() == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_P10_a_step_that_forks_without_end_is_ended_with_all_it_has_forked(
    executor: ProcessExecutor, stop: Stop
) -> None:
    bomb = "import os, time\nfor _ in range(8): os.fork()\ntime.sleep(60)"  # 256 processes
    session = executor.open(a_job("bomb"))
    ended = session.run(step(f'{sys.executable} -c "{bomb}"', limit=0.7, grace=0.1), Memory(), stop)
    assert (ended.reason, children()) == (Reason.TIMEOUT, [])
    assert session.run(step("true"), Memory(), stop).ok
    session.close()


@pytest.mark.parametrize("script", ["kill -9 $$", "sh -c 'kill -9 $$'; exit $?"])
def test_P11_a_step_that_the_kernel_took_for_its_memory_says_so(
    tmp_path: Path, stop: Stop, script: str
) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 7\noom_kill 4\n")
    executor = ProcessExecutor(str(tmp_path / "scratch"))
    executor.memory = memory.Memory(str(counts))
    session = executor.open(a_job("hungry"))
    assert session.run(step(script), Memory(), stop).reason is not Reason.OUT_OF_MEMORY
    taken = f"echo oom_kill 5 > {counts}; {script}"
    ended = session.run(step(taken), Memory(), stop)
    assert (ended.code, ended.reason) == (137, Reason.OUT_OF_MEMORY)
    assert session.run(step(script), Memory(), stop).reason is not Reason.OUT_OF_MEMORY
    session.close()


def test_P22_a_thousand_jobs_fit_into_256_descriptors_and_leave_none(tmp_path: Path) -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
def job(number):
    session = executor.open(Place(job_id=str(number)))
    ended = session.run(step(f"exit {number % 200}"), Nowhere(), stop)
    session.close()
    return ended.code == number % 200
before = os.listdir("/proc/self/fd")
with ThreadPoolExecutor(16) as pool:
    print(sum(pool.map(job, range(1000))), os.listdir("/proc/self/fd") == before, end="")
"""
    assert alone(program, tmp_path) == "1000 True"


@pytest.mark.parametrize("source", ["head -c 200000000 /dev/zero", "yes | head -c 200000000"])
def test_P4_P5_P6_memory_does_not_grow_with_the_output(source: str, tmp_path: Path) -> None:
    program = f"""
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ended = executor.open(Place(job_id="flood")).run(step("{source}"), Nowhere(), stop)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(ended.code, grown < 4096, grown)
"""
    assert alone(program, tmp_path).startswith("0 True")


class Jump:
    """A clock that stands still for so many readings and then leaps far."""

    def __init__(self, still: int) -> None:
        self.still = still

    def __call__(self) -> float:
        self.still -= 1
        return 0.0 if self.still >= 0 else 1000.0


def test_P20_an_end_counts_before_a_limit_that_passed_meanwhile(tmp_path: Path, stop: Stop) -> None:
    session = ProcessExecutor(str(tmp_path), Jump(still=2)).open(a_job("job"))
    script = "exec >&- 2>&-; sleep 0.1; exit 3"  # readings: start, end of output, end
    assert session.run(step(script, limit=500), Memory(), stop) == Exit(code=3)
    session.close()


def test_S7_a_limit_that_passed_while_we_were_stopped_does_not_fail_what_had_ended(
    tmp_path: Path, stop: Stop
) -> None:
    session = ProcessExecutor(str(tmp_path), Jump(still=1)).open(a_job("job"))
    assert session.run(step("echo; exit 3", limit=500), Slow(), stop) == Exit(code=3)
    session.close()


def test_orphans_are_reaped_while_the_job_goes_on(executor: ProcessExecutor, stop: Stop) -> None:
    session = executor.open(a_job("job"))
    session.run(step("(setsid sleep 0.02 >/dev/null 2>&1 &)"), Memory(), stop)
    session.run(step("sleep 0.1"), Memory(), stop)
    assert children() == []
    session.close()


def test_nobody_else_loses_a_childs_exit_code(executor: ProcessExecutor, stop: Stop) -> None:
    ours = subprocess.Popen(["sh", "-c", "exit 7"])
    session = executor.open(a_job("job"))
    session.run(step(f"{DAEMON} sleep 0.1"), Memory(), stop)
    session.close()
    assert ours.wait() == 7


def test_jobs_side_by_side_keep_their_own_results_and_daemons(executor: ProcessExecutor) -> None:
    def job(number: int) -> list[int]:
        stop = Stop()
        session = executor.open(a_job(f"job-{number}"))
        script = f"{DAEMON if number % 2 else ''} exit {number}"
        codes = [session.run(step(script), Memory(), stop).code for _ in range(10)]
        session.close()
        stop.close()
        return codes

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(job, range(1, 17)))
    assert results == [[number] * 10 for number in range(1, 17)]
    assert children() == []


def test_an_orphan_that_hid_from_its_job_ends_with_the_last_one(
    executor: ProcessExecutor, stop: Stop, tmp_path: Path
) -> None:
    hiding, other = executor.open(a_job("hiding")), executor.open(a_job("other"))
    script = (HOSTILE / "daemon_unmarked.sh").read_text()
    hiding.run(step(script, cwd=str(tmp_path)), Memory(), stop)
    other.close()
    assert len(children()) == 1
    hiding.close()
    assert children() == []


def test_P2_without_adoption_the_mark_finds_a_daemon(
    executor: ProcessExecutor, stop: Stop, tmp_path: Path
) -> None:
    executor.family.adopts = False  # what a kernel that refuses PR_SET_CHILD_SUBREAPER leaves
    session = executor.open(a_job("job"))
    session.run(step((HOSTILE / "daemon.sh").read_text(), cwd=str(tmp_path)), Memory(), stop)
    session.close()
    size = (tmp_path / "beat").stat().st_size
    time.sleep(0.1)
    assert (tmp_path / "beat").stat().st_size == size
    executor.family.adopts = True  # as it is, we have to reap
    assert executor.family.orphans() == []


def test_a_defect_of_the_sink_leaves_no_process_behind(
    executor: ProcessExecutor, stop: Stop
) -> None:
    before = descriptors()
    session = executor.open(a_job("job"))
    with pytest.raises(ZeroDivisionError):
        session.run(step(f"{DAEMON} echo; sleep 60"), Raising(), stop)
    session.close()
    assert children() == []
    assert descriptors() == before


def test_an_exit_code_that_was_lost_is_never_success(tmp_path: Path) -> None:
    program = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(executor.open(Place(job_id="job")).run(step("exit 3"), Nowhere(), stop).reason.value, end="")
"""
    assert alone(program, tmp_path) == Reason.RUNNER_LOST.value


@pytest.mark.parametrize(("freed", "result"), [(0.1, "ExitCode 3"), (9, "RunnerLost 126")])
def test_P23_want_of_descriptors_is_waited_for_and_then_told(
    freed: float, result: str, tmp_path: Path
) -> None:
    program = f"""
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
hoard = []
try:
    while True: hoard.append(os.dup(0))
except OSError: pass
timer = threading.Timer({freed}, lambda: [os.close(fd) for fd in hoard])
timer.start()
ended = executor.open(Place(job_id="job")).run(step("exit 3"), Nowhere(), stop)
print(ended.reason.value, ended.code, end="")
timer.cancel()
"""
    assert alone(program, tmp_path) == result


def test_S2_the_kernel_takes_a_step_first_when_memory_runs_out(
    executor: ProcessExecutor, stop: Stop
) -> None:
    sink = Memory()
    executor.open(a_job("job")).run(step("sleep 0.1; cat /proc/self/oom_score_adj"), sink, stop)
    assert int(sink.text) == max(500, int(Path("/proc/self/oom_score_adj").read_text()))


def test_a_step_sees_no_descriptor_of_ours(executor: ProcessExecutor, stop: Stop) -> None:
    ours = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(ours, True)
    sink = Memory()
    executor.open(a_job("job")).run(step("echo /proc/self/fd/*"), sink, stop)
    os.close(ours)
    seen = {int(Path(name).name) for name in sink.text.decode().split()}
    assert seen <= {0, 1, 2, 3}  # 3 is the directory that the shell reads
    assert ours > 3


def test_a_script_that_cannot_be_written_is_no_fault_of_the_step(
    tmp_path: Path, stop: Stop
) -> None:
    (tmp_path / "file").touch()
    session = ProcessExecutor(str(tmp_path / "file" / "scratch")).open(a_job("job"))
    ended = session.run(step("true", shell="cat"), Memory(), stop)
    assert (ended.reason, os.strerror(errno.ENOTDIR) in ended.message) == (Reason.RUNNER_LOST, True)


def test_a_shell_that_went_away_is_looked_for_again(
    executor: ProcessExecutor, stop: Stop, tmp_path: Path
) -> None:
    places = [tmp_path / "first", tmp_path / "second"]
    for place in places:
        place.mkdir()
        (place / "sh").symlink_to("/bin/sh")
    session = executor.open(a_job("job"))
    command = step("echo $0", env={"PATH": ":".join(map(str, places))})
    assert session.run(command, Memory(), stop).ok
    (places[0] / "sh").unlink()
    assert session.run(command, Memory(), stop).ok


def test_the_oldest_of_too_many_leaked_pipes_is_closed() -> None:
    pump = Pump(time.monotonic)
    pipes = [os.pipe() for _ in range(KEPT + 1)]
    for ours, _ in pipes:
        pump.add(ours)
    assert list(pump.pipes) == [ours for ours, _ in pipes[1:]]
    pump.close()
    for _, theirs in pipes:
        os.close(theirs)


def test_a_run_in_one_thread_can_be_stopped_from_another(
    executor: ProcessExecutor, stop: Stop
) -> None:
    ended: list[Exit] = []
    session = executor.open(a_job("job"))
    running = threading.Thread(
        target=lambda: ended.append(session.run(step("sleep 60"), Memory(), stop))
    )
    running.start()
    stop.ask(Reason.CANCELED)
    running.join()
    session.close()
    assert ended[0].reason is Reason.CANCELED
