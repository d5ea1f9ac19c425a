"""``signalbox plan``: what would run, in order, and why not."""

import os

import click

from runner.cli.options import state_option


@click.command("plan")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE")
@click.option("--job", "jobs", multiple=True, metavar="NAME", help="this job and what it needs")
@click.option("--only", multiple=True, metavar="NAME", help="this job without what it needs")
@click.option("--json", "as_json", is_flag=True, help="the plan as JSON")
@state_option
def command(
    file: str | None,
    parameters: tuple[str, ...],
    jobs: tuple[str, ...],
    only: tuple[str, ...],
    as_json: bool,
    state: str | None,
) -> int:
    """Say what would run, in order; run nothing."""
    from runner import plan
    from runner.cli import containers, places, rehearsal, settings

    del state
    spot = places.place(file)
    _, pipeline = places.read(spot)
    made = plan.make(
        pipeline,
        given=settings.assignments(parameters, "-p"),
        selection=plan.Selection(jobs=jobs, only=only),
    )
    way = containers.way(made, spot, os.environ)
    click.echo(rehearsal.as_json(made, way) if as_json else rehearsal.as_text(made, way))
    return 0
