"""Who called, and what their environment says: settings, host CI, secrets, the clock.

Owns what is checked and known before anything of a pipeline is, and so what ``exec`` needs before
its command starts: this module loads no library but msgspec.
"""

import os
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from runner import errors, providers
from runner import execution as executions
from runner.cli import pid1
from runner.cli import settings as environment
from runner.execution import Execution
from runner.redact import Masker

if TYPE_CHECKING:  # loaded when there is a key
    from runner.intake import Target

SWITCH: Final = 0.002
"""Seconds after which a thread gives way to another. The usual 5 ms are what a step would wait for
each of the imports that go on beside it.
"""


class Caller:
    """The process's environment, read once and emptied of what no step may see.

    ``declared`` are the pipeline file's ``secrets``. Raises ``UsageError`` for a setting that means
    nothing.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        warn: Callable[[str], None],
        declared: tuple[str, ...] = (),
    ) -> None:
        self.environ, self._warn = dict(environ), warn
        environment.forget(os.environ)
        sys.setswitchinterval(SWITCH)
        self.settings = environment.read(self.environ)
        self.clock = executions.clock()
        self.provider = providers.detect(self.environ, providers.read_file)
        self.salt = uuid.uuid4().hex
        if not pid1.guard():
            warn("this kernel lets steps read what this process was given")
        self.masker = self._mask((*declared, *self.settings.secrets))

    @property
    def host(self) -> providers.Host:
        """What the CI around us says of this run."""
        return self.provider.host

    def _mask(self, declared: tuple[str, ...]) -> Masker:
        masker = Masker(environment.masked(self.environ))
        found = environment.secrets(self.environ, declared)
        short = [name for name, value in found.items() if masker.add([value])]
        if short:
            self._warn(f"not masked, because too short or too large: {', '.join(short)}")
        return masker

    def see_plain(self, names: Iterable[str]) -> None:
        """Raise ``UsageError`` when a name that is reported holds a secret."""
        if self.masker.hits("\n".join(names)):
            raise errors.UsageError(
                "the name of the pipeline or of a job holds a secret; names are reported",
                "give it another name",
            )

    def about(self, execution: Execution, declared: tuple[str, ...] = ()) -> dict[str, str]:
        """What a step sees of the execution it is in."""
        secrets = dict.fromkeys((*declared, *self.settings.secrets))
        return {
            **({environment.SECRETS: ",".join(secrets)} if secrets else {}),
            "SIGNALBOX": "true",
            "SIGNALBOX_PIPELINE_ID": execution.unique_id,
            "SIGNALBOX_PIPELINE_URL": execution.url,
        }

    def outer(self, *, local: bool) -> environment.Outer | None:
        """The run around us, when it delivers for us."""
        return None if local else self.settings.outer

    def target(self, *, local: bool) -> "Target | None":
        """Where events go; None: nowhere, or not by us. Raises ``UsageError``."""
        settings = self.settings
        if local or settings.outer or not (settings.key or settings.intake_url):
            return None
        from runner import intake

        return intake.target(
            site=settings.site,
            key=settings.key,
            intake_url=settings.intake_url,
            token=settings.token,
            warn=self._warn,
        )
