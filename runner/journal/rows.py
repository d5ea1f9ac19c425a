"""What lies in the journal, as values: who runs what, what happened, what waits, what became of it.

Owns the shape of what goes in and comes out. Knows no SQL and no file.
"""

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from runner.event import Status
from runner.execution import Execution
from runner.notice import Answer, GateWaiting, Result
from runner.plan import Selection


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that carries an execution out. ``boot`` is the kernel's boot id."""

    host: str
    boot: str
    pid: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed when an execution starts."""

    execution: Execution
    envelope: bytes
    """What surrounds every event of this execution (``event.encode(Envelope(...))``)."""
    binding: str = ""
    """Short hash of site and key; empty: local, sent only when ``flush RUN`` adopts it."""
    owner: Owner
    workspace: str
    file: str
    digest: str
    """sha256 of the pipeline file's text."""
    source: bytes
    """The pipeline file's text."""
    parameters: Mapping[str, str] = {}
    selection: Selection = Selection()
    pin: bytes = b""
    """Which commit to read for ``git``, in the words of ``commit``; opaque here."""
    root: str = ""
    """The unique id of the first execution of the chain; empty: this one."""
    nested: bool = False
    """Started from inside a step: never ``latest``."""
    actor: str = ""
    """Who started the first execution of the chain."""
    retriers: tuple[str, ...] = ()
    """Who has retried one of the chain since, this one too."""
    answers: tuple[Answer, ...] = ()
    """Those that count in it: given when it began, or to an execution before it."""
    imported: bool = False
    """It came in a file; the workspace it ran in is not this one."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One event, encoded, without ``git``. ``at`` is when it happened, in epoch nanoseconds."""

    level: str
    id: str
    final: bool
    body: bytes
    at: int


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A part that has started, and the final event it gets should we die before its end."""

    level: str
    id: str
    body: bytes


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Where in its job's log an attempt at a step begins to write; ``job`` is the event's id."""

    job: str
    offset: int
    name: str


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job's log has been dealt with: bytes and lines (blank ones too) of the file, and
    how many records and bytes of text an intake was sent.
    """

    offset: int = 0
    line: int = 0
    records: int = 0
    size: int = 0


class JobLog(msgspec.Struct, frozen=True, kw_only=True):
    """A job's log that is to be sent. ``ended``: nobody writes it any more."""

    execution: str
    job: str
    envelope: bytes
    cursor: Cursor
    ended: bool
    sections: tuple[Section, ...] = ()
    """By offset, no two at the same. Asked for once the file's length is known (``sections``), so
    that nothing in it is from a step that is not among them.
    """


class Unsent(msgspec.Struct, frozen=True, kw_only=True):
    """The log of a job that has ended, with lines that no intake has: as it travels."""

    job: str
    cursor: Cursor
    sections: tuple[Section, ...]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an execution ended. ``gates``: those that wait, when ``status`` is BLOCKED."""

    at: int
    status: Status
    gates: tuple[GateWaiting, ...] = ()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to disk together. The rows come first: a final row closes the ``Open`` of its level
    and id, and what is ``opened`` afterwards stays open.
    """

    rows: tuple[Row, ...] = ()
    opened: tuple[Open, ...] = ()
    results: tuple[Result, ...] = ()
    sections: tuple[Section, ...] = ()
    """Of logs that are to be sent; none otherwise."""
    ended: Ended | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The answers with which a new execution takes over from a blocked one."""

    blocked: str
    answers: tuple[Answer, ...]


class State(IntEnum):
    """What became of an event. Stored as the number: never renumber."""

    WAITING = 0
    DELIVERED = 1
    REFUSED = 2
    """The intake will never take it; kept, with its reason."""
    EXPIRED = 3
    """Too old for the intake; kept."""
    SUPERSEDED = 4
    """A running event that still waited when a later event of the same thing came."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as the journal has it."""

    header: Header
    status: Status | None = None
    """None: it has not ended, or died and was not closed yet."""
    ended_at: int | None = None
    gates: tuple[GateWaiting, ...] = ()
    answered_by: str = ""
    """The execution that took over from this blocked one; empty: nobody has."""
    git: bytes | None = None
    git_settled: bool = False

    @property
    def id(self) -> str:
        """The execution's unique id."""
        return self.header.execution.unique_id


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event and what became of it. ``body`` is without git and envelope."""

    seq: int
    level: str
    id: str
    final: bool
    body: bytes
    at: int
    state: State
    note: str = ""


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """An event to send. ``body`` is one whole element of the request, the same at every sending;
    ``seq`` means nothing but to ``settle``.
    """

    seq: int
    execution: str
    level: str
    id: str
    final: bool
    at: int
    body: bytes


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all events; every event is counted exactly once, ``memory`` beside them."""

    delivered: int = 0
    waiting: int = 0
    """To be sent to the site and key asked about."""
    held: int = 0
    """To be sent to another site or with another key."""
    local: int = 0
    """Of local executions: not to be sent."""
    refused: int = 0
    expired: int = 0
    superseded: int = 0
    memory: int = 0
    """How many of those that wait are on no disk, because the journal cannot be written."""

    @property
    def total(self) -> int:
        """All events that were produced."""
        settled = self.delivered + self.refused + self.expired + self.superseded
        return settled + self.waiting + self.held + self.local
