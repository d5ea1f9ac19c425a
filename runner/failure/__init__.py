"""How a step ended and the end of its output -> why it failed: an error event, lines for a person.

Owns the choice of ``error.type``, ``domain``, ``message`` and ``stack`` (interface, section 6) and
what is read out of a program's output. Does not mask: what comes in is masked already, so it may be
cut anywhere.

Output is read by READERS, in order; of each thing they find, the first counts. How a step ended is
a fact, so output may make a failure the provider's, but never takes that back.
"""

import math
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from runner.event import MESSAGE_LIMIT, Domain, Failure
from runner.notice import Exit, Reason

TAIL: Final = 64 * 1024
"""Bytes of output that are read."""
SHOWN: Final = 20
"""Lines for a person."""
WIDTH: Final = 500
"""Characters of such a line."""
STACK_LIMIT: Final = 20_000
"""Characters of a stack: the intake names no limit; 200 frames have less."""
_RECENT: Final = 50
"""Lines from the end that may hold the reason: what was said earlier was survived."""

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


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one reader saw. Empty: nothing of that kind."""

    reason: Reason | None = None
    message: str = ""
    stack: str = ""
    place: str = ""


Reader = Callable[[Exit, Sequence[str]], Finding | None]


def explain(exit: Exit, tail: bytes, *, limit: float | None = None) -> Explained:  # noqa: A002
    """Why it failed. ``tail``: the end of its output, masked; ``limit``: the seconds it had."""
    output = _lines(tail[-TAIL:].decode(errors="replace"))
    said = [line for line in output if line][-SHOWN:]
    ended = _as_signal(exit)
    found = _read(ended, output)
    reason = _reason(ended, found)
    why = [found.message] if found.message else _that_say_why(said)
    spoken = why and (reason is Reason.EXITED or reason is found.reason)
    fact = [] if spoken else [_fact(ended, reason, limit)]
    return Explained(
        failure=Failure(
            domain=_domain(reason),
            type=reason.value,
            message=_fitted([*fact, *(why if reason is not Reason.CANCELED else ())]),
            stack=_fitted(found.stack.split("\n"), STACK_LIMIT) if found.stack else None,
        ),
        place=found.place,
        lines="\n".join(_cut(line, WIDTH) for line in said),
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
    """What was read goes before a plain exit code, and to make it the provider's failure."""
    if found.reason and (ended.reason is Reason.EXITED or _domain(found.reason) is Domain.PROVIDER):
        return found.reason
    return ended.reason


def _fact(ended: Exit, reason: Reason, limit: float | None) -> str:
    match reason:
        case Reason.EXITED:
            fact = f"exit code {ended.code}"
        case Reason.SIGNAL:
            fact = f"killed by {_signal(ended.signal or ended.code - 128)}"
        case Reason.TIMEOUT:
            fact = "no result in time" if limit is None else f"no result after {_span(limit)}"
        case _:
            fact = _FACTS[reason]
    more = " ".join(_lines(ended.message.encode(errors="replace").decode()))
    return f"{fact}: {more}" if more and reason is ended.reason else fact


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_WHOLE: Final = 10


