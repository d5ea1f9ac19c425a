"""``signalbox reproduce``: the same step here, with what it had there."""

import os

import click

from runner.cli.options import run_argument, state_option


@click.command("reproduce")
@run_argument
@click.option("--job", metavar="JOB", help="default: the first that failed")
@click.option("--step", "steps", multiple=True, metavar="STEP", help="name or number; repeatable")
@click.option("--run", "carry_out", is_flag=True, help="run it, in a work tree of its own")
@click.option("--accept-changed", is_flag=True, help="though its commands are not the commit's")
@click.option("--json", "as_json", is_flag=True, help="as data")
@state_option
def command(
    run: str,
    job: str | None,
    steps: tuple[str, ...],
    carry_out: bool,
    accept_changed: bool,
    as_json: bool,
    state: str | None,
) -> int:
    """Print what a step of a past run had: commit, variables, image. With --run: run it here.

    Your files are not touched: the commit is checked out into the state directory.

    \b
    signalbox reproduce --run                    the first step that failed in the last run
    signalbox reproduce 1f3a --job test --step 2
    """
    import msgspec

    from runner.cli import again, recipe

    found = recipe.look(run, job, steps, state, os.environ)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found.recipe), indent=2))
    else:
        click.echo(recipe.text(found.recipe, recipe.beside(found)))
    if not carry_out:
        return 0
    return again.carry_out(found, os.environ, accept_changed=accept_changed)
