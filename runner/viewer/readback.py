"""Reading back: the API by which programs list, search and aggregate what was sent.

Owns ``GET /api/v2/ci/pipelines/events``, ``POST .../events/search`` and ``POST
.../analytics/aggregate``: what a request may say, and the answer's shape. Where a request gives no
beginning, it is the beginning of everything: a store at one's desk is not billed by the hour.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.execution import MILLISECOND, Clock, rfc3339
from runner.viewer import moments
from runner.viewer.aggregating import (
    Aggregated,
    Compute,
    Function,
    Group,
    Histogram,
    Order,
    Point,
)
from runner.viewer.http import Hall, Refusal, answering, json, texts
from runner.viewer.query import QueryError
from runner.viewer.rows import Window
from runner.viewer.shape import stored
from runner.viewer.store import Store

BASE: Final = "/api/v2/ci/pipelines"
LIMIT: Final = 1000
SIZE: Final = 32 * 1024 * 1024
"""Bytes of the events of one answer."""
_POINTS: Final = 150
"""Points of a time series, where no interval is given."""
_BINS: Final = 100

Sort = Literal["timestamp", "-timestamp"]


class _Filter(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    query: str = "*"
    start: str | int = ""
    end: str | int = ""


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    timezone: str | None = None
    time_offset: int | None = None


class _Paging(msgspec.Struct, frozen=True, kw_only=True):
    cursor: str = ""
    limit: int = 10


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    filter: _Filter = _Filter()
    options: _Options = _Options()
    page: _Paging = _Paging()
    sort: Sort = "-timestamp"


class _Compute(msgspec.Struct, frozen=True, kw_only=True):
    aggregation: Function
    metric: str = ""
    interval: str = ""
    type: Literal["total", "timeseries"] = "total"


class _Sorting(msgspec.Struct, frozen=True, kw_only=True):
    aggregation: Function | None = None
    metric: str = ""
    order: Literal["asc", "desc"] | None = None
    type: Literal["alphabetical", "measure"] = "alphabetical"


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    facet: str
    histogram: Histogram | None = None
    limit: int = 10
    missing: str | float | None = None
    sort: _Sorting | None = None
    total: bool | str | float = False


class _Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    compute: list[_Compute] = []
    filter: _Filter = _Filter()
    group_by: list[_Group] = []
    options: _Options = _Options()


class Readback:
    """The routes over a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._hall = Hall()

    def routes(self) -> list[Route]:
        """Those that read."""
        return [
            Route(f"{BASE}/events", answering(self._list, texts), methods=["GET"]),
            Route(f"{BASE}/events/search", answering(self._search, texts), methods=["POST"]),
            Route(
                f"{BASE}/analytics/aggregate", answering(self._aggregate, texts), methods=["POST"]
            ),
        ]

    async def _list(self, request: Request) -> Response:
        return await run_in_threadpool(self._found, _listed(request.query_params), request)

    async def _search(self, request: Request) -> Response:
        asked = await self._body(request, _Search)
        return await run_in_threadpool(self._found, asked, None)

    async def _aggregate(self, request: Request) -> Response:
        asked = await self._body(request, _Aggregate)
        return await run_in_threadpool(self._aggregated, asked)

    async def _body(self, request: Request, kind: type[Any]) -> Any:
        body = await self._hall.body(request)
        self._hall.leave(len(body))
        try:
            return msgspec.json.decode(body or b"{}", type=kind)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Refusal(400, str(error).replace("`$.", "`")) from None

    # ── search ───────────────────────────────────────────────────────────────────────────────────

    def _found(self, asked: _Search, request: Request | None) -> Response:
        began = time.monotonic()
        if not 0 <= asked.page.limit <= LIMIT:
            raise Refusal(400, f"page[limit]: from 0 to {LIMIT}")
        try:
            page = self._store.search(
                asked.filter.query,
                level=None,
                window=self._window(asked.filter, asked.options),
                limit=asked.page.limit,
                cursor=asked.page.cursor,
                oldest_first=asked.sort == "timestamp",
            )
        except (QueryError, moments.MomentError) as error:
            raise Refusal(400, str(error)) from None
        bodies = self._store.bodies(page.rows, SIZE)
        # As many as fit: the rest comes with the next page.
        rows = [stored(row, body) for row, body in zip(page.rows, bodies, strict=False)]
        # A client that got a full page asks for the next without looking whether there is one.
        after = page.next
        if rows and (len(rows) == asked.page.limit or len(rows) < len(page.rows)):
            after = page.rows[len(rows) - 1].cursor
        return json({"data": rows, **_around(began, page.complete, after, request)})

    def _window(self, asked: _Filter, options: _Options) -> Window:
        now = self._clock() // MILLISECOND
        zone = moments.zone(options.timezone, options.time_offset)
        start = moments.moment(str(asked.start), now, zone) if asked.start else 0
        end = moments.moment(str(asked.end), now, zone) if asked.end else Window().end
        return Window(start=start, end=end)

    # ── aggregate ────────────────────────────────────────────────────────────────────────────────

    def _aggregated(self, asked: _Aggregate) -> Response:
        began = time.monotonic()
        try:
            window = self._window(asked.filter, asked.options)
            computes = [self._compute(one, window) for one in asked.compute]
            computes = computes or [Compute(function="count")]
            groups = [self._group(one) for one in asked.group_by]
            found = self._store.aggregate(asked.filter.query, computes, groups, window=window)
        except (QueryError, moments.MomentError) as error:
            raise Refusal(400, str(error)) from None
        return json({"data": _buckets(found), **_around(began, found.complete, "", None)})

    def _compute(self, asked: _Compute, window: Window) -> Compute:
        if asked.aggregation != "count" and not asked.metric:
            raise Refusal(400, f"compute: {asked.aggregation} needs a metric, such as @duration")
        step = 0
        if asked.type == "timeseries":
            now = self._clock() // MILLISECOND
            shown = max(1, min(window.end, now) - window.start)
            step = moments.interval(asked.interval) if asked.interval else shown // _POINTS or 1
        return Compute(function=asked.aggregation, metric=asked.metric, step=step)

    def _group(self, asked: _Group) -> Group:
        bins = asked.histogram
        if bins and not (bins.interval > 0 and 0 < (bins.max - bins.min) / bins.interval <= _BINS):
            raise Refusal(400, f"group_by.histogram: from 1 to {_BINS} buckets")
        if not 1 <= asked.limit <= LIMIT:
            raise Refusal(400, f"group_by.limit: from 1 to {LIMIT}")
        total = "TOTAL" if asked.total is True else asked.total
        return Group(
            attribute=asked.facet,
            limit=asked.limit,
            order=_order(asked),
            histogram=bins,
            missing=asked.missing,
            total=None if total is False else total,
        )


