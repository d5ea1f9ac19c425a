"""``signalbox report``: one execution as a file: a page, Markdown, data, JUnit's XML, a trace."""

import os

import click

from runner.cli.options import run_argument, state_option


@click.command("report")
@run_argument
@click.option("--html", metavar="FILE", help="a page that needs nothing beside it")
@click.option("--markdown", metavar="FILE", help="what a CI's job page shows")
@click.option("--json", metavar="FILE", help="everything, as data")
@click.option("--junit", metavar="FILE", help="JUnit's XML: each step a test case")
@click.option("--trace", metavar="FILE", help="for ui.perfetto.dev, speedscope, chrome://tracing")
@state_option
def command(run: str, state: str | None, **files: str | None) -> int:
    """Write an execution as files; - is standard output.

    With no file named: the page, beside the execution's logs; its path is printed.
    """
    from runner.cli import forms, past

    journal = past.open_journal(state, os.environ)
    try:
        stored = journal.find(run)
        told = past.tell(journal, stored, os.environ)
        chosen = {form: file for form, file in files.items() if file}
        for form, file in chosen.items():
            forms.write(file, forms.FORMS[form](journal, stored, told))
        if not chosen:
            path = os.path.join(journal.directory(stored.id), "report.html")
            forms.write(path, forms.html(journal, stored, told), private=True)
            click.echo(path)
    finally:
        journal.close()
    return 0
