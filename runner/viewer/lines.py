"""Lines of jobs' logs: one request's body -> lines, or why not; and reading them back.

Owns the strictness of ``POST /api/v2/cilogs`` (reference: the CI job logs endpoint). A line's job
and execution need not be known yet.
"""

import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, BinaryIO, Final

import msgspec
from msgspec import Meta

from runner.viewer.check import Text
from runner.viewer.columns import milliseconds
from runner.viewer.rows import Line, Lines

LINES: Final = 1000
"""Per request."""
SIZE: Final = 8 * 1024 * 1024
"""Characters of the lines of one answer."""
LONGEST: Final = 65_536
"""Bytes of a line of a file that are shown."""
_NUMBER: Final = (1 << 63) - 1


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line as it is sent; other members are of the job as a whole, and not kept."""

    message: Text
    pipeline_unique_id: Text
    job_id: Text
    provider_name: Annotated[str, Meta(min_length=1, pattern=r"\A[^,]*\Z")] = "custom"
    line_number: Annotated[int, Meta(ge=0, le=_NUMBER)] | None = None
    section_name: str | None = None
    status: str | None = None
    timestamp: Annotated[datetime, Meta(tz=True)] | None = None
    ddtags: str | None = None

    @property
    def at(self) -> int | None:
        """When it was printed, in epoch milliseconds."""
        return milliseconds(self.timestamp) if self.timestamp else None


class RefusedLinesError(Exception):
    """The request is not taken."""


_many: Final = msgspec.json.Decoder(list[LogLine])
_one: Final = msgspec.json.Decoder(LogLine)
_raws: Final = msgspec.json.Decoder(list[msgspec.Raw])
_loose: Final = msgspec.json.Decoder(list[dict[str, Any]] | dict[str, Any])


def request(body: bytes) -> list[LogLine]:
    """The lines of one request; raises ``RefusedLinesError``."""
    try:
        many = body.lstrip()[:1] == b"["
        found = _many.decode(body) if many else [_one.decode(body)]
        _plain(_loose.decode(body))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedLinesError(str(error).replace("$", "body")) from None
    if len(found) > LINES:
        raise RefusedLinesError(f"{len(found)} lines; a request takes {LINES} at most")
    return found


def bodies(body: bytes) -> list[bytes]:
    """The lines of one request that was taken, each as it came."""
    many = body.lstrip()[:1] == b"["
    return [bytes(raw) for raw in _raws.decode(body)] if many else [body]


def _plain(records: list[dict[str, Any]] | dict[str, Any]) -> None:
    """Members of the job are texts, numbers, truths or null."""
    for place, record in enumerate(records if isinstance(records, list) else [records]):
        for name, value in record.items():
            if isinstance(value, (list, dict)):
                raise RefusedLinesError(f"[{place}].{name}: objects and arrays are not taken")


def read(db: sqlite3.Connection, log: int, after: int, limit: int) -> Lines:
    """Lines of a log with numbers above ``after``: as many, but for one no more than ``SIZE``."""
    rows = db.execute(
        "SELECT number, text, message, at, line.status FROM line LEFT JOIN word ON id = section"
        " WHERE log = ? AND number > ? ORDER BY number",
        (log, after),
    )
    found: list[Line] = []
    room = SIZE
    for number, section, message, at, status in rows:
        room -= len(message)
        if found and (len(found) == limit or room < 0):
            return Lines(lines=tuple(found), next=found[-1].number)
        found.append(
            Line(number=number, section=section or "", message=message, at=at, status=status)
        )
    return Lines(lines=tuple(found))


def before_end(db: sqlite3.Connection, log: int, count: int) -> int | None:
    """The number after which the last ``count`` lines come; None: there are none at all."""
    (first,) = db.execute(
        "SELECT min(number) FROM"
        " (SELECT number FROM line WHERE log = ? ORDER BY number DESC LIMIT ?)",
        (log, count),
    ).fetchone()
    return None if first is None else int(first) - 1


def before_end_of_file(path: str, count: int) -> int:
    """The same of a job's log file."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return max(sum(1 for _ in _texts(file)) - count, 0)
    except OSError:
        return 0


def read_file(path: str, after: int, limit: int, starts: list[tuple[int, str]]) -> Lines:
    """The same of a job's log file; ``starts``: where each step begins in it, in bytes."""
    found: list[Line] = []
    room = SIZE
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            for number, (offset, text) in enumerate(_texts(file), 1):
                if number <= after:
                    continue
                room -= len(text)
                if found and (len(found) == limit or room < 0):
                    return Lines(lines=tuple(found), next=found[-1].number)
                section = next((name for at, name in reversed(starts) if at <= offset), "")
                message = text.decode("utf-8", "replace").rstrip("\r\n")
                found.append(Line(number=number, section=section, message=message))
    except OSError:
        pass  # it is gone: there are no lines
    return Lines(lines=tuple(found))


def _texts(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Each line's place and beginning: a file may be one line of a gigabyte."""
    offset = 0
    while text := file.readline(LONGEST):
        yield offset, text
        offset += len(text)
        while not text.endswith(b"\n") and (text := file.readline(LONGEST)):
            offset += len(text)
