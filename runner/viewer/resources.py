"""What the store keeps of an event, read back: leniently, for it was checked when it came.

Owns the way from a ``resource`` to what a row shows and to ``runner.event``'s types, of which the
reports are made.
"""

from typing import Any, Final

import msgspec

from runner.event import Domain, Event, Failure, Git, decode


class _Link(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    url: str = ""


class _Git(msgspec.Struct, frozen=True, kw_only=True):
    author_name: str | None = None
    message: str | None = None


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    domain: Domain = Domain.UNKNOWN
    type: str | None = None
    message: str | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a row shows and no column has."""

    unique_id: str = ""
    pipeline_unique_id: str = ""
    id: str = ""
    url: str | None = None
    git: _Git | None = None
    error: _Failure | None = None
    previous_attempt: _Link | None = None
    parent_pipeline: _Link | None = None
    tags: list[str] | None = None
    metrics: list[str] | None = None

    @property
    def failure(self) -> Failure | None:
        """Why it failed, without the stack: a row is no place for it."""
        if self.error is None:
            return None
        return Failure(
            domain=self.error.domain,
            type=self.error.type or "",
            message=self.error.message or "",
        )


_shown: Final = msgspec.json.Decoder(Shown)
_object: Final = msgspec.json.Decoder(dict[str, Any])
_ABSENT: Final = {"domain": "unknown", "type": "", "message": ""}


def shown(body: bytes) -> Shown:
    """What a row shows of it."""
    return _shown.decode(body)


def members(body: bytes) -> dict[str, Any]:
    """All of it, as it came."""
    return _object.decode(body)


def event(body: bytes) -> tuple[Event, Git | None]:
    """As the reports take it: without what is null, errors with all their parts; and its git."""
    told = _without_null(members(body))
    if "error" in told:
        told["error"] = _ABSENT | told["error"]
    if told["status"] == "running":
        told.pop("end", None)
    git = told.pop("git", None)
    return (
        decode(msgspec.json.encode(told)),
        msgspec.convert(git, Git) if git else None,
    )


def _without_null(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_null(item) if isinstance(item, dict) else item
        for name, item in value.items()
        if item is not None
    }
