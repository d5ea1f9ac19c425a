"""A port of a service on our own localhost, when we are in a container as it is.

Owns the listening socket and the bytes of its connections, TCP alone. On a host the engine
publishes ports by itself: there this is not needed.
"""

import contextlib
import socket
import threading
from typing import Final

_PIECE: Final = 65_536
_CONNECT: Final = 10.0


class Forward:
    """Whoever connects to ``here`` on 127.0.0.1 is connected to the service at ``there``."""

    def __init__(self, here: int, there: tuple[str, int]) -> None:
        self._there = there
        self._listening = socket.create_server(("127.0.0.1", here))
        threading.Thread(target=self._accept, name=f"port {here}", daemon=True).start()

    def close(self) -> None:
        """Listen no more; what is connected ends with the service."""
        with contextlib.suppress(OSError):  # wakes who accepts
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            held.enter_context(near)
            far = held.enter_context(socket.create_connection(self._there, timeout=_CONNECT))
            far.settimeout(None)
            back = threading.Thread(target=_pass_on, args=(far, near), daemon=True)
            back.start()
            _pass_on(near, far)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until it ends; then the other side is told that no more will come."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
