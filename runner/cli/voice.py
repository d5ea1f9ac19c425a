"""What a command says to a person on standard error, before, while and after a run.

Owns that stream: warnings that come before there is a console wait for it, so that a run's header
stays the first line. Standard output is for data alone.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from runner.cli import places, screen
from runner.console import Console, Folds, Scene
from runner.execution import Clock, Execution
from runner.journal import Journal
from runner.notice import Notice
from runner.providers import Kind, Provider
from runner.terminal import Look, counted, lines, look

if TYPE_CHECKING:
    from runner.console.live import Live
    from runner.delivery import Delivered
    from runner.intake import Target

_COLUMNS = 100
"""Width where nobody can tell: a CI's log."""


def look_of(environ: Mapping[str, str], fd: int) -> Look:
    """How things may look on a stream."""
    tty = os.isatty(fd)
    width = os.get_terminal_size(fd).columns if tty else _COLUMNS
    stream = sys.stderr if fd == sys.stderr.fileno() else sys.stdout
    return look(environ, tty=tty, encoding=stream.encoding or "ascii", width=width)


def _stream() -> io.FileIO:
    """Standard error, unbuffered: nothing is left to write when we are killed."""
    return io.FileIO(2, "wb", closefd=False)


@contextlib.contextmanager
def last_words(warnings: Sequence[str]) -> Iterator[None]:
    """Whatever is raised meanwhile, these are said before it: no console will, and the state of a
    run may have been changed on the way here.
    """
    try:
        yield
    except Exception:
        with contextlib.suppress(OSError):
            for text in warnings:
                for line in lines(f"! warning: {text}"):
                    print(line, file=sys.stderr)
        raise


class Folding:
    """A host CI's marks, as the console asks for them."""

    def __init__(self, provider: Provider, clock: Clock, place: places.Place) -> None:
        self._provider, self._clock, self._place = provider, clock, place
        self._groups = 0

    def group(self, title: str) -> str:
        """What follows can be folded away."""
        self._groups += 1
        return self._provider.group(f"signalbox_{self._groups}", title, self._clock())

    def endgroup(self, *, ok: bool) -> str:
        """Up to here."""
        return self._provider.endgroup(f"signalbox_{self._groups}", self._clock(), ok=ok)

    def annotation(self, message: str, file: str, line: int, kind: str) -> str:
        """A message beside the code."""
        known: Kind = "warning" if kind == "warning" else "error"
        file = self._place.within(file) if file else ""
        return self._provider.annotation(message, kind=known, file=file, line=line)

    def quiet(self, token: str) -> str:
        """From here on nothing is a command."""
        return self._provider.quiet(token)

    def loud(self, token: str) -> str:
        """Commands count again."""
        return self._provider.loud(token)


class Voice:
    """The one that speaks for a command."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._look = look_of(environ, 2)
        self._environ = environ
        self._console: Console | Live | None = None
        self._live: Live | None = None
        self.early: list[str] = []
        """Warnings that wait for the console."""
        self._asides: list[str] = []
        self._begun = False

    def warn(self, text: str) -> None:
        """Something a person should know that changes no result."""
        if self._console and self._begun:
            self._console.warn(text)
        else:
            self.early.append(text)

    def tell(self, text: str) -> None:
        """What is being done, where that takes its time."""
        if self._console and self._begun:
            self._console.say(text)
        else:
            self._asides.append(text)

    def console(self, scene: Scene, folds: Folds | None) -> Console:
        """The console of a run, in lines."""
        console = self._console = Console(_stream(), self._look, scene, folds)
        return console

    def screen(self, scene: Scene, folds: Folds | None, clock: Clock) -> "Console | Live":
        """The console of a run, live where a person sits before a terminal."""
        if folds or not screen.wanted(self._environ, self._look):
            return self.console(scene, folds)
        from runner.console.live import Live, Place

        place = Place(scene=scene, look=self._look, clock=clock, stream=_stream())
        live = self._console = self._live = Live(place)
        return live

    def look(self) -> Look:
        """How things may look now; a window may have changed."""
        return look_of(self._environ, 2)

    def stopping(self) -> None:
        """The run was asked to stop; for signal handlers."""
        if self._live:
            self._live.stop()

    def shown(self) -> contextlib.AbstractContextManager[None]:
        """While a run is carried out. Afterwards the terminal is as it was."""
        return screen.shown(self._live) if self._live else contextlib.nullcontext()

    def observe(self, notices: tuple[Notice, ...]) -> None:  # noqa: ARG002 - an observer
        """The console has shown what happened, the header at least: say what waited."""
        self.release()

    def release(self) -> None:
        """Say what waited, once the header stands."""
        self._begun = True
        early, self.early[:] = self.early[:], []
        for text in early:
            self.warn(text)
        asides, self._asides = self._asides, []
        for text in asides:
            self.tell(text)

    def trouble(
        self, journal: Journal, delivered: "Delivered | None", errors: Sequence[str]
    ) -> None:
        """The only words of a command that is not to be noticed: what went wrong."""
        said, self.early[:] = self.early[:], []
        if errors:
            said.append(
                f"{counted(len(errors), 'report')} about this failed; the first: {errors[0]}"
            )
        if journal.degraded:
            said = [text for text in said if not text.startswith(journal.degraded)]  # said below
            said.append(f"events are in memory only: {journal.degraded}")
        if delivered and delivered.message:
            said.append(delivered.message)
        with contextlib.suppress(OSError):
            for text in said:
                for line in lines(text):
                    print(f"signalbox: {line}", file=sys.stderr)

    def end(
        self,
        journal: Journal,
        execution: Execution,
        target: "Target | None",
        delivered: "Delivered | None",
        errors: Sequence[str],
        *,
        relayed: bool = False,
        state: str = "",
    ) -> None:
        """The last lines: what is delivered or waiting, where to look."""
        console = self._console
        assert console is not None  # noqa: S101 - a run that ends has begun
        self.release()
        if errors:
            console.warn(
                f"{counted(len(errors), 'report')} about this run failed; the first: {errors[0]}"
            )
        if journal.degraded:
            console.warn(f"events are in memory only: {journal.degraded}")
        if delivered is None or target is None:
            how = "reported through the run around it" if relayed else "local: nothing was sent"
            show = " ".join(filter(None, ("signalbox show", execution.unique_id[:8], state)))
            console.say(how if journal.degraded else f"{how}; {show}")
            return
        if delivered.sent:
            lines = f", {counted(delivered.lines, 'log line')}" if delivered.lines else ""
            console.say(f"{counted(delivered.sent, 'event')}{lines} delivered to {target.place}")
        if delivered.message:
            console.warn(delivered.message)
        from runner import intake

        page = intake.link(target, execution.unique_id)
        if page and delivered.sent:
            console.say(page)
