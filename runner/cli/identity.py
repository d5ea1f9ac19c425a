"""Which execution this is: its ids, and the process that carries it out.

Owns how ids are derived in a host CI. The shape of an identity is ``runner.execution``'s.
"""

import itertools
import os
import uuid
from collections.abc import Container
from typing import TYPE_CHECKING, Final

import msgspec

from runner import providers
from runner.cli.caller import Caller
from runner.execution import MILLISECOND, Execution, Link
from runner.state import Place

if TYPE_CHECKING:  # 5 ms that the command of ``exec`` does not wait for
    from runner.intake import Target
    from runner.journal import Owner

_NAMESPACE: Final = uuid.UUID("5f0c1f52-6c0b-5d0e-9a4e-2f6d1b7c8a90")
"""Ours alone: ids derived from a CI's variables collide with nobody else's."""
_CONTAINER_ID: Final = 12
_HEX: Final = frozenset("0123456789abcdef")


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that has its ids and its directory, and no row yet."""

    execution: Execution
    state: Place
    target: "Target | None"


def fresh(
    caller: Caller,
    pipeline: str,
    taken: Container[str],
    *,
    manual: bool | None,
    queued_at: int | None = None,
) -> Execution:
    """An execution that begins now, and goes on from no other. ``taken`` are ids that executions
    of this state directory have; ``manual`` and ``queued_at`` what was said of it, if anything.
    """
    host, start = caller.host, caller.clock()
    unique_id, previous = identity(host, pipeline, taken)
    if manual is None:
        manual = host.manual if host.name else os.isatty(0)
    return Execution(
        unique_id=unique_id,
        pipeline_id=unique_id,
        pipeline=pipeline,
        start=start,
        url=host.url,
        manual=manual,
        queue_time=_waited(queued_at or host.queued_at, start, host.queue_time),
        previous=previous,
    )


def _waited(asked: int | None, start: int, otherwise: int | None) -> int | None:
    return max(start - asked, 0) // MILLISECOND if asked else otherwise


def owner() -> "Owner":
    """This process, for whoever finds its executions later."""
    from runner.journal import Owner

    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return Owner(host=os.uname().nodename, boot=boot, pid=os.getpid())


def actor(host: providers.Host) -> str:
    """The person behind this command, as far as anybody says: the host CI, else the machine."""
    if host.actor:
        return host.actor
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, in a container
        return f"uid {os.getuid()}"


def hostname() -> str | None:
    """The machine's name; a container's id is none (Docker gives its first 12 digits)."""
    name = os.uname().nodename
    return None if len(name) == _CONTAINER_ID and set(name) <= _HEX else name


def identity(host: providers.Host, pipeline: str, taken: Container[str]) -> tuple[str, Link | None]:
    """The unique id of a new execution, and of the attempt before it when the host CI re-runs.

    In a CI, uuid5 of what names this place in it, the pipeline and an ordinal, so that whoever
    knows the job knows the id; elsewhere random (interface, section 6).
    """
    if not host.key:
        return str(uuid.uuid4()), None
    for ordinal in itertools.count():
        unique_id = _derived(host.key, pipeline, ordinal)
        if unique_id not in taken:
            previous = _derived(host.previous_key, pipeline, ordinal) if host.previous_key else ""
            return unique_id, Link(id=previous) if previous else None
    raise AssertionError  # count() does not end


def _derived(key: tuple[str, ...], pipeline: str, ordinal: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\0".join((*key, pipeline, str(ordinal)))))
