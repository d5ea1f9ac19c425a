"""Steps as processes on this machine.

Owns starting a step, seeing it through and ending it. What to execute is ``shell``'s, reading the
output ``pump``'s, and which processes belong to a job ``tree``'s. Reads no environment: it is
passed in.

The thread that calls ``run`` does all of it; no other is started. A step costs three descriptors
(its pipe, its pidfd, the stop's), none of which it sees. How many processes a step may start is not
bounded here: RLIMIT_NPROC counts a user's processes on the whole machine, so that one job's bomb
would fail its neighbours. A container has a bound of its own.
"""

import contextlib
import fcntl
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from runner.executors import Command, Place, Sink, Stop
from runner.executors.memory import Memory
from runner.executors.pump import PIECE, Pump
from runner.executors.shell import BUSY, Call, NotStartedError, Programs, refusal
from runner.executors.tree import MARK, Family, Tree
from runner.notice import Exit, Reason

PIPE_SIZE: Final = 4 * PIECE
"""So that the writer goes on while a piece is taken: 2.3 GB/s, with the kernel's 64 KiB 0.6 GB/s.
One user may fill 16384 pages with pipes, which is 256 of them (pipe-user-pages-soft)."""
TICK: Final = 0.01
REAP_EVERY: Final = 5.0
CLOSE_GRACE: Final = 1.0
KILL_WAIT: Final = 2.0
"""How long a killed process may take to be gone: one that hangs in the kernel (NFS) never is."""
LAST_PAUSE: Final = 640
"""Milliseconds between the last two attempts to start a process: 20 + 40 + ... + 640 in all."""
OOM_SCORE: Final = 500
"""When memory runs out, the kernel takes a step before it takes us."""

TIMED_OUT: Final = 124
"""The code that timeout(1) gives."""
TERMINATED: Final = 128 + signal.SIGTERM

_T = TypeVar("_T")


