"""What everything we make in an engine carries: its name, whose it is, when it is of no more use.

Owns the names of the labels and what they mean. Removing by them is ``sweep``'s.
"""

import os
import secrets
from typing import Final, Self

import msgspec

STATE: Final = "signalbox.state"
"""Whose: the state directory of the run."""
PROCESS: Final = "signalbox.process"
"""``host:pid:start``, the process that made it."""
EXECUTION: Final = "signalbox.execution"
JOB: Final = "signalbox.job"
EXPIRES: Final = "signalbox.expires"
"""Epoch seconds after which the job's time is up, whatever became of its run."""

PREFIX: Final = "signalbox-"
"""How names begin. Labels alone prove nothing: whoever commits a job's container makes an image
that hands them on."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The execution that makes something."""

    state: str
    execution: str
    process: str

    @classmethod
    def of(cls, state: str, execution: str, *, host: str, boot: str, pid: int) -> Self:
        """The owner that process ``pid`` of this machine is; ``state`` is its state directory."""
        return cls(
            state=identify(state, boot),
            execution=execution,
            process=f"{host}:{pid}:{started(pid)}",
        )


def identify(state: str, boot: str) -> str:
    """A name that no other state directory has on this machine since it started: by device and
    inode, so that it is the same from inside a container, and another for a restored copy.
    """
    found = os.stat(state)
    return f"{boot}:{found.st_dev}:{found.st_ino}"


def started(pid: int) -> int:
    """When a process began, in the kernel's ticks; 0: there is none. Pids are used again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def made(owner: Owner, *, job: str, expires: int) -> dict[str, str]:
    """The labels of something made for a job whose time is up at ``expires``, in epoch seconds."""
    return {
        STATE: owner.state,
        PROCESS: owner.process,
        EXECUTION: owner.execution,
        JOB: job,
        EXPIRES: str(expires),
    }


def name(job: str) -> str:
    """A name for something made for a job, by its id; no other has it, whatever was left behind."""
    return f"{PREFIX}{job}-{secrets.token_hex(4)}"
