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

from runner.execution import Clock
from runner.executors import Command, Place, Sink, Stop
from runner.executors.copying import Copies
from runner.executors.shell import DEFAULT_PATH, NotStartedError, refusal, search
from runner.notice import Exit, Reason

_UNDONE: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores; the command shall not."""
_WORDS: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals that mean something to the command, and no end."""
_TYPED: Final = (signal.SIGINT, signal.SIGQUIT)
_SOON: Final = 0.1
"""Seconds in which we hear, too, what was typed and has killed the command: it may be first."""
_SHELL: Final = "/bin/sh"
"""Runs a script without ``#!``, as execvp(3) does."""


class Foreground:
    """Executor and place in one, for one command. ``mask``: the signals that are blocked for it.

    It is started before there is anybody to ask for it, and seen to its end by a thread of its
    own; ``run`` waits for that.
    """

    def __init__(
        self, arguments: Sequence[str], mask: set[int | signal.Signals], clock: Clock
    ) -> None:
        self._arguments, self._mask, self._clock = list(arguments), mask, clock
        self._copies = Copies()
        self._lock = threading.Lock()
        self._pid = 0
        """0: it has not started, or is over."""
        self._asked = self._typed = 0
        self._began = self._over = self._late = 0
        self._awaited = False
        self._told = threading.Event()
        self._watch = threading.Thread(target=self._see_through, name="command", daemon=True)
        self.stopped: Callable[[int], None] = _nobody
        """Is told the signal that has ended the command, before ``run`` returns."""
        self.exit: Exit | None = None
        """How it ended, once it has."""
        self.started = False
        self.interrupted = False
        """It died of a SIGINT that was typed at the terminal."""

    @property
    def refusal(self) -> str:
        """Why it was not started; empty: it was."""
        return self.exit.message if self.exit and not self.started else ""

    @property
    def image(self) -> None:
        """It runs in none."""

    def start(self, command: Command) -> None:
        """Start it, if that can be."""
        self._began = self._clock()
        try:
            self._start(command)
        except NotStartedError as refused:
            self._end(refused.exit)
        else:
            self.started = True
            self._copies.shut()

    def attend(self) -> None:
        """From now on copy what it writes into pipes, and wait for its end."""
        if self.started:
            self._copies.begin()
            self._watch.start()

    def wait(self) -> Exit:
        """How it ended, once it has."""
        if self.started:
            self._watch.join()
        assert self.exit  # noqa: S101 - the thread leaves with it
        return self.exit

    def now(self) -> int:
        """The time as the command has it: what we load between its start and ``run``, or between
        its end and ``run``, is in nobody's duration.
        """
        if not self._awaited:
            return self._began
        return self._clock() - self._late

    def open(self, place: Place, stop: Stop) -> "Foreground":
        """A place for the one job there is."""
        del place, stop
        return self

    def run(self, command: Command, sink: Sink, stop: Stop) -> Exit:
        """See what was started to its end; the sink gets the end of what it wrote into pipes."""
        del command
        asked, self._awaited = self._clock(), not self._over
        ended = self.wait()
        self._late, self._awaited = max(asked - self._over, 0), True
        if ended.reason is Reason.CANCELED:
            stop.ask(Reason.CANCELED)
            self.stopped(ended.signal)
        if tail := self._copies.tail():
            sink.write(tail)
        return ended

    def pass_on(self, number: int, *, typed: bool) -> None:
        """Pass a signal on, from any thread. ``typed``: at the terminal, which tells the command
        itself; an interactive program goes on after it, and then nothing was stopped.
        """
        with self._lock:
            if typed:
                self._typed = self._typed or number
                self._told.set()
            if typed or not self._pid:
                return
            if number not in _WORDS:
                self._asked = self._asked or number
            os.kill(self._pid, number)

    def close(self) -> None:
        """Give the descriptors back."""
        self._copies.close()

    def _start(self, command: Command) -> None:
        path = command.env.get("PATH", DEFAULT_PATH)
        program = search(self._arguments[0], path, command.cwd)
        try:
            self._pid = self._spawn(program, self._arguments, command)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise NotStartedError(refusal(error, command)) from error
            self._pid = self._spawn(_SHELL, ["sh", program, *self._arguments[1:]], command)

    def _spawn(self, program: str, arguments: list[str], command: Command) -> int:
        ends = self._copies.ends
        return os.posix_spawn(
            program,
            arguments,
            command.env,
            file_actions=[(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in ends],
            setsigmask=self._mask,
            setsigdef=_UNDONE,
        )

    def _see_through(self) -> None:
        """The thread: it waits, and takes what was written until then."""
        ended = self._await(self._pid)
        self._over = self._clock()
        self._copies.finish()
        if ended.signal in _TYPED and not self._asked:
            self._told.wait(_SOON)
        self._end(ended)

    def _await(self, pid: int) -> Exit:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with self._lock:  # once it is reaped, its pid may be another's
            self._pid = 0
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code >= 0:
            return Exit(code=code)
        return Exit(code=128 - code, signal=-code, reason=Reason.SIGNAL)

    def _end(self, ended: Exit) -> None:
        self._over = self._over or self._clock()
        number = self._asked or (0 if ended.ok else self._typed)
        self.interrupted = ended.signal == self._typed == signal.SIGINT
        if number:
            why = f"stopped by {signal.Signals(number).name}"
            ended = Exit(code=ended.code, signal=number, reason=Reason.CANCELED, message=why)
        self.exit = ended


def _nobody(number: int) -> None:
    """Nobody wants to know."""
