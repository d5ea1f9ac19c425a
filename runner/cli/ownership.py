"""Files that steps left in the workspace under another uid become its owner's.

Owns that alone (interface, section 2, "User"). In a container steps run as root, in a workspace of
a user of the host, who could not delete what they left. Only root can give files away, and only
what changed since the execution began is given: a file that was foreign before stays as it is.
"""

import os
import time
from typing import Final

_TICK: Final = 10_000_000
"""Nanoseconds that a file's time may lie behind the clock: the kernel's tick is 4 to 10 ms."""


def give_back(workspace: str, since: int, *, within: float | None = None) -> bool:
    """Give what changed since ``since`` (epoch nanoseconds) to the workspace's owner. False: it
    took longer than ``within`` seconds and is not complete.

    Works by directory descriptor, follows no link, stays on the workspace's file system.
    """
    top = os.stat(workspace)
    if os.geteuid() or top.st_uid == 0:
        return True
    latest = None if within is None else time.monotonic() + within
    for _, directories, files, place in os.fwalk(workspace):
        directories[:] = [name for name in directories if _give(name, place, top, since)]
        for name in files:
            _give(name, place, top, since)
        if latest is not None and time.monotonic() > latest:
            return False
    return True


def _give(name: str, place: int, top: os.stat_result, since: int) -> bool:
    """Give one entry of the directory ``place``; whether it lies on the workspace's file system."""
    try:
        found = os.stat(name, dir_fd=place, follow_symlinks=False)
        ours = found.st_dev == top.st_dev and found.st_ctime_ns >= since - _TICK
        if ours and found.st_uid != top.st_uid:
            os.chown(name, top.st_uid, top.st_gid, dir_fd=place, follow_symlinks=False)
    except OSError:  # gone meanwhile, or a file system that knows no owners
        return False
    return found.st_dev == top.st_dev
