"""``file:line`` as a person in the workspace would write it.

A path in the output is relative to where the program ran: the step's directory, or one that make
says it has entered. What lies in the workspace is told relative to it; anything else as it is.
"""

import posixpath

from runner.failure.output import Output


def placed(output: Output, place: str, at: int, workspace: str, directory: str) -> str:
    """The place that was read about line ``at``."""
    path, _, line = place.removeprefix("file://").rpartition(":")
    if not path:
        return ""
    path = posixpath.normpath(posixpath.join(_entered(output, at) or directory, path))
    root = (workspace or _root(output)).rstrip("/") + "/"
    return f"{path.removeprefix(root) if len(root) > 1 else path}:{line}"


def _entered(output: Output, at: int) -> str:
    """Where make was on that line."""
    entered: list[str] = []
    for _, match in output.find(r".*: (Entering|Leaving) directory [`'](.+)'", 0, at + 1):
        if match[1] == "Entering":
            entered.append(match[2])
        elif entered:
            entered.pop()
    return entered[-1] if entered else ""


def _root(output: Output) -> str:
    """Where a test runner says that the project is."""
    said = next(output.find(r"rootdir: (/\S+?),?(?: |$)| RUN +v\S+ (/\S+)$"), None)
    return str(said[1][1] or said[1][2]) if said else ""
