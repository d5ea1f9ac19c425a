"""The command line: how the program begins, and its only exit.

Owns what comes before anything is loaded: as PID 1 of a container, an init; beside a command that
carries steps out, a sidecar. Which commands there are is ``commands``'.
"""

import gc
import os
import sys
from typing import TYPE_CHECKING

from runner.cli import streams

if TYPE_CHECKING:  # loaded by who carries steps out
    from runner.cli.sidecar import Sidecar

_STEPS = ("run", "resume", "retry", "action")
"""The commands that carry steps out, besides ``exec``, whose command waits for no sidecar."""
_GARBAGE = 50_000
"""Objects that are made before anybody looks for garbage among them, not 700: by its first step a
run has made 18,000, none of which is any, and looking at them 41 times is a ninth of loading.
"""


def main() -> None:
    """The one exit of the program."""
    gc.set_threshold(_GARBAGE)
    streams.prepare()
    arguments, beside = sys.argv[1:], None
    steps = arguments[:1] and arguments[0] in (*_STEPS, "exec")
    if steps or os.getpid() == 1:  # in a container, with nobody before us: be the init, and fork
        from runner.cli import pid1

        pid1.guard()
    if steps:
        import signal

        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would take exit codes with it
        _load_msgspec()
    if steps and arguments[0] in _STEPS:
        from runner.cli import sidecar

        beside = sidecar.start(os.environ)
    code = run(arguments, beside)
    # At once: taking hundreds of modules apart takes 30 ms, and all that matters is on disk.
    os._exit(streams.flush(code))


def _load_msgspec() -> None:
    """Without ``typing_extensions``, which it takes where something else has brought it along: 5 ms
    for what this Python's ``typing`` has, too.
    """
    if "typing_extensions" not in sys.modules:
        # How an import is told that there is no such module; typeshed knows modules alone.
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]
        import msgspec  # noqa: F401 - loaded is all it is to be

        del sys.modules["typing_extensions"]


def run(arguments: list[str], beside: "Sidecar | None" = None) -> int:
    """Run one command line; the exit code. The error boundary: no traceback reaches a user."""
    try:
        return _carry_out(arguments, beside)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary
        from runner.cli import defect

        return defect.tell(error)
    finally:
        if beside:
            beside.end()


def _carry_out(arguments: list[str], beside: "Sidecar | None") -> int:
    """By click; but a plain ``exec`` at once, for its command waits."""
    _see_directory()
    if arguments[:1] == ["exec"]:
        from runner.cli import words

        if plain := words.plain(arguments[1:]):
            return words.carry_out(plain)
    from runner.cli import commands

    return commands.run(arguments, beside)


def _see_directory() -> None:
    """Raise ``SurroundingsError`` when nobody can say where we are."""
    try:
        os.getcwd()
    except OSError as error:
        from runner.errors import SurroundingsError

        message = f"the current directory is gone ({error.strerror})"
        raise SurroundingsError(message, "cd into one that exists") from None