def _listed(query: QueryParams) -> _Search:
    """The same search, from an address."""
    limit, sort = query.get("page[limit]", "10"), query.get("sort", "-timestamp")
    if not limit.isdecimal() or len(limit) > len(str(LIMIT)):
        raise Refusal(400, f"page[limit]: from 0 to {LIMIT}")
    try:
        order = msgspec.convert(sort, Sort)
    except msgspec.ValidationError:
        raise Refusal(400, "sort: timestamp or -timestamp") from None
    return _Search(
        filter=_Filter(
            query=query.get("filter[query]", "*"),
            start=query.get("filter[from]", ""),
            end=query.get("filter[to]", ""),
        ),
        page=_Paging(cursor=query.get("page[cursor]", ""), limit=int(limit)),
        sort=order,
    )


def _order(asked: _Group) -> Order:
    """By how many, unless something else is asked for; a histogram along its bins."""
    sort = asked.sort
    if sort is None:
        return Order() if asked.histogram else Group(attribute="").order
    if sort.type == "alphabetical":
        return Order(descending=sort.order == "desc")
    if sort.aggregation is None or (sort.aggregation != "count" and not sort.metric):
        raise Refusal(400, "group_by.sort: a measure needs an aggregation, and that a metric")
    by = Compute(function=sort.aggregation, metric=sort.metric)
    return Order(by=by, descending=sort.order != "asc")


def _buckets(found: Aggregated) -> dict[str, Any]:
    return {
        "buckets": [
            {
                "by": bucket.by,
                "computes": {
                    f"c{place}": _told(figure)
                    for place, figure in enumerate(bucket.figures)
                    if figure is not None
                },
            }
            for bucket in found.buckets
        ]
    }


def _told(figure: str | float | tuple[Point, ...] | None) -> Any:
    if not isinstance(figure, tuple):
        return figure
    return [
        {"time": rfc3339(point.start * MILLISECOND), "value": float(point.value)}
        for point in figure
    ]


def _around(began: float, complete: bool, after: str, request: Request | None) -> Mapping[str, Any]:
    """``meta`` and ``links``."""
    meta: dict[str, Any] = {
        "elapsed": int((time.monotonic() - began) * 1000),
        "request_id": uuid.uuid4().hex,
        "status": "done" if complete else "timeout",
    }
    if after:
        meta["page"] = {"after": after}
    around: dict[str, Any] = {"meta": meta}
    if after and request is not None:
        following = request.url.include_query_params(**{"page[cursor]": after})
        around["links"] = {"next": str(following)}
    return around
