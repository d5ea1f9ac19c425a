"""What the engine tells its observers, and what earlier executions left for the plan.

Owns the vocabulary between engine, executors and observers: how a process ended (``Exit``), how a
job ended (``Outcome``), what a step said (``Said``) and every notice. Knows no Datadog, no disk.
All times are epoch nanoseconds of one clock. All text is masked already.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

import msgspec

from runner.event import Event, Failure
from runner.pipeline import Parameter


class Reason(Enum):
    """Why a process is over; the values are the intake's ``error.type`` (interface, section 6)."""

    EXITED = "ExitCode"
    SIGNAL = "Signal"
    TIMEOUT = "Timeout"
    CANCELED = "Canceled"
    COMMAND_NOT_FOUND = "CommandNotFound"
    NOT_EXECUTABLE = "NotExecutable"
    WORKING_DIRECTORY = "WorkingDirectory"
    OUT_OF_MEMORY = "OutOfMemory"
    IMAGE_PULL = "ImagePull"
    CONTAINER_START = "ContainerStart"
    CONTAINER_LOST = "ContainerLost"
    SERVICE_UNHEALTHY = "ServiceUnhealthy"
    DISK_FULL = "DiskFull"
    RUNNER_LOST = "RunnerLost"


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended: a value, never an exception.

    ``code`` is the exit code as a shell says it (128 + n by signal n); ``message`` says what the
    executor knows beyond it (which directory is missing). ``output`` is what was printed elsewhere
    than to the step's sink: by a service that is not well.
    """

    code: int
    reason: Reason = Reason.EXITED
    signal: int = 0
    message: str = ""
    output: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the process did what it was asked."""
        return self.code == 0 and self.reason is Reason.EXITED


class Outcome(Enum):
    """How a job stands when the execution is over."""

    SUCCESS = "success"
    ERROR = "error"
    CANCELED = "canceled"
    SKIPPED = "skipped"
    """Its ``if`` left it out, or a rejected gate cut it off."""
    NOT_STARTED = "not started"
    """What it needs did not end well, or the execution ended first; it has no event."""


class Level(Enum):
    """What a tag or a measure belongs to."""

    PIPELINE = "pipeline"
    STAGE = "stage"
    JOB = "job"
    STEP = "step"


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a step wrote into its files; ``warnings`` name the entries that mean nothing."""

    tags: Mapping[Level, Mapping[str, str]] = {}
    measures: Mapping[Level, Mapping[str, float]] = {}
    outputs: Mapping[str, str] = {}
    summary: str = ""
    warnings: tuple[str, ...] = ()


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a job ran in. ``digest`` is its registry's; empty: it is of no registry."""

    name: str
    digest: str = ""
    platform: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a job left for jobs that need it, in this execution or a later one.

    ``withheld`` names outputs whose value holds a secret: those values are in no file.
    """

    job: str
    outcome: Outcome
    allowed: bool = False
    """It failed and may."""
    outputs: Mapping[str, str] = {}
    withheld: tuple[str, ...] = ()
    summary: str = ""
    """Markdown that its steps gave, masked."""
    why: str = ""
    """Why it was left out, when it was."""
    image: Image | None = None
    """None: it ran in none, or did not get so far."""

    @property
    def well(self) -> bool:
        """Whether what needs it need not mind how it ended."""
        return self.allowed or self.outcome in {Outcome.SUCCESS, Outcome.SKIPPED}


class GateWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """A gate that was reached and waits for a person. Times are epoch nanoseconds."""

    gate: str
    question: str
    asked: int
    expires: int | None = None
    approvers: tuple[str, ...] = ()
    not_initiator: bool = False
    fields: Mapping[str, Parameter] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A person's answer to a gate."""

    gate: str
    approved: bool
    who: str
    at: int
    reason: str = ""
    fields: Mapping[str, str] = {}
    expired: bool = False
    """Nobody answered in time; it is not approved."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What earlier executions of this chain left: results by job, answers by gate."""

    results: Mapping[str, Result] = {}
    answers: Mapping[str, Answer] = {}
    asked: Mapping[str, int] = {}
    """When a gate that still waits was reached, in epoch nanoseconds."""
    left: frozenset[str] = frozenset()
    """Jobs that are not run again, however they ended: a retry has others to run."""


# ── notices ──────────────────────────────────────────────────────────────────────────────────────


class ExecutionStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The execution begins; its row must be on disk before anything starts."""

    at: int


class JobReady(msgspec.Struct, frozen=True, kw_only=True):
    """All that the job needs has ended; it waits for a free place."""

    job: str
    at: int


class JobStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The job's first step can start. ``dependencies``: jobs it waited for that ran in this
    execution, edges through gates joined.
    """

    job: str
    name: str
    at: int
    ready: int
    dependencies: tuple[str, ...] = ()
    tags: Mapping[str, str] = {}


class StepStarted(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a step is about to start. ``log`` is where its output begins, in bytes."""

    job: str
    index: int
    attempt: int
    name: str
    at: int
    log: int = 0


class StepFinished(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt ended. ``allowed``: it failed and may. ``again``: another attempt follows."""

    job: str
    index: int
    attempt: int
    name: str
    start: int
    end: int
    exit: Exit
    failure: Failure | None = None
    said: Said = Said()
    tags: Mapping[str, str] = {}
    retried: bool = False
    """The step may have several attempts; they are told apart by a tag."""
    allowed: bool = False
    again: bool = False
    tail: str = ""
    """The last lines of a failed attempt's output, for people."""
    place: str = ""
    """``file:line`` where the output names one."""


class JobFinished(msgspec.Struct, frozen=True, kw_only=True):
    """A job that had started is over."""

    job: str
    start: int
    end: int
    result: Result
    failure: Failure | None = None


class JobSkipped(msgspec.Struct, frozen=True, kw_only=True):
    """A job will not run in this execution; ``outcome`` is SKIPPED or NOT_STARTED."""

    job: str
    name: str
    at: int
    outcome: Outcome
    why: str


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A signalbox inside a step has reported; checked, bounded and masked (``runner.outbox``)."""

    job: str
    at: int
    event: Event
    path: tuple[str, ...] = ()
    """Which pipeline below this execution it is of; empty: it is a further step of the job."""
    lost: bool = False
    """No event yet: the end that a part gets should we die before it has one."""


class ExecutionFinished(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing more will happen. ``gates``: those that wait, when that is why it ended."""

    at: int
    outcome: Outcome
    gates: tuple[str, ...] = ()
    questions: Mapping[str, str] = {}
    """What those gates ask, with the outputs of the jobs before them, masked."""
    failure: Failure | None = None
    signal: int = 0
    """The signal that ended it; 0: none did."""


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person should know that changes no result."""

    message: str
    job: str = ""


Notice = (
    ExecutionStarted
    | JobReady
    | JobStarted
    | StepStarted
    | StepFinished
    | JobFinished
    | JobSkipped
    | Reported
    | ExecutionFinished
    | Warned
)


class Observer(Protocol):
    """Whoever wants to know. Called on the engine's own thread; what it raises is counted, said
    once, and changes nothing.
    """

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """Take in what happened, in order; notices that came together come in one call."""


class Screen(Protocol):
    """Where a step's output is shown. Called on the worker threads, with masked bytes: whole
    lines, or a partial line when nothing came for 200 ms or the line is very long.
    """

    def output(self, job: str, piece: bytes) -> None:
        """Show a piece of a job's output."""
