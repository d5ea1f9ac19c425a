"""Which processes are a job's, and how they get a signal: found through ``/proc``.

Owns the search (descent, POSIX sessions, the mark in the environment) and the reaping of orphans.
Does not start anything and does not know what a step is: ``process`` tells it who leads.

Every step leads a POSIX session of its own, and nothing else that we start does. So a child of ours
with a session other than ours is a step's: a leader, for which its job's thread waits, or an orphan
that the kernel gave to us, a subreaper, when its parent died. That covers ``setsid``, ``set -m``
and double forks. Whose an orphan is, its session says, or ``SIGNALBOX_JOB_ID`` in its environment;
one that changed both belongs to the last job that is open.
"""

import contextlib
import ctypes
import os
import signal
import threading
from typing import Final

import msgspec

MARK: Final = "SIGNALBOX_JOB_ID"
_PR_SET_CHILD_SUBREAPER: Final = 36
"""linux/prctl.h"""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``/proc/PID/stat``. ``start`` (ticks after boot) tells a pid's owners apart."""

    pid: int
    parent: int
    group: int
    session: int
    start: int
    alive: bool

    @property
    def key(self) -> tuple[int, int]:
        """What no other process ever has."""
        return self.pid, self.start


def read(pid: int) -> Process | None:
    """The process as it is now; None: there is none, or we may not see it."""
    text = _content(f"/proc/{pid}/stat")
    if text is None:
        return None
    # The second field is the name and may hold anything, ") R 1" too: count from the last bracket.
    state, parent, group, session, *rest = text[text.rindex(b")") + 2 :].split()
    return Process(
        pid=pid,
        parent=int(parent),
        group=int(group),
        session=int(session),
        start=int(rest[15]),
        # A main thread that ended before the others shows Z too, while its process lives.
        alive=state not in b"ZX" or int(rest[13]) > 1,
    )


def snapshot() -> dict[int, Process]:
    """Every process that can be seen."""
    found = (read(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process}


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError:  # it ended meanwhile, or is another user's, or this kernel has no such file
        return None


def _marked(process: Process, mark: bytes) -> bool:
    return mark in (_content(f"/proc/{process.pid}/environ") or b"").split(b"\0")


def _top(process: Process, processes: dict[int, Process], ours: int) -> Process | None:
    """The child of ours that ``process`` descends from. Bounded, for a snapshot is not one moment
    and a pid used again may close a circle.
    """
    for _ in processes:
        if process.parent == ours:
            return process
        parent = processes.get(process.parent)
        if parent is None:
            return None
        process = parent
    return None


class Family:
    """All processes of one executor. Thread-safe.

    ``leaders`` are children whose end one thread waits for; nobody else may reap them. ``lock`` is
    held from before a leader is forked until it stands there, and while it is reaped.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.leaders: set[int] = set()
        self.trees: set[Tree] = set()
        self.pid = os.getpid()
        self.session = os.getsid(0)
        self.adopts = _adopt_orphans()
        self._children = f"/proc/self/task/{self.pid}/children"
        self._before = frozenset((_content(self._children) or b"").split())
        uptime = (_content("/proc/uptime") or b"0").split()[0]
        self._born = int(float(uptime) * os.sysconf("SC_CLK_TCK"))

    def orphans(self) -> list[Process]:
        """What steps left behind and is ours now; the dead are reaped in passing."""
        if self.adopts and self._as_before():
            return []
        with self.lock:
            return [process for process in self._candidates() if not self._reaped(process)]

    def is_orphan(self, process: Process) -> bool:
        """Whether it came to us because its parent, a step's process, died."""
        return (
            process.parent == self.pid
            and process.session != self.session
            and process.pid not in self.leaders
            and process.start >= self._born  # not a child of somebody who used this process before
        )

    def _as_before(self) -> bool:
        """Whether there are only children that there were before any step, which is so after
        nearly every one: 14 us.
        """
        text = _content(self._children)
        return text is not None and self._before.issuperset(text.split())

    def _candidates(self) -> list[Process]:
        if not self.adopts:
            return [one for one in snapshot().values() if one.alive]
        # The kernel gives orphans to the first live thread, the main one, whose id is the pid.
        text = _content(self._children)
        found = snapshot().values() if text is None else map(read, map(int, text.split()))
        return [process for process in found if process and self.is_orphan(process)]

    def _reaped(self, process: Process) -> bool:
        if process.alive or not self.adopts:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
        return True


def _adopt_orphans() -> bool:
    """Become the parent of what our descendants orphan; False: the kernel would not."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Tree:
    """One job's processes: its current step's, and what earlier steps left. Used by one thread."""

    def __init__(self, job_id: str, family: Family) -> None:
        self._mark = f"{MARK}={job_id}".encode()
        self._family = family
        self._leader = 0
        self._known: set[tuple[int, int]] = set()
        self._sessions: set[int] = set()
        self._left: set[tuple[int, int]] = set()
        self._left_sessions: set[int] = set()
        family.trees.add(self)

    def begin(self, leader: int) -> None:
        """A step's first process; its pid is the id of its session, too."""
        self._leader = leader
        self._sessions.add(leader)

    def reaped(self) -> None:
        """The leader is gone and its pid means nothing any more."""
        self._leader = 0

    def settle(self) -> None:
        """The step is over: from now on what is alive of it is what it left behind. Sessions
        without members are forgotten, for their number may come again.
        """
        left = [one for one in self._family.orphans() if self._owns(one, one, everything=True)]
        self._left = {process.key for process in left}
        self._left_sessions = {process.session for process in left}
        self._known.clear()
        self._sessions.clear()

    @property
    def empty(self) -> bool:
        """Surely nothing of this job lives (between steps)."""
        return self._family.adopts and not self._family.orphans()

    def close(self) -> None:
        """The job is over."""
        self._family.trees.discard(self)

    def signal(self, number: signal.Signals, *, everything: bool) -> int:
        """Send it to all live processes of the step, or of the whole job; how many there were.

        By group: a group lies in one session, a session in one step, and no fork slips through.
        """
        found = self._find(everything=everything)
        self._known.update(process.key for process in found)
        self._sessions.update(process.session for process in found)
        groups = {process.group for process in found} | ({self._leader} if self._leader else set())
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
                os.killpg(group, signal.SIGCONT)  # a stopped one hears TERM only when it goes on
        return len(found)

    def alive(self) -> bool:
        """Whether any process lives that ``signal`` found."""
        now = (read(pid) for pid, _ in self._known)
        return any(one is not None and one.alive and one.key in self._known for one in now)

    def _find(self, *, everything: bool) -> list[Process]:
        processes = snapshot()
        spared = set(self._ancestors(processes))
        return [
            process
            for process in processes.values()
            if process.alive
            and process.session != self._family.session
            and process.pid not in spared
            and self._owns(
                process, _top(process, processes, self._family.pid), everything=everything
            )
        ]

    def _ancestors(self, processes: dict[int, Process]) -> list[int]:
        chain = [self._family.pid]
        while (one := processes.get(chain[-1])) and one.parent not in chain:
            chain.append(one.parent)
        return chain

    def _owns(self, process: Process, top: Process | None, *, everything: bool) -> bool:
        kin = [one for one in (process, top) if one]
        if top and top.pid == self._leader:
            return True
        if any(one.key in self._left or one.session in self._left_sessions for one in kin):
            return everything
        if any(one.key in self._known or one.session in self._sessions for one in kin):
            return True
        if top and top.pid in self._family.leaders:
            return False
        if any(_marked(one, self._mark) for one in kin):
            return True
        return top is not None and self._family.is_orphan(top) and self._family.trees == {self}
