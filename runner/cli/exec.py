"""``signalbox exec``: one command as one step, and nobody notices."""

import os

import click

from runner.cli.options import state_option, told_options
from runner.cli.sidecar import Sidecar


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--name", default="", metavar="NAME", help="of the step (the command line)")
@click.option("--job", default="", metavar="NAME", help="of the job (the program)")
@click.option("--pipeline", default="", metavar="NAME", help="of the pipeline (the job)")
@told_options
@state_option
@click.argument("arguments", nargs=-1, required=True, metavar="-- COMMAND…")
@click.pass_obj
def command(
    sidecar: Sidecar | None,
    /,
    name: str,
    job: str,
    pipeline: str,
    arguments: tuple[str, ...],
    **started: object,
) -> int:
    """Run one command as a step. Exit code, streams and terminal are its own.

    \b
    signalbox exec -- make test
    signalbox exec --pipeline Release --job upload -- ./upload.sh --fast
    """
    from runner import commit

    environ = dict(os.environ)
    look = commit.Look(os.getcwd(), environ)

    # Loaded while git looks HEAD up.
    from runner.cli import request, wrap

    options = request.options(started)
    named = wrap.names(arguments, environ, step=name, job=job, pipeline=pipeline)
    return wrap.run(arguments, named, options, environ, look, sidecar)
