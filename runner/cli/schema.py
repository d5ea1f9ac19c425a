"""``signalbox schema``: JSON Schema of the pipeline file, for editors."""

import json

import click


@click.command("schema", help="Print the JSON Schema of the pipeline file.")
def command() -> int:
    """Print it."""
    from runner import manifest

    click.echo(json.dumps(manifest.schema(), indent=2))
    return 0
