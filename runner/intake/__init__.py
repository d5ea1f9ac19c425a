"""Bytes -> HTTP -> what the answer means.

Where bodies may go is ``target``'s, one attempt ``http``'s, what each answer means ``answers``'.
Does not own policy: batches, waiting and giving up are ``delivery``'s. No message of this package
holds a key or a proxy's password. Loads no library: ``http``, which takes 75 ms of CPU, is loaded
by who sends.
"""

from typing import Protocol

from runner.intake.reply import Reply, Verdict
from runner.intake.target import SITES, Secret, Target, link, logs, target

__all__ = ["SITES", "Reply", "Secret", "Target", "Verdict", "Wire", "link", "logs", "target"]


class Wire(Protocol):
    """A way to one intake: ``http.Intake``, or another process that has one."""

    def send(self, body: bytes, *, within: float) -> Reply:
        """Send one request's body, once, and say what came of it in ``within`` seconds at most."""

    def cut(self, after: float) -> None:
        """From another thread: end the attempt under way in ``after`` seconds, if it still is."""

    def close(self) -> None:
        """Close the connection."""
