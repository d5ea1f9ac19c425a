"""What the run and its sidecar say to each other, and the pipes it goes through.

Owns the messages and their frames (four bytes of length, MessagePack). Both processes are
undumpable, and nobody else holds these pipes: a key may go through them.
"""

import contextlib
import os
import select
import threading
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runner.cli.places import Place
from runner.intake import Secret, Target

_HEAD: Final = 4
"""Bytes that tell a frame's length."""


class Loading(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """``places.read``, please; the answer is None for a file with mistakes."""

    place: Place


class Opening(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From here on bodies go to this intake."""

    to: Target
    environ: Mapping[str, str]
    version: str


class Sending(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """``Intake.send``, please."""

    body: bytes
    within: float


class Cutting(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End the attempt under way."""


Message = Loading | Opening | Sending | Cutting


class LostError(Exception):
    """Nobody is at the other end, or nobody who answers in time."""


class Channel:
    """One end of two pipes. Any thread may ``put``; one takes."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        os.set_blocking(sink, False)  # a process that was stopped takes nothing
        self._lock = threading.Lock()
        self._lost = False

    def put(self, message: Any, within: float | None = None) -> None:
        """Say something, ``within`` seconds if that is given; raises ``LostError``."""
        text = _encode(message)
        if not self._lock.acquire(timeout=-1 if within is None else within):
            raise LostError
        try:
            self._write(len(text).to_bytes(_HEAD) + text, within)
        finally:
            self._lock.release()

    def get(self, kind: Any, within: float | None = None) -> Any:
        """The next that the other side says, ``within`` seconds if that is given."""
        size = int.from_bytes(self._read(_HEAD, within))
        return msgspec.msgpack.decode(self._read(size, within), type=kind, dec_hook=_decoded)

    def close(self) -> None:
        """Our ends."""
        for fd in (self._source, self._sink):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _write(self, frame: bytes, within: float | None) -> None:
        """Once something was left half said nothing more can be."""
        view = memoryview(frame)
        while view:
            if self._lost or not _ready(self._sink, select.POLLOUT, within):
                self._lost = True
                raise LostError
            try:
                view = view[os.write(self._sink, view) :]
            except OSError as error:
                self._lost = True
                raise LostError from error

    def _read(self, size: int, within: float | None) -> bytes:
        """Once nobody answered in time nobody is asked again: the answer would be another's."""
        found = bytearray()
        while len(found) < size:
            if self._lost or not _ready(self._source, select.POLLIN, within):
                self._lost = True
                raise LostError
            try:
                piece = os.read(self._source, size - len(found))
            except OSError as error:
                raise LostError from error
            self._lost = not piece
            found += piece
        return bytes(found)


def _ready(fd: int, what: int, within: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, what)
    return bool(poll.poll(None if within is None else within * 1000))


def _hook(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError  # msgspec: there is no other way to write it


def _decoded(kind: type, value: Any) -> Any:
    return Secret(value) if kind is Secret else value


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_hook).encode
