"""Whether a run is shown live, what Ctrl-Z does to the view, and the picture at a run's end.

Owns these three for ``voice`` and ``launch``; the view itself is ``console.live``, the drawing
``report.tree``. Both are loaded late.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Final

from runner import event
from runner.journal import Journal, State
from runner.terminal import Look

if TYPE_CHECKING:  # loaded on a terminal
    from runner.console.live import Live

LEAST: Final = (48, 10)
"""Columns and rows of the smallest window with a live view."""
_NO: Final = {"", "0", "false"}


def wanted(environ: Mapping[str, str], look: Look) -> bool:
    """Whether a person sits before a terminal that can show it: no pipe, no CI, colours, room."""
    if not os.isatty(2) or not look.colour or environ.get("CI", "").lower() not in _NO:
        return False
    columns, rows = os.get_terminal_size(2)
    return columns >= LEAST[0] and rows >= LEAST[1]


@contextlib.contextmanager
def shown(live: "Live") -> Iterator[None]:
    """While the block runs, stops at the terminal find it as it was; afterwards it is."""

    def pause(number: int, _frame: FrameType | None) -> None:
        live.suspend()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, pause)
        live.resume()

    def go_on(_number: int, _frame: FrameType | None) -> None:
        live.went_on()

    wanted = {signal.SIGTSTP: pause, signal.SIGCONT: go_on}
    ignored = {number for number in wanted if signal.getsignal(number) is signal.SIG_IGN}
    before = {n: signal.signal(n, does) for n, does in wanted.items() if n not in ignored}
    try:
        yield
    finally:
        live.close()
        for number, was in before.items():
            signal.signal(number, was)


def picture(journal: Journal, execution: str, look: Callable[[], Look]) -> Callable[[], list[str]]:
    """Draws an execution that has just ended."""

    def draw() -> list[str]:
        from runner import report  # at the end
        from runner.report import tree

        rows = journal.events(execution)
        told = (row for row in rows if row.final or row.state is not State.SUPERSEDED)
        return tree.waterfall(report.tell(event.decode(row.body) for row in told), look())

    return draw
