"""One execution from the first row to the exit code: what ``run`` and ``resume`` share.

Owns the wiring: who observes whom, what starts when, what is waited for at the end. The first step
starts after two git calls and one commit; GitPython and requests are loaded while it runs.
"""

import contextlib
import hashlib
import itertools
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runner import commit, errors, event, plan, providers, recorder
from runner import execution as executions
from runner.cli import pid1, places
from runner.cli import settings as environment
from runner.cli.backstage import Backstage
from runner.cli.ownership import give_back
from runner.cli.places import Place
from runner.cli.voice import Folding, Voice
from runner.commit import Pin
from runner.console import Console, Scene
from runner.engine import Engine, Surroundings
from runner.execution import MILLISECOND, Commit, Execution, Link
from runner.executors import Command, Sink, Stop
from runner.executors.process import ProcessExecutor
from runner.journal import Change, Claim, Header, Journal, Owner, Stored
from runner.notice import ExecutionFinished, Exit, Outcome, Result
from runner.redact import Masker

if TYPE_CHECKING:  # loaded when there is a key
    from runner.intake import Target

_NAMESPACE: Final = uuid.UUID("5f0c1f52-6c0b-5d0e-9a4e-2f6d1b7c8a90")
"""Ours alone: ids derived from a CI's variables collide with nobody else's."""
_CONTAINER_ID: Final = 12
_HEX: Final = frozenset("0123456789abcdef")
SHORT: Final = 0.5
"""Seconds for giving files back when a signal ends the run: a host CI leaves 7.5 s for all."""
SWITCH: Final = 0.002
"""Seconds after which a thread gives way to another. The usual 5 ms are what a step would wait for
each of the imports that go on beside it.
"""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may say about an execution on the command line."""

    state: str | None = None
    tags: Mapping[str, str] = {}
    measures: Mapping[str, float] = {}
    manual: bool | None = None
    max_parallel: int | None = None
    fail_fast: bool = False
    local: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An execution to be carried out. ``blocked``, ``claim`` and ``results``: of a resume."""

    place: Place
    text: bytes
    given: Mapping[str, str]
    selection: plan.Selection
    plan: plan.Plan
    queued_at: int | None = None
    parent: Link | None = None
    options: Options
    blocked: Stored | None = None
    claim: Claim | None = None
    results: Mapping[str, Result] = {}


def options(given: Mapping[str, Any]) -> Options:
    """Options as click has read them."""
    return Options(
        state=given["state"],
        tags=environment.pairs(given["tags"], "--tag"),
        measures=environment.measures(given["measures"], "--measure"),
        manual=given["manual"],
        max_parallel=given["max_parallel"],
        fail_fast=given["fail_fast"],
        local=given["local"],
    )


def link(text: str | None) -> Link | None:
    """``ID[=URL]`` as a link."""
    if not text:
        return None
    found, _, url = text.partition("=")
    return Link(id=found, url=url)


def owner() -> Owner:
    """This process, for whoever finds its executions later."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return Owner(host=os.uname().nodename, boot=boot, pid=os.getpid())


def open_journal(state: str, workspace: str, warn: Callable[[str], None]) -> Journal:
    """The journal for a command that writes; what killed runs left open is closed first."""
    found = os.stat(workspace)
    journal = Journal.open(state, owner=(found.st_uid, found.st_gid), warn=warn)
    for unique_id in recorder.close_dead(journal, owner()):
        warn(f"execution {unique_id[:8]} was killed before it could end; it is closed as failed")
    return journal


def run(request: Request, environ: Mapping[str, str]) -> int:
    """Carry the request out; the exit code."""
    _refuse_images(request.plan)
    return _Launch(request, environ).carry_out()


def rehearse(request: Request, environ: Mapping[str, str]) -> bytes:
    """The bytes that ``run`` would send if every step succeeded at once; nothing runs."""
    return _Launch(request, environ).rehearse()


def settle_git(journal: Journal, environ: Mapping[str, str]) -> None:
    """Read the commit of executions that were killed before they could, by its pinned id."""
    for stored in journal.stored():
        if stored.git_settled or stored.status is None:
            continue
        pin = msgspec.json.decode(stored.header.pin, type=Pin | None)
        nothing = Commit()
        git, _ = commit.read(pin, nothing, nothing, environ)
        journal.freeze_git(stored.id, event.encode(git) if git else None)


class _Paper:
    """What a rehearsal writes on instead of a journal."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def append(self, execution: str, change: Change) -> None:
        del execution
        self.bodies += [row.body for row in change.rows]


