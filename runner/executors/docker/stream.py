"""One exec: its output as frames on a socket, and how it ended.

Owns the conversation with the engine about one exec. Knows no steps: who leads and what is to be
made of an exit code is ``session``'s.
"""

import contextlib
import select
import struct
import threading
from typing import Any, Final

from docker import APIClient

_HEADER: Final = struct.Struct(">BxxxL")
"""Which stream, and how many bytes of it follow:
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
"""
_PIECE: Final = 65_536


class Stream:
    """The output of a running exec. ``fd`` is ready when there is something to ``read``."""

    def __init__(self, api: APIClient, exec_id: str) -> None:
        self.id = exec_id
        self._socket: Any = _opened(api, exec_id)
        self._response = self._socket._response  # noqa: SLF001 - kept there by the SDK, to be kept
        self._raw = bytearray()
        self._owed = 0
        self._begin()

    def _begin(self) -> None:
        """What came with the answer's header lies in a buffer that the SDK never looks into."""
        plain = getattr(self._socket, "_sock", None)
        if plain is not None and not hasattr(plain, "pending"):
            self._source: Any = plain
            plain.setblocking(False)
            self._raw += self._response.raw._fp.fp.peek() or b""  # noqa: SLF001 - its only name
        else:  # TLS and ssh may hold bytes while their descriptor is silent
            self._source = _pumped(self._socket)
        self.fd: int = self._source.fileno()

    def read(self) -> list[bytes] | None:
        """What came, without blocking; None: the exec is over, or nobody knows of it any more."""
        over = False
        try:
            got = self._source.recv(_PIECE)
            over = not got
        except BlockingIOError:
            got = b""
        except OSError:
            got, over = b"", True
        self._raw += got
        pieces = self._pieces()
        return None if over and not pieces else pieces

    def _pieces(self) -> list[bytes]:
        found = []
        while self._raw:
            if not self._owed:
                if len(self._raw) < _HEADER.size:
                    break
                self._owed = _HEADER.unpack_from(self._raw)[1]
                del self._raw[: _HEADER.size]
                continue
            piece = bytes(self._raw[: self._owed])
            del self._raw[: self._owed]
            self._owed -= len(piece)
            found.append(piece)
        return found

    def close(self) -> None:
        """Hang up. The exec goes on."""
        with contextlib.suppress(Exception):
            self._response.close()
        with contextlib.suppress(OSError):
            self._source.close()


def _opened(api: APIClient, exec_id: str) -> Any:
    return api.exec_start(exec_id, socket=True)


def _pumped(source: Any) -> Any:
    """A plain socket that gives what ``source`` gives, through a thread that waits for it."""
    import socket  # noqa: PLC0415 - engines far away alone

    ours, theirs = socket.socketpair()

    def pump() -> None:
        read = source.recv if hasattr(source, "recv") else source.read
        with contextlib.suppress(OSError), theirs:
            while piece := read(_PIECE):
                theirs.sendall(piece)

    threading.Thread(target=pump, name="exec", daemon=True).start()
    ours.setblocking(False)
    return ours


def ready(fds: list[int], seconds: float) -> bool:
    """Whether one of them is ready within so long."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0, int(seconds * 1000))))
