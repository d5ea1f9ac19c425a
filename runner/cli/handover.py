"""What the host CI is told when an execution is over: the outputs of the step, the job's page.

Owns writing to the CI's own files and the report that the action was asked for, and nothing else:
the text is the provider's and the report's. A file that cannot be written is a warning; it changes
no result.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import click

from runner import execution, providers
from runner.errors import (
    BLOCKED,
    INTERRUPTED,
    SUCCESS,
    TERMINATED,
    PipelineFileError,
    SignalboxError,
)
from runner.event import Status
from runner.journal import Journal, Stored
from runner.terminal import plain

if TYPE_CHECKING:  # loaded when a run is over
    from runner.report import Told

_STATUS: Final = {
    SUCCESS: Status.SUCCESS,
    BLOCKED: Status.BLOCKED,
    INTERRUPTED: Status.CANCELED,
    TERMINATED: Status.CANCELED,
}
"""How it ended, by exit code, when the journal does not say: its disk may be full."""


class Handover:
    """Made before the execution, used after it."""

    def __init__(self, environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
        self._environ, self._warn = environ, warn
        self._provider = providers.detect(environ, providers.read_file)
        self._since = execution.clock()()

    def write(self, state: str, code: int, page: str = "") -> None:
        """Tell the CI of the execution that was started since, and ended with ``code``; ``page`` is
        the file that shall be its report.
        """
        outputs, summary = self._told(state, page)
        self.end(code, outputs)
        self._append(self._provider.page_path, summary)

    def end(self, code: int, outputs: Mapping[str, str] | None = None) -> None:
        """Give the outputs."""
        status = _STATUS.get(code, Status.ERROR).value
        entries = self._provider.outputs({"status": status, **(outputs or {})})
        self._append(self._provider.outputs_path, entries)

    def failed(self, error: SignalboxError) -> None:
        """Nothing could begin: say so on the run's page, at the mistakes if it is a file's."""
        self.end(error.exit_code)
        if isinstance(error, PipelineFileError):
            for one in error.mistakes:
                self._annotate(one.message, file=error.file, line=one.line)
        else:
            self._annotate(error.message)

    def _annotate(self, message: str, *, file: str = "", line: int = 0) -> None:
        click.echo(
            self._provider.annotation(plain(message), file=file, line=line), err=True, nl=False
        )

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """What is printed meanwhile cannot steer the CI."""
        token = os.urandom(16).hex()
        click.echo(self._provider.quiet(token), nl=False)
        try:
            yield
        finally:
            click.echo(self._provider.loud(token), nl=False)

    def _told(self, state: str, page: str) -> tuple[dict[str, str], bytes]:
        from runner.cli import past  # 40 ms that no first step waits for
        from runner.report import markdown

        if not os.path.exists(os.path.join(state, "journal.db")):
            return {}, b""
        try:
            journal = Journal.read(state)
        except SignalboxError as error:
            self._warn(f"no outputs, no job page: {error.message}")
            return {}, b""
        try:
            ours = [s for s in journal.stored() if s.header.execution.start >= self._since]
            if not ours:
                return {}, b""
            told = past.tell(journal, ours[0], self._environ)
            room = max(markdown.LIMIT - self._taken(), 0)
            summary = markdown.page(told, past.summaries(journal, ours[0]), limit=room)
            outputs = self._outputs(ours[0], told)
            outputs["report"] = self._report(journal, ours[0], told, page) if page else ""
        finally:
            journal.close()
        outputs["state"] = self._state(state, ours[0])
        return outputs, summary.encode("utf-8", "replace")

    def _taken(self) -> int:
        """Bytes that stand on the page already."""
        path = self._provider.page_path
        try:
            return os.lstat(path).st_size if path else 0
        except OSError:
            return 0

    def _outputs(self, stored: Stored, told: "Told") -> dict[str, str]:
        return {
            "status": told.status.value,
            "pipeline-id": told.pipeline_id,
            "url": self._link(stored) or told.url,
            "gate": "\n".join(gate.gate for gate in stored.gates),
        }

    def _report(self, journal: Journal, stored: Stored, told: "Told", path: str) -> str:
        """The execution as a page, to upload; nothing that a step left at the path is opened."""
        from runner.cli import forms  # templates, by who wants a page

        try:
            if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
                self._warn(f"no report: {path} is no file")
                return ""
            forms.write(os.path.abspath(path), forms.html(journal, stored, told))
        except (SignalboxError, OSError) as error:
            self._warn(f"no report: {error}")
            return ""
        return self._seen(path)

    def _state(self, state: str, stored: Stored) -> str:
        """What can go on or be tried again, as a file to upload."""
        if stored.status in {Status.SUCCESS, Status.SKIPPED, None}:
            return ""
        from runner.cli import launch, parcel

        try:
            journal = launch.open_journal(state, os.path.dirname(state), self._warn, self._environ)
            path = os.path.join(journal.directory(stored.id), "state.tar")
            try:
                parcel.pack(journal, stored, path, self._environ)
            finally:
                journal.close()
        except SignalboxError as error:
            self._warn(f"no state to upload: {error.message}")
            return ""
        return self._seen(path)

    def _seen(self, path: str) -> str:
        """A path as the steps after this one see it: relative to the workspace, for a container has
        that at another place.
        """
        inside = os.path.relpath(path, self._environ.get("GITHUB_WORKSPACE") or os.getcwd())
        return path if inside.startswith("..") else inside

    def _link(self, stored: Stored) -> str:
        from runner import intake
        from runner.cli import settings

        found = settings.read(self._environ)
        target = intake.target(
            site=found.site,
            key=found.key,
            intake_url=found.intake_url,
            token=found.token,
            warn=lambda _: None,
        )
        return intake.link(target, stored.id) if target and stored.header.binding else ""

    def _append(self, path: str, content: bytes) -> None:
        """Append to a file that the CI made. Steps can reach it: what they put in its place, a link
        or a pipe that nobody reads, is neither followed nor waited for.
        """
        if not path or not content:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with open(os.open(path, flags), "ab") as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    file.write(content)
                else:
                    self._warn(f"{path} is no file any more")
        except OSError as error:
            self._warn(f"{path}: {error.strerror}")
