"""What may come in: one request's body -> its events, or every reason why not.

Owns the strictness of ``POST /api/v2/ci/pipeline``: the schema of Datadog's API (required members,
types, statuses by level, a sha of 40 hex digits, lengths), a year at most from start to end, one
event or up to a thousand. Members that the schema does not name are taken, as it says. Does not
know HTTP, nor what becomes of the events.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from runner.viewer.rows import Level

EVENTS: Final = 1000
"""Per request."""
SHOWN: Final = 20
"""Mistakes that one answer names."""
YEAR: Final = timedelta(days=366)

Text = Annotated[str, Meta(min_length=1)]
Instant = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Sha = Annotated[str, Meta(pattern=r"\A[a-fA-F0-9]{40}\Z")]


class Git(msgspec.Struct, frozen=True, kw_only=True):
    """The commit."""

    repository_url: str
    sha: Sha
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


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran."""

    hostname: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    labels: list[str] | UnsetType = UNSET
    workspace: str | UnsetType = UNSET


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why it failed."""

    domain: Literal["provider", "user", "unknown"] | UnsetType = UNSET
    type: Annotated[str, Meta(max_length=100)] | None = None
    message: Annotated[str, Meta(max_length=5000)] | None = None
    stack: str | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Another pipeline execution."""

    id: str
    url: str | UnsetType = UNSET


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What every level has."""

    name: Text
    start: Instant
    git: Git | None = None
    node: Node | None = None
    error: Failure | None = None
    tags: list[str] | None = None
    metrics: list[str] | None = None
    parameters: dict[str, str] | None = None


class Pipeline(Part, frozen=True, kw_only=True, tag_field="level", tag="pipeline"):
    """A pipeline, running or final."""

    unique_id: Text
    url: str
    status: Literal["success", "error", "canceled", "skipped", "blocked", "running"]
    partial_retry: bool
    end: Instant | UnsetType = UNSET
    pipeline_id: str | UnsetType = UNSET
    previous_attempt: Link | None = None
    parent_pipeline: Link | None = None
    is_manual: bool | None = None
    is_resumed: bool | None = None
    queue_time: Count | None = None


class Child(Part, frozen=True, kw_only=True):
    """What stages, jobs and steps have."""

    id: Text
    pipeline_unique_id: Text
    pipeline_name: str


class Stage(Child, frozen=True, kw_only=True, tag_field="level", tag="stage"):
    """A stage: final."""

    end: Instant
    status: Literal["success", "error", "canceled", "skipped"]
    dependencies: list[str] | None = None
    queue_time: Count | None = None


class Job(Child, frozen=True, kw_only=True, tag_field="level", tag="job"):
    """A job, running or final."""

    url: str
    status: Literal["success", "error", "canceled", "skipped", "running"]
    end: Instant | UnsetType = UNSET
    stage_id: str | None = None
    stage_name: str | None = None
    dependencies: list[str] | None = None
    queue_time: Count | None = None


class Step(Child, frozen=True, kw_only=True, tag_field="level", tag="step"):
    """A step: final, ``success`` or ``error``."""

    end: Instant
    status: Literal["success", "error"]
    url: str | None = None
    job_id: str | None = None
    job_name: str | None = None
    stage_id: str | None = None
    stage_name: str | None = None


Resource = Pipeline | Stage | Job | Step


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds an event."""

    resource: msgspec.Raw
    provider_name: str = "custom"
    service: str = ""
    env: str = ""


class _Element(msgspec.Struct, frozen=True, kw_only=True):
    attributes: Envelope
    type: Literal["cipipeline_resource_request"] = "cipipeline_resource_request"


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    data: msgspec.Raw


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was found good, and its bytes as they came."""

    level: Level
    execution: str
    """The unique id of its pipeline."""
    id: str
    resource: Resource
    body: bytes
    """The ``resource``."""
    provider: str
    service: str
    env: str
    element: bytes
    """The whole element of ``data``, for whoever passes it on."""


class RefusedError(Exception):
    """The request is not taken; every reason, as ``path: what is wrong``."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


