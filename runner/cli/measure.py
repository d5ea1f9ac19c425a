"""``signalbox measure``: like ``tag``, for numbers, with the flags of ``datadog-ci measure``."""

import click

from runner.cli import entry


@click.command("measure", help="Measure what is running, from inside a step.")
@click.option("--level", "levels", multiple=True, help="step (default), job, stage, pipeline")
@click.option("--measures", multiple=True, metavar="KEY:NUMBER", help="may be repeated")
@click.option("--measures-file", type=click.Path(dir_okay=False), help="a flat JSON file")
def command(levels: tuple[str, ...], measures: tuple[str, ...], measures_file: str | None) -> int:
    """Append the entries to the step's file."""
    from runner import entries
    from runner.cli import settings

    said = [f"{k}:{v}" for k, v in entry.from_file(measures_file, "--measures-file").items()]
    found = settings.measures((*measures, *said), "--measures")
    lines = [
        entries.measure_entry(level, key, value)
        for level in entry.levels(levels)
        for key, value in found.items()
    ]
    return entry.append("SIGNALBOX_MEASURES", lines, "--measures")