class ProcessExecutor:
    """Runs steps as child processes. ``scratch``: a directory of ours for scripts that cannot be an
    argument, made when needed. ``monotonic``: seconds that never go back, for limits.
    """

    def __init__(self, scratch: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self.memory = Memory()
        self.family = Family()
        self.programs = Programs(scratch)
        self.oom_score = _oom_score()

    def open(self, place: Place, stop: Stop | None = None) -> "ProcessSession":
        """A place for one job, at once."""
        del stop
        return ProcessSession(place.job_id, self)


class ProcessSession:
    """One job's processes, one step after the other."""

    def __init__(self, job_id: str, executor: ProcessExecutor) -> None:
        self._job_id = job_id
        self._executor = executor
        self._monotonic = executor.monotonic
        self._tree = Tree(job_id, executor.family)
        self._pump = Pump(executor.monotonic)
        self._closed = False

    @property
    def image(self) -> None:
        """It runs in none."""

    def run(self, command: Command, sink: Sink, stop: Stop) -> Exit:
        """Run one step to its end."""
        with contextlib.ExitStack() as held:
            try:
                child = self._start(command, stop, held)
            except NotStartedError as refused:
                return refused.exit
            try:
                return self._see_through(child, command, sink, stop)
            except BaseException:  # the sink's defect is no reason to leave processes behind
                self._end(_Nowhere(), everything=False)
                self._reap(child.pid, child.pidfd)
                raise

    def close(self) -> None:
        """End what the steps left behind and give everything back."""
        if self._closed:
            return
        self._closed = True
        if not self._tree.empty:
            self._end(_Nowhere(), everything=True, grace=CLOSE_GRACE)
            self._executor.family.orphans()
        self._tree.close()
        self._pump.close()

    # ── start ────────────────────────────────────────────────────────────────────────────────────

    def _start(self, command: Command, stop: Stop, held: contextlib.ExitStack) -> "_Child":
        if stop.reason is not None:
            raise NotStartedError(_stopped(stop.reason, "it was not started"))
        try:
            call = self._executor.programs.call(command, held)
            pid, pipe = _patiently(lambda: self._spawn(call, command), stop)
        except (OSError, ValueError) as error:
            raise NotStartedError(refusal(error, command)) from error
        self._tree.begin(pid)
        self._pump.add(pipe)
        try:
            pidfd = _patiently(lambda: os.pidfd_open(pid), stop)
        except OSError as error:
            self._end(_Nowhere(), everything=False)
            lost = self._reap(pid)  # nothing to open: it ended, and somebody reaped it
            ended = refusal(error, command) if error.errno in BUSY else lost
            raise NotStartedError(ended) from error
        held.callback(os.close, pidfd)
        for fd in (pidfd, stop.fd):
            self._pump.watch(fd)
            held.callback(self._pump.ignore, fd)
        return _Child(pid=pid, pidfd=pidfd, pipe=pipe)

    def _spawn(self, call: "Call", command: Command) -> tuple[int, int]:
        """The step's pid, and our end of its pipe."""
        ours, theirs = os.pipe()
        family = self._executor.family
        try:
            with contextlib.suppress(OSError):
                fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            with family.lock:
                process = subprocess.Popen(
                    call.arguments,
                    executable=call.program,
                    stdin=subprocess.DEVNULL,
                    stdout=theirs,
                    stderr=theirs,
                    cwd=command.cwd,
                    env={**command.env, MARK: self._job_id},
                    start_new_session=True,
                )
                family.leaders.add(process.pid)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        process.returncode = 0  # this object shall not wait: ``_reap`` does
        if self._executor.oom_score:
            _volunteer(process.pid, self._executor.oom_score)
        return process.pid, ours

    # ── run ──────────────────────────────────────────────────────────────────────────────────────

    def _see_through(self, child: "_Child", command: Command, sink: Sink, stop: Stop) -> Exit:
        why = self._until_over(child, command.limit, sink, stop)
        self._pump.ignore(child.pidfd)
        note = ""
        if why is not None:
            self._pump.ignore(stop.fd)
            # A step over its limit leaves earlier steps' servers to the steps that follow.
            everything = why is not Reason.TIMEOUT
            note = self._end(sink, everything=everything, grace=command.grace, stop=stop)
        ended = self._executor.memory.judge(self._reap(child.pid, child.pidfd))
        self._pump.drain(child.pipe, sink, stop)
        self._tree.settle()
        return ended if why is None else _stopped(why, note)

    def _until_over(
        self, child: "_Child", limit: float | None, sink: Sink, stop: Stop
    ) -> Reason | None:
        """None: it ended by itself. What comes at once is taken in one order: end, stop, limit."""
        now = self._monotonic()
        deadline = math.inf if limit is None else now + limit
        reap_at = now + REAP_EVERY
        while True:
            ready = self._pump.turn(sink, min(deadline, reap_at) - now)
            now = self._monotonic()
            if child.pidfd in ready or (now >= deadline and _is_over(child.pidfd)):
                return None
            if stop.reason is not None:
                return stop.reason
            if now >= deadline:
                return Reason.TIMEOUT
            if now >= reap_at:
                self._executor.family.orphans()
                reap_at = now + REAP_EVERY

    def _end(
        self, sink: Sink, *, everything: bool, grace: float = 0, stop: Stop | None = None
    ) -> str:
        """TERM, ``grace`` seconds, KILL; returns what a person should know of it."""
        tree = self._tree
        polite = self._monotonic() + grace
        while self._monotonic() < polite and not (stop and stop.now):
            # Once all that were told are gone, look again: a trap may have started something.
            if not tree.alive() and not tree.signal(signal.SIGTERM, everything=everything):
                return ""
            self._pump.run(sink, TICK)
        given_up = self._monotonic() + KILL_WAIT
        killed = False
        while tree.signal(signal.SIGKILL, everything=everything):
            if self._monotonic() > given_up:
                return "some of its processes could not be killed"
            killed = True
            self._pump.run(sink, TICK)
        if not killed:
            return ""
        return "killed at once" if stop and stop.now else f"killed {grace:g} s after SIGTERM"

    def _reap(self, pid: int, pidfd: int | None = None) -> Exit:
        """How the leader ended; it has, or was killed."""
        kind, number = (os.P_PID, pid) if pidfd is None else (os.P_PIDFD, pidfd)
        family = self._executor.family
        with family.lock:  # from here on the pid may be another's
            try:
                status = os.waitid(kind, number, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                status = None
            family.leaders.discard(pid)
        self._tree.reaped()
        if status is None:  # SIGCHLD is ignored in this process, or the kernel does not let it go
            return Exit(code=1, reason=Reason.RUNNER_LOST, message="its exit code is not known")
        number = status.si_status
        if status.si_code == os.CLD_EXITED:
            return Exit(code=number)
        return Exit(code=128 + number, signal=number, reason=Reason.SIGNAL)


class _Child(msgspec.Struct, frozen=True, kw_only=True):
    """A running step."""

    pid: int
    pidfd: int
    pipe: int


class _Nowhere:
    """A sink for what nobody will read."""

    def write(self, piece: bytes) -> None:
        """Drop it."""

    def idle(self) -> None:
        """Nothing was kept."""


def _stopped(why: Reason, note: str) -> Exit:
    if why is Reason.TIMEOUT:
        return Exit(code=TIMED_OUT, reason=why, message=note)
    return Exit(code=TERMINATED, signal=signal.SIGTERM, reason=why, message=note)


def _patiently(attempt: Callable[[], _T], stop: Stop) -> _T:
    """Out of processes or descriptors: often over in a moment."""
    pause = 20
    waiting = select.poll()
    waiting.register(stop.fd, select.POLLIN)
    while True:
        try:
            return attempt()
        except OSError as error:
            if error.errno not in BUSY or pause > LAST_PAUSE or stop.reason is not None:
                raise
        waiting.poll(pause)
        pause *= 2


def _is_over(pidfd: int) -> bool:
    asked = select.poll()
    asked.register(pidfd, select.POLLIN)
    return bool(asked.poll(0))


def _oom_score() -> bytes:
    """What a step's score is set to; empty: leave it, ours is as high or cannot be read."""
    try:
        with open("/proc/self/oom_score_adj", "rb") as file:
            return b"%d" % OOM_SCORE if int(file.read()) < OOM_SCORE else b""
    except OSError:
        return b""


def _volunteer(pid: int, score: bytes) -> None:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "wb", 0) as file:
        file.write(score)
