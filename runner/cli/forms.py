"""The forms of a report as bytes, and the file that one becomes.

Owns gathering what a form needs from the journal, and writing it whole or not at all. The forms
themselves are ``runner.report``'s; who asks for one is a command or the action.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from runner import event
from runner.cli import past
from runner.errors import SurroundingsError
from runner.journal import Journal, State, Stored
from runner.report import Told

TAIL: Final = 16 * 1024
"""Bytes of a failed job's log that go into the page."""
LINES: Final = 40
TAILS: Final = 20
"""Jobs whose output is shown."""


def html(journal: Journal, stored: Stored, told: Told) -> bytes:
    """One page that needs nothing beside it."""
    from runner.report.web.page import Attached, write_html  # jinja2 takes its time

    attached = Attached(
        tails=_tails(journal.directory(stored.id), told),
        summaries=past.summaries(journal, stored),
        events=[
            event.join(stored.header.envelope, stored.git, row.body)
            for row in journal.events(stored.id)
            if row.final or row.state is not State.SUPERSEDED
        ],
    )
    return write_html(told, attached)


def markdown(journal: Journal, stored: Stored, told: Told) -> bytes:
    """What a CI's job page shows."""
    from runner.report import markdown as form

    return form.page(told, past.summaries(journal, stored)).encode("utf-8", "replace")


def json(_journal: Journal, _stored: Stored, told: Told) -> bytes:
    """All of it as data."""
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def junit(_journal: Journal, _stored: Stored, told: Told) -> bytes:
    """JUnit's XML."""
    from runner.report import junit as form

    return form.suites(told)


def trace(_journal: Journal, _stored: Stored, told: Told) -> bytes:
    """Chrome's trace format."""
    from runner.report import trace as form

    return form.trace(told)


FORMS: Final[dict[str, Callable[[Journal, Stored, Told], bytes]]] = {
    "html": html,
    "markdown": markdown,
    "json": json,
    "junit": junit,
    "trace": trace,
}


def write(path: str, content: bytes, *, private: bool = False) -> None:
    """Write a file whole or not at all; ``-`` is standard output. In a container we are root: the
    file is for who owns the directory. Raises ``SurroundingsError``.
    """
    if path in {"-", "/dev/stdout"}:
        sys.stdout.buffer.write(content)
        return
    try:
        if is_no_place(path) or (os.path.exists(path) and not os.path.isfile(path)):  # a pipe
            with open(path, "wb") as file:
                file.write(content)
        else:
            _put(path, content, 0o600 if private else 0o666)
    except OSError as error:
        raise SurroundingsError(f"{path} cannot be written: {error.strerror or error}") from error


def is_no_place(path: str) -> bool:
    """Whether nothing may be put in the place of what is there: a terminal, ``/dev/fd/3``. A link
    there may lead to a plain file, and yet be the machine's.
    """
    return os.path.abspath(path).startswith(("/dev/", "/proc/"))


def _put(path: str, content: bytes, mode: int) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    above = os.stat(os.path.dirname(os.path.abspath(path)))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, mode), "wb") as file:
            file.write(content)
            if os.geteuid() == 0 and above.st_uid:
                os.fchown(file.fileno(), above.st_uid, above.st_gid)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _tails(directory: str, told: Told) -> dict[str, str]:
    """The last lines of the logs of jobs that failed; a log that is gone has none."""
    failed = [job for job in told.jobs if job.failure]
    found = {job.id: _tail(os.path.join(directory, f"{job.id}.log")) for job in failed[:TAILS]}
    return {job: tail for job, tail in found.items() if tail}


def _tail(path: str) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL, 0))
            text = file.read(TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
    if size > TAIL:
        text = text.partition("\n")[2] or text
    return "\n".join(text.rstrip("\n").split("\n")[-LINES:])
