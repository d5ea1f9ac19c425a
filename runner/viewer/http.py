"""Requests and answers as HTTP has them: bodies within bounds, errors in the intake's words.

Owns how much of a body is read, in which time, and how it is unpacked. Routes are ``api``'s and
``readback``'s.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

BODY: Final = 5_347_737
"""Bytes of a request's body, unpacked: 5.1 MiB, what the intake of logs says; of events it says
none, and 4 MB is what senders stay below.
"""
_HEARD: Final = 4 * BODY
"""Bytes that are heard out all the same, so that whoever sends them gets to the answer."""
_DIGITS: Final = 19
IN_FLIGHT: Final = 48 * 1024 * 1024
"""Bytes of all bodies that are being read or written to disk."""
SLOWEST: Final = 30.0
"""Seconds that a body may take to come."""

_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's window bits for each encoding; ``identity`` is none."""
_RAW: Final = -15


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """The request is answered with this status; ``details`` say why."""

    def __init__(self, status: int, *details: str, wait: int = 0) -> None:
        super().__init__("; ".join(details))
        self.status = status
        self.details = details
        self.wait = wait
        """Seconds after which to try again."""


Route = Callable[[Request], Awaitable[Response]]


def errors(refusal: Refusal) -> Response:
    """The body of ``HTTPCIAppErrors``."""
    title = HTTPStatus(refusal.status).phrase
    details = refusal.details or (title,)
    told = [{"title": title, "detail": detail, "status": str(refusal.status)} for detail in details]
    return _refused(refusal, told)


def texts(refusal: Refusal) -> Response:
    """The body of ``APIErrorResponse``."""
    return _refused(refusal, list(refusal.details) or [HTTPStatus(refusal.status).phrase])


def _refused(refusal: Refusal, told: list[Any]) -> Response:
    response = json({"errors": told}, refusal.status)
    if refusal.wait:
        response.headers["X-RateLimit-Reset"] = str(refusal.wait)
        response.headers["Retry-After"] = str(refusal.wait)
    return response


def json(value: object, status: int = 200) -> Response:
    """An answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def answering(route: Route, told: Callable[[Refusal], Response] = errors) -> Route:
    """The route, its refusals told in these words."""

    async def answered(request: Request) -> Response:
        try:
            return await route(request)
        except Refusal as refusal:
            return told(refusal)

    return answered


class Hall:
    """Bodies that are being dealt with, all together within ``IN_FLIGHT``."""

    def __init__(self) -> None:
        self._bytes = 0

    async def body(self, request: Request) -> bytes:
        """The request's body, unpacked; raises ``Refusal``. ``leave`` with its length."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, f"Content-Type is {kind or 'missing'}: application/json is taken")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", *_WINDOWS}:
            raise Refusal(415, f"Content-Encoding {encoding[:40]}: gzip and deflate are taken")
        packed = await self._read(request)
        self._bytes -= len(packed)
        plain = packed if encoding == "identity" else unpack(packed, encoding)
        self._bytes += len(plain)
        return plain

    def leave(self, length: int) -> None:
        """A body is dealt with."""
        self._bytes -= length

    async def _read(self, request: Request) -> bytes:
        found = bytearray()
        heard = 0
        self._bound(_declared(request))
        try:
            async with asyncio.timeout(SLOWEST):
                async for piece in request.stream():
                    heard += len(piece)
                    if heard <= BODY:
                        found += piece
                        self._bytes += len(piece)
                    self._bound(heard)
        except TimeoutError:
            self._bytes -= len(found)
            raise Refusal(408, f"the body did not come within {SLOWEST:.0f} s") from None
        except BaseException as error:
            self._bytes -= len(found)
            if isinstance(error, ClientDisconnect):
                raise Refusal(400, "the body ended early") from None
            raise
        if heard > BODY:
            self._bytes -= len(found)
            raise _too_long()
        return bytes(found)

    def _bound(self, heard: int) -> None:
        if heard > _HEARD:
            raise _too_long()
        if self._bytes > IN_FLIGHT:
            raise Refusal(429, "too much comes at once", wait=1)


def _too_long() -> Refusal:
    return Refusal(413, f"the body is longer than {BODY} bytes")


def _declared(request: Request) -> int:
    """The length that the request says its body has; 0: it says none."""
    told = request.headers.get("content-length", "0")
    return int(told) if told.isdecimal() and len(told) < _DIGITS else 0


def unpack(packed: bytes, encoding: str) -> bytes:
    """The body as it was before; raises ``Refusal`` for what is none, or grows too long."""
    window = _WINDOWS[encoding]
    if encoding == "deflate" and packed[:1] and packed[0] & 0x0F != 8:  # noqa: PLR2004 - RFC 1950
        window = _RAW  # what some call deflate has no header
    machine = zlib.decompressobj(window)
    try:
        plain = machine.decompress(packed, BODY + 1)
    except zlib.error:
        raise Refusal(400, f"the body is not {encoding}") from None
    if len(plain) > BODY:
        raise Refusal(413, f"the body is longer than {BODY} bytes when unpacked")
    if not machine.eof:
        raise Refusal(400, f"the body is not whole {encoding}")
    return plain
