"""How the test intake speaks: one scripted ``Answer``, one connection read and written by hand.

Owns HTTP on a raw socket, and every way to break it. Does not own what is said when
(``intake_server``) or what it means (``intake_model``).
"""

import select
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec


class Fault(Enum):
    """What goes wrong with the connection, beside what ``Answer`` says in HTTP."""

    NONE = "none"
    HANG_ACCEPT = "never reads, never answers (and no TLS handshake)"
    HANG_HEAD = "reads the request, never answers"
    HANG_BODY = "answers with a head, never with the body"
    RESET_EARLY = "RST before reading the request"
    RESET = "RST after reading the request"
    HALF_CLOSE = "FIN after reading the request, without an answer"
    GARBAGE = "bytes that are no HTTP"
    DROP = "stores the events, then RST without an answer"
    CLOSE = "answers, then closes a connection that was to be kept alive"
    EARLY = "answers from the head alone, while the body still comes"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One scripted answer. ``stored``: by default 202 and DROP store the events."""

    status: int = 202
    body: bytes = b"{}"
    headers: Mapping[str, str] = {}
    delay: float = 0.0
    """Seconds before the answer begins."""
    drip: float = 0.0
    """Seconds between the bytes of the answer."""
    drip_in: float = 0.0
    """Seconds between reads of 1 KiB of the request."""
    fault: Fault = Fault.NONE
    head: bytes = b""
    """Instead of a well-formed head: these bytes."""
    stored: bool | None = None

    @property
    def keeps(self) -> bool:
        """Whether the intake has the events afterwards."""
        return (
            self.status == 202 or self.fault is Fault.DROP if self.stored is None else self.stored
        )


HTML: Final = Answer(
    status=200,
    body=b"<html>Log in to the guest network</html>",
    headers={"Content-Type": "text/html"},
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came in. ``at`` is monotonic seconds, when its head was complete."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float


class Talk:
    """One connection, read and written by hand."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self._socket = connection
        self._over = over
        self._buffer = bytearray()

    def readable(self) -> bool:
        """Wait for the next request to begin; False when none will come."""
        while not self._over.is_set():
            pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
            if self._buffer or pending or select.select([self._socket], [], [], 0.2)[0]:
                return self._begins()
        return False

    def _begins(self) -> bool:
        if self._buffer:
            return True
        if isinstance(self._socket, ssl.SSLSocket):
            self._more(65536)
            return True
        return bool(self._socket.recv(1, socket.MSG_PEEK))

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from here on."""
        self._socket = context.wrap_socket(self._socket, server_side=True)

    def head(self) -> tuple[str, str, dict[str, str]]:
        """Method, path and headers (names in lower case) of the next request."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._more(65536)
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        method, path, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        return method, path, {name.strip().lower(): value.strip() for name, _, value in pairs}

    def body(self, headers: Mapping[str, str], drip: float) -> bytes:
        """The body that belongs to these headers."""
        size = int(headers.get("content-length", "0"))
        while len(self._buffer) < size:
            if drip:
                self._over.wait(drip)
            self._more(1024 if drip else 1 << 20)
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return body

    def _more(self, size: int) -> None:
        piece = self._socket.recv(size)
        if not piece:
            raise EOFError
        self._buffer += piece

    def send(self, raw: bytes, drip: float) -> None:
        """Write all of it, ``drip`` seconds between the bytes."""
        if not drip:
            self._socket.sendall(raw)
            return
        for position in range(len(raw)):
            if self._over.is_set():
                return
            self._socket.sendall(raw[position : position + 1])
            self._over.wait(drip)

    def linger(self) -> None:
        """Say that this was all, then let the other side finish (as nginx does, RFC 9112, 9.6)."""
        self._socket.shutdown(socket.SHUT_WR)
        while self._socket.recv(1 << 20):
            pass

    def reset(self) -> None:
        """RST instead of FIN: a linger of zero seconds."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Let go of the connection."""
        self._socket.close()


def head(answer: Answer, length: int) -> bytes:
    """The head of an answer whose body has ``length`` bytes."""
    headers = {"Content-Type": "application/vnd.api+json", "Content-Length": str(length)}
    lines = [f"{name}: {value}" for name, value in {**headers, **answer.headers}.items()]
    return "\r\n".join([f"HTTP/1.1 {answer.status} Scripted", *lines, "", ""]).encode("latin-1")
