"""The pages of ``signalbox serve``: what came in, as people look at it.

Owns the routes of pages and what each asks of the store. Who may ask at all is the application's
(``runner.viewer.app``). Everything a page shows stands in its address; every page is whole without
its script; every answer has an ETag, so that following what runs costs little::

    address     addresses read and made        terms       a query with a value picked by a click
    executions  what stands where in the list  execution   ... in the page of one
    pipelines   ... in the overview            beside      executions side by side
    render      templates, files, headers
"""

import secrets
import traceback
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from runner.event import Envelope
from runner.execution import MILLISECOND
from runner.report import Beside as Around
from runner.report import Delivery, Kin, Told, tell
from runner.terminal import plain
from runner.viewer.http import Refusal, errors
from runner.viewer.pages import address, beside, execution, executions, pipelines, terms
from runner.viewer.pages.address import Choice, Search, When
from runner.viewer.pages.execution import Log
from runner.viewer.pages.render import Renderer
from runner.viewer.query import QueryError
from runner.viewer.rows import Execution, Facets, Page, Row, Window
from runner.viewer.store import Store

SHOWN: Final = 50
"""Rows of one page of the list."""
BESIDE: Final = 6
"""Executions of a chain that stand side by side, the newest."""
_TAILS: Final = 3
"""Failed jobs whose last output is shown before their log is asked for."""
_PICKED: Final = 3
"""Facets with picked values whose other values are counted, too."""
_MINUTE: Final = 60_000
_LATE: Final = 0.5
"""Seconds for what a page can do without."""


class MissingPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page that says what is not there, and where to go."""

    title: str
    place: str = "executions"
    now: int
    live: int = 0
    text: str
    detail: str = ""
    choices: tuple[Choice, ...] = (Choice(text="Executions", href="/executions", on=False),)


class ComparePage(msgspec.Struct, frozen=True, kw_only=True):
    """Two executions, or what is missing for it."""

    title: str = "Comparison"
    place: str = "executions"
    now: int
    live: int = 0
    name: str = ""
    alike: str = ""
    both: beside.Beside | None = None
    swapped: str = ""
    missing: str = ""


class Pages:
    """The pages over one store. ``now`` tells epoch milliseconds."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now
        self._render = Renderer()
        self._life = secrets.token_hex(4)
        """In every ETag: what changed is counted anew by each process."""

    def routes(self) -> list[Route]:
        """To be mounted at the root."""
        return [
            Route("/", _home),
            Route("/pipelines", self.pipelines),
            Route("/executions", self.executions),
            Route("/executions/{id:path}", self.execution),
            Route("/compare", self.compare),
            Route("/static/{digest}/{name}", self._render.asset),
        ]

    def faults(self) -> dict[int | type[Exception], ExceptionHandler]:
        """What is answered when there is no such page, and when one fails."""
        return {404: self._missing, 500: self._failed}

    def _missing(self, request: Request, _: Exception) -> Response:
        if request.url.path.startswith("/api/"):
            return errors(Refusal(404, f"{request.url.path}: there is no such route"))
        page = MissingPage(
            title="There is no such page", now=self._now(), text="Its address may be cut off."
        )
        return self._render.page("missing.html", page, self._tag(), 404)

    def _failed(self, request: Request, error: Exception) -> Response:
        if request.url.path.startswith("/api/"):
            return errors(Refusal(500, "a defect of ours"))
        page = MissingPage(
            title="This page failed",
            now=self._now(),
            text="That is a defect of ours; what came in is safe. Please report this:",
            detail="".join(traceback.format_exception(error, limit=-4)),
        )
        return self._render.page("missing.html", page, self._tag("failed"), 500)

    def pipelines(self, request: Request) -> Response:
        """Every pipeline."""
        now, asked = self._now(), address.overview(request.query_params)
        tag = self._tag(now // _MINUTE)
        if known := self._render.known(request, tag):
            return known
        rows = self._store.pipelines(
            window=asked.when.within(now),
            default_branch=not asked.every_branch,
            by_branch=asked.every_branch,
        )
        page = pipelines.page(
            asked, rows, now=now, empty_store=not rows and self._empty(), intake=_origin(request)
        )
        return self._render.page("pipelines.html", page, tag)

    def executions(self, request: Request) -> Response:
        """What a search finds."""
        now, asked = self._now(), address.search(request.query_params)
        tag = self._tag(now // _MINUTE)
        if known := self._render.known(request, tag):
            return known
        found, facets, mistake = self._found(asked, asked.when.within(now))
        page = executions.page(
            asked,
            found,
            facets,
            now=now,
            empty_store=not found.rows and not mistake and self._empty(),
            mistake=mistake,
            intake=_origin(request),
        )
        return self._render.page("executions.html", page, tag)

    def execution(self, request: Request) -> Response:
        """One execution."""
        now, unique_id = self._now(), request.path_params["id"]
        row = self._store.row(unique_id)
        running = row is not None and row.status == "running"
        tag = self._tag(now // (1000 if running else _MINUTE))
        if known := self._render.known(request, tag):
            return known
        whole = self._store.execution(unique_id) if row else None
        if whole is None or row is None:
            return self._render.page("missing.html", _unknown(unique_id, now), tag, 404)
        chain = execution.story(self._store.chain(unique_id))
        told = _tell(whole, row, chain, now)
        tab = execution.choose(request.query_params.get("tab", ""))
        page = execution.page(
            told,
            now=now,
            tab=tab,
            part=request.query_params.get("part", ""),
            tails=self._tails(whole, told) if tab == "overview" else {},
            log=self._log(request, whole, told) if tab == "logs" else None,
            side=self._attempts(chain, now) if tab == "attempts" else None,
            raw=execution.raw(whole, _number(request, "first")) if tab == "events" else None,
            capped=whole.capped,
            compare=self._before(row),
            alike=_alike(row.name),
        )
        return self._render.page("one.html", page, tag)

    def compare(self, request: Request) -> Response:
        """Two executions side by side."""
        now = self._now()
        tag = self._tag(now // _MINUTE)
        if known := self._render.known(request, tag):
            return known
        asked = [request.query_params.get(name, "") for name in ("base", "with")]
        found = [self._told(unique_id, now) for unique_id in asked]
        missing = [one for one, told in zip(asked, found, strict=True) if told is None]
        tolds = [told for told in found if told]
        if missing:
            named = " and ".join(plain(one) for one in missing if one)
            text = f"Nothing is known of {named}" if named else "Two executions are compared"
            page = ComparePage(now=now, missing=text)
            return self._render.page("compare.html", page, tag, 404 if named else 200)
        page = ComparePage(
            title=f"Comparison of {plain(tolds[1].name)}",
            now=now,
            live=4,
            name=plain(tolds[1].name),
            alike=_alike(tolds[1].name),
            both=beside.beside(tolds, ("Before", "After")),
            swapped=address.comparison(asked[1], asked[0]),
        )
        return self._render.page("compare.html", page, tag)

    # ── what the pages ask ───────────────────────────────────────────────────────────────────────

    def _tag(self, *parts: object) -> str:
        return f'"{"-".join(map(str, (self._life, self._store.changes(1 << 60).now, *parts)))}"'

    def _empty(self) -> bool:
        return not self._store.search(limit=1).rows

    def _found(self, asked: Search, window: Window) -> tuple[Page, Facets, str]:
        """A page of rows, what the matches have in common, and what is wrong with the query."""
        store, query, level = self._store, asked.query, asked.level
        try:
            found = store.search(query, level=level, window=window, limit=SHOWN, cursor=asked.after)
            facets = store.facets(query, level=level, window=window)
            return found, self._with_others(asked, facets, window), ""
        except QueryError as error:
            mistake = str(error)
        return Page(rows=()), Facets(matches=0, capped=False, facets=()), mistake

    def _with_others(self, asked: Search, facets: Facets, window: Window) -> Facets:
        """Beside the values that were picked those that could be, too."""
        found = {facet.attribute: facet for facet in facets.facets}
        picked = [one for one in found if terms.dropped(asked.query, one) != asked.query]
        for attribute in picked[:_PICKED]:
            query = terms.dropped(asked.query, attribute)
            every = self._store.facets(
                query, level=asked.level, window=window, only=attribute, within=_LATE
            )
            found |= {one.attribute: one for one in every.facets}
        return msgspec.structs.replace(facets, facets=tuple(found.values()))

    def _told(self, unique_id: str, now: int) -> Told | None:
        whole = self._store.execution(unique_id) if unique_id else None
        return _tell(whole, whole.row, (), now) if whole and whole.row else None

    def _attempts(self, chain: Sequence[Kin], now: int) -> beside.Beside | None:
        named = [*zip(chain, execution.titles(chain), strict=True)][-BESIDE:]
        found = [(self._told(kin.id, now), title) for kin, title in named]
        both = [(told, title) for told, title in found if told]
        return beside.beside([told for told, _ in both], [title for _, title in both])

    def _log(self, request: Request, whole: Execution, told: Told) -> Log:
        job = execution.job_to_read(told, whole, request.query_params.get("job", ""))
        count = execution.LINES
        asked = "after" in request.query_params
        after = _number(request, "after") if asked else self._store.log_end(whole.id, job, count)
        lines = self._store.logs(whole.id, job, after=after or -1, limit=count)
        return execution.log(told, whole, job, lines, after)

    def _tails(self, whole: Execution, told: Told) -> dict[str, str]:
        failed = [job.id for job in told.jobs if job.failure and job.id in whole.jobs_with_logs]
        return {job: self._tail(whole.id, job) for job in failed[:_TAILS]}

    def _tail(self, unique_id: str, job: str) -> str:
        after = self._store.log_end(unique_id, job, execution.TAIL)
        found = self._store.logs(unique_id, job, after=after or -1, limit=execution.TAIL)
        return "\n".join(line.message for line in found.lines)

    def _before(self, row: Row) -> str:
        """Where it is compared with the attempt before, or the last of its kind."""
        if row.previous:
            return address.comparison(row.previous, row.execution)
        query = f"{terms.term('@ci.pipeline.name', row.name)} -@ci.status:running"
        if row.branch:
            query += " " + terms.term("@git.branch", row.branch)
        window = Window(end=max(row.start - 1, 0))
        found = self._store.search(query, window=window, limit=1, within=_LATE).rows
        return address.comparison(found[0].execution, row.execution) if found else ""


def _home(request: Request) -> Response:  # noqa: ARG001 - a route's
    return RedirectResponse("/executions")


def _tell(whole: Execution, row: Row, chain: tuple[Kin, ...], now: int) -> Told:
    around = Around(
        git=whole.git,
        envelope=Envelope(
            provider_name=row.provider, service=row.service or None, env=row.env or None
        ),
        chain=chain,
        delivery=Delivery(delivered=len(whole.events)),
        now=now * MILLISECOND if row.duration is None else 0,
    )
    return tell(whole.events, around)


def _unknown(unique_id: str, now: int) -> MissingPage:
    return MissingPage(
        title="Nothing is known of this execution",
        now=now,
        live=2,
        text="Its events may still be on their way: this page shows them as soon as they come. "
        "A pipeline appears with its own event, not with those of its jobs.",
        detail=plain(unique_id),
    )


def _alike(name: str) -> str:
    return Search(query=terms.term("@ci.pipeline.name", name), when=When(window="all")).href()


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 19 else 0  # noqa: PLR2004 - 64 bits
