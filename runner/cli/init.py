"""``signalbox init``: a first pipeline file."""

import os

import click

from runner.cli.places import NAMES
from runner.errors import UsageError


@click.command("init", help="Write a first pipeline file here, ready to run.")
@click.argument("file", default=NAMES[0])
def command(file: str) -> int:
    """Write the example; never over a file that is there."""
    from runner import manifest

    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise UsageError(f"{file} is there already", "name another file, or remove it") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", "name a place that can be written") from None
    with os.fdopen(fd, "w", encoding="utf-8") as out:
        out.write(manifest.EXAMPLE)
    click.echo(f"{file} written. Try: signalbox run" + ("" if file in NAMES else f" {file}"))
    return 0
