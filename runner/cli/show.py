"""``signalbox show``: one execution as a tree."""

import os

import click

from runner.cli.options import run_argument, state_option


@click.command("show")
@run_argument
@click.option("--json", "as_json", is_flag=True, help="as data")
@state_option
def command(run: str, as_json: bool, state: str | None) -> int:
    """Show an execution: its jobs and steps with their times, what waits, what was delivered."""
    import msgspec

    from runner.cli import past, voice
    from runner.report import tree

    journal = past.open_journal(state, os.environ)
    try:
        told = past.tell(journal, journal.find(run), os.environ)
    finally:
        journal.close()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
        return 0
    look = voice.look_of(os.environ, 1)
    click.echo(look.encode(tree.tree(told, look)).rstrip(b"\n"))
    return 0
