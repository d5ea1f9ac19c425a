"""Which of all that the readers found is the reason, and what belongs to it.

Owns the weighing: the last cause counts, who only repeats it does not, and an error after which the
program went on was survived. Knows no tool.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from runner.failure import (
    compilers,
    java,
    javascript,
    lines,
    linters,
    native,
    python,
    scenarios,
    scripts,
    suites,
    surroundings,
    tools,
)
from runner.failure.output import Finding, Output, Reader, Weight
from runner.notice import Reason

READERS: Final[tuple[Reader, ...]] = (
    surroundings.read,
    tools.read,
    lines.read,
    python.read,
    javascript.read,
    suites.read,
    scenarios.read,
    java.read,
    scripts.read,
    native.read,
    compilers.read,
    linters.read,
)
_RECENT: Final = 50
"""Lines after a cause: what was said earlier was survived."""
_PASSING: Final = 10
"""The same for what may pass by itself: a network that failed once and then did not."""
_WENT_ON: Final = 2
"""Lines of its own that a program prints when it has survived an error."""


_NOTHING: Final = Finding(start=0, end=0, message="")


def read(output: Output) -> Finding:
    """What all readers found together. Who was stopped from outside does not say why."""
    if output.ended.reason not in {Reason.EXITED, Reason.SIGNAL}:
        return _NOTHING
    found = [finding for reader in READERS for finding in reader(output)]
    since = _since(output, found)
    chosen = _chosen(found, since)
    if chosen is None:
        said = lines.that_say_why(lines.last(output.lines), _earlier(output, found))
        return msgspec.structs.replace(_NOTHING, message="\n".join(said))
    whole = _whole(output, chosen, found, since)
    if chosen.weight is Weight.CONSEQUENCE:
        said = lines.that_say_why(_beside(output, chosen), _earlier(output, found))
        return msgspec.structs.replace(whole, message="\n".join(said))
    return whole


def _beside(output: Output, repeats: Finding) -> list[str]:
    """The last lines that say something, less the stack of who only says that another failed."""
    stack = range(repeats.start, repeats.end + 1) if repeats.stack else ()
    named = repeats.message.split("\n")
    return lines.last(
        x for at, x in enumerate(output.lines) if at not in stack or x.strip() in named
    )


def _earlier(output: Output, found: Sequence[Finding]) -> list[str]:
    """What was said too long before to be sure of it, for when nothing else is said: the last
    error. It is told and no more: neither a place, nor a stack, nor whose failure it is.
    """
    if output.ended.reason is not Reason.EXITED:
        return []
    causes = (one for one in found if one.weight is Weight.CAUSE or _exact(one))
    sure = (one for one in causes if not one.provider and one.reason is None)
    believed = [one for one in (*sure, *lines.marked(output)) if not lines.went_on(output, one)]
    chosen = max(believed, key=_reach, default=None)
    return chosen.message.split("\n")[:_PASSING] if chosen else []


def _exact(plain: Finding) -> bool:
    """A reader's own, not any line that begins like an error."""
    return plain.weight is Weight.PLAIN and not plain.more


def _since(output: Output, found: Sequence[Finding]) -> list[int]:
    """For each line, how many from it on are explained by nothing: the program went on. Counted
    until it is too many for anything before.
    """
    explained = {at for one in found for at in range(one.start, one.end + 1)}
    counts = [0] * (len(output.lines) + 1)
    for at in range(len(output.lines) - 1, -1, -1):
        later = counts[at + 1]
        own = later <= _RECENT and at not in explained and not lines.repeats(output.lines[at])
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
    passing = (cause.peer or cause.provider) and cause.reason is not Reason.DISK_FULL
    return _PASSING if passing and cause.start == cause.end else _RECENT


def _whole(
    output: Output, chosen: Finding, found: Sequence[Finding], since: Sequence[int]
) -> Finding:
    """With what other readers say of the same lines: whose failure it is, the stack, the place."""
    near = [one for one in found if one.start <= chosen.end and one.end >= chosen.start]
    fresh = (one for one in near if since[one.end + 1] <= _limit(one) and _raises(chosen, one))
    around = [one for one in fresh if one.peer or one.provider or one.reason]
    outer = [one for one in found if one.weight is Weight.CONSEQUENCE and one.end >= chosen.start]
    reason = next((one.reason for one in (chosen, *around) if one.reason), None)
    placed = next((one for one in (chosen, *near, *outer) if one.place), chosen)
    return msgspec.structs.replace(
        chosen,
        start=placed.start,
        message="\n".join(_said(output, chosen, around, found, since)),
        reason=reason,
        provider=any(one.provider for one in (chosen, *around)),
        stack=chosen.stack or next((one.stack for one in near if _of(chosen, one)), ""),
        place=placed.place,
    )


def _of(chosen: Finding, one: Finding) -> bool:
    """Whether its stack is that of what is told: of several tests that failed, it may not be."""
    return bool(one.stack) and (not chosen.test or one.message.split("\n")[0] in chosen.message)


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
