"""``Journal``: the promises; see the package. Bodies follow, the signatures are final."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.journal.rows import (
        Change,
        Claim,
        Header,
        Open,
        Owner,
        Pending,
        State,
        Stored,
        StoredEvent,
        Tally,
    )
    from runner.notice import Answer, Result


class Journal:
    """One connection to the journal, used by the thread that made it. ``twin`` makes another."""

    degraded: str
    """Empty, or why events are kept in memory only. After ``close``: empty if they could be written
    to disk after all."""

    @classmethod
    def open(
        cls, state: str, *, warn: Callable[[str], None], owner: tuple[int, int] | None = None
    ) -> Journal:
        """The journal in the directory ``state``, made if need be. ``owner`` is uid and gid of the
        workspace. A disk that refuses: memory, ``degraded`` and one warning. Raises
        ``SurroundingsError`` for a symlink, a stranger's directory or one that holds other files.
        """
        raise NotImplementedError

    @classmethod
    def read(cls, state: str, *, warn: Callable[[str], None]) -> Journal:
        """The journal for commands that only look: nothing is made, corrected or put aside; an
        empty journal where there is none. Raises ``SurroundingsError`` for one it cannot read.
        """
        raise NotImplementedError

    def twin(self) -> Journal:
        """Another connection for the thread that calls this; it follows wherever this one goes."""
        raise NotImplementedError

    def begin(self, header: Header, change: Change, claim: Claim | None = None) -> None:
        """A new execution: its lock, its directory, its row and first events, and the claim on a
        blocked one: one commit. Raises ``RefusedError`` when somebody else answered first or there
        is nothing to answer, ``SurroundingsError`` when a claim cannot be written.
        """
        raise NotImplementedError

    def append(self, execution: str, change: Change) -> None:
        """One commit; on disk when this returns (unless ``degraded``). Never fails."""
        raise NotImplementedError

    def freeze_git(self, execution: str, git: bytes | None) -> bool:
        """Settle the commit of all its events, once (None: there is none); False: it was before."""
        raise NotImplementedError

    def stored(self) -> list[Stored]:
        """All executions, the last begun first."""
        raise NotImplementedError

    def find(self, run: str) -> Stored:
        """By unique id, an unambiguous start of one, or ``latest`` (the last begun here, not from
        inside a step). Raises ``UsageError``.
        """
        raise NotImplementedError

    def events(self, execution: str) -> list[StoredEvent]:
        """All events of an execution, in order."""
        raise NotImplementedError

    def results(self, execution: str) -> dict[str, Result]:
        """What the jobs of an execution left, by job."""
        raise NotImplementedError

    def answers(self, execution: str) -> dict[str, Answer]:
        """The answers to the gates of a blocked execution, by gate."""
        raise NotImplementedError

    def opens(self, execution: str) -> list[Open]:
        """What has started and not ended: first steps, then jobs, stages, the pipeline."""
        raise NotImplementedError

    def last_at(self, execution: str) -> int:
        """The time of the last event; of the start when there is none."""
        raise NotImplementedError

    def dead(self, owner: Owner) -> list[Stored]:
        """Executions that did not end and whose process is gone, of this host or kernel. Their
        locks are taken: no other process closes them too.
        """
        raise NotImplementedError

    def pending(
        self, *, binding: str, run: str = "", events: int = 1000, size: int = 4_000_000
    ) -> list[Pending]:
        """The next events to send, oldest first, at most ``events`` and ``size`` bytes (the commas
        and brackets around them counted), but at least one. Only executions of ``binding`` whose
        git is settled; with ``run`` that one alone, without it those that no other process runs
        or sends.
        """
        raise NotImplementedError

    def settle(self, seqs: Sequence[int], state: State, note: str = "") -> None:
        """What became of events that ``pending`` gave."""
        raise NotImplementedError

    def tally(self, *, execution: str = "", binding: str = "") -> Tally:
        """What became of all events, of one execution or of all, seen with site and key."""
        raise NotImplementedError

    def adopt(self, execution: str, binding: str) -> None:
        """Bind an execution to another site and key (``flush RUN``): what waits becomes pending."""
        raise NotImplementedError

    def prune(self, *, before: int, keep: int) -> list[str]:
        """Remove executions that started before ``before`` (epoch ns) or are beyond the last
        ``keep``, with their directories; never those that run, wait for an answer, hold events to
        be sent, or belong to the chain of one that waits. Returns their ids.
        """
        raise NotImplementedError

    def directory(self, execution: str) -> str:
        """``runs/<unique id>``, for its logs; made by ``begin``."""
        raise NotImplementedError

    def close(self) -> None:
        """Fold the WAL in, so that one file is the state; give files to the workspace's owner."""
        raise NotImplementedError
