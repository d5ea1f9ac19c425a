"""``signalbox resume``: answer a gate and go on, as a new execution."""

import os

import click

from runner.cli.options import ask_option, run_argument, started_options, state_option
from runner.cli.sidecar import Sidecar


@click.command("resume")
@run_argument
@click.option("--approve", "approved", multiple=True, metavar="GATE", help="may be repeated")
@click.option("--reject", "rejected", multiple=True, metavar="GATE")
@click.option("--reason", default="", metavar="TEXT", help="why; it is reported")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="of the gate's fields")
@click.option("--accept-changed", is_flag=True, help="though file or commit are not the same")
@ask_option
@started_options
@state_option
@click.pass_obj
def command(
    sidecar: Sidecar | None,
    /,
    run: str,
    approved: tuple[str, ...],
    rejected: tuple[str, ...],
    reason: str,
    fields: tuple[str, ...],
    accept_changed: bool,
    **started: object,
) -> int:
    """Answer a gate of a blocked execution and go on.

    \b
    signalbox resume --approve approve
    signalbox resume 1f3a --reject approve --reason "not on a Friday"
    """
    from runner.cli import answer, launch, settings

    said = answer.Said(
        approved=approved,
        rejected=rejected,
        reason=reason,
        fields=settings.assignments(fields, "--field"),
    )
    request = answer.request(
        run, said, launch.options(started), os.environ, accept_changed=accept_changed
    )
    return launch.run(request, os.environ, sidecar)
