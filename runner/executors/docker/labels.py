"""What everything we make in an engine carries: whose it is, and when it is of no more use.

Owns the labels' names and what they mean. Removing by them is ``sweep``'s.
"""

import os
from typing import Final

import msgspec

STATE: Final = "signalbox.state"
"""The state directory of the run. Two copies of one directory are two."""
OWNER: Final = "signalbox.owner"
"""``host:pid``, for people."""
EXECUTION: Final = "signalbox.execution"
JOB: Final = "signalbox.job"
EXPIRES: Final = "signalbox.expires"
"""Epoch seconds after which the job's time is up, whatever became of its run."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The run that makes something: labels of all that it makes."""

    state: str
    """What ``identify`` says of its state directory."""
    execution: str
    host: str
    pid: int


def identify(state: str, boot: str) -> str:
    """A name that no other state directory of this machine, since it started, has: by device and
    inode, so that it is the same from inside a container, and another for a restored copy.
    """
    found = os.stat(state)
    return f"{boot}:{found.st_dev}:{found.st_ino}"


def made(owner: Owner, *, job: str, expires: int) -> dict[str, str]:
    """The labels of something made for a job whose time is up at ``expires``, in epoch seconds."""
    return {
        STATE: owner.state,
        OWNER: f"{owner.host}:{owner.pid}",
        EXECUTION: owner.execution,
        JOB: job,
        EXPIRES: str(expires),
    }
