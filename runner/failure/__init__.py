"""How a step ended and the end of its output -> why it failed: an error event, lines for a person.

Owns the choice of ``error.type``, ``domain``, ``message`` and ``stack`` (interface, section 6) and
what is read out of a program's output. Does not mask: what comes in is masked already, so it may be
cut anywhere.

Each family of tools has a reader; a reader tells everything it sees, and here it is weighed: the
last cause counts, what only repeats it does not, and an error after which the program went on was
survived. How a step ended is a fact, so output may make a failure the provider's, but never takes
that back. The files::

    output        lines, findings, limits
    surroundings  disk, memory, network, registries, the Docker engine
    tools         shells, make, git, docker build, CTest, TAP, and every ``error: ...``
    python        tracebacks, pytest, unittest, pip
    javascript    Node, Jest, Vitest, Mocha, ESLint, bundlers, npm
    java          exceptions, Maven, Gradle, JUnit
    scripts       Ruby, RSpec, Minitest, PHP, PHPUnit
    native        Go and Rust at run time, go test, sanitizers
    compilers     ``file:line:col: error``: compilers, linkers, type checkers, linters
    places        ``file:line``, relative to the workspace
"""

import math
import re
import signal
from collections.abc import Sequence
from typing import Final

import msgspec

from runner.event import Domain, Failure
from runner.failure import (
    compilers,
    java,
    javascript,
    native,
    places,
    python,
    scripts,
    surroundings,
    tools,
)
from runner.failure.output import Finding, Output, Reader, Weight, cut, fitted, shown
from runner.notice import Exit, Reason

TAIL: Final = 64 * 1024
"""Bytes of output that are read."""
SHOWN: Final = 20
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
    said = [line for line in output.lines if line][-SHOWN:]
    found = _read(output)
    reason = _reason(ended, found)
    why = found.message.split("\n") if found.message else _that_say_why(said)
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


# ── what the output says ─────────────────────────────────────────────────────────────────────────

READERS: Final[tuple[Reader, ...]] = (
    surroundings.read,
    tools.read,
    python.read,
    javascript.read,
    java.read,
    scripts.read,
    native.read,
    compilers.read,
)
_RECENT: Final = 50
"""Lines after a cause: what was said earlier was survived."""
_PASSING: Final = 10
"""The same for what may pass by itself: a network that failed once and then did not."""
_WENT_ON: Final = 2
"""Lines of its own that a program prints when it has survived an error."""


_NOTHING: Final = Finding(start=0, end=0, message="")


def _read(output: Output) -> Finding:
    """What all readers found together. Who was stopped from outside does not say why."""
    if output.ended.reason not in {Reason.EXITED, Reason.SIGNAL}:
        return _NOTHING
    found = [finding for reader in READERS for finding in reader(output)]
    since = _since(output, found)
    chosen = _chosen(found, since)
    if chosen is None:
        return _NOTHING
    whole = _whole(output, chosen, found, since)
    if chosen.weight is Weight.CONSEQUENCE:
        said = "\n".join(_that_say_why(_beside(output, chosen)))
        return msgspec.structs.replace(whole, message=said)
    return whole


def _beside(output: Output, repeats: Finding) -> list[str]:
    """The last lines that say something, less the stack of who only says that another failed."""
    stack = range(repeats.start, repeats.end + 1) if repeats.stack else ()
    named = repeats.message.split("\n")
    said = [
        line
        for at, line in enumerate(output.lines)
        if line and (at not in stack or line.strip() in named)
    ]
    return said[-SHOWN:]


def _since(output: Output, found: Sequence[Finding]) -> list[int]:
    """For each line, how many from it on are explained by nothing: the program went on. Counted
    until it is too many for anything before.
    """
    explained = {at for one in found for at in range(one.start, one.end + 1)}
    counts = [0] * (len(output.lines) + 1)
    for at in range(len(output.lines) - 1, -1, -1):
        later = counts[at + 1]
        own = later <= _RECENT and at not in explained and not tools.repeats(output.lines[at])
        counts[at] = later + own
    return counts


def _chosen(found: Sequence[Finding], since: Sequence[int]) -> Finding | None:
    """The last cause; a line that calls itself an error when the program went on after the cause;
    else what says that something failed.
    """
    last = {
        weight: max((one for one in found if one.weight is weight), key=_reach, default=None)
        for weight in Weight
    }
    cause, plain = last[Weight.CAUSE], last[Weight.PLAIN]
    if cause and since[cause.end + 1] > _limit(cause):
        cause = None
    if plain and since[plain.end + 1] > _RECENT:
        plain = None
    if (
        cause
        and plain
        and since[cause.end + 1] - since[max(plain.start, cause.end + 1)] >= _WENT_ON
    ):
        return plain
    return cause or plain or last[Weight.CONSEQUENCE]


