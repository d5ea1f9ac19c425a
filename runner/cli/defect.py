"""What is told of an error: one that is expected in its own words, a defect as a report to paste.

Owns that text alone: of a defect, where it happened, without values. Source lines and positions are
said, variables never: they may hold secrets.
"""

import contextlib
import sys

from runner import __version__
from runner.errors import DEFECT, PipelineFileError, SignalboxError


def tell(error: Exception) -> int:
    """Say what is wrong, on standard error; the exit code."""
    if not isinstance(error, SignalboxError):
        return report(error)
    named = not isinstance(error, PipelineFileError)  # whose lines begin with where they point to
    said = f"signalbox: {error.message}" if named else error.message
    _say(said, *(f"  → {line}" for line in error.hint.splitlines()))
    return error.exit_code


def report(error: BaseException) -> int:
    """Print the report to standard error; the exit code."""
    import platform  # both by who needs them
    import traceback

    lines = [
        "signalbox: a defect of ours; the build's own result is not known. Please report this:",
        "",
        f"    signalbox {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"    {type(error).__name__}",
    ]
    lines += [
        f"      {_short(frame.filename)}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    _say(*lines)
    return DEFECT


def _say(*lines: str) -> None:
    with contextlib.suppress(OSError):  # nobody can be told
        print("\n".join(lines), file=sys.stderr)


def _short(path: str) -> str:
    return "/".join(path.split("/")[-3:])
