"""One job's container in use: its steps one after the other, each an exec.

Owns a step from its first to its last byte, and what its end was. What the container may do is
``container``'s, the words for its shell ``script``'s, the frames ``stream``'s.
"""

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Callable
from typing import Any, Final

import docker.errors
import msgspec

from runner.executors import Command, Sink, Stop
from runner.executors.docker import script
from runner.executors.docker.calls import BRISK, CLOSING, LAST, Client, unless_stopped
from runner.executors.docker.freight import Freight
from runner.executors.docker.refusal import check, not_executable, refusal, stopped
from runner.executors.docker.stream import Stream, ready
from runner.executors.pump import PIECE, QUIET, Pump
from runner.executors.shell import NotStartedError
from runner.notice import Exit, Image, Reason

PIPE_SIZE: Final = 4 * PIECE
KILL_WAIT: Final = 5.0
"""Seconds that ending a step's processes may take: an exec on a loaded engine takes one."""
BEGIN: Final = 60.0
"""Seconds that an exec may take to say that it began, where the step may take longer."""
LEAST: Final = 5.0
"""The same for a step with a short limit: on a loaded engine an exec takes one."""
RECONNECT: Final = 15.0
"""Seconds in which an engine that went away is asked again."""
RETRY: Final = 0.2
"""Seconds between two such attempts."""
TICK: Final = 0.02
KILLED: Final = 137
_SIGNALS: Final = range(129, 129 + 31)
"""Exit codes by which engine and shell both say: by signal."""

_Errors: Final = (docker.errors.DockerException, OSError)
_Begun = tuple[Stream, script.Header, bytes]


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """A container that runs, and how the session finds its way in it."""

    api: Client
    container: str
    job_id: str
    user: str
    """Who steps are; empty: root."""
    directory: str
    """The files of steps: the same path here and there."""
    freight: Freight | None
    """What copies them; None: they are the same files."""
    pipes: bool
    """Whether a named pipe there is one and the same here and in the container."""
    image: Image


