"""The intake's API: what may be sent, taken in the intake's own words.

Owns ``POST /api/v2/ci/pipeline``, ``POST /api/v2/cilogs`` and ``GET /api/v1/validate``. 202 is said
when what came is on disk, and not before.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Final

from msgspec import UnsetType
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.execution import MILLISECOND, Clock
from runner.viewer import check, lines
from runner.viewer.columns import milliseconds
from runner.viewer.http import Hall, Refusal, answering, json
from runner.viewer.outbox import Waiting
from runner.viewer.store import Store
from runner.viewer.writing import Batch

EVENTS: Final = "/api/v2/ci/pipeline"
LINES: Final = "/api/v2/cilogs"
VALIDATE: Final = "/api/v1/validate"
_TAKEN: Final = b'{"data":null}'
_SMALL: Final = 16_384
"""Bytes that are checked at once; more, beside what else goes on."""


class Api:
    """The routes over a store. ``forward``: what is taken waits for the relay, too."""

    def __init__(self, store: Store, clock: Clock, *, forward: bool) -> None:
        self._store = store
        self._clock = clock
        self._forward = forward
        self._hall = Hall()

    def routes(self) -> list[Route]:
        """Those of the intake."""
        return [
            Route(EVENTS, answering(self._events), methods=["POST"]),
            Route(LINES, answering(self._lines), methods=["POST"]),
            Route(VALIDATE, self._validate, methods=["GET"]),
        ]

    async def _validate(self, _: Request) -> Response:
        """Whoever gets here has shown the key that is asked for, if one is."""
        return json({"valid": True})

    async def _events(self, request: Request) -> Response:
        return await self._take(request, self._checked)

    async def _lines(self, request: Request) -> Response:
        return await self._take(request, self._checked_lines)

    async def _take(self, request: Request, checked: Callable[[bytes], Batch]) -> Response:
        body = await self._hall.body(request)
        try:
            batch = checked(body) if len(body) < _SMALL else await run_in_threadpool(checked, body)
            try:
                await asyncio.wrap_future(self._store.writer.submit(batch))
            except sqlite3.Error as error:
                raise Refusal(503, f"it could not be written: {error}", wait=5) from error
        finally:
            self._hall.leave(len(body))
        return Response(_TAKEN, 202, media_type="application/vnd.api+json")

    def _checked(self, body: bytes) -> Batch:
        try:
            events = check.request(body)
        except check.RefusedError as error:
            raise Refusal(400, *error.reasons) from None
        return Batch(events=events, waiting=self._waiting(events))

    def _waiting(self, events: list[check.Taken]) -> tuple[Waiting, ...]:
        if not self._forward:
            return ()
        return tuple(
            Waiting(
                lane="events",
                level=event.level,
                id=f"{event.execution}/{event.id}",
                final=event.resource.status != "running",
                at=_at(event.resource),
                body=event.element,
            )
            for event in events
        )

    def _checked_lines(self, body: bytes) -> Batch:
        try:
            found = lines.request(body)
        except lines.RefusedLinesError as error:
            raise Refusal(400, str(error)) from None
        now = self._clock()
        waiting = [
            Waiting(
                lane="lines",
                level="line",
                id=line.job_id,
                final=True,
                at=now if line.at is None else line.at * MILLISECOND,
                body=text,
            )
            for line, text in (zip(found, lines.bodies(body), strict=True) if self._forward else ())
        ]
        return Batch(lines=found, waiting=waiting)


def _at(resource: check.Resource) -> int:
    """Epoch nanoseconds from which its age counts: its end, of what runs its start."""
    end = resource.start if resource.status == "running" else resource.end
    return milliseconds(resource.start if isinstance(end, UnsetType) else end) * MILLISECOND