class _Idle:
    """An executor and a place in which every step is done before it began."""

    def open(self, job_id: str) -> "_Idle":
        del job_id
        return self

    def run(self, command: Command, sink: Sink, stop: Stop) -> Exit:
        del command, sink, stop
        return Exit(code=0)

    def close(self) -> None:
        """Nothing was opened."""


class _Launch:
    """One execution: set up, carried out, brought to its end."""

    def __init__(self, request: Request, environ: Mapping[str, str]) -> None:
        self._request, self._environ = request, dict(environ)
        environment.forget(os.environ)
        sys.setswitchinterval(SWITCH)
        self._settings = environment.read(self._environ)
        self._clock = executions.clock()
        self._host = providers.detect(self._environ, providers.read_file)
        self._voice = Voice(self._environ)
        if not pid1.guard():
            self._voice.warn("this kernel lets steps read what this process was given")
        self._masker = self._mask()

    def carry_out(self) -> int:
        """The program, as a list."""
        request = self._request
        journal = open_journal(
            places.state(request.options.state, self._environ, request.place.workspace),
            request.place.workspace,
            self._voice.warn,
        )
        pin = commit.pin(request.place.directory, self._environ)
        target = self._target()
        execution = self._identify({stored.id for stored in journal.stored()})
        header = self._header(execution, pin, target)
        record = recorder.Recorder(journal, header, request.plan, self._labels(pin))
        change = msgspec.structs.replace(record.first(), results=tuple(request.results.values()))
        journal.begin(header, change, request.claim)
        console = self._console(execution, pin)
        backstage = Backstage(
            journal=journal,
            execution=execution.unique_id,
            read_git=self._git_reader(pin),
            target=target,
            environ=self._environ,
            settings=self._settings,
            warn=self._voice.warn,
            clock=self._clock,
        )
        engine = Engine(
            request.plan,
            self._surroundings(execution, journal.directory(execution.unique_id), console),
            (record, console, self._voice, backstage),
            parallel=self._parallel(),
            fail_fast=request.options.fail_fast,
        )
        with _signals(engine.cancel):
            finished = engine.carry_out()
            patience = SHORT if finished.signal else None
            if not give_back(request.place.workspace, execution.start, within=patience):
                self._voice.warn("not every file in the workspace was given to its owner")
            delivered = backstage.end(interrupted=bool(finished.signal))
        code = self._code(finished, journal)
        self._voice.end(journal, execution, target, delivered, engine.observer_errors)
        journal.close()
        return code

    def rehearse(self) -> bytes:
        """The request body of a run in which every step succeeds at once; nothing runs."""
        pin = commit.pin(self._request.place.directory, self._environ)
        execution = self._identify(())
        header = self._header(execution, pin, None)
        paper = _Paper()
        record = recorder.Recorder(paper, header, self._request.plan, self._labels(pin))
        paper.append(execution.unique_id, record.first())
        console = self._console(execution, pin)
        around = msgspec.structs.replace(
            self._surroundings(execution, os.devnull, console), executor=_Idle()
        )
        Engine(self._request.plan, around, (record,), parallel=1).carry_out()
        git = self._git_reader(pin)()
        self._voice.release()
        events = (event.join(header.envelope, git, body) for body in paper.bodies)
        return b'{"data":[%b]}' % b",".join(events)

    # ── before the first step ────────────────────────────────────────────────────────────────────

    def _mask(self) -> Masker:
        pipeline = self._request.plan.pipeline
        found = environment.secrets(self._environ, pipeline.secrets)
        masker = Masker()
        short = [name for name, value in found.items() if masker.add([value])]
        if short:
            names = ", ".join(short)
            self._voice.warn(f"not masked, because too short or too large: {names}")
        for name, value in self._request.plan.parameters.items():
            if masker.hits(value):
                raise errors.UsageError(
                    f"parameter {name} holds a secret; parameters are reported",
                    "list the variable under secrets: and let the step read it",
                )
        return masker

    def _target(self) -> "Target | None":
        settings = self._settings
        if self._request.options.local or not (settings.key or settings.intake_url):
            return None
        from runner import intake  # noqa: PLC0415

        return intake.target(
            site=settings.site,
            key=settings.key,
            intake_url=settings.intake_url,
            token=settings.token,
            warn=self._voice.warn,
        )

    def _identify(self, taken: Container[str]) -> Execution:
        request, host = self._request, self._host.host
        start = self._clock()
        unique_id, previous = identity(host, request.plan.pipeline.name, taken)
        before = request.blocked.header.execution if request.blocked else None
        return Execution(
            unique_id=unique_id,
            pipeline_id=before.pipeline_id if before else unique_id,
            pipeline=request.plan.pipeline.name,
            start=start,
            url=host.url,
            manual=self._manual(),
            queue_time=_waited(request.queued_at or host.queued_at, start),
            previous=None if before else previous,
            parent=request.parent,
            resumed_from=before.unique_id if before else "",
        )

    def _manual(self) -> bool:
        given = self._request.options.manual
        if given is not None:
            return given
        if self._host.host.name:
            return self._host.host.manual
        return self._request.blocked is not None or sys.stdin.isatty()

    def _header(self, execution: Execution, pin: Pin | None, target: "Target | None") -> Header:
        request, settings = self._request, self._settings
        before = request.blocked.header if request.blocked else None
        envelope = event.Envelope(
            provider_name=settings.provider,
            service=settings.service or request.plan.pipeline.service or None,
            env=settings.env or None,
        )
        return Header(
            execution=execution,
            envelope=event.encode(envelope),
            binding=target.binding if target else "",
            owner=owner(),
            workspace=request.place.workspace,
            file=request.place.file,
            digest=hashlib.sha256(request.text).hexdigest(),
            source=request.text,
            parameters=request.plan.parameters,
            selection=request.selection,
            pin=msgspec.json.encode(pin),
            root=(before.root or before.execution.unique_id) if before else "",
            nested=settings.nested,
        )

    def _labels(self, pin: Pin | None) -> recorder.Labels:
        host, request = self._host.host, self._request
        tags: dict[str, str] = dict(host.tags)
        if host.name:
            tags["host_ci"] = host.name
        if host.git.head_sha and pin and pin.sha != host.git.head_sha:
            tags["git.head_sha"] = host.git.head_sha
        if request.blocked:
            tags["resumed_from"] = request.blocked.id
        for answer in request.claim.answers if request.claim else ():
            did = "approved" if answer.approved else "rejected"
            tags[f"gate.{answer.gate}"] = did
            tags[f"gate.{answer.gate}.by"] = answer.who
            if answer.reason:
                tags[f"gate.{answer.gate}.reason"] = self._masker.text(answer.reason)
        return recorder.Labels(
            node=msgspec.structs.replace(
                host.node,
                hostname=host.node.hostname or _hostname(),
                workspace=request.place.workspace,
            ),
            job_url=host.job_url,
            tags={**self._settings.tags, **request.options.tags},
            pipeline_tags=tags,
            measures=request.options.measures,
        )

    def _console(self, execution: Execution, pin: Pin | None) -> Console:
        plan = self._request.plan
        scene = Scene(
            plan=plan,
            execution=execution,
            parallel=self._parallel(),
            commit=f"{pin.branch or 'detached'}@{pin.sha[:7]}" if pin and pin.sha else "",
            mask=self._masker.text,
        )
        folds = Folding(self._host, self._clock) if self._host.host.name else None
        return self._voice.console(scene, folds)

    def _surroundings(self, execution: Execution, runs: str, console: Console) -> Surroundings:
        request = self._request
        base = environment.inherited(self._environ, request.plan.pipeline.secrets)
        own = {
            "CI": "true",
            "SIGNALBOX": "true",
            "SIGNALBOX_PIPELINE_ID": execution.unique_id,
            "SIGNALBOX_PIPELINE_URL": execution.url,
            **commit.safe_directory(request.place.workspace, self._environ),
        }
        return Surroundings(
            execution=execution,
            executor=ProcessExecutor(runs, time.monotonic),
            masker=self._masker,
            screen=console,
            clock=self._clock,
            directory=request.place.directory,
            runs=runs,
            base=base,
            own=own,
        )

    def _git_reader(self, pin: Pin | None) -> Callable[[], bytes | None]:
        def read() -> bytes | None:
            overrides = providers.overrides(self._environ)
            git, warnings = commit.read(pin, self._host.host.git, overrides, self._environ)
            for warning in warnings:
                self._voice.warn(warning)
            return event.encode(git) if git else None

        return read

    def _parallel(self) -> int:
        return self._request.options.max_parallel or len(os.sched_getaffinity(0))

    # ── after the last ───────────────────────────────────────────────────────────────────────────

    def _code(self, finished: ExecutionFinished, journal: Journal) -> int:
        if finished.signal:
            interrupted = finished.signal == signal.SIGINT
            return errors.INTERRUPTED if interrupted else errors.TERMINATED
        if finished.gates:
            if not journal.degraded:
                return errors.BLOCKED
            self._voice.warn("the gate cannot be answered later: its state is on no disk")
            return errors.SurroundingsError.exit_code
        good = finished.outcome in {Outcome.SUCCESS, Outcome.SKIPPED}
        return errors.SUCCESS if good else errors.FAILED


