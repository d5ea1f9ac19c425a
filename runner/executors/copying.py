"""A command's pipes, copied through to ours byte for byte, and the end of what went through.

Owns which streams are copied: pipes and sockets. A terminal, a file, /dev/null are the command's
own and nothing is seen of what it writes there. Does not mask: what is copied is the command's.
"""

import contextlib
import fcntl
import os
import select
import stat
import threading
from collections import deque
from typing import Final

PIECE: Final = 65_536
PIPE_SIZE: Final = 4 * PIECE
TAIL: Final = 256 * 1024
"""Bytes kept: four times what a failure is read from, for they are masked before they are cut."""


class Copies:
    """The copies of standard output and standard error; one for both if they are one pipe, so that
    their order is kept.
    """

    def __init__(self) -> None:
        self._tail = _Tail()
        self.ends: list[tuple[int, int]] = []
        """What the command gets: our descriptor, and the number it has there."""
        made: dict[tuple[int, int], _Copy] = {}
        for fd in (1, 2):
            pipe = _pipe(fd)
            if pipe is None:
                continue
            if pipe not in made:
                made[pipe] = _Copy(fd, self._tail)
            self.ends.append((made[pipe].entrance, fd))
        self._copies = list(made.values())

    def close(self) -> None:
        """Give the descriptors back."""
        for copy in self._copies:
            copy.close()

    def shut(self) -> None:
        """The command has started: from now on it alone holds the entrances."""
        for copy in self._copies:
            copy.shut()

    def begin(self) -> None:
        """Copy what comes."""
        for copy in self._copies:
            copy.start()

    def finish(self) -> None:
        """The command has ended: take what it wrote. What it left behind may go on writing: from
        here on a ``cat`` copies that, which lives as long as it.
        """
        for copy in self._copies:
            copy.finish()
        for copy in self._copies:
            copy.join()
            copy.leave()

    def tail(self) -> bytes:
        """The end of what was copied."""
        return self._tail.read()


class _Tail:
    """The last bytes of all copies, in the order in which they came."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def add(self, piece: bytes) -> None:
        with self._lock:
            self._pieces.append(piece)
            self._size += len(piece)
            while self._size - len(self._pieces[0]) >= TAIL:
                self._size -= len(self._pieces.popleft())

    def read(self) -> bytes:
        with self._lock:
            return b"".join(self._pieces)


class _Copy(threading.Thread):
    """One stream. A thread of its own, because our own stream must be left as it is: blocking."""

    def __init__(self, out: int, tail: _Tail) -> None:
        super().__init__(name=f"copy-{out}", daemon=True)
        self._out, self._tail = out, tail
        self._pipe, self.entrance = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        self._open = True

    def run(self) -> None:
        """Copy until everybody has closed it, or the command is over and nothing is left."""
        left = PIPE_SIZE
        while left > 0:
            ready = self._ready()
            if self._pipe not in ready:
                return
            piece = os.read(self._pipe, PIECE)
            if not piece or not self._write(piece):
                self._drop()
                return
            self._tail.add(piece)
            left -= len(piece) if self._over in ready else 0

    def finish(self) -> None:
        """The command is over."""
        os.eventfd_write(self._over, 1)

    def leave(self) -> None:
        """If somebody still holds the pipe, let somebody else go on copying."""
        if self._open and self._held():
            with contextlib.suppress(OSError):
                os.posix_spawnp(
                    "cat",
                    ["cat"],
                    {"PATH": os.defpath},
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, self._pipe, 0),
                        (os.POSIX_SPAWN_DUP2, self._out, 1),
                    ],
                )

    def shut(self) -> None:
        if self.entrance >= 0:
            os.close(self.entrance)
            self.entrance = -1

    def close(self) -> None:
        """Give the descriptors back."""
        self.shut()
        self._drop()
        os.close(self._over)

    def _ready(self) -> list[int]:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(self._over, select.POLLIN)
        return [fd for fd, _ in poll.poll()]

    def _held(self) -> bool:
        """Whether a writer is left: a pipe without one shows its end."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def _write(self, piece: bytes) -> bool:
        """False: nobody reads our stream any more, and so nobody shall read the command's."""
        view = memoryview(piece)
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:  # somebody we share it with has made it so
                select.select([], [self._out], [])
            except OSError:
                return False
        return True

    def _drop(self) -> None:
        if self._open:
            self._open = False
            os.close(self._pipe)


def _pipe(fd: int) -> tuple[int, int] | None:
    """Which pipe ``fd`` is; None: it is none, or closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    piped = stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode)
    return (found.st_dev, found.st_ino) if piped else None
