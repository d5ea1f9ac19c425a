"""What a step executes: from its script and shell to a program and its arguments.

Owns the search on the step's PATH, the files for scripts that cannot be an argument, and what it
comes to when a step cannot be started. Starts nothing.
"""

import contextlib
import errno
import os
import shlex
from typing import Final

import msgspec

from runner.executors import Command
from runner.notice import Exit, Reason

ARGUMENT_LIMIT: Final = 100_000
"""Bytes of a script passed as an argument; the kernel takes 128 KiB (MAX_ARG_STRLEN)."""
DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
BUSY: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""What is often over in a moment."""

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""The codes that sh gives."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class NotStartedError(Exception):
    """The step cannot be started; ``exit`` is what that comes to."""

    def __init__(self, ended: Exit) -> None:
        super().__init__(ended.message)
        self.exit = ended


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """The program's path, and its arguments from the name on."""

    program: str
    arguments: list[str]


class Programs:
    """From a shell and a script to a program and its arguments. Thread-safe."""

    def __init__(self, scratch: str) -> None:
        self._scratch = os.path.abspath(scratch)  # a step has a directory of its own
        self._found: dict[tuple[str, str, str], str] = {}

    def call(self, command: Command, held: contextlib.ExitStack) -> Call:
        """Raises ValueError for what no program can be given; a file made for it is ``held``."""
        words = shlex.split(command.shell)
        if words in ([], ["bash"], ["sh"]):
            return self._posix(words, command, held)
        file = self._file(command.script, held)
        arguments = [word.replace("{0}", file) for word in words]
        if arguments == words:
            arguments.append(file)
        return Call(program=self._program(words[0], command), arguments=arguments)

    def _posix(self, words: list[str], command: Command, held: contextlib.ExitStack) -> Call:
        name = words[0] if words else "bash"
        try:
            program = self._program(name, command)
        except NotStartedError:
            if words:
                raise
            name, program = "sh", self._program("sh", command)
        options = ["-eo", "pipefail"] if name == "bash" else ["-e"]
        if len(os.fsencode(command.script)) < ARGUMENT_LIMIT:
            script = ["-c", "--", command.script]  # it may begin with a dash
        else:
            script = [self._file(command.script, held)]
        return Call(program=program, arguments=[name, *options, *script])

    def _program(self, name: str, command: Command) -> str:
        path = command.env.get("PATH", DEFAULT_PATH)
        key = (name, path, command.cwd)
        if key not in self._found or not os.access(self._found[key], os.X_OK):
            self._found[key] = search(name, path, command.cwd)
        return self._found[key]

    def _file(self, script: str, held: contextlib.ExitStack) -> str:
        file = f"{self._scratch}/script-{os.urandom(8).hex()}"
        try:
            os.makedirs(self._scratch, mode=0o700, exist_ok=True)
            held.callback(_remove, file)
            with open(file, "xb", opener=_private) as target:
                target.write(os.fsencode(script))
        except OSError as error:
            reason = Reason.DISK_FULL if error.errno in _FULL else Reason.RUNNER_LOST
            message = f"the script cannot be written to {self._scratch}: {error.strerror}"
            raise NotStartedError(Exit(code=1, reason=reason, message=message)) from error
        return file


def search(name: str, path: str, cwd: str) -> str:
    """The program's path as execvp(3) finds it from ``cwd``; raises ``NotStartedError``."""
    places = [""] if "/" in name else path.split(":")
    candidates = [os.path.join(cwd, place, name) for place in places]
    files = [candidate for candidate in candidates if name and os.path.exists(candidate)]
    for file in files:
        if os.path.isfile(file) and os.access(file, os.X_OK):
            return file
    if files:
        reason, code, message = Reason.NOT_EXECUTABLE, NOT_EXECUTABLE, f"{files[0]}: not executable"
    else:
        message = f"{name}: not found" if name else "an empty word names no command"
        reason, code = Reason.COMMAND_NOT_FOUND, NOT_FOUND
    raise NotStartedError(Exit(code=code, reason=reason, message=message))


def _private(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NOFOLLOW, 0o600)


def _remove(file: str) -> None:
    with contextlib.suppress(OSError):  # the step may have removed it
        os.unlink(file)


def refusal(error: OSError | ValueError, command: Command) -> Exit:
    """What it comes to that the kernel, or Python before it, would not start ``command``."""
    if isinstance(error, ValueError):
        message = f"the step cannot be started: {oddity(command) or error}"
        return Exit(code=NOT_EXECUTABLE, reason=Reason.NOT_EXECUTABLE, message=message)
    why = error.strerror
    if error.filename == command.cwd:
        return Exit(
            code=NOT_EXECUTABLE, reason=Reason.WORKING_DIRECTORY, message=f"{command.cwd}: {why}"
        )
    if error.errno in BUSY:
        message = f"no process could be started: {why}"
        return Exit(code=NOT_EXECUTABLE, reason=Reason.RUNNER_LOST, message=message)
    if error.errno == errno.ENOENT:
        message = f"{error.filename}: it, or the interpreter that it names, does not exist"
        return Exit(code=NOT_FOUND, reason=Reason.COMMAND_NOT_FOUND, message=message)
    if error.errno == errno.E2BIG:
        name = max(command.env, key=lambda one: len(command.env[one]), default="")
        why = f"the environment is too large, most of all {name}; one variable may have 128 KiB"
    message = f"{error.filename}: {why}"
    return Exit(code=NOT_EXECUTABLE, reason=Reason.NOT_EXECUTABLE, message=message)


def oddity(command: Command) -> str:
    """Where the NUL is that no argument and no variable can hold."""
    if "\0" in command.script:
        return "the script holds a NUL byte"
    names = [name for name, value in command.env.items() if "\0" in value]
    return f"the variable {names[0]} holds a NUL byte" if names else ""
