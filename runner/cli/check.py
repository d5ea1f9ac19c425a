"""``signalbox check``: every mistake in a pipeline file; whether key and site work."""

import os

import click

from runner.errors import FAILED


@click.command("check")
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--intake", "ask", is_flag=True, help="ask the intake whether it knows the key")
def command(file: str | None, ask: bool) -> int:
    """Say every mistake in FILE at once; run nothing."""
    from runner.cli import places
    from runner.pipeline import Gate

    place = places.place(file)
    _, pipeline = places.read(place)
    gates = sum(isinstance(node, Gate) for node in pipeline.jobs)
    jobs = len(pipeline.jobs) - gates
    counts = f"{jobs} job{'s' * (jobs != 1)}, {gates} gate{'s' * (gates != 1)}"
    click.echo(f"{place.shown}: {pipeline.name}: {counts}, no mistakes")
    return _ask() if ask else 0


def _ask() -> int:
    from runner import __version__, intake
    from runner.cli import settings
    from runner.errors import UsageError
    from runner.intake.http import Intake

    found = settings.read(os.environ)
    warnings: list[str] = []
    to = intake.target(
        site=found.site,
        key=found.key,
        intake_url=found.intake_url,
        token=found.token,
        warn=warnings.append,
    )
    if to is None:
        raise UsageError("; ".join(warnings) or "no key is set", "set DD_API_KEY and DD_SITE")
    line = Intake(to, environ=os.environ, version=__version__)
    reply = line.check(within=10)
    line.close()
    good = reply.verdict is intake.Verdict.DELIVERED
    said = f"{to.place}: the key works" if good else reply.message
    click.echo(said if said.startswith(to.place) else f"{to.place}: {said}", err=not good)
    return 0 if good else FAILED
