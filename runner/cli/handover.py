"""What the host CI is told when an execution is over: the outputs of the step, the job's page.

Owns writing to the CI's own files, and nothing else: the text is the provider's and the report's. A
file that cannot be written is a warning; it changes no result.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final

from runner import execution, intake, providers, report
from runner.cli import past, settings
from runner.errors import BLOCKED, INTERRUPTED, SUCCESS, TERMINATED, SignalboxError
from runner.event import Status
from runner.journal import Journal, Stored
from runner.report import markdown

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

    def write(self, state: str, code: int) -> None:
        """Tell the CI of the execution that was started since, and ended with ``code``."""
        outputs, page = self._told(state)
        status = _STATUS.get(code, Status.ERROR).value
        entries = self._provider.outputs({"status": status, **outputs})
        self._append(self._provider.outputs_path, entries)
        self._append(self._provider.page_path, page.encode())

    def _told(self, state: str) -> tuple[dict[str, str], str]:
        if not os.path.exists(os.path.join(state, "journal.db")):
            return {}, ""
        try:
            journal = Journal.read(state)
        except SignalboxError as error:
            self._warn(f"no outputs, no job page: {error.message}")
            return {}, ""
        try:
            ours = [s for s in journal.stored() if s.header.execution.start >= self._since]
            if not ours:
                return {}, ""
            told = past.tell(journal, ours[0], self._environ)
            page = markdown.page(told, past.summaries(journal, ours[0]))
            outputs = self._outputs(ours[0], told)
        finally:
            journal.close()
        return {**outputs, "state": self._state(state, ours[0])}, page

    def _outputs(self, stored: Stored, told: report.Told) -> dict[str, str]:
        return {
            "status": told.status.value,
            "pipeline-id": told.pipeline_id,
            "url": self._link(stored) or told.url,
            "gate": "\n".join(gate.gate for gate in stored.gates),
        }

    def _state(self, state: str, stored: Stored) -> str:
        """What can go on or be tried again, as a file to upload; relative to the workspace, for a
        container sees it at another path than the steps after this one.
        """
        if stored.status in {Status.SUCCESS, Status.SKIPPED, None}:
            return ""
        from runner.cli import launch, parcel  # noqa: PLC0415

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
        inside = os.path.relpath(path, self._environ.get("GITHUB_WORKSPACE") or os.getcwd())
        return path if inside.startswith("..") else inside

    def _link(self, stored: Stored) -> str:
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
        """Append to a file that the CI made; steps, who could reach it, get it as no link."""
        if not path or not content:
            return
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(path, flags), "ab") as file:
                file.write(content)
        except OSError as error:
            self._warn(f"{path}: {error.strerror}")