_request: Final = msgspec.json.Decoder(_Request)
_raws: Final = msgspec.json.Decoder(list[msgspec.Raw])
_element: Final = msgspec.json.Decoder(_Element)
_resource: Final = msgspec.json.Decoder(Resource)


def request(body: bytes) -> list[Taken]:
    """The events of one request, in order; raises ``RefusedError``: all of them or none."""
    try:
        raw = bytes(_request.decode(body).data)
        many = raw.startswith(b"[")
        elements = [bytes(one) for one in _raws.decode(raw)] if many else [raw]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedError([_told("", error).lstrip(".: ")]) from None
    if len(elements) > EVENTS:
        raise RefusedError([f"data: {len(elements)} events; a request takes {EVENTS} at most"])
    found, reasons = [], []
    for place, element in enumerate(elements):
        try:
            found.append(one(element))
        except RefusedError as error:
            path = f"data[{place}]" if many else "data"
            reasons += [f"{path}{reason}" for reason in error.reasons]
    if reasons:
        more = len(reasons) - SHOWN
        raise RefusedError(reasons[:SHOWN] + ([f"data: {more} more like these"] * (more > 0)))
    return found


def one(element: bytes) -> Taken:
    """One element of ``data``; raises ``RefusedError`` with paths that begin inside it."""
    path = ""
    try:
        attributes = _element.decode(element).attributes
        path = ".attributes.resource"
        body = bytes(attributes.resource)
        resource = _resource.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedError([_told(path, error)]) from None
    if wrong := list(_contradictions(resource)):
        raise RefusedError([f"{path}.{reason}" for reason in wrong])
    return Taken(
        level=level_of(resource),
        execution=execution_of(resource),
        id=id_of(resource),
        resource=resource,
        body=body,
        provider=attributes.provider_name,
        service=attributes.service,
        env=attributes.env,
        element=element,
    )


def level_of(resource: Resource) -> Level:
    """Its level."""
    match resource:
        case Pipeline():
            return "pipeline"
        case Stage():
            return "stage"
        case Job():
            return "job"
        case Step():
            return "step"


def id_of(resource: Resource) -> str:
    """Its own id, unique in its level and execution."""
    return resource.unique_id if isinstance(resource, Pipeline) else resource.id


def execution_of(resource: Resource) -> str:
    """The unique id of its pipeline."""
    return resource.unique_id if isinstance(resource, Pipeline) else resource.pipeline_unique_id


def _contradictions(resource: Resource) -> Iterator[str]:
    """What the types cannot say."""
    if resource.status == "running":
        return
    if isinstance(resource.end, UnsetType):
        yield f"end: is required when status is {resource.status}"
    elif resource.end < resource.start:
        yield "end: lies before start"
    elif resource.end - resource.start > YEAR:
        yield "end: lies more than one year after start"


_PLACED: Final = re.compile(r"(?s)(.*?)(?: - at `(?:key in )?\$(.*)`)?")
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")
_PATTERN: Final = re.compile(r"Expected `str` matching regex .*")


def _told(path: str, error: Exception) -> str:
    """``.attributes.resource.git.sha: must be 40 hexadecimal digits``, after a path that begins."""
    if isinstance(error, RecursionError):
        return f"{path}: is nested too deeply"
    placed = _PLACED.fullmatch(str(error))
    what, where = (placed[1], placed[2] or "") if placed else (str(error), "")
    if missing := _MISSING.fullmatch(what):
        return f"{path}{where}.{missing[1]}: is required"
    if _PATTERN.fullmatch(what):
        what = "must be 40 hexadecimal digits"
    if not isinstance(error, msgspec.ValidationError):
        what = f"is not JSON: {what}"
    return f"{path}{where}: {what}"