class DockerSession:
    """One job's steps in one container."""

    def __init__(
        self, home: Home, monotonic: Callable[[], float], leave: Callable[[], None]
    ) -> None:
        self._home, self._api, self._monotonic = home, home.api, monotonic
        self._leave: Callable[[], None] | None = leave
        self._pump = Pump(monotonic)
        self._lost: Exit | None = None
        self._silent = False
        self._oom_kills = 0

    @property
    def image(self) -> Image:
        """Which it was in the end."""
        return self._home.image

    def run(self, command: Command, sink: Sink, stop: Stop) -> Exit:
        """Run one step to its end."""
        if self._lost:
            return self._lost
        freight = self._home.freight
        with contextlib.ExitStack() as held:
            try:
                step = self._start(command, stop, held)
                shown = freight.watching(sink) if freight else sink
                ended = self._see_through(step, command, shown, stop)
                if freight and not self._lost:
                    freight.pull()
            except NotStartedError as refused:
                return refused.exit
            except _Errors as error:
                return self._lose(f"the engine does not answer: {error}", silent=True)
        return ended

    def close(self) -> None:
        """Remove the container, and with it all that lives there."""
        leave, self._leave = self._leave, None
        if leave:
            self._pump.close()
            with self._api.within(LAST if self._silent else CLOSING):
                leave()

    # ── start ────────────────────────────────────────────────────────────────────────────────────

    def _start(self, command: Command, stop: Stop, held: contextlib.ExitStack) -> "_Step":
        if stop.reason is not None:
            raise NotStartedError(stopped(stop.reason, "it was not started"))
        env = {**command.env, "SIGNALBOX_JOB_ID": self._home.job_id}
        check(command, env)
        pipe, end = self._pipe(held)
        file = ""
        if script.needs_file(command):
            file = self._file(os.fsencode(command.script), held)
        texts, lines = script.split(env)
        exports = self._file(lines, held) if lines else ""
        try:
            arguments = script.step(command, pipe, exports, file)
        except ValueError as error:
            raise NotStartedError(not_executable(str(error))) from error
        patience = min(BEGIN, max(LEAST, command.limit or BEGIN))
        begun = self._unless_stopped(lambda: self._begin(arguments, texts, patience), stop)
        stream, header, rest = begun
        held.callback(stream.close)
        if not header.pid:
            self._pump.drop(end)
            if header.refused:
                raise NotStartedError(self._refused(header.refused, command))
            lost = self._lose("it, or its engine, went away")
            over = patience < BEGIN and not ready([stream.fd], 0)
            raise NotStartedError(stopped(Reason.TIMEOUT, lost.message) if over else lost)
        self._pump.watch(stream.fd)
        held.callback(self._pump.ignore, stream.fd)
        self._pump.watch(stop.fd)
        held.callback(self._pump.ignore, stop.fd)
        mark = f"SIGNALBOX_STEP_ID={env.get('SIGNALBOX_STEP_ID', '-')}"
        return _Step(stream=stream, pipe=end, pid=header.pid, mark=mark, first=rest)

    def _refused(self, said: str, command: Command) -> Exit:
        """Why it did not begin: perhaps, in an engine's words, because its container is gone."""
        refused = refusal(said, command)
        unknown = refused.reason is Reason.RUNNER_LOST
        if unknown and script.ALIVE not in self._ask(script.OOM_KILLS):
            return self._lose(f"it went away as the step began: {said}")
        return refused

    def _unless_stopped(self, begin: "Callable[[], _Begun]", stop: Stop) -> "_Begun":
        """Nobody waits for an engine that does not answer."""
        begun = unless_stopped(begin, stop, lambda late: late[0].close())
        if begun is None:
            assert stop.reason is not None  # noqa: S101 - nothing else ends it early
            raise NotStartedError(stopped(stop.reason, "it was still being started"))
        return begun

    def _begin(self, arguments: list[str], env: list[str], patience: float) -> "_Begun":
        if self._home.freight:
            self._home.freight.push()
        stream = self._exec(arguments, env)
        return stream, *self._header(stream, patience)

    def _exec(self, arguments: list[str], env: list[str]) -> Stream:
        try:
            made = self._api.exec_create(
                self._home.container, arguments, environment=env, user=self._home.user
            )
            return Stream(self._api, made["Id"])
        except docker.errors.APIError as error:
            raise NotStartedError(self._lose(str(error.explanation))) from error

    def _header(self, stream: Stream, patience: float) -> tuple[script.Header, bytes]:
        """Its first line, and what came with it."""
        text, deadline = b"", self._monotonic() + patience
        while b"\n" not in text and self._monotonic() < deadline:
            ready([stream.fd], deadline - self._monotonic())
            pieces = stream.read()
            if pieces is None:
                break
            text += b"".join(pieces)
        line, _, rest = text.partition(b"\n")
        return script.Header.of(line), rest

    def _pipe(self, held: contextlib.ExitStack) -> tuple[str, int]:
        """A pipe for the output, and our end of it; none: it comes by the stream."""
        if not self._home.pipes:
            return "", -1
        path = f"{self._home.directory}/pipe-{os.urandom(8).hex()}"
        os.mkfifo(path)
        held.callback(_remove, path)
        os.chmod(path, 0o666)  # noqa: S103 - steps of any user; the directory is ours
        end = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with contextlib.suppress(OSError):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._pump.add(end)
        return path, end

    def _file(self, content: bytes, held: contextlib.ExitStack) -> str:
        """A file of ours that the step can read."""
        path = f"{self._home.directory}/script-{os.urandom(8).hex()}"
        held.callback(_remove, path)
        with open(path, "xb") as file:
            os.chmod(path, 0o644)
            file.write(content)
        return path

    # ── run ──────────────────────────────────────────────────────────────────────────────────────

    def _see_through(self, step: "_Step", command: Command, sink: Sink, stop: Stop) -> Exit:
        if step.first:
            self._pump.give(step.first, sink)
        why = self._until_over(step, command.limit, sink, stop)
        note = ""
        if why is not None:
            self._pump.ignore(stop.fd)
            everything = why is not Reason.TIMEOUT
            note = self._end(step, sink, stop, everything=everything, grace=command.grace)
            self._rest(step, sink)
        self._pump.drain(step.pipe, sink, stop)
        return self._ended(step, stop) if why is None else stopped(why, note)

    def _until_over(
        self, step: "_Step", limit: float | None, sink: Sink, stop: Stop
    ) -> Reason | None:
        """None: it ended by itself."""
        now = self._monotonic()
        deadline = math.inf if limit is None else now + limit
        while True:
            ready = self._pump.turn(sink, min(deadline - now, 3600))
            now = self._monotonic()
            if step.stream.fd in ready and self._take(step.stream, sink):
                return None
            if stop.reason is not None:
                return stop.reason
            if now >= deadline:
                return Reason.TIMEOUT

    def _rest(self, step: "_Step", sink: Sink) -> None:
        """What an ended step's stream still has on its way."""
        until = self._monotonic() + QUIET
        while (left := until - self._monotonic()) > 0 and ready([step.stream.fd], left):
            if self._take(step.stream, sink):
                return

    def _take(self, stream: Stream, sink: Sink) -> bool:
        """Take what the stream has; True: it is over."""
        pieces = stream.read()
        if pieces is None:
            self._pump.ignore(stream.fd)
            return True
        for piece in pieces:
            self._pump.give(piece, sink)
        return False

    # ── end ──────────────────────────────────────────────────────────────────────────────────────

    def _end(self, step: "_Step", sink: Sink, stop: Stop, *, everything: bool, grace: float) -> str:
        """TERM, ``grace`` seconds, KILL; returns what a person should know of it."""
        with self._api.within(CLOSING if stop.reason is None else BRISK):
            if not stop.now and self._signal("TERM", step, sink, stop, everything, grace):
                return ""
            if not self._lost and self._signal("KILL", step, sink, None, everything, KILL_WAIT):
                return "killed at once" if stop.now else f"killed {grace:g} s after SIGTERM"
        self._lose("its processes could not be ended")
        return "some of its processes could not be killed"

    def _signal(
        self,
        name: str,
        step: "_Step",
        sink: Sink,
        stop: Stop | None,
        everything: bool,
        patience: float,
    ) -> bool:
        """Send it until none is left; whether that is so, ``patience`` seconds after the first."""
        # Root may end everybody's; whose a process is, its environment tells its user alone.
        user = "0" if everything else self._home.user
        try:
            words = script.ender(name, step.pid, step.mark, everything=everything)
            made = self._api.exec_create(self._home.container, words, user=user)
            ender = Stream(self._api, made["Id"])
        except docker.errors.APIError:
            return False
        except _Errors as error:
            self._lose(f"the engine does not answer: {error}", silent=True)
            return False
        until = self._monotonic() + patience + KILL_WAIT
        sent = False
        try:
            self._pump.watch(ender.fd)
            while (now := self._monotonic()) < until and not (stop and stop.now):
                found = self._pump.turn(sink, min(TICK, until - now))
                if step.stream.fd in found:
                    self._take(step.stream, sink)
                if ender.fd in found:
                    if ender.read() is None:
                        return True
                    if not sent:
                        sent, until = True, self._monotonic() + patience
            return False
        finally:
            self._pump.ignore(ender.fd)
            ender.close()

    def _ended(self, step: "_Step", stop: Stop) -> Exit:
        """How the exec ended, by the engine: the end of a stream is not the end of a step."""
        with self._api.within(BRISK):
            found = self._inspect(step.stream.id, stop)
        code = found.get("ExitCode") if found else None
        if code is None:
            return self._lose("it, or its engine, went away while the step ran")
        if code == KILLED:
            return self._killed()
        if code in _SIGNALS:
            return Exit(code=code, signal=code - 128, reason=Reason.SIGNAL)
        return Exit(code=code)

    def _killed(self) -> Exit:
        """By somebody in the container, by the kernel, or with the container: then nothing new can
        begin in it any more, whatever the engine says of it as yet.
        """
        said = self._ask(script.OOM_KILLS)
        if script.ALIVE not in said:
            return self._lose("somebody ended it while the step ran")
        counts = [line.split()[1] for line in said.splitlines() if line.startswith(b"oom_kill ")]
        kills, before = sum(map(int, counts)), self._oom_kills
        self._oom_kills = kills
        reason = Reason.OUT_OF_MEMORY if kills > before else Reason.SIGNAL
        return Exit(code=KILLED, signal=9, reason=reason)

    def _ask(self, question: str) -> bytes:
        """What a line of shell in the container says."""
        with contextlib.suppress(*_Errors):
            made = self._api.exec_create(self._home.container, [script.SHELL, "-c", question])
            said: Any = self._api.exec_start(made["Id"])
            return bytes(said)
        return b""

    def _inspect(self, exec_id: str, stop: Stop) -> dict[str, Any] | None:
        """What the engine knows of it; patient, for it may have been started again."""
        until = self._monotonic() + RECONNECT
        while True:
            try:
                found: dict[str, Any] = self._api.exec_inspect(exec_id)
            except docker.errors.NotFound:
                return None
            except _Errors:
                found = {"Running": True}
                time.sleep(RETRY)
            if not found["Running"]:
                return found
            if self._monotonic() > until or stop.reason is not None:
                return None
            time.sleep(TICK)

    def _lose(self, why: str, *, silent: bool = False) -> Exit:
        """From now on nothing runs here. ``silent``: nor is an engine that is waited for."""
        self._silent = self._silent or silent
        if self._lost is None:
            message = f"container {self._home.container[:12]}: {why}"
            self._lost = Exit(code=1, reason=Reason.CONTAINER_LOST, message=message)
        return self._lost


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """A running step. ``pid`` is its number in the container; ``first`` came with the header."""

    stream: Stream
    pipe: int
    """Our end of the pipe for its output; -1: there is none."""
    pid: int
    mark: str
    first: bytes


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