def identity(host: providers.Host, pipeline: str, taken: Container[str]) -> tuple[str, Link | None]:
    """The unique id of a new execution, and of the attempt before it when the host CI re-runs.

    In a CI, uuid5 of what names this place in it, the pipeline and an ordinal, so that whoever
    knows the job knows the id; elsewhere random (interface, section 6).
    """
    if not host.key:
        return str(uuid.uuid4()), None
    for ordinal in itertools.count():
        unique_id = _derived(host.key, pipeline, ordinal)
        if unique_id not in taken:
            previous = _derived(host.previous_key, pipeline, ordinal) if host.previous_key else ""
            return unique_id, Link(id=previous) if previous else None
    raise AssertionError  # count() does not end


def _derived(key: tuple[str, ...], pipeline: str, ordinal: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\0".join((*key, pipeline, str(ordinal)))))


def _refuse_images(chosen: plan.Plan) -> None:
    named = [j.key for j in chosen.jobs if j.decision is plan.Decision.RUN and j.job.image]
    if named:
        raise errors.SurroundingsError(
            f"jobs with an image cannot run yet: {', '.join(named)}",
            "select others with --job, or remove image: to run them here",
        )


def _hostname() -> str | None:
    """The machine's name; a container's id is none (Docker gives its first 12 digits)."""
    name = os.uname().nodename
    return None if len(name) == _CONTAINER_ID and set(name) <= _HEX else name


def _waited(asked: int | None, start: int) -> int | None:
    return max(start - asked, 0) // MILLISECOND if asked else None


@contextlib.contextmanager
def _signals(cancel: Callable[[int], None]) -> Iterator[None]:
    """Signals ask the engine to stop while the block runs; afterwards they are as before."""

    def ask(number: int, _frame: FrameType | None) -> None:
        cancel(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)
