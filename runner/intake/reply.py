"""What came of one attempt, as ``delivery`` sees it.

Owns the few kinds of outcome there are. How an answer becomes one is ``answers``'.
"""

from enum import Enum

import msgspec


class Verdict(Enum):
    """What an answer means for the events that were sent."""

    DELIVERED = "delivered"
    RETRY = "retry"
    """Send the same bytes again, later."""
    HOLD = "hold"
    """Nothing that is sent now will be taken: a person has to look."""
    REFUSED = "refused"
    """At least one of these events will never be taken."""
    TOO_LARGE = "too large"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt. ``message`` is for people and holds no secret."""

    verdict: Verdict
    status: int = 0
    """HTTP's; 0: there was no answer."""
    message: str = ""
    wait: float | None = None
    """Seconds the server asks to wait; None: it did not say."""
    date: int | None = None
    """The server's clock, in epoch seconds."""
    connected: bool = True
    """Whether there was a connection at all."""
    late: bool = False
    """Whether time ran out: on a slow line a smaller request may fit."""
