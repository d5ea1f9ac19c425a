"""What a killed run left open, closed: never as success, and as often as need be.

Owns why such a part failed and when it ended.
"""

from typing import Final, assert_never

import msgspec

from runner.event import (
    Domain,
    Event,
    Failure,
    JobEvent,
    PipelineEvent,
    StageEvent,
    Status,
    StepEvent,
    decode,
    encode,
)
from runner.execution import rfc3339
from runner.journal import Change, Ended, Journal, Open, Owner, Row
from runner.notice import Reason

LOST: Final = Failure(
    domain=Domain.PROVIDER,
    type=Reason.RUNNER_LOST.value,
    message="signalbox ended before this did: killed, out of memory, or the machine went away",
)


def close_dead(journal: Journal, owner: Owner) -> list[str]:
    """Close what killed runs left open, never as success; their end is their last row's time.
    The ids of the executions closed. Idempotent: what is closed is no longer open.
    """
    closed = []
    for stored in journal.dead(owner):
        unique_id = stored.header.execution.unique_id
        at = journal.last_at(unique_id)
        rows = _close(journal.opens(unique_id), at)
        journal.append(unique_id, Change(rows=rows, ended=Ended(at=at, status=Status.ERROR)))
        closed.append(unique_id)
    return closed


def _close(parts: list[Open], at: int) -> tuple[Row, ...]:
    """One end for all, so that children lie inside their parents: a step may have started after the
    last row. The form of times is fixed, so their text's order is theirs.
    """
    events = [decode(part.body) for part in parts]
    end = max([rfc3339(at), *(event.start for event in events)])
    return tuple(
        Row(
            level=part.level,
            id=part.id,
            final=True,
            body=encode(msgspec.structs.replace(event, end=end)),
            at=at,
        )
        for part, event in zip(parts, events, strict=True)
    )


def place(event: Event) -> tuple[str, str]:
    """Its level and its id: where it lies in a journal."""
    match event:
        case PipelineEvent():
            return "pipeline", event.unique_id
        case StageEvent():
            return "stage", event.id
        case JobEvent():
            return "job", event.id
        case StepEvent():
            return "step", event.id
        case _:
            assert_never(event)
