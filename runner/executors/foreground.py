"""One command in the foreground: our streams, our terminal, our process group.

Owns starting it, waiting for it and passing signals on. What it prints into pipes is ``copying``'s.
Keeps less than the contract of executors promises, on purpose: whoever runs a command *in front*
of it (``signalbox exec``) must not be noticed. So nothing has a limit, nothing is killed, and what
the command leaves behind lives on.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Final

from runner.executors import Command, Place, Sink, Stop
from runner.executors.copying import Copies
from runner.executors.shell import DEFAULT_PATH, NotStartedError, refusal, search
from runner.notice import Exit, Reason

_UNDONE: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores; the command shall not."""
_WORDS: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals that mean something to the command, and no end."""
_SHELL: Final = "/bin/sh"
"""Runs a script without ``#!``, as execvp(3) does."""


class Foreground:
    """Executor and place in one, for one command. ``mask``: the signals that are blocked for it."""

    def __init__(self, arguments: Sequence[str], mask: set[int | signal.Signals]) -> None:
        self._arguments, self._mask = list(arguments), mask
        self._lock = threading.Lock()
        self._pid: int | None = None
        """None: it has not started; 0: it is over."""
        self._asked = self._typed = 0
        self.stopped: Callable[[int], None] = _nobody
        """Is told the signal that has ended the command, before ``run`` returns."""
        self.exit: Exit | None = None
        """How it ended, once it has."""
        self.started = False

    @property
    def refusal(self) -> str:
        """Why it was not started; empty: it was, or stopped before."""
        refused = self.exit and not self.started and self.exit.reason is not Reason.CANCELED
        return self.exit.message if self.exit and refused else ""

    def open(self, place: Place, stop: Stop) -> "Foreground":
        """A place for the one job there is."""
        del place, stop
        return self

    @property
    def image(self) -> None:
        """It runs in none."""

    def run(self, command: Command, sink: Sink, stop: Stop) -> Exit:
        """Run the command to its end; the sink gets the end of what it wrote into pipes."""
        with Copies() as copies:
            ended = self._carry_out(command, copies)
            tail = copies.tail()
        number = self._asked or (0 if ended.ok else self._typed)
        if number:
            stop.ask(Reason.CANCELED)
            self.stopped(number)
            why = f"stopped by {signal.Signals(number).name}"
            ended = Exit(code=ended.code, signal=number, reason=Reason.CANCELED, message=why)
        self.exit = ended
        if tail:
            sink.write(tail)
        return ended

    def _carry_out(self, command: Command, copies: Copies) -> Exit:
        try:
            pid = self._start(command, copies)
        except NotStartedError as refused:
            return refused.exit
        self.started = True
        copies.begin()
        ended = self._await(pid)
        copies.finish()
        return ended

    def pass_on(self, number: int, *, typed: bool) -> None:
        """Pass a signal on, from any thread. ``typed``: at the terminal, which tells the command
        itself; an interactive program goes on after it, and then nothing was stopped.
        """
        with self._lock:
            if self._pid and typed:
                self._typed = self._typed or number
            elif self._pid != 0 and number not in _WORDS:
                self._asked = self._asked or number
            if self._pid and not typed:
                os.kill(self._pid, number)

    def close(self) -> None:
        """Nothing is kept open."""

    def _start(self, command: Command, copies: Copies) -> int:
        with self._lock:
            if self._asked:
                code, why = 128 + self._asked, "it was not started"
                raise NotStartedError(Exit(code=code, reason=Reason.CANCELED, message=why))
            path = command.env.get("PATH", DEFAULT_PATH)
            program = search(self._arguments[0], path, command.cwd)
            try:
                pid = self._spawn(program, self._arguments, command, copies)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise NotStartedError(refusal(error, command)) from error
                pid = self._spawn(_SHELL, ["sh", program, *self._arguments[1:]], command, copies)
            self._pid = pid
            return pid

    def _spawn(self, program: str, arguments: list[str], command: Command, copies: Copies) -> int:
        return os.posix_spawn(
            program,
            arguments,
            command.env,
            file_actions=[(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in copies.ends],
            setsigmask=self._mask,
            setsigdef=_UNDONE,
        )

    def _await(self, pid: int) -> Exit:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with self._lock:  # once it is reaped, its pid may be another's
            self._pid = 0
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code >= 0:
            return Exit(code=code)
        return Exit(code=128 - code, signal=-code, reason=Reason.SIGNAL)


def _nobody(number: int) -> None:
    """Nobody wants to know."""
