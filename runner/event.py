"""What is reported, as the intake's data model has it; each event is encoded to bytes exactly once.

Owns the wire names, what each level has and the joining of an event with what is the
same for a whole execution. Does not know when an event is made (``recorder``) or sent
(``delivery``). Source: Datadog's guide "Pipeline Data Model And Execution Types" and the API
``POST /api/v2/ci/pipeline``; the comments name the rule where the schema does not show it.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

from runner.execution import Link

MESSAGE_LIMIT: Final = 5000
"""Characters of ``error.message`` (API)."""
TYPE_LIMIT: Final = 100
"""Characters of ``error.type`` (API)."""


class Status(Enum):
    """Every status of every level. Steps know success and error alone; blocked and running are the
    pipeline's, and running the job's.
    """

    SUCCESS = "success"
    ERROR = "error"
    CANCELED = "canceled"
    SKIPPED = "skipped"
    BLOCKED = "blocked"
    RUNNING = "running"


class Domain(Enum):
    """Whose failure it is: the CI system's, the code's, or nobody can tell."""

    PROVIDER = "provider"
    USER = "user"
    UNKNOWN = "unknown"


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why something failed. ``type`` <= 100 characters, ``message`` <= 5000, masked."""

    domain: Domain
    type: str
    message: str
    stack: str | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where it ran."""

    hostname: str | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()
    workspace: str | None = None


class Git(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The commit. URL without credentials, 40 hex digits, an author's address: or no Git at all.
    ``branch`` or ``tag``, never both.
    """

    repository_url: str
    sha: str
    author_email: str
    author_name: str | None = None
    author_time: str | None = None
    committer_name: str | None = None
    committer_email: str | None = None
    commit_time: str | None = None
    message: str | None = None
    branch: str | None = None
    tag: str | None = None
    default_branch: str | None = None


class PipelineEvent(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="level", tag="pipeline"
):
    """A pipeline: running (no ``end``), then final."""

    unique_id: str
    name: str
    url: str
    start: str
    end: str | None = None
    status: Status
    partial_retry: bool
    pipeline_id: str | None = None
    previous_attempt: Link | None = None
    parent_pipeline: Link | None = None
    is_manual: bool | None = None
    is_resumed: bool | None = None
    queue_time: int | None = None
    parameters: Mapping[str, str] | None = None
    node: Node | None = None
    tags: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    error: Failure | None = None


class StageEvent(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="level", tag="stage"
):
    """A stage: final only."""

    id: str
    name: str
    pipeline_unique_id: str
    pipeline_name: str
    start: str
    end: str
    status: Status
    dependencies: tuple[str, ...] = ()
    queue_time: int | None = None
    node: Node | None = None
    tags: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    error: Failure | None = None


class JobEvent(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="level", tag="job"
):
    """A job: running (no ``end``), then final. ``queue_time`` lies outside start..end."""

    id: str
    name: str
    pipeline_unique_id: str
    pipeline_name: str
    url: str
    start: str
    end: str | None = None
    status: Status
    stage_id: str | None = None
    stage_name: str | None = None
    dependencies: tuple[str, ...] = ()
    queue_time: int | None = None
    node: Node | None = None
    tags: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    error: Failure | None = None


class StepEvent(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="level", tag="step"
):
    """One attempt at a step: final only, success or error."""

    id: str
    name: str
    pipeline_unique_id: str
    pipeline_name: str
    start: str
    end: str
    status: Status
    job_id: str | None = None
    job_name: str | None = None
    stage_id: str | None = None
    stage_name: str | None = None
    url: str | None = None
    node: Node | None = None
    tags: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    error: Failure | None = None


Event = PipelineEvent | StageEvent | JobEvent | StepEvent


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is the same around every event of an execution."""

    provider_name: str
    service: str | None = None
    env: str | None = None


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(part: Event | Envelope | Git) -> bytes:
    """The bytes of one part, once and for all."""
    return _encoder.encode(part)


def decode(body: bytes) -> Event:
    """The event in ``body``; raises ``msgspec.ValidationError`` for anything else."""
    return _decoder.decode(body)


def join(envelope: bytes, git: bytes | None, body: bytes) -> bytes:
    """One element of the request's ``data``: the event with its git inside its envelope.

    By splicing bytes, so a resend is what was sent: ``{"level":...}`` + ``,"git":{...}``.
    """
    resource = body if git is None else b'%b,"git":%b}' % (body[:-1], git)
    return b'{"type":"cipipeline_resource_request","attributes":%b,"resource":%b}}' % (
        envelope[:-1],
        resource,
    )
