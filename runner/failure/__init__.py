"""How a step ended and the end of its output -> why it failed: an error event, lines for a person.

Owns the choice of ``error.type``, ``domain``, ``message`` and ``stack`` (interface, section 6) and
what is read out of a program's output. Does not mask: what comes in is masked already, so it may be
cut anywhere.

Each family of tools has a reader; a reader tells everything it sees, and ``choice`` weighs it. How
a step ended is a fact, so output may make a failure the provider's, but never takes that back. The
files::

    output        lines, findings, limits
    choice        which finding is the reason
    lines         ``error: ...`` of any program, what sounds like a reason, who repeats it
    surroundings  disk, memory, network, registries, the Docker engine
    tools         shells, make, git, docker build, CTest, TAP
    python        tracebacks, pytest, unittest, pip
    javascript    Node, bundlers, npm
    suites        Jest, Vitest, Mocha, Jasmine, AVA, Playwright, Node's own tests
    scenarios     Behave, Cucumber, Robot Framework
    java          exceptions, Maven, Gradle, JUnit
    scripts       Ruby, RSpec, Minitest, PHP, PHPUnit
    native        Go and Rust at run time, go test, sanitizers
    compilers     ``file:line:col: error``: compilers, linkers, type checkers
    linters       linters and formatters that have a form of their own
    places        ``file:line``, relative to the workspace
"""

import math
import signal
from typing import Final

import msgspec

from runner.event import Domain, Failure
from runner.failure import choice, lines, places
from runner.failure.output import Finding, Output, cut, fitted, shown
from runner.notice import Exit, Reason

TAIL: Final = 64 * 1024
"""Bytes of output that are read."""
SHOWN: Final = lines.LAST
"""Lines for a person."""
WIDTH: Final = 500
"""Characters of such a line."""
STACK_LIMIT: Final = 20_000
"""Characters of a stack: the intake names no limit; 200 frames have less."""

_DOMAINS: Final = {
    Reason.EXITED: Domain.USER,
    Reason.COMMAND_NOT_FOUND: Domain.USER,
    Reason.NOT_EXECUTABLE: Domain.USER,
    Reason.WORKING_DIRECTORY: Domain.USER,
    Reason.SIGNAL: Domain.UNKNOWN,
    Reason.TIMEOUT: Domain.UNKNOWN,
    Reason.CANCELED: Domain.UNKNOWN,
    Reason.OUT_OF_MEMORY: Domain.UNKNOWN,
}
"""Whose failure it is; the provider's are the rest."""
_FACTS: Final = {
    Reason.CANCELED: "canceled",
    Reason.COMMAND_NOT_FOUND: "command not found",
    Reason.NOT_EXECUTABLE: "cannot be executed",
    Reason.WORKING_DIRECTORY: "no such working directory",
    Reason.OUT_OF_MEMORY: "killed, out of memory",
    Reason.IMAGE_PULL: "the image could not be pulled",
    Reason.CONTAINER_START: "the container could not be started",
    Reason.CONTAINER_LOST: "the container is gone",
    Reason.SERVICE_UNHEALTHY: "a service did not become ready",
    Reason.DISK_FULL: "no space left on the disk",
    Reason.RUNNER_LOST: "its end is not known",
}


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """Why a step failed: for the event, and for people."""

    failure: Failure
    place: str = ""
    """``file:line`` where the output names one."""
    lines: str = ""
    """The last lines of output that say something, SHOWN at most."""


def explain(
    exit: Exit,  # noqa: A002
    tail: bytes,
    *,
    limit: float | None = None,
    workspace: str = "",
    directory: str = "",
) -> Explained:
    """Why it failed. ``tail``: the end of its output, masked; ``limit``: the seconds it had of
    its own. Places are told relative to ``workspace``; the step ran in ``directory``.
    """
    ended = _as_signal(exit)
    output = Output(ended, tail[-TAIL:].decode(errors="replace"))
    said = lines.last(output.lines)
    found = choice.read(output)
    reason = _reason(ended, found)
    why = found.message.split("\n") if found.message else lines.that_say_why(said)
    spoken = why and (reason is Reason.EXITED or reason is found.reason)
    fact = [] if spoken else [_fact(ended, reason, limit)]
    return Explained(
        failure=Failure(
            domain=Domain.PROVIDER if found.provider else _domain(reason),
            type=reason.value,
            message=fitted([*fact, *(why if reason is not Reason.CANCELED else ())]),
            stack=fitted(found.stack.split("\n"), STACK_LIMIT) if found.stack else None,
        ),
        place=places.placed(output, found.place, found.start, workspace, directory),
        lines="\n".join(cut(line, WIDTH) for line in said),
    )


# ── how it ended ─────────────────────────────────────────────────────────────────────────────────

_BY_SHELL: Final = frozenset({2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15, 24, 25, 31})
"""Signals a shell may mean by 128 + n. Not 1: git ends with 129 when it is called wrongly."""


def _as_signal(ended: Exit) -> Exit:
    """A shell says 137 when what it ran was killed by signal 9."""
    if ended.reason is Reason.EXITED and ended.code - 128 in _BY_SHELL:
        return msgspec.structs.replace(ended, reason=Reason.SIGNAL, signal=ended.code - 128)
    return ended


def _domain(reason: Reason) -> Domain:
    return _DOMAINS.get(reason, Domain.PROVIDER)


def _reason(ended: Exit, found: Finding) -> Reason:
    """What was read goes before a plain exit code, before a signal that memory explains, and to
    make it the provider's failure.
    """
    plain = ended.reason is Reason.EXITED
    memory = found.reason is Reason.OUT_OF_MEMORY and ended.reason is Reason.SIGNAL
    if found.reason and (plain or memory or _domain(found.reason) is Domain.PROVIDER):
        return found.reason
    return ended.reason


def _fact(ended: Exit, reason: Reason, limit: float | None) -> str:
    match reason:
        case Reason.EXITED:
            fact = f"exit code {ended.code}"
        case Reason.SIGNAL:
            fact = f"killed by {_signal(ended.signal or ended.code - 128)}"
        case Reason.TIMEOUT:
            fact = f"no result after {span(limit)}" if limit else "the job's limit has passed"
        case _:
            fact = _FACTS[reason]
    more = " ".join(shown(ended.message.encode(errors="replace").decode()))
    return f"{fact}: {more}" if more and reason is ended.reason else fact


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_WHOLE: Final = 10


def span(seconds: float) -> str:
    """``1h30m``, ``5m``, ``1.5s``: as it is written in a pipeline file, whole from WHOLE on."""
    if not _WHOLE <= seconds < math.inf:
        return f"{seconds:g}s"
    seconds = round(seconds)
    parts = (seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")
    return "".join(f"{count}{unit}" for count, unit in parts if count)