def _reach(finding: Finding) -> tuple[int, int]:
    """The later its end the better, then the more it spans."""
    return finding.end, finding.end - finding.start


def _limit(cause: Finding) -> int:
    passing = cause.provider and cause.start == cause.end and cause.reason is not Reason.DISK_FULL
    return _PASSING if passing else _RECENT


def _whole(
    output: Output, chosen: Finding, found: Sequence[Finding], since: Sequence[int]
) -> Finding:
    """With what other readers say of the same lines: whose failure it is, the stack, the place."""
    near = [one for one in found if one.start <= chosen.end and one.end >= chosen.start]
    around = [one for one in near if (one.provider or one.reason) and _raises(chosen, one)]
    outer = [one for one in found if one.weight is Weight.CONSEQUENCE and one.end >= chosen.start]
    reason = next((one.reason for one in (chosen, *around) if one.reason), None)
    placed = next((one for one in (chosen, *near, *outer) if one.place), chosen)
    return msgspec.structs.replace(
        chosen,
        start=placed.start,
        message="\n".join(_said(output, chosen, around, found, since)),
        reason=reason,
        provider=any(one.provider for one in (chosen, *around)),
        stack=chosen.stack or next((one.stack for one in near if one.stack), ""),
        place=placed.place,
    )


def _raises(chosen: Finding, one: Finding) -> bool:
    """A test chose its peers and may speak of anything: there only a full disk or memory counts,
    as the error of the test.
    """
    if not chosen.test or one is chosen:
        return True
    said = one.message.removeprefix("E").strip()
    return one.reason is not None and said in chosen.message and "assert" not in said.lower()


def _said(
    output: Output,
    chosen: Finding,
    around: Sequence[Finding],
    found: Sequence[Finding],
    since: Sequence[int],
) -> list[str]:
    """The message: what the surroundings did, what the cause says, and what was said after it."""
    said = chosen.message.split("\n")
    if not (chosen.provider or around) or chosen.test:
        return [*said, *_more(output, chosen, since)]
    why = [line for line in said if any(line in one.message for one in around)][:1]
    if not why and not any(one.message in chosen.message for one in around):
        why = [one.message for one in around[-1:]]
    plain = next(
        (one for one in found if one.weight is Weight.PLAIN and one.end > chosen.end), None
    )
    after = plain.message.split("\n") if plain else []
    return list(dict.fromkeys([*why, *said, *after] if not set(said) <= set(after) else after))


def _more(output: Output, chosen: Finding, since: Sequence[int]) -> list[str]:
    """The last lines of all, when they may belong to a message of several lines."""
    if not chosen.more or since[chosen.end + 1] > _PASSING:
        return []
    after = range(chosen.end + 1, len(output.lines))
    return [output.lines[at] for at in after if since[at] > since[at + 1]]


_MINOR: Final = r"(?i)\bwarn(?:ing)?\b|\bdeprecat|\b(?:0|no) (?:error|fail)"
_BAR: Final = r"\[[#=>.\- ]{3,}\]|[━█▓▒░]{3,}|\b100(?:\.0+)? ?%$|^(?:real|user|sys)\s+\d+m[\d.]+s$"
"""How far something got, and how long it took."""
_SAYS_WHY: Final = (
    r"(?i)error|exception|fatal|fail|panic|abort|assert|denied|refused|invalid|undefined|unexpected"
    r"|cannot|can't|could(?:n't| not)|unable to|not found|no such|timed out|killed"
    r"|segmentation fault|mismatch|unsupported|unknown|missing|unbound"
    r"|illegal|rejected|conflict|corrupt|[\u2717\u2716\u2718\u274c]"
)


def _that_say_why(said: list[str]) -> list[str]:
    """From the first line near the end that sounds like a reason; if none does, the last few."""
    said = [line for line in said if not re.search(_BAR, line)] or said
    near = range(max(len(said) - _PASSING, 0), len(said))
    sounds = (
        at for at in near if re.search(_SAYS_WHY, said[at]) and not re.search(_MINOR, said[at])
    )
    first = next((at for at in sounds if not tools.repeats(said[at])), len(said) - 5)
    return said[max(first, 0) :]
