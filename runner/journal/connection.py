"""One connection to the database, wherever that is now: queries and commits, mended if need be.

Owns following ``Home``, which knows where, and doing once more what a moved, full or damaged file
has refused. Does not know what is asked or told (``store``).
"""

import sqlite3
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from runner.journal import base
from runner.journal.home import Home

T = TypeVar("T")

_PATIENCE: Final = 0.02
"""Seconds between two looks whether a file that is gone has been written anew."""


class Connection:
    """Used by the thread that made it."""

    def __init__(self, home: Home, db: sqlite3.Connection) -> None:
        self.home, self.db = home, db
        self._generation = home.generation
        self._thread = threading.get_ident()

    def twin(self) -> "Connection":
        """Another one, for the thread that calls this; it follows wherever this one goes. While a
        step's removal of the file is not noticed yet, there is nothing to connect to: our own
        thread writes it anew, any other waits for that.
        """
        while True:
            with self.home.lock:
                if threading.get_ident() == self._thread:
                    self.stay()
                try:
                    return Connection(self.home, self.home.connect())
                except base.FAILURES:
                    if not self.home.moved():
                        raise
            threading.Event().wait(_PATIENCE)

    def write(self, work: Callable[[sqlite3.Connection], T], *, sync: str = "FULL") -> T:
        """One commit, wherever it can be made."""
        with self.home.lock:
            result = self.attempt(work, sync)
            self.stay()
            return result

    def stay(self) -> None:
        """In the file that the path names."""
        if self.home.moved():
            self.replace(self.home.rebuild(self.db))

    def attempt(self, work: Callable[[sqlite3.Connection], T], sync: str = "FULL") -> T:
        """One commit, while ``home`` is locked."""
        while True:  # a journal mends three times at most, and memory does not fail
            self.follow()
            try:
                return base.commit(self.db, work, sync)
            except base.FAILURES as error:
                self.replace(self.home.mend(self.db, error))

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The answer of a query; after mending, if need be."""
        self.follow()
        try:
            return work(self.db)
        except base.FAILURES as error:
            with self.home.lock:
                self.replace(self.home.mend(self.db, error))
            return work(self.db)

    def follow(self) -> None:
        """To where another thread has moved the database."""
        if self._generation != self.home.generation:
            with self.home.lock:
                self.replace(self.home.connect())

    def replace(self, db: sqlite3.Connection) -> None:
        """Go on with another one."""
        self.db.close()
        self.db, self._generation = db, self.home.generation
