"""``signalbox clean``: close dead runs, remove what they left in an engine, and old history."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from runner.cli.options import state_option
from runner.errors import SurroundingsError

if TYPE_CHECKING:  # loaded when called
    from runner.journal import Journal

_DAYS: Final = 30
_RUNS: Final = 200
_SOCKET: Final = "/var/run/docker.sock"


@click.command("clean")
@state_option
def command(state: str | None) -> int:
    """Close runs that were killed and remove history beyond 30 days or 200 runs.

    What is blocked or not delivered stays. Containers, networks and volumes that killed runs of
    this state directory left are removed, too.
    """
    from runner import execution
    from runner.cli import launch, places
    from runner.terminal import counted

    def say(text: str) -> None:
        click.echo(text, err=True)

    where = places.state(state, os.environ)
    if not places.is_there(where):
        click.echo(f"nothing to clean: there is no {where}", err=True)
        return 0
    found: list[str] = []
    journal = launch.open_journal(where, os.path.dirname(where), found.append, os.environ)
    if journal.degraded:
        raise SurroundingsError(f"nothing was cleaned: {journal.degraded}")
    for text in found:
        say(text)
    _clean_engine(journal, say)
    before = execution.clock()() - _DAYS * 24 * 3600 * execution.SECOND
    removed = journal.prune(before=before, keep=_RUNS)
    journal.close()
    say(counted(len(removed), "execution") + " removed")
    return 0


def _clean_engine(journal: "Journal", say: Callable[[str], None]) -> None:
    """Where an engine is, or is said to be."""
    if not (os.environ.get("DOCKER_HOST") or os.path.exists(_SOCKET)):
        return
    from runner.cli import containers
    from runner.executors.docker import connection

    try:
        api = connection.connect(os.environ)
    except SurroundingsError as error:
        say(f"{error}; what runs may have left there was not removed")
        return
    for name in containers.swept(api, journal, say):
        say(f"{name} removed")
