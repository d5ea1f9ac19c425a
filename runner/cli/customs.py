"""What an execution must be that comes from outside, in a file that anybody may have written.

Owns every check of its values. Types and sizes were seen to by who decoded it (``parcel``). What
passes can be shown, gone on from and sent like one of ours; its commands are never run for being
in it (``answer`` compares the pipeline file with the one that lies here).
"""

import hashlib
import os
import re
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from runner import event, scope
from runner.commit import Pin
from runner.event import Event, PipelineEvent, Status
from runner.execution import Execution
from runner.journal import Header, Past, StoredEvent, Unsent, waiting_jobs

EVENT: Final = 1024 * 1024
"""Bytes of one event."""
NAME: Final = 10_000
"""Characters of a section's name."""
SOURCE: Final = 2 * 1024 * 1024
_ENDED: Final = frozenset(Status) - {Status.RUNNING}
_TIME: Final = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
"""As ``rfc3339`` writes it."""
_LATEST: Final = 2**62
"""Epoch nanoseconds of the year 2116."""


class UnfitError(ValueError):
    """Why it is not taken in."""


def _see(fits: object, what: str) -> None:
    if not fits:
        raise UnfitError(what)


def examine(chain: tuple[Past, ...], run: str) -> None:
    """See that these are executions of one chain that ends with ``run``; raises ``UnfitError``."""
    ids = [past.stored.id for past in chain]
    _see(ids and ids[-1] == run and len(set(ids)) == len(ids), "it is not the chain of its run")
    for past in chain:
        try:
            _past(past)
        except (msgspec.DecodeError, OverflowError, ValueError) as error:
            raise UnfitError(f"execution {past.stored.id[:36]!r}: {error}") from error


def _past(past: Past) -> None:
    stored = past.stored
    _header(stored.header)
    _see(stored.status in _ENDED, "it has not ended")
    _times(stored.header.execution.start, stored.ended_at or 0)
    _see(bool(stored.gates) <= (stored.status is Status.BLOCKED), "gates wait, it is not blocked")
    _see(not stored.answered_by or _is_id(stored.answered_by), "it is answered by no execution")
    if stored.git is not None:
        _canonical(stored.git, event.Git)
    told = [_event(one) for one in past.events]
    known = _pipelines(told, stored.header.execution)
    _see(all(_names(one)[2] in known for one in told), "an event is another's")
    ends = [(one.level, one.id) for one in past.events if one.final]
    _see(len(set(ends)) == len(ends), "something ended twice in it")
    _see(("pipeline", stored.id) in ends, "its own end is missing")
    _logs(past)
    for result in past.results:
        _variables(result.outputs)
    for answer in (*past.answers, *stored.header.answers):
        _variables(answer.fields)
        _times(answer.at)
    for gate in stored.gates:
        _times(gate.asked, gate.expires or 0)


def _logs(past: Past) -> None:
    waits = waiting_jobs(past.events)
    jobs = [log.job for log in past.logs]
    _see(len(set(jobs)) == len(jobs), "a log goes on twice in it")
    for log in past.logs:
        _see(_is_id(log.job) and log.job in waits, "a log goes on of no job that waits")
        _log(log)


def _log(log: Unsent) -> None:
    offsets = [section.offset for section in log.sections]
    _see(offsets == sorted(set(offsets)), "the sections of a log are in no order")
    cursor = log.cursor
    _times(cursor.offset, cursor.line, cursor.records, cursor.size, *offsets)
    _see(all(len(section.name) <= NAME for section in log.sections), "a section's name is too long")


def _header(header: Header) -> None:
    execution = header.execution
    links = [execution.pipeline_id, execution.resumed_from, header.root]
    links += [link.id for link in (execution.previous, execution.parent) if link]
    _see(_is_id(execution.unique_id), "its id is none")
    _see(all(len(link) <= EVENT for link in links), "its links are too long")
    _see(len(header.source) <= SOURCE, "its pipeline file is too large")
    _see(hashlib.sha256(header.source).hexdigest() == header.digest, "its pipeline file differs")
    _see(is_inside(header.file), "its pipeline file lies outside the workspace")
    _see(not header.workspace, "it names a workspace")
    _canonical(header.envelope, event.Envelope)
    _variables(header.parameters)
    if header.pin:
        pin = msgspec.json.decode(header.pin, type=Pin | None)
        _see(pin is None or not pin.root, "it names a repository of another machine")


def _pipelines(told: Iterable[Event], execution: Execution) -> set[str]:
    """The execution, and the pipelines that its steps started, however deep."""
    found = {execution.unique_id}
    below = {
        one.unique_id: one.parent_pipeline.id
        for one in told
        if isinstance(one, PipelineEvent) and one.parent_pipeline
    }
    while more := {id_ for id_, parent in below.items() if parent in found} - found:
        found |= more
    return found


def _event(one: StoredEvent) -> Event:
    """An event of ours, to the byte: nothing else can ever be sent."""
    _see(len(one.body) <= EVENT and len(one.note) <= EVENT, "an event is too large")
    told = event.decode(one.body)
    _see(event.encode(told) == one.body, "an event is not as we write them")
    _see(_names(told)[:2] == (one.level, one.id), "an event is not what it is filed as")
    _see(one.final == (told.status is not Status.RUNNING), "an event ends what it does not end")
    times = (told.start, told.start if told.end is None else told.end)
    _see(all(map(_TIME.fullmatch, times)) and times[0] <= times[1], "an event's times are none")
    for time in times:
        datetime.fromisoformat(time)  # a day that there is
    _times(one.at)
    return told


def _names(told: Event) -> tuple[str, str, str]:
    if isinstance(told, PipelineEvent):
        return "pipeline", told.unique_id, told.unique_id
    level = type(told).__name__.removesuffix("Event").lower()
    return level, told.id, told.pipeline_unique_id


def _canonical(body: bytes, kind: type[event.Envelope] | type[event.Git]) -> None:
    _see(len(body) <= EVENT, "it is too large")
    told = msgspec.json.decode(body, type=kind)
    _see(event.encode(told) == body, "it is not as we write it")


def _variables(names: Iterable[str]) -> None:
    """They become the environment of steps."""
    for name in names:
        fits = scope.NAME.fullmatch(name) and not scope.steers(name)
        _see(fits, f"it sets {name[:40]!r}, which no step may set")


def _times(*times: int) -> None:
    _see(all(0 <= at < _LATEST for at in times), "its times are none")


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def is_inside(path: str) -> bool:
    """Whether a relative path stays where it begins."""
    plain = bool(path) and "\0" not in path and not os.path.isabs(path)
    return plain and os.path.normpath(path) == path and path.partition("/")[0] not in {"..", "."}
