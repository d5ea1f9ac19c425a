"""``signalbox list``: past executions."""

import os

import click

from runner.cli.options import state_option


@click.command("list")
@click.option("-n", "--last", default=20, show_default=True, help="how many")
@click.option("--json", "as_json", is_flag=True, help="as data")
@state_option
def command(last: int, as_json: bool, state: str | None) -> int:
    """List the last executions, newest first."""
    import msgspec

    from runner.cli import past, voice
    from runner.execution import clock
    from runner.report.table import table

    journal = past.open_journal(state, os.environ)
    try:
        stored = journal.stored()[:last]
        told = [past.listed(journal, one, os.environ) for one in stored]
    finally:
        journal.close()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
        return 0
    look = voice.look_of(os.environ, 1)
    click.echo(look.encode(table(told, look, now=clock()())).rstrip(b"\n"))
    return 0
