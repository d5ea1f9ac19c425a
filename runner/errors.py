"""The tree of expected errors, each with its exit code and its hint.

Owns what a person is told when something is wrong and the code the process ends with. Does not
print and does not exit: that is ``cli``'s::

    SignalboxError
    ├── UsageError             2   the command line cannot be followed
    │   └── PipelineFileError  2   the pipeline file has mistakes; carries every one of them
    ├── SurroundingsError      4   the machine lacks what the run needs; nothing ran
    └── RefusedError           5   the run is not in a state for this; nothing changed
        └── TakenError         5   an execution's id is another's; nobody but ``cli`` sees it

Anything else that escapes is a defect of ours and ends with 3.
"""

from typing import Final

import msgspec

SUCCESS: Final = 0
FAILED: Final = 1
DEFECT: Final = 3
BLOCKED: Final = 75
"""A gate waits for a person: EX_TEMPFAIL of sysexits.h, "try again later"."""
INTERRUPTED: Final = 130
TERMINATED: Final = 143


class SignalboxError(Exception):
    """An expected error: what is wrong and where (message), what to do next (hint)."""

    exit_code = DEFECT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SignalboxError):
    """The command line cannot be followed."""

    exit_code = 2


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One mistake in a pipeline file. Line and column count from 1."""

    line: int
    column: int
    message: str

    def at(self, file: str) -> str:
        """``file:line:col: message``, the form editors and CIs jump to."""
        return f"{file}:{self.line}:{self.column}: {self.message}"


class PipelineFileError(UsageError):
    """The pipeline file has mistakes; all of them, in the order of their lines."""

    def __init__(self, file: str, mistakes: tuple[Mistake, ...], hint: str = "") -> None:
        super().__init__("\n".join(mistake.at(file) for mistake in mistakes), hint)
        self.file = file
        self.mistakes = mistakes


class SurroundingsError(SignalboxError):
    """The machine lacks what the run needs; nothing ran."""

    exit_code = 4


class RefusedError(SignalboxError):
    """The run is not in a state for this: answered, expired, finished, still running."""

    exit_code = 5


class TakenError(RefusedError):
    """The id that an execution was to have is another's: it runs, or it has run."""
