"""Our three streams: that they are there, and what is said when standard output takes nothing.

Owns no text and no terminal (``voice``). A reader that goes (``| head``) is no error.
"""

import io
import os
import sys
from typing import Any


def prepare() -> None:
    """What was closed before we began is /dev/null from here on: no file or pipe that we open shall
    be taken for one of the three. What standard output refuses is a ``SurroundingsError``.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(fd, True)
    was = sys.stdout
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(1, "wb", closefd=False)),
        encoding=was.encoding if was else "utf-8",
        errors=was.errors if was else "replace",
        line_buffering=bool(was and was.line_buffering),
    )
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - while we live


def flush(code: int) -> int:
    """The exit code, when all was said that could be."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # nothing is left to say, and nobody to say it to
    except Exception as error:  # noqa: BLE001 - the boundary once more; to name the error would load msgspec for --help
        if not code:
            from runner.cli import defect

            return defect.tell(error)
    return code


class _Output(io.FileIO):
    """Standard output, which may be a full disk."""

    def write(self, piece: Any, /) -> int:
        """As ``io.FileIO``; raises ``SurroundingsError``."""
        try:
            return super().write(piece)
        except BrokenPipeError:
            raise
        except OSError as error:
            from runner.errors import SurroundingsError

            message = f"standard output cannot be written: {error.strerror}"
            raise SurroundingsError(message, "free its disk, or send it elsewhere") from None
