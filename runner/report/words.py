"""How an execution is told in a few words: its mark, how it ended, its commit, when, why.

Owns the words that the tree, the table, Markdown and the pages share. Draws nothing.
"""

from typing import Final

from runner.event import Failure, Status
from runner.execution import MILLISECOND
from runner.report import Delivery, Told
from runner.terminal import Look, Mark, Paint, plain
from runner.timing import spoken

NONE: Final = "none"
"""No events at all."""

_MARKS: Final = {
    Status.SUCCESS: (Mark.GOOD, Paint.GOOD, "succeeded in"),
    Status.ERROR: (Mark.BAD, Paint.BAD, "failed in"),
    Status.CANCELED: (Mark.STOPPED, Paint.WARN, "canceled after"),
    Status.SKIPPED: (Mark.LEFT_OUT, Paint.FAINT, "left out"),
    Status.BLOCKED: (Mark.WAITING, Paint.WARN, "waiting for an answer after"),
    Status.RUNNING: (Mark.RUNNING, Paint.STRONG, "running for"),
}
_GONE_ON: Final = (Mark.CHOSEN, Paint.FAINT, "answered, was blocked after")
"""A gate that nobody waits at any more."""


def sign(status: Status, *, gone_on: bool = False) -> tuple[Mark, Paint, str]:
    """Mark, colour and words of a status; ``gone_on``: from what was blocked."""
    return _GONE_ON if gone_on else _MARKS[status]


def mark_of(status: Status, look: Look, *, allowed: bool = False, gone_on: bool = False) -> str:
    """The mark of a status in its colour; ``gone_on``: from what was blocked."""
    mark, paint, _ = sign(status, gone_on=gone_on)
    if allowed and status is Status.ERROR:
        mark, paint = Mark.WARN, Paint.WARN
    return look.paint(look.mark(mark), paint)


def ended(status: Status, duration_ms: int, *, gone_on: bool = False) -> str:
    """``failed in 6.4 s``."""
    _, _, words = sign(status, gone_on=gone_on)
    return f"{words} {spoken(duration_ms * MILLISECOND)}"


def short(unique_id: str) -> str:
    """As much of an id as a person types."""
    return plain(unique_id[:8])


def commit(told: Told) -> str:
    """``main@4f2a91c``, when the commit is known."""
    git = told.git
    if git is None:
        return ""
    name = git.branch or git.tag or ""
    return plain(f"{name}@{git.sha[:7]}" if name else git.sha[:7])


def moment(rfc3339: str) -> str:
    """``2026-03-02 09:15:00 UTC``."""
    return rfc3339.replace("T", " ").partition(".")[0].removesuffix("Z") + " UTC"


def why(failure: Failure) -> str:
    """``Type: first line of the message``."""
    first = next((line for line in map(plain, failure.message.splitlines()) if line), "")
    return f"{plain(failure.type)}: {first}" if first else plain(failure.type)


def counts(delivery: Delivery) -> str:
    """``12 delivered, 3 waiting``; of a local execution, that."""
    told = (
        (delivery.delivered, "delivered"),
        (delivery.waiting, "waiting"),
        (delivery.held, "for another site or key"),
        (delivery.refused, "refused"),
        (delivery.expired, "too old"),
        (delivery.local, "local"),
    )
    return ", ".join(f"{count} {word}" for count, word in told if count) or NONE
