"""``signalbox exec``: one command as one step, and nobody notices.

Where its words are plain they are read before this is loaded (``words.plain``).
"""

import click

from runner.cli import words
from runner.cli.options import state_option, told_options


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--name", default="", metavar="NAME", help="of the step (the command line)")
@click.option("--job", default="", metavar="NAME", help="of the job (the program)")
@click.option("--pipeline", default="", metavar="NAME", help="of the pipeline (the job)")
@told_options
@state_option
@click.argument("arguments", nargs=-1, required=True, metavar="-- COMMAND…")
def command(**given: object) -> int:
    """Run one command as a step. Exit code, streams and terminal are its own.

    \b
    signalbox exec -- make test
    signalbox exec --pipeline Release --job upload -- ./upload.sh --fast
    """
    return words.carry_out(words.of_exec(given))
