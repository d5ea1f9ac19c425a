"""What ``exec`` does before its command starts, and that it ends with the command's code.

Owns the order: everything a person said is checked, the execution has its ids and a directory, HEAD
is pinned; then the command starts, 20 ms before what reports it is loaded (``wrap``). From there on
nothing that goes wrong with us can change the code.
"""

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from runner import files
from runner.cli import identity, places
from runner.cli import settings as environment
from runner.cli.caller import Caller
from runner.cli.identity import Reserved
from runner.cli.pid1 import PASSED, SI_KERNEL
from runner.cli.settings import Outer
from runner.cli.words import Exec
from runner.commit import Look, safe_directory
from runner.executors import Command
from runner.executors.foreground import Foreground
from runner.state import Place

if TYPE_CHECKING:  # loaded when the command runs
    from runner.cli.sidecar import Sidecar

_TITLE: Final = 80
"""Characters of a command line that name a step."""


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What the command is called on each level."""

    step: str
    job: str
    pipeline: str


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A command that runs, and all that was found out before it did."""

    words: Exec
    caller: Caller
    called: Names
    foreground: Foreground
    look: Look
    place: places.Place
    warnings: list[str]
    told: Reserved | Outer
    """Where it is reported: as an execution of its own, or as a step of the run around us."""


def run(words: Exec, environ: Mapping[str, str], look: Look) -> int:
    """Carry the command out; its exit code, and one of ours only when it could not begin."""
    started = _start(words, environ, look)
    foreground, beside = started.foreground, _sidecar(started)
    _attend(foreground)
    try:
        from runner.cli import wrap

        wrap.report(started, beside)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with us, the code is the command's
        foreground.wait()
        from runner.cli import defect

        defect.tell(error)
    finally:
        if beside:
            beside.end()
    code = foreground.wait().code
    if foreground.interrupted:
        _die()
    return code


def _sidecar(started: Started) -> "Sidecar | None":
    """What loads requests on another core. Forked before there are threads."""
    if not isinstance(started.told, Reserved) or not started.told.target:
        return None
    from runner.cli import sidecar

    return sidecar.start(started.caller.environ, reads=False)


def _start(words: Exec, environ: Mapping[str, str], look: Look) -> Started:
    """Everything before the command, and its start. Raises ``SignalboxError``, and then nothing
    has begun.
    """
    here, warnings = os.getcwd(), list[str]()
    caller = Caller(environ, warnings.append)
    called = _names(words, caller)
    caller.see_plain((called.pipeline, called.job))
    place = places.Place(file=f"{here}/", workspace=places.top_level(here) or here)
    outer = caller.outer(local=words.options.local)
    told = outer or _reserve(words, caller, called, place)
    env = environment.untouched(caller.environ)
    if isinstance(told, Reserved):
        env |= _ours(told, caller, called, place)
    foreground = Foreground(words.arguments, _hold_signals(), caller.clock)
    look.pin()  # the command may change what HEAD is
    foreground.start(Command(script="", cwd=here, env=env))
    return Started(
        words=words,
        caller=caller,
        called=called,
        foreground=foreground,
        look=look,
        place=place,
        warnings=warnings,
        told=told,
    )


def _names(words: Exec, caller: Caller) -> Names:
    """What was given; else the step is named by its command line, its job by the program."""
    program = words.arguments[0]
    job = words.job or os.path.basename(program) or program
    step = words.name or _title(words.arguments, caller)
    return Names(step=step, job=job, pipeline=words.pipeline or job)


def _title(arguments: Sequence[str], caller: Caller) -> str:
    """The command line's first line. Masked while it is whole: half a secret is no needle."""
    line = caller.masker.text(shlex.join(arguments)).strip().partition("\n")[0]
    return line if len(line) <= _TITLE else f"{line[: _TITLE - 1]}…"


def _reserve(words: Exec, caller: Caller, called: Names, place: places.Place) -> Reserved:
    """The ids, and a directory that says they are taken. What cannot be written costs the journal,
    which will say so.
    """
    options, workspace = words.options, place.workspace
    target = caller.target(local=options.local)
    state = Place.of(places.state(options.state, caller.environ, workspace), workspace)
    with contextlib.suppress(OSError):
        state.prepare()
    taken = set(state.runs())
    while True:
        execution = identity.fresh(caller, called.pipeline, taken, manual=options.manual)
        try:
            free = state.reserve(execution.unique_id)
        except OSError:
            free = True
        if free:
            return Reserved(execution=execution, state=state, target=target)
        taken.add(execution.unique_id)


def _ours(reserved: Reserved, caller: Caller, called: Names, place: places.Place) -> dict[str, str]:
    """What the command sees of us; its files are there."""
    execution = reserved.execution
    job = f"{reserved.state.directory(execution.unique_id)}/{execution.job_id(called.job)}"
    with contextlib.suppress(OSError):
        files.make(job)
    return {
        **caller.about(execution),
        **safe_directory(place.workspace, caller.environ),
        **files.variables(execution, called.job, 0, 1, caller.masker.text(called.step), job),
    }


# ── signals ──────────────────────────────────────────────────────────────────────────────────────


def _hold_signals() -> set[int | signal.Signals]:
    """From now on they wait until somebody can pass them on. Those that were blocked before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, _watched())


def _die() -> None:
    """As the command did: a shell ends its loop when what it waited for has died of SIGINT, and not
    when that says 130. Where the signal ends nobody (PID 1), the code has to do.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _watched() -> set[signal.Signals]:
    """Those that the caller ignores (``nohup``) stay ignored."""
    return {number for number in PASSED if signal.getsignal(number) is not signal.SIG_IGN}


def _attend(foreground: Foreground) -> None:
    """Pass on what comes for the command, and see it to its end."""
    threading.Thread(target=_pass_on, args=(_watched(), foreground), daemon=True).start()
    foreground.attend()


def _pass_on(watched: set[signal.Signals], foreground: Foreground) -> None:
    """The thread that waits for signals: only so it is known who sent them."""
    while True:
        arrived = signal.sigwaitinfo(watched)
        foreground.pass_on(arrived.si_signo, typed=arrived.si_code == SI_KERNEL)
