"""Our own process keeps its memory to itself, and as PID 1 of a container is a small init.

Owns the first thing the program does, before any other process exists. Knows nothing of pipelines:
what a signal means to a run is decided by the child that this init forwards it to.

The API key comes in the environment, and deleting a variable does not delete it from
``/proc/<pid>/environ``. The kernel shows that file, and the memory, to every process of the same
user, and steps are such processes, unless the process is *undumpable*. So every process of ours
that was given the key makes itself so. An init in front of us (``docker run --init``) would be one
that does not; therefore we are our own. Root on the host (CAP_SYS_PTRACE) reads all the same.

No RLIMIT_CORE: an undumpable process leaves no core, and a limit would be inherited by the steps.
"""

import ctypes
import os
import signal
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # linux/prctl.h
SI_KERNEL: Final = 0x80  # asm-generic/siginfo.h
"""Who sent what was typed at a terminal: to the whole process group, a child's too."""
PASSED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""All that somebody in front of a command may be sent for it."""


def guard() -> bool:
    """Make this process undumpable; as PID 1 also fork, and return in the child only. False: the
    kernel refused, and steps can read what this process was given.

    Call it before threads start. A fork keeps the flag; a step's ``exec`` takes it away again.
    """
    hidden: bool = ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
    if os.getpid() == 1:
        _fork()
    return hidden


def _fork() -> None:
    watched = {*PASSED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child:
        os._exit(_init(child, watched))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _init(child: int, watched: set[signal.Signals]) -> int:
    """Forward signals to ``child`` and reap whatever ends, until ``child`` has; its exit code.

    What the kernel sends (Ctrl-C at a terminal) goes to the whole process group: ``child`` has it.
    """
    while True:
        arrived = signal.sigwaitinfo(watched)
        if arrived.si_signo != signal.SIGCHLD:
            if arrived.si_code != SI_KERNEL:
                os.kill(child, arrived.si_signo)
            continue
        code = _reap(child)
        if code is not None:
            return code


def _reap(child: int) -> int | None:
    """Reap all that has ended; if ``child`` is among it, its exit code as a shell says it."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended
