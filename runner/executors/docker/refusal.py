"""What it comes to that a step in a container does not begin, or does not go on.

Owns these ends and their words. Starts nothing.
"""

from collections.abc import Mapping
from typing import Final

from runner.executors import Command
from runner.executors.shell import NOT_EXECUTABLE, NOT_FOUND, NotStartedError, oddity
from runner.notice import Exit, Reason

VARIABLE_LIMIT: Final = 131_072 - 1
"""Bytes of one variable with its name (MAX_ARG_STRLEN, less the NUL)."""
TIMED_OUT: Final = 124
TERMINATED: Final = 143


def check(command: Command, env: Mapping[str, str]) -> None:
    """Raise ``NotStartedError`` for what no exec can be given."""
    if odd := oddity(command):
        raise NotStartedError(not_executable(f"the step cannot be started: {odd}"))
    for name, value in env.items():
        if len(name) + 1 + len(value.encode(errors="surrogateescape")) > VARIABLE_LIMIT:
            why = f"the environment is too large, most of all {name}; one variable may have 128 KiB"
            raise NotStartedError(not_executable(why))


def refusal(said: str, command: Command) -> Exit:
    """Of what the prologue, or the engine in its place, has said."""
    shell = command.shell.split(maxsplit=1)[0] if command.shell else "sh"
    match said:
        case "!cwd":
            message = f"{command.cwd}: no such directory in the container"
            return Exit(code=NOT_EXECUTABLE, reason=Reason.WORKING_DIRECTORY, message=message)
        case "!found":
            message = f"{shell}: not found in the container"
            return Exit(code=NOT_FOUND, reason=Reason.COMMAND_NOT_FOUND, message=message)
        case "!executable":
            return not_executable(f"{shell}: not executable")
        case _:
            why = f"the step did not begin: {said}"
            if "argument list too long" in said:
                return not_executable(why)
            return Exit(code=NOT_EXECUTABLE, reason=Reason.RUNNER_LOST, message=why)


def not_executable(message: str) -> Exit:
    """It cannot be carried out as it stands."""
    return Exit(code=NOT_EXECUTABLE, reason=Reason.NOT_EXECUTABLE, message=message)


def stopped(why: Reason, note: str) -> Exit:
    """Its limit, or somebody, has ended it."""
    if why is Reason.TIMEOUT:
        return Exit(code=TIMED_OUT, reason=why, message=note)
    return Exit(code=TERMINATED, signal=15, reason=why, message=note)
