"""What we hand to the run around us: we are in one of its steps, and it delivers for us.

Owns the writing of its outbox; the form is ``runner.outbox``'s. What cannot be handed over is said
once and changes nothing.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Final

from runner import outbox
from runner.cli.settings import Outer
from runner.recorder import Letter

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Relay:
    """Hands on the events of one execution, which stands at ``salt`` below the run around it."""

    def __init__(self, outer: Outer, salt: str, warn: Callable[[str], None]) -> None:
        self._outer, self._salt, self._warn = outer, salt, warn
        self._lost = False

    def __call__(self, letters: Sequence[Letter]) -> None:
        """Hand on what is on disk."""
        files: dict[str, bytes] = {}
        for path, body in letters:
            name = outbox.pipeline_file((self._salt, *path))
            files[name] = files.get(name, b"") + body + b"\n"
        for name, text in files.items():
            self._write(name, text)

    def _write(self, name: str, text: bytes) -> None:
        try:
            post(self._outer, name, text)
        except OSError as error:
            if not self._lost:
                self._lost = True
                self._warn(f"the run around this one is not told of it: {error.strerror}")


def post(outer: Outer, name: str, text: bytes) -> None:
    """Append whole lines to a file of the outbox, readable for whoever reads it."""
    fd = os.open(f"{outer.outbox}/{name}", _FLAGS, 0o644)
    try:
        with contextlib.suppress(OSError):
            os.fchmod(fd, 0o644)  # whatever the umask
        while text:
            text = text[os.write(fd, text) :]
    finally:
        os.close(fd)


def further(outer: Outer, step: bytes) -> None:
    """Report a further step of the job that we are in."""
    post(outer, outbox.step_file(outbox.salt()), step + b"\n")
