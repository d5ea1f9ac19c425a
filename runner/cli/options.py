"""Options that several commands share."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from runner.execution import SECOND

Command = TypeVar("Command", bound=Callable[..., Any])


class Time(click.ParamType[int]):
    """RFC 3339 with an offset, or seconds since the epoch -> epoch nanoseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The nanoseconds, or a usage error."""
        if isinstance(value, int):
            return value
        try:
            moment = float(value)
        except ValueError:
            moment = self._moment(value, param, ctx)
        return int(moment * SECOND)

    def _moment(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: 2026-03-02T09:15:00Z, or epoch seconds", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no offset: add Z or +01:00", param, ctx)
        return moment.timestamp()


TIME = Time()


def state_option(command: Command) -> Command:
    """``--state DIR``, which every command has."""
    option = click.option("--state", metavar="DIR", help="state directory (SIGNALBOX_STATE)")
    return option(command)


def run_argument(command: Command) -> Command:
    """RUN: an id, an unambiguous start of one, or ``latest``."""
    return click.argument("run", default="latest", metavar="[RUN]")(command)


def started_options(command: Command) -> Command:
    """What every command that starts an execution takes."""
    for option in reversed((*_TOLD, *_STARTED)):
        command = option(command)
    return command


def told_options(command: Command) -> Command:
    """What a person may say of any execution."""
    for option in reversed(_TOLD):
        command = option(command)
    return command


def ask_option(command: Command) -> Command:
    """``--ask``, for commands that may reach a gate."""
    option = click.option("--ask", is_flag=True, help="on a terminal: ask at a gate and go on")
    return option(command)


_TOLD = (
    click.option("--tag", "tags", multiple=True, metavar="KEY:VALUE", help="on every level"),
    click.option("--measure", "measures", multiple=True, metavar="KEY:NUMBER"),
    click.option("--manual/--automatic", default=None, help="whether a person started it"),
    click.option("--local", is_flag=True, help="send nothing, key or not"),
)
_STARTED = (
    click.option("--max-parallel", type=click.IntRange(min=1), help="jobs at once (CPUs)"),
    click.option("--fail-fast/--keep-going", default=False, help="stop all at the first failure"),
)
