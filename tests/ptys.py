"""A program on a terminal of its own, without anybody before it: what it wrote, what it cost.

Owns the pseudo-terminal. For looks at a screen there is ``tests/tmux.py``.
"""

import fcntl
import os
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from typing import Final

_PIECE: Final = 65_536


class Pty:
    """One program in the foreground of its own terminal; all that it writes is read at once."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        columns: int = 100,
        rows: int = 30,
        keep: bool = True,
    ) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.mode = termios.tcgetattr(theirs)
        self._keep, self._parts = keep, list[bytes]()
        self.bytes = 0
        self.theirs = theirs
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=cwd,
            env={"TERM": "xterm-256color", "LANG": "C.UTF-8", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    @property
    def text(self) -> str:
        return b"".join(self._parts).decode(errors="replace")

    def end(self) -> str:
        """Wait for it; what it wrote."""
        self.process.wait(60)
        self.changed = termios.tcgetattr(self.theirs) != self.mode
        os.close(self.theirs)
        self._reader.join(5)
        os.close(self._ours)
        return self.text

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, _PIECE)
            except OSError:  # the last one on the other side has gone
                return
            self.bytes += len(piece)
            if self._keep:
                self._parts.append(piece)
