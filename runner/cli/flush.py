"""``signalbox flush``: send what is still in the journal."""

import os
from typing import TYPE_CHECKING

import click

from runner.cli.options import state_option
from runner.errors import FAILED, UsageError

if TYPE_CHECKING:
    from runner import intake


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command("flush")
@click.argument("run", required=False, metavar="[RUN]")
@state_option
def command(run: str | None, state: str | None) -> int:
    """Send what is still in the journal; with RUN, also that local execution."""
    import time  # noqa: PLC0415

    from runner import __version__, delivery, execution, intake  # noqa: PLC0415
    from runner.cli import launch, places, settings  # noqa: PLC0415

    found = settings.read(os.environ)
    where = places.state(state, os.environ)
    to = intake.target(
        site=found.site,
        key=found.key,
        intake_url=found.intake_url,
        token=found.token,
        warn=_say,
    )
    if to is None:
        raise UsageError("there is nowhere to send to", "set DD_API_KEY, or SIGNALBOX_INTAKE_URL")
    journal = launch.open_journal(where, os.path.dirname(where), _say, os.environ)
    try:
        launch.settle_git(journal, os.environ)
        done = delivery.flush(
            journal,
            intake.Intake(to, environ=os.environ, version=__version__),
            binding=to.binding,
            run=journal.find(run).id if run else "",
            clock=execution.clock(),
            sleep=time.sleep,
            warn=_say,
            logs=_logs(to) if found.logs else None,
        )
    finally:
        journal.close()
    lines = f", {done.lines} log lines" if found.logs else ""
    _say("\n".join(filter(None, (f"{done.sent} events{lines} sent to {to.place}", done.message))))
    return FAILED if done.waiting or done.refused or done.unsent else 0


def _logs(to: "intake.Target") -> "intake.Intake | None":
    from runner import __version__, intake  # noqa: PLC0415

    there = intake.logs(to)
    return intake.Intake(there, environ=os.environ, version=__version__) if there else None
