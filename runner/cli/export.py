"""``signalbox export``: one run as one file, for another machine."""

import os

import click

from runner.cli.options import state_option
from runner.errors import UsageError


@click.command("export")
@click.argument("names", nargs=-1, required=True, metavar="[RUN] FILE")
@state_option
def command(names: tuple[str, ...], state: str | None) -> int:
    """Write one run to FILE: what it stands on, its events, masked logs and kept files, no secret.

    \b
    signalbox export run.tar            the last run
    signalbox export 1f3a run.tar
    """
    from runner.cli import custody, launch, parcel, past, places
    from runner.cli.origin import see_pipeline
    from runner.seal import Trust

    if len(names) > 2:  # noqa: PLR2004 - a run and a file
        raise UsageError(f"{names[2]!r} is too much", "signalbox export [RUN] FILE")
    past.open_journal(state, os.environ).close()  # there is one
    where = places.state(state, os.environ)
    journal = launch.open_journal(
        where, os.path.dirname(where), lambda text: click.echo(text, err=True)
    )
    try:
        stored = journal.find(names[0] if len(names) > 1 else "latest")
        see_pipeline(stored)  # nobody could take it in
        trust = parcel.pack(journal, stored, names[-1], os.environ)
    finally:
        journal.close()
    size = os.path.getsize(names[-1])
    signed = "signed" if trust is Trust.GOOD else f"not signed: it ran without {custody.VARIABLE}"
    click.echo(f"{stored.id[:8]} exported to {names[-1]}: {size:,} bytes, {signed}", err=True)
    return 0
