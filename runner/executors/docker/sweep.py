"""Removing what killed runs left in an engine: containers, then networks and volumes.

Owns who may be taken for dead. What is not provably ours and useless stays: other programs' things,
another state directory's, a live run's. How a run removes its own is ``container``'s and
``services``'s.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import docker.errors
import msgspec
from docker import APIClient

from runner.executors.docker import labels

ERRORS: Final = (docker.errors.DockerException, OSError)
"""When no engine answers."""
ABANDONED: Final = 24 * 3600
"""Seconds after its time was up until something of another state directory is nobody's: that
directory may be gone for good, and an engine has some thirty networks in all."""


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """Decides from labels alone. ``alive`` says whether an execution of our own state directory
    runs; None: it cannot be known. ``now`` is in epoch seconds.
    """

    state: str
    host: str
    alive: Callable[[str], bool | None]
    now: int

    def condemns(self, found: dict[str, str] | None, name: str) -> bool:
        """Whether what bears these labels and this name may be removed."""
        said = found or {}
        execution, expires = said.get(labels.EXECUTION), said.get(labels.EXPIRES, "")
        if not (execution and expires.isdecimal() and name.startswith(labels.PREFIX)):
            return False
        if said.get(labels.STATE) != self.state:
            return self.now > int(expires) + ABANDONED
        alive = self.alive(execution)
        if alive is None:
            alive = self._runs(said.get(labels.PROCESS, ""))
        return self.now > int(expires) if alive is None else not alive

    def _runs(self, process: str) -> bool | None:
        """By its pid, if that is one of ours to see."""
        match process.split(":"):
            case [self.host, pid, start] if pid.isdecimal() and start.isdecimal():
                return labels.started(int(pid)) == int(start) > 0
            case _:
                return None


def sweep(api: APIClient, judge: Judge) -> list[str]:
    """Remove what dead runs left; the names of what was removed. Raises what the client raises when
    no engine answers; one thing that cannot be removed hinders no other.
    """
    removed = []
    for name, remove in _condemned(api, judge):
        try:
            remove()
        except docker.errors.APIError:  # somebody else was first, or it is still in use
            continue
        removed.append(name)
    return removed


_Condemned = tuple[str, Callable[[], object]]


def _condemned(api: APIClient, judge: Judge) -> Iterator[_Condemned]:
    """Containers first: what they use is free only after them."""
    ours = {"label": labels.STATE}
    for found in api.containers(all=True, filters=ours):
        name = found["Names"][0].lstrip("/") if found["Names"] else ""
        if judge.condemns(found["Labels"], name):
            yield name, partial(api.remove_container, found["Id"], force=True, v=True)
    for found in api.networks(filters=ours):
        if judge.condemns(found["Labels"], found["Name"]):
            yield found["Name"], partial(api.remove_network, found["Id"])
    for found in api.volumes(filters=ours)["Volumes"] or ():
        if judge.condemns(found["Labels"], found["Name"]):
            yield found["Name"], partial(api.remove_volume, found["Name"])
