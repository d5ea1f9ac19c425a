"""A piece of a job's log file as the body of one request.

Owns what a line becomes: numbered, cleaned, cut, under its step's name; and how much goes into one
request. Reads files that a step may have replaced: never through a link, never a pipe. Sends
nothing.
"""

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator
from typing import Final, Self

import msgspec

from runner import terminal
from runner.event import Envelope
from runner.execution import rfc3339
from runner.journal import Cursor, JobLog

RECORDS: Final = 1000
"""Lines per request (API)."""
SIZE: Final = 5_000_000
"""Bytes of a request before compression; the API takes 5.1 MiB."""
LINE: Final = 64 * 1024
"""Bytes of a line; what is longer is cut, and says so."""
BLOCK: Final = 64 * 1024
"""Bytes read at once: little more than a request's worth of ordinary lines."""
LOOKED: Final = 20_000
"""Lines, blank ones too, that are looked at for one request."""

_encode: Final = msgspec.json.Encoder().encode
_envelope: Final = msgspec.json.Decoder(Envelope)


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Some lines of one log, ready to be sent, and where the log goes on behind them."""

    log: JobLog
    body: bytes
    """Compressed; empty when all lines were blank."""
    records: int
    full: bool
    """Whether more is there already."""
    cursor: Cursor


class LogFile:
    """One job's log file as long as it was when it was opened; ``OSError`` if it cannot be."""

    def __init__(self, path: str) -> None:
        # NONBLOCK, because opening a named pipe waits for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = os.open(path, flags)
        found = os.fstat(self._fd)
        self.size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        self.written = found.st_mtime_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def lines(self, log: JobLog, start: int) -> Iterator[tuple[bytes, int, int, str]]:
        """Each whole line from ``start`` on: the text, its full length, where it ends, its section.
        A line ends with its section, too; the last one when nobody writes any more.
        """
        begin, name = start, ""
        for section in log.sections:
            if section.offset > start:
                for text, length, end in self._between(begin, section.offset, closed=True):
                    yield text, length, end, name
                begin = section.offset
            name = section.name
        for text, length, end in self._between(begin, self.size, closed=log.ended):
            yield text, length, end, name

    def _between(self, at: int, end: int, *, closed: bool) -> Iterator[tuple[bytes, int, int]]:
        held, length = b"", 0
        end = min(end, self.size)
        while at < end and (block := os.pread(self._fd, min(BLOCK, end - at), at)):
            *whole, rest = block.split(b"\n")
            for part in whole:
                length += len(part)
                at += len(part) + 1
                yield (held + part if held else part), length, at
                held, length = b"", 0
            at += len(rest)
            length += len(rest)
            held = (held + rest)[: LINE + 1]
        if length and closed:
            yield held, length, at

    def left(self, log: JobLog) -> int:
        """How many lines that are not blank are behind the cursor."""
        start = log.cursor.offset if log.cursor.offset <= self.size else 0
        return sum(not text.isspace() and text != b"" for text, *_ in self.lines(log, start))


def piece(file: LogFile, log: JobLog, now: int, records: int, size: int) -> Piece | None:
    """The next lines behind the cursor, at most ``records`` of them; None when there are none."""
    cursor, made = log.cursor, _Body(log, min(now, file.written), size)
    # A file that is shorter than we have read was removed, and made anew.
    offset, line = cursor.offset if cursor.offset <= file.size else 0, cursor.line
    full = False
    for text, length, end, section in file.lines(log, offset):
        if made.records >= records or line - cursor.line >= LOOKED:
            full = True
            break
        message = _clean(text, length)
        if message and not made.add(message, line + 1, section):
            full = True
            break
        offset, line = end, line + 1
    if line == cursor.line:
        return None
    return Piece(
        log=log,
        body=made.compressed(),
        records=made.records,
        full=full,
        cursor=Cursor(
            offset=offset,
            line=line,
            records=cursor.records + made.records,
            size=cursor.size + made.text,
        ),
    )


class _Body:
    """A request's body while lines go into it."""

    def __init__(self, log: JobLog, at: int, room: int) -> None:
        self.records = self.text = 0
        self._room = room - 2
        self._parts: list[bytes] = []
        self._ends: dict[str, bytes] = {}
        """By section: what follows a line's number."""
        self._rest = _rest(log, at)

    def add(self, message: str, line: int, section: str) -> bool:
        """Whether the line still went in; the first always does."""
        if section not in self._ends:
            self._ends[section] = b',"section_name":%b,%b' % (_encode(section), self._rest)
        text = _encode(message)
        part = b'{"message":%b,"line_number":%d%b' % (text, line, self._ends[section])
        self._room -= len(part) + 1
        if self._room < 0 and self._parts:
            return False
        self._parts.append(part)
        self.records += 1
        self.text += len(text) - 2
        return True

    def compressed(self) -> bytes:
        """The array, as gzip: the same bytes for the same lines."""
        if not self._parts:
            return b""
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        return packer.compress(b"[%b]" % b",".join(self._parts)) + packer.flush()


def _rest(log: JobLog, at: int) -> bytes:
    """What is the same in every line of a piece, as the end of an object."""
    envelope = Envelope(provider_name="signalbox")
    with contextlib.suppress(msgspec.DecodeError):
        envelope = _envelope.decode(log.envelope)
    tags = {"env": envelope.env, "service": envelope.service}
    said = ",".join(f"{key}:{value.replace(',', '_')}" for key, value in tags.items() if value)
    members = {
        "status": "info",
        "timestamp": rfc3339(at),
        "pipeline_unique_id": log.execution,
        "job_id": log.job,
        "provider_name": envelope.provider_name,
    }
    if said:
        members["ddtags"] = said
    return _encode(members)[1:]


def _clean(raw: bytes, length: int) -> str:
    """A line as text: its last state if it was written over, without colours and controls, cut;
    "" for a blank one.
    """
    text = raw[:LINE].decode(errors="replace")
    if length > LINE:
        text = f"{text.rstrip(chr(0xFFFD))} [cut: {length - LINE} more bytes]"
    if not text.isprintable():
        text = next(terminal.lines(text), "")
    return "" if not text or text.isspace() else text
