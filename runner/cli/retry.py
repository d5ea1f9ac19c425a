"""``signalbox retry``: run again, as a new execution that names the one before it."""

import os

import click

from runner.cli.options import ask_option, run_argument, started_options, state_option
from runner.cli.sidecar import Sidecar


@click.command("retry")
@run_argument
@click.option("--failed", is_flag=True, help="what failed or did not start; the default")
@click.option("--from", "jobs", multiple=True, metavar="JOB", help="this job; may be repeated")
@click.option("--all", "everything", is_flag=True, help="every job")
@click.option("--accept-changed", is_flag=True, help="though file or commit are not the same")
@ask_option
@started_options
@state_option
@click.pass_obj
def command(
    sidecar: Sidecar | None,
    /,
    run: str,
    failed: bool,
    jobs: tuple[str, ...],
    everything: bool,
    accept_changed: bool,
    **started: object,
) -> int:
    """Run jobs of an execution again, with all that depends on them; the others are done.

    \b
    signalbox retry                  what failed, was canceled or did not start
    signalbox retry 1f3a --from test one job
    """
    from runner.cli import attempt, launch
    from runner.errors import UsageError
    from runner.plan import Again

    if failed + bool(jobs) + everything > 1:
        raise UsageError("--failed, --from and --all exclude each other", "say one of them")
    again = Again(jobs=jobs, everything=everything)
    request = attempt.request(
        run, again, launch.options(started), os.environ, accept_changed=accept_changed
    )
    return launch.run(request, os.environ, sidecar)
