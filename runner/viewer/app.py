"""Everything on one port: the API, the pages, and the guard before both.

Owns which route leads where. Knows no socket: that is ``cli.serve``'s.
"""

from starlette.applications import Starlette
from starlette.types import ASGIApp

from runner.execution import MILLISECOND, Clock
from runner.viewer import pages
from runner.viewer.api import Api
from runner.viewer.guard import LOCAL, Guard
from runner.viewer.readback import Readback
from runner.viewer.store import Store


def make(
    store: Store,
    *,
    clock: Clock,
    hosts: frozenset[str] = LOCAL,
    token: str = "",
    forward: bool = False,
) -> ASGIApp:
    """The application over a store. ``hosts``: the names by which it may be called when there is
    no ``token``.
    """

    def now() -> int:
        return clock() // MILLISECOND

    api, readback = Api(store, clock, forward=forward), Readback(store, clock)
    shown = pages.Pages(store, now)
    application = Starlette(
        routes=[*api.routes(), *readback.routes(), *shown.routes()],
        exception_handlers=shown.faults(),
    )
    return Guard(application, hosts=hosts, token=token)
