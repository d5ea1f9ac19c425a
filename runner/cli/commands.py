"""The commands: one file each, loaded when it is called.

Owns the list of commands. Imports click alone, so that ``--help`` is fast;
each command imports what it needs (``tests/test_startup.py`` holds the list).
"""

import contextlib
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from runner.cli.sidecar import Sidecar

COMMANDS: Final = {
    "run": "run a pipeline",
    "exec": "run one command as a step",
    "resume": "answer a gate and go on",
    "retry": "run again what failed, or more",
    "init": "write a first pipeline file",
    "check": "every mistake in a pipeline file; whether key and site work",
    "plan": "what would run, in order, and why not",
    "schema": "JSON Schema of the pipeline file",
    "list": "past executions",
    "show": "one execution as a tree",
    "logs": "what the jobs of an execution printed",
    "report": "one execution as a file: a page, Markdown, JSON, JUnit, a trace",
    "reproduce": "the same step here: commit, parameters, variables",
    "export": "one run as one file, without secrets",
    "import": "take in a run that was exported",
    "tag": "tag the running step, job, stage or pipeline",
    "measure": "measure the running step, job, stage or pipeline",
    "flush": "send what is still in the journal",
    "serve": "a local CI Visibility: the intake's API and its pages, on one port",
    "clean": "remove dead runs and old history",
}
_HIDDEN: Final = {"action"}


class Commands(click.Group):
    """Loads ``runner.cli.<command>`` when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands, in the order of a first day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """One command, loaded."""
        if cmd_name not in COMMANDS and cmd_name not in _HIDDEN:
            return None
        import importlib  # lazily, like all that a command needs

        name = "import_" if cmd_name == "import" else cmd_name  # a word of the language
        module = importlib.import_module(f"runner.cli.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; of what is none, the nearest is said."""
        if args[0] not in COMMANDS and args[0] not in _HIDDEN:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1)
            meant = f", did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"there is no command {args[0]!r}{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list for ``--help``, without loading a single command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from runner import __version__

        click.echo(f"signalbox {__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="First steps: signalbox init, then signalbox run.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="version"
)
def commands() -> None:
    """Run declared commands as steps of jobs and report them to Datadog CI Visibility."""


def run(arguments: list[str], beside: "Sidecar | None") -> int:
    """Run one command line; the exit code. What click says of it is said here."""
    try:
        result = commands.main(
            args=arguments, prog_name="signalbox", standalone_mode=False, obj=beside
        )
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        _plain(error)
        return 2
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0


def _plain(error: click.ClickException) -> None:
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context else "signalbox"
    with contextlib.suppress(OSError):  # nobody can be told
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            click.echo(error.format_message(), err=True)
            return
        click.echo(f"signalbox: {error.format_message()}", err=True)
        click.echo(f"  → {command} --help", err=True)
