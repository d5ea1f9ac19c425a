"""``signalbox import``: a run from another machine into the journal here."""

import os
from collections.abc import Callable, Mapping

import click

from runner.cli.options import state_option


@click.command("import")
@click.argument("file")
@state_option
def command(file: str, state: str | None) -> int:
    """Take a run that was exported into the journal here; its id is printed.

    Its workspace is this one. A file that was changed, or is older than what is known here, is
    refused.
    """
    run = take_in(file, state, os.environ, lambda text: click.echo(text, err=True))
    click.echo(run)
    return 0


def take_in(
    file: str, state: str | None, environ: Mapping[str, str], say: Callable[[str], None]
) -> str:
    """Import ``file``; the id of its run."""
    from runner.cli import custody, launch, parcel, places
    from runner.seal import Trust
    from runner.terminal import plain

    found = parcel.read(file, custody.key_of(environ))
    if found.trust is Trust.UNCHECKED:
        say(f"! warning: {file} is signed; without {custody.VARIABLE} nothing can go on from it")
    if found.trust is Trust.UNSIGNED:
        say(f"! warning: {file} is not signed: whoever could write it decides what it says")
    here = os.getcwd()
    workspace = places.top_level(here) or here
    journal = launch.open_journal(places.state(state, environ, workspace), workspace, say)
    try:
        new = parcel.unpack(found, journal, workspace)
        stored = journal.find(found.run)
    finally:
        journal.close()
    done = "imported" if found.run in new else "was here already"
    name = plain(stored.header.execution.pipeline)
    say(f"{found.run[:8]} {done}: {name}, {_stands(stored.gates)}")
    return found.run


def _stands(gates: tuple[object, ...]) -> str:
    return "it waits at a gate" if gates else "signalbox show tells of it"
