"""``signalbox clean``: close dead runs, remove old history."""

import os

import click

from runner.cli.options import state_option

_DAYS = 30
_RUNS = 200


@click.command("clean")
@state_option
def command(state: str | None) -> int:
    """Close runs that were killed and remove history beyond 30 days or 200 runs.

    What is blocked or not delivered stays.
    """
    from runner import execution  # noqa: PLC0415
    from runner.cli import launch, places  # noqa: PLC0415

    where = places.state(state, os.environ)
    if not os.path.isdir(where):
        click.echo(f"nothing to clean: there is no {where}", err=True)
        return 0
    journal = launch.open_journal(
        where, os.path.dirname(where), lambda text: click.echo(text, err=True), os.environ
    )
    before = execution.clock()() - _DAYS * 24 * 3600 * execution.SECOND
    removed = journal.prune(before=before, keep=_RUNS)
    journal.close()
    click.echo(f"{len(removed)} executions removed", err=True)
    return 0
