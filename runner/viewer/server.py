"""The server: sockets, connections and their patience.

Owns how uvicorn is set up. Which signals end it is ``cli``'s.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS: Final = 512
"""At once; whoever comes later is told to come again (503)."""
IDLE: Final = 30
"""Seconds in which a connection has to bring a whole request head; twice that at most."""
_GRACE: Final = 3
"""Seconds that requests under way have at the end."""


class _Patient(H11Protocol):
    """A connection that is closed when no request comes of it: neither idling nor sending a head
    byte by byte keeps a place.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._seen: object = None
        self._timer = self.loop.call_later(IDLE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        waits = self.conn.their_state is h11.IDLE
        if waits and self._seen == (self.cycle,):
            self.transport.abort()
            return
        self._seen = (self.cycle,) if waits else None
        self._timer = self.loop.call_later(IDLE, self._look)


class Server(uvicorn.Server):
    """Serves one application on one socket until ``end``."""

    def __init__(self, application: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=_Patient,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=IDLE,
                timeout_graceful_shutdown=_GRACE,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are the command line's."""
        yield

    def end(self) -> None:
        """Take no more, finish what is under way, return from ``serve``. From any thread."""
        self.should_exit = True

    def on(self, listener: socket.socket) -> None:
        """Serve until ``end``."""
        self.run(sockets=[listener])
