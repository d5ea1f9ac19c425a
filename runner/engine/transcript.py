"""What a job prints, on its way: mask, log file, screen, and the tail a failure is read from.

Owns the order of these four and the files a step writes its tags, measures and outputs into. Does
not interpret output (``failure``) or entries (``entries``). A full disk costs the log, never the
step: the pipe keeps draining (faults D2, P4).
"""

import contextlib
import os
from typing import Final

from runner import files
from runner.notice import Said, Screen
from runner.redact import Masker

TAIL: Final = 64 * 1024
"""Bytes of output a failure is read from."""
LINE: Final = 64 * 1024
"""A longer line is shown in pieces: what never ends must not pile up (fault P5)."""
FILE_LIMIT: Final = 1024 * 1024
"""Bytes of one of the step's files that are read; one more, so that ``entries`` sees it is cut."""
LOG_LIMIT: Final = 256 * 1024 * 1024
"""Bytes a job's log file may have before only its tail is kept."""


class Transcript:
    """One job's output and its files, in ``directory`` (made here); the log is ``log``.

    A ``Sink`` for an executor: used by the job's worker thread alone.
    """

    def __init__(self, job: str, directory: str, log: str, masker: Masker, screen: Screen) -> None:
        self._job, self._directory, self._log = job, directory, log
        self._masker, self._screen = masker, screen
        self._stream = masker.stream()
        self._held = bytearray()
        self._tail = bytearray()
        self._fd = -1
        self._masked = 0
        self._unmasked = 0
        self.size = 0
        self._open()

    # ── a step ───────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Before an attempt: its tail is empty, its files are there, whatever a step removed."""
        self._tail.clear()
        if not os.path.exists(self.path("mask")):
            self.close()
            self._open()

    def end(self) -> None:
        """After an attempt: everything is let out."""
        self._read_masks()
        self._let(self._stream.flush())
        self._show(whole=True)

    def tail(self) -> bytes:
        """The end of what the attempt printed, masked with all that is known by now. Masked before
        it is cut: half a secret is no needle.
        """
        return self._masker.bytes(bytes(self._tail))[-TAIL:]

    def unmasked(self) -> int:
        """How many values in ``SIGNALBOX_MASK`` could not be masked, being too short."""
        count, self._unmasked = self._unmasked, 0
        return count

    def said(self) -> Said | None:
        """What the attempt wrote into its files, which are empty again; None: nothing."""
        written = [self._take(name) for name in ("tags", "measures", "output", "summary")]
        if not any(written):
            return None
        from runner import entries  # noqa: PLC0415 - 2 ms that a silent step does not need

        return entries.read(*written)

    def path(self, name: str) -> str:
        """The file behind ``SIGNALBOX_<NAME>``."""
        return files.path(self._directory, name)

    # ── the executor's sink ──────────────────────────────────────────────────────────────────────

    def write(self, piece: bytes) -> None:
        """Take in a piece of raw output."""
        self._read_masks()
        self._let(self._stream.feed(piece))
        self._show(whole=False)

    def idle(self) -> None:
        """Nothing came for a while: show a partial line, as far as it cannot be a secret."""
        self._read_masks()
        self._let(self._stream.idle())
        self._show(whole=True)

    def close(self) -> None:
        """Close the log."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        self._masked = 0
        with contextlib.suppress(OSError):
            files.make(self._directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._log, flags, 0o600)
            self.size = os.fstat(self._fd).st_size  # 0 again, when a step removed the old one

    def _let(self, masked: bytes) -> None:
        if not masked:
            return
        self._held += masked
        self._tail += masked
        if len(self._tail) > 4 * TAIL:
            del self._tail[:-TAIL]
        self._record(masked)

    def _record(self, masked: bytes) -> None:
        room = LOG_LIMIT - self.size
        self.size += len(masked)
        if self._fd < 0 or room <= 0:
            return
        cut = b"\n[log cut here: %d bytes is its limit]\n" % LOG_LIMIT
        piece = masked if len(masked) <= room else masked[:room] + cut
        try:
            while piece:
                piece = piece[os.write(self._fd, piece) :]
        except OSError:  # a full disk costs the log, not the step
            self.close()

    def _show(self, *, whole: bool) -> None:
        held = self._held
        if not held:
            return
        end = len(held) if whole or len(held) > LINE else held.rfind(b"\n") + 1
        if end:
            self._screen.output(self._job, bytes(held[:end]))
            del held[:end]

    def _read_masks(self) -> None:
        path = self.path("mask")
        try:
            if os.stat(path).st_size <= self._masked:
                return
            with open(path, "rb") as file:
                file.seek(self._masked)
                text = file.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1] or text
        self._masked += len(whole)
        from runner import entries  # noqa: PLC0415 - read by who needs it

        self._unmasked += len(self._masker.add(entries.masks(whole)))

    def _take(self, name: str) -> bytes:
        path = self.path(name)
        try:
            if not os.stat(path).st_size:
                return b""
            with open(path, "r+b") as file:
                text = file.read(FILE_LIMIT + 1)
                file.truncate(0)
        except OSError:
            return b""
        return text