def _span(seconds: float) -> str:
    """``1h30m``, ``5m``, ``1.5s``: as it is written in a pipeline file, whole from WHOLE on."""
    if not _WHOLE <= seconds < math.inf:
        return f"{seconds:g}s"
    seconds = round(seconds)
    parts = (seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")
    return "".join(f"{count}{unit}" for count, unit in parts if count)


# ── what the output says ─────────────────────────────────────────────────────────────────────────


def _read(ended: Exit, output: Sequence[str]) -> Finding:
    """What all readers found together. Who was stopped from outside does not say why."""
    if ended.reason not in {Reason.EXITED, Reason.SIGNAL}:
        return Finding()
    findings = [found for reader in READERS if (found := reader(ended, output))]
    return Finding(
        reason=next((one.reason for one in findings if one.reason), None),
        message=next((one.message for one in findings if one.message), ""),
        stack=next((one.stack for one in findings if one.stack), ""),
        place=next((one.place for one in findings if one.place), ""),
    )


def _disk_full(_ended: Exit, output: Sequence[str]) -> Finding | None:
    """ENOSPC and EDQUOT, as strerror(3) has them."""
    for line in reversed(output[-_RECENT:]):
        if "No space left on device" in line or "Disk quota exceeded" in line:
            return Finding(reason=Reason.DISK_FULL, message=line.strip())
    return None


_NOT_RUN: Final = {
    127: (
        Reason.COMMAND_NOT_FOUND,
        re.compile(r": (command not found|not found|No such file or directory)$"),
    ),
    126: (
        Reason.NOT_EXECUTABLE,
        re.compile(r": (Permission denied|Is a directory|cannot execute.*|bad interpreter.*)$"),
    ),
}
_SCRIPT: Final = re.compile(r"^\S+: (?=(line )?\d+: )")


def _not_run(ended: Exit, output: Sequence[str]) -> Finding | None:
    """What shells say when there is no such command (127) or it is none (126); POSIX, 2.8.2. bash
    calls a missing interpreter a missing file, with 126.
    """
    reason, pattern = _NOT_RUN.get(ended.code, (None, None))
    for line in reversed(output[-5:]):
        if reason and pattern and pattern.search(line):
            return Finding(reason=reason, message=_SCRIPT.sub("", line.strip()))
    return None


_HEADER: Final = re.compile(r"([\s|]*)Traceback \(most recent call last\):")
_FRAME: Final = re.compile(r'\s+File "(.+?)", line (\d+)')
_FOREIGN: Final = re.compile(r"/(site|dist)-packages/|/lib(64)?/python\d")


def _traceback(_ended: Exit, output: Sequence[str]) -> Finding | None:
    """The last traceback of Python; of chained ones that is what was not caught."""
    start, header = next(
        ((at, m) for at in range(len(output) - 1, -1, -1) if (m := _HEADER.match(output[at]))),
        (0, None),
    )
    if header is None:
        return None
    body = [line[header.end(1) :] for line in output[start:]]
    end = next((at for at, line in enumerate(body) if at and line[:1].strip()), 0)
    if not end or len(body) - end > _RECENT:
        return None
    frames = [frame for line in body[:end] if (frame := _FRAME.match(line))]
    places = [f"{frame[1]}:{frame[2]}" for frame in frames if not frame[1].startswith("<")]
    own = [place for place in places if not _FOREIGN.search(place)] or places or [""]
    return Finding(message=body[end], stack="\n".join(body[: end + 1]), place=own[-1])


_PLACE: Final = re.compile(
    r"\s*(?:\S+: )?([^\s:()'\"]+\.[A-Za-z]\w*):(\d+)"
    r"(?::\d+)?:? +(?:fatal )?(?:\w*[Ee]rror|\w*Exception)\b"
)


def _place(_ended: Exit, output: Sequence[str]) -> Finding | None:
    """The first ``file:line: error`` of compilers, type checkers, pytest."""
    for line in output[-_RECENT:]:
        if match := _PLACE.match(line[:WIDTH]):
            return Finding(place=f"{match[1]}:{match[2]}")
    return None


READERS: Final[tuple[Reader, ...]] = (_disk_full, _not_run, _traceback, _place)

_SAYS_WHY: Final = re.compile(
    r"error|exception|fatal|fail|panic|abort|assert|denied|refused|invalid|undefined|unexpected"
    r"|cannot|can't|could not|unable to|not found|no such|timed out|killed|segmentation fault",
    re.IGNORECASE,
)


def _that_say_why(said: list[str]) -> list[str]:
    """From the first line that sounds like a reason; if none does, the last few."""
    first = next((at for at, line in enumerate(said) if _SAYS_WHY.search(line)), len(said) - 5)
    return said[max(first, 0) :]


# ── text ─────────────────────────────────────────────────────────────────────────────────────────

_SEQUENCE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b\n]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _lines(text: str) -> list[str]:
    """The lines as they stood on a terminal at last, without what steers one."""
    shown = (line.rstrip("\r").rpartition("\r")[2] for line in _SEQUENCE.sub("", text).split("\n"))
    return [_CONTROL.sub("", line).rstrip() for line in shown]


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def _fitted(lines: Iterable[str], limit: int = MESSAGE_LIMIT) -> str:
    """The first line and as many of the last as fit; a line that is too long by itself is cut."""
    first, *rest = (_cut(line, limit // 2 - 1) for line in lines)
    room = limit - len(first)
    kept = len(rest)
    while kept and len(rest[kept - 1]) < room:
        kept -= 1
        room -= len(rest[kept]) + 1
    return "\n".join([first, *rest[kept:]])
