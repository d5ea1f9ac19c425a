"""Keys, while the view is there: each at once and without echo. Ctrl-C and Ctrl-Z stay signals.

Owns the terminal's input mode; ``release`` gives it back as it was found.
"""

import contextlib
import os
import re
import termios
from enum import Enum
from typing import Any, Final


class Key(Enum):
    """What a key means."""

    UP = "up"
    DOWN = "down"
    FOLLOW = "follow"
    ALL = "all"
    LINES = "lines"
    REPAINT = "repaint"


_KEYS: Final = {
    b"\x1b[A": Key.UP,
    b"\x1bOA": Key.UP,
    b"k": Key.UP,
    b"\x1b[B": Key.DOWN,
    b"\x1bOB": Key.DOWN,
    b"j": Key.DOWN,
    b"\r": Key.FOLLOW,
    b"\n": Key.FOLLOW,
    b"f": Key.FOLLOW,
    b"a": Key.ALL,
    b"q": Key.LINES,
    b"\x0c": Key.REPAINT,
}
_PRESSED: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?|.", re.DOTALL)
_READ: Final = 1024


def foreground(fd: int) -> bool:
    """Whether the terminal behind ``fd`` is ours at the moment, and not a shell's."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


class Keyboard:
    """The terminal's input; where there is none, there are no keys."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None

    @property
    def grabbed(self) -> bool:
        """Whether keys come here."""
        return self._before is not None

    def grab(self) -> None:
        """Take the keys; again, when somebody may have changed the mode meanwhile."""
        if not foreground(self._fd):
            return
        with contextlib.suppress(termios.error):
            mode = termios.tcgetattr(self._fd)
            before = [*mode[:6], list(mode[6])]
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            mode[6][termios.VMIN] = mode[6][termios.VTIME] = 0
            termios.tcsetattr(self._fd, termios.TCSANOW, mode)
            self._before = self._before or before

    def release(self) -> None:
        """Give them back, unless somebody else has the terminal."""
        before, self._before = self._before, None
        if before and foreground(self._fd):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def read(self) -> list[Key]:
        """The keys that were pressed and mean something; does not wait."""
        if not self.grabbed or not foreground(self._fd):
            return []
        try:
            pressed = os.read(self._fd, _READ)
        except OSError:  # the terminal is gone
            return []
        found = (_KEYS.get(match[0]) for match in _PRESSED.finditer(pressed))
        return [key for key in found if key]
