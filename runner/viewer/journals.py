"""Journals read live: what runs append there appears here, under the same ids.

Owns looking (twice a second, and only when SQLite says that something has changed), copying what is
new, and where a job's log lies. Changes nothing in a state directory but its own store.
"""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Final

from runner.errors import SignalboxError
from runner.event import join
from runner.journal import Journal, Stored, StoredEvent
from runner.viewer.check import RefusedError, Taken, one
from runner.viewer.store import Store
from runner.viewer.writing import Batch

_EVERY: Final = 0.5
"""Seconds between two looks."""
ALL: Final = -1
"""In place of a count: there is nothing more to come."""
_AT_ONCE: Final = 2000
"""Events in one commit."""


class Journals:
    """Those of some state directories, copied by a thread of its own."""

    def __init__(self, store: Store, states: Sequence[str], say: Callable[[str], None]) -> None:
        self._sources = [_Source(store, state, say) for state in dict.fromkeys(states)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="journals", daemon=True)
        store.log_files = self

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            for source in self._sources:
                source.look(self._over)
            if self._over.wait(_EVERY):
                break
        for source in self._sources:
            source.close()

    def path(self, execution: str, job: str) -> str | None:
        """The log of a job of one of these journals."""
        found = (source.path(execution, job) for source in self._sources)
        return next(filter(None, found), None)

    def starts(self, execution: str, job: str) -> list[tuple[int, str]]:
        """Where its steps begin in it."""
        for source in self._sources:
            if source.path(execution, job):
                return source.starts(execution, job)
        return []


class _Source:
    """One journal. Used by the thread that looks; ``path`` and ``starts`` are for others."""

    def __init__(self, store: Store, state: str, say: Callable[[str], None]) -> None:
        self._store = store
        self._state = state
        self._say = say
        self._path = os.path.join(state, "journal.db")
        self._journal: Journal | None = None
        self._file: tuple[int, int] | None = None
        self._version = -1
        self._trouble = ""
        self._copied: dict[str, int] = {}
        self._bare: set[str] = set()
        """Executions whose events have been copied without the commit."""

    def look(self, over: threading.Event) -> None:
        """Copy what is new; trouble is said once, and looked at again."""
        try:
            self._follow()
            if self._journal is None:
                return
            version = self._journal.version()
            if version == self._version:
                return
            for stored in reversed(self._journal.stored()):
                if over.is_set():
                    return
                self._copy(self._journal, stored)
            self._version = version
            self._trouble = ""
        except (SignalboxError, OSError) as error:
            self._leave()
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._say(f"{self._path} cannot be read now: {error}")

    def close(self) -> None:
        """Let go of the file."""
        if self._journal:
            self._journal.close()
            self._journal = None

    def _leave(self) -> None:
        self.close()
        self._file, self._version = None, -1

    def _follow(self) -> None:
        """To the file that the path names now, if it names one."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._leave()
            return
        file = (found.st_dev, found.st_ino)
        if file == self._file:
            return
        self._leave()
        self._journal = Journal.read(self._state)
        self._file = file
        self._copied = self._store.copied(self._state)
        self._bare = set()

    def _copy(self, journal: Journal, stored: Stored) -> None:
        """The events of an execution that are not here yet: without the commit at first, and once
        more when it is known.
        """
        known = self._copied.get(stored.id, 0)
        if known == ALL:
            return
        settled = stored.git_settled
        if settled and stored.id in self._bare:
            self._bare.discard(stored.id)
            known = 0
        rows = journal.events(stored.id, downstream=True)
        known = known if known <= len(rows) else 0
        for begin in range(known, len(rows), _AT_ONCE):
            part = rows[begin : begin + _AT_ONCE]
            self._write(stored, part, begin + len(part) if settled else 0)
        self._copied[stored.id] = len(rows)
        if not settled:
            self._bare.add(stored.id)
        elif stored.status is not None:
            self._copied[stored.id] = ALL
            self._write(stored, (), ALL)

    def _write(self, stored: Stored, rows: Sequence[StoredEvent], count: int) -> None:
        events = [taken for row in rows if (taken := _taken(stored, row))]
        batch = Batch(events=events, copied=(self._state, stored.id, count))
        self._store.writer.submit(batch).result()

    def path(self, execution: str, job: str) -> str | None:
        """The log of a job. Ids come from outside: only what is a name and nothing else is one."""
        if not _plain(execution) or not _plain(job):
            return None
        path = os.path.join(self._state, "runs", execution, f"{job}.log")
        return path if os.path.isfile(path) and not os.path.islink(path) else None

    def starts(self, execution: str, job: str) -> list[tuple[int, str]]:
        """Where its steps begin, if the run was told to keep that (``SIGNALBOX_LOGS``)."""
        try:
            journal = Journal.read(self._state)  # the other connection is another thread's
            try:
                return [(part.offset, part.name) for part in journal.sections(execution, job)]
            finally:
                journal.close()
        except SignalboxError:
            return []


def _plain(name: str) -> bool:
    return bool(name) and name.replace("-", "").isalnum() and name.isascii()


def _taken(stored: Stored, row: StoredEvent) -> Taken | None:
    """An event of a journal as if it had been sent; None for what somebody damaged."""
    try:
        return one(join(stored.header.envelope, stored.git, row.body))
    except RefusedError:
        return None
