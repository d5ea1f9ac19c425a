"""``signalbox run``: run a pipeline."""

import os

import click

from runner.cli.options import TIME, ask_option, started_options, state_option
from runner.cli.sidecar import Sidecar


@click.command("run")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE")
@click.option("--job", "jobs", multiple=True, metavar="NAME", help="this job and what it needs")
@click.option("--only", multiple=True, metavar="NAME", help="this job without what it needs")
@click.option("--queued-at", type=TIME, help="when the pipeline was asked for: queue time")
@click.option("--parent", metavar="ID[=URL]", help="the pipeline execution that started this one")
@click.option("--dry-run", "-n", is_flag=True, help="say what would run; run and send nothing")
@click.option("--json", "as_json", is_flag=True, help="with --dry-run: the very bytes")
@ask_option
@started_options
@state_option
@click.pass_obj
def command(
    sidecar: Sidecar | None,
    /,
    file: str | None,
    parameters: tuple[str, ...],
    jobs: tuple[str, ...],
    only: tuple[str, ...],
    queued_at: int | None,
    parent: str | None,
    dry_run: bool,
    as_json: bool,
    **started: object,
) -> int:
    """Run a pipeline: FILE, or pipeline.yml here or above.

    \b
    signalbox run                          everything
    signalbox run --job test -p OS=slim    one job and what it needs
    signalbox run --only lint              one job alone
    """
    from runner import commit
    from runner.cli import places

    if as_json and not dry_run:
        raise click.UsageError("--json goes with --dry-run; signalbox show --json tells of a run")
    place = places.place(file)
    if sidecar:
        sidecar.foresee(place)
    look = commit.Look(place.directory, dict(os.environ))

    # Loaded while the sidecar reads the file and git looks HEAD up.
    from runner import plan
    from runner.cli import launch, settings

    text, pipeline = sidecar.read(place) if sidecar else places.read(place)
    given = settings.assignments(parameters, "-p")
    selection = plan.Selection(jobs=jobs, only=only)
    request = launch.Request(
        place=place,
        text=text,
        given=given,
        selection=selection,
        plan=plan.make(pipeline, given=given, selection=selection),
        queued_at=queued_at,
        parent=launch.link(parent),
        options=launch.options(started),
        look=look,
    )
    if dry_run:
        from runner.cli import rehearsal

        return rehearsal.show(request, os.environ, as_json=as_json)
    return launch.run(request, os.environ, sidecar)
