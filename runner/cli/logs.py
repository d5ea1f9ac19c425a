"""``signalbox logs``: what the jobs of an execution printed."""

import os
import shutil
import sys

import click

from runner.cli.options import run_argument, state_option
from runner.errors import UsageError


@click.command("logs")
@run_argument
@click.argument("job", required=False, metavar="[JOB]")
@state_option
def command(run: str, job: str | None, state: str | None) -> int:
    """Print what JOB printed, or all jobs one after the other. Secrets are masked."""
    from runner.cli import past
    from runner.event import Status

    journal = past.open_journal(state, os.environ)
    try:
        stored = journal.find(run)
        told = past.tell(journal, stored, os.environ)
        directory = journal.directory(stored.id)
    finally:
        journal.close()
    jobs = [j for j in told.jobs if job in {None, j.name} or j.name.startswith(f"{job} (")]
    if not jobs:
        names = ", ".join(j.name for j in told.jobs) or "none"
        raise UsageError(f"no job {job!r} ran in {stored.id[:8]}", f"these did: {names}")
    ran = [one for one in jobs if one.status is not Status.SKIPPED]
    if job and not ran:
        raise UsageError(f"job {job!r} was left out in {stored.id[:8]}: it printed nothing")
    for one in ran:
        if len(ran) > 1:
            click.echo(f"── {one.name}", err=True)
        _copy(os.path.join(directory, f"{one.id}.log"))
    return 0


def _copy(path: str) -> None:
    try:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1024 * 1024)
    except FileNotFoundError:
        click.echo("its log is gone", err=True)
    sys.stdout.buffer.flush()
