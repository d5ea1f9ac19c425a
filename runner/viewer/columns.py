"""An event as the narrow row that searches look at, and two states of one thing as one.

Owns what goes into which column and how a later event of the same thing changes an earlier one.
Pure.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import UnsetType

from runner.viewer import tables
from runner.viewer.check import Job, Pipeline, Resource, Stage, Step, Taken

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_USUAL: Final = frozenset({"main", "master", "trunk"})
"""Default branches, where the sender does not say which it is."""
_ADDRESS: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/@]*@)*(.*?)(?:\.git)?/*", re.IGNORECASE | re.DOTALL
)
_SCP: Final = re.compile(r"([^/:]+):(?!\d+(?:/|$))(.*)", re.DOTALL)

_object: Final = msgspec.json.Decoder(dict[str, Any])
_encode: Final = msgspec.json.Encoder().encode


class Narrow(msgspec.Struct, frozen=True, kw_only=True):
    """What the columns hold. ``words`` are in the order of ``tables.WORDS``."""

    start: int
    """Epoch milliseconds."""
    duration: int | None
    queue: int | None
    flags: int
    words: tuple[str, ...]
    tags: str


def milliseconds(moment: datetime) -> int:
    """Since the epoch, cut off."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def narrow(taken: Taken) -> Narrow:
    """The columns of an event."""
    resource = taken.resource
    start = milliseconds(resource.start)
    ends = None if isinstance(resource.end, UnsetType) else milliseconds(resource.end)
    final = resource.status != "running"
    return Narrow(
        start=start,
        duration=max(0, ends - start) if final and ends is not None else None,
        queue=None if isinstance(resource, Step) else resource.queue_time,
        flags=_flags(resource) | (tables.FINAL if final else 0),
        words=_words(taken, resource),
        tags=framed([*(resource.tags or ()), *(resource.metrics or ())]),
    )


def _words(taken: Taken, resource: Resource) -> tuple[str, ...]:
    """In the order of ``tables.WORDS``."""
    git, node, error = resource.git, resource.node, resource.error
    pipeline, stage, job = _names(resource)
    return (
        resource.status,
        resource.name,
        pipeline,
        stage,
        job,
        taken.provider,
        taken.service,
        taken.env,
        repository(git.repository_url) if git else "",
        (git.branch or "") if git else "",
        (git.tag or "") if git else "",
        git.sha.lower() if git else "",
        git.author_email if git else "",
        (node.name or node.hostname or "") if node else "",
        (error.domain or "unknown") if error else "",
        (error.type or "") if error else "",
    )


def _names(resource: Resource) -> tuple[str, str, str]:
    """Of its pipeline, stage and job; its own where it is one."""
    match resource:
        case Pipeline():
            return resource.name, "", ""
        case Stage():
            return resource.pipeline_name, resource.name, ""
        case Job():
            return resource.pipeline_name, resource.stage_name or "", resource.name
        case Step():
            return resource.pipeline_name, resource.stage_name or "", resource.job_name or ""


def _flags(resource: Resource) -> int:
    flags = tables.DEFAULT if _on_default(resource) else 0
    if isinstance(resource, Pipeline):
        flags |= tables.MANUAL if resource.is_manual else 0
        flags |= tables.PARTIAL if resource.partial_retry else 0
        flags |= tables.RESUMED if resource.is_resumed else 0
    return flags


def _on_default(resource: Resource) -> bool:
    git = resource.git
    if git is None:
        return True
    return git.branch == git.default_branch if git.default_branch else git.branch in _USUAL


@lru_cache(1024)
def repository(url: str) -> str:
    """``host/team/name`` of an address in any of its forms, without scheme, user and suffix."""
    found = _ADDRESS.fullmatch(url.strip())
    rest = found[1] if found else url
    scp = None if "://" in url else _SCP.fullmatch(rest)
    return f"{scp[1]}/{scp[2].lstrip('/')}" if scp else rest


def framed(tags: list[str]) -> str:
    """Tags and measures so that one can be looked for as a text between newlines."""
    clean = [tag.replace("\n", " ").replace("\0", " ") for tag in tags]
    return "\n" + "\n".join(clean) + "\n" if clean else ""


def merged(old: bytes, new: bytes, *, was_final: bool, is_final: bool) -> bytes:
    """What is known of a thing when ``new`` comes after ``old``: of two final events, or two
    running ones, the later says it; a final one beats a running one whatever came first; members
    that the winner does not have are kept while it runs.
    """
    if old == new or (was_final and is_final):
        return new
    before, after = _object.decode(old), _object.decode(new)
    loser, winner = (after, before) if was_final else (before, after)
    return _encode({**loser, **winner})
