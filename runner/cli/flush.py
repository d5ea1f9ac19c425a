"""``signalbox flush``: send what is still in the journal."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from runner.cli.options import state_option
from runner.errors import FAILED, UsageError

if TYPE_CHECKING:
    from runner import intake
    from runner.intake.http import Intake

_ATTEMPT, _TRIES = 5.0, 3
"""Seconds, and failures in a row, after a CI's job: it is paid by the minute."""


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command("flush")
@click.argument("run", required=False, metavar="[RUN]")
@state_option
def command(run: str | None, state: str | None) -> int:
    """Send what is still in the journal; with RUN, also that local execution."""
    from runner.cli import places

    where, to = places.state(state, os.environ), _target(os.environ)
    if to is None:
        raise UsageError("there is nowhere to send to", "set DD_API_KEY, or SIGNALBOX_INTAKE_URL")
    if not places.is_there(where):
        _say(f"nothing to send: there is no {where}")
        return 0
    return _send(run, where, to, os.environ)


def rest(where: str, environ: Mapping[str, str]) -> None:
    """After a CI's job: close what was killed, and send what waits if there is somewhere to."""
    from runner.cli import launch

    if to := _target(environ):
        _send(None, where, to, environ, patient=False)
    else:
        launch.open_journal(where, os.path.dirname(where), _say, environ).close()


def _target(environ: Mapping[str, str]) -> "intake.Target | None":
    from runner import intake
    from runner.cli import settings

    found = settings.read(environ)
    return intake.target(
        site=found.site,
        key=found.key,
        intake_url=found.intake_url,
        token=found.token,
        warn=_say,
    )


def _send(
    run: str | None,
    where: str,
    to: "intake.Target",
    environ: Mapping[str, str],
    *,
    patient: bool = True,
) -> int:
    import time

    from runner import __version__, delivery, execution
    from runner.cli import launch, settings
    from runner.intake.http import Intake
    from runner.terminal import counted

    logs = settings.read(environ).logs
    journal = launch.open_journal(where, os.path.dirname(where), _say, environ)
    try:
        launch.settle_git(journal, environ)
        done = delivery.flush(
            journal,
            Intake(to, environ=environ, version=__version__),
            binding=to.binding,
            run=journal.find(run).id if run else "",
            clock=execution.clock(),
            sleep=time.sleep,
            warn=_say,
            pace=None if patient else delivery.Pace(attempt=_ATTEMPT, tries=_TRIES),
            logs=_logs(to, environ) if logs else None,
        )
    finally:
        journal.close()
    sent = counted(done.sent, "event") + (f", {counted(done.lines, 'log line')}" if logs else "")
    _say("\n".join(filter(None, (f"{sent} sent to {to.place}", done.message))))
    return FAILED if done.waiting or done.refused or done.unsent else 0


def _logs(to: "intake.Target", environ: Mapping[str, str]) -> "Intake | None":
    from runner import __version__, intake
    from runner.intake.http import Intake

    there = intake.logs(to)
    return Intake(there, environ=environ, version=__version__) if there else None
