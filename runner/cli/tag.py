"""``signalbox tag``: what a step says through its file, with the flags of ``datadog-ci tag``."""

import click

from runner.cli import entry


@click.command("tag", help="Tag what is running, from inside a step.")
@click.option("--level", "levels", multiple=True, help="step (default), job, stage, pipeline")
@click.option("--tags", multiple=True, metavar="KEY:VALUE", help="a tag; may be repeated")
@click.option("--tags-file", type=click.Path(dir_okay=False), help="a flat JSON file of tags")
def command(levels: tuple[str, ...], tags: tuple[str, ...], tags_file: str | None) -> int:
    """Append the entries to the step's file."""
    from runner import entries
    from runner.cli.settings import pairs

    found = pairs(tags, "--tags") | entry.from_file(tags_file, "--tags-file")
    lines = [
        entries.tag_entry(level, key, value)
        for level in entry.levels(levels)
        for key, value in found.items()
    ]
    return entry.append("SIGNALBOX_TAGS", lines, "--tags")
