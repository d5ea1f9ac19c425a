"""A defect of ours, as a report to paste: where it happened, without values.

Owns that text alone. Source lines and positions are said, variables never: they may hold secrets.
"""

import platform
import sys
import traceback

from runner import __version__
from runner.errors import DEFECT


def report(error: BaseException) -> int:
    """Print the report to standard error; the exit code."""
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
    print("\n".join(lines), file=sys.stderr)
    return DEFECT


def _short(path: str) -> str:
    return "/".join(path.split("/")[-3:])
