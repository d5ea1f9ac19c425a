"""What travels of a job's log: its end, and where its lines go on that no intake has.

Owns how much that is and how a place in the whole log is told as one in its end. The file that it
travels in is ``parcel``'s.
"""

import io
import os
from collections.abc import Iterator
from typing import IO, Final

import msgspec

from runner.journal import Journal, Section, Stored, StoredEvent, Unsent, waiting_jobs

LIMIT: Final = 16 * 1024 * 1024
"""Bytes of a log that travel."""
_PIECE: Final = 1024 * 1024
_CUT: Final = b"[the beginning of this log was cut off when it was exported]\n"


def tail(file: IO[bytes]) -> IO[bytes]:
    """A log as it travels: of a long one, the end."""
    size = os.fstat(file.fileno()).st_size
    if size <= LIMIT:
        return file
    with file:
        file.seek(size - LIMIT + len(_CUT))
        return io.BytesIO(_CUT + file.read(LIMIT - len(_CUT)))


def unsent(journal: Journal, stored: Stored, events: tuple[StoredEvent, ...]) -> Iterator[Unsent]:
    """Where logs go on, of jobs whose final event waits: who sends that sends their lines."""
    waits = waiting_jobs(events)
    for log in journal.unsent(stored.id):
        path = os.path.join(journal.directory(stored.id), f"{log.job}.log")
        if log.job in waits and os.path.isfile(path) and not os.path.islink(path):
            yield _shifted(log, path)


def _shifted(log: Unsent, path: str) -> Unsent:
    """Where a log goes on when of it the end alone travels: its lines keep their numbers, the one
    that says so has that of the last one that is missing.
    """
    size = os.path.getsize(path)
    if size <= LIMIT:
        return log
    away = size - LIMIT
    begin, cursor = away + len(_CUT), log.cursor
    if cursor.offset < begin:
        line = cursor.line + _breaks(path, cursor.offset, begin) - 1
        cursor = msgspec.structs.replace(cursor, offset=0, line=max(line, 0))
    else:
        cursor = msgspec.structs.replace(cursor, offset=cursor.offset - away)
    sections = {
        (section.offset - away if section.offset >= begin else 0): section.name
        for section in log.sections
    }
    return Unsent(
        job=log.job,
        cursor=cursor,
        sections=tuple(
            Section(job=log.job, offset=offset, name=name) for offset, name in sections.items()
        ),
    )


def _breaks(path: str, start: int, end: int) -> int:
    """How many lines end in a part of a file."""
    found = 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(_PIECE, end - start))):
            found += piece.count(b"\n")
            start += len(piece)
    return found
