"""No CI, or none that we know: nothing is folded, annotated or handed on.

Owns what the other CIs fall back to where they have no such thing.
"""

from collections.abc import Mapping

from runner.providers import Host, Kind, ReadFile


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """Nobody says anything of this run."""
    del environ, read_file
    return Host()


class Local:
    """A terminal, or a log that nobody parses."""

    folds = False

    def __init__(self, host: Host, environ: Mapping[str, str]) -> None:
        del environ
        self.host = host
        self.outputs_path = ""
        self.page_path = ""

    def group(self, key: str, title: str, at: int) -> str:
        """There are no folds."""
        del key, title, at
        return ""

    def endgroup(self, key: str, at: int, *, ok: bool) -> str:
        """There are no folds."""
        del key, at, ok
        return ""

    def annotation(
        self, message: str, *, kind: Kind = "error", file: str = "", line: int = 0, title: str = ""
    ) -> str:
        """There is no page to put it on."""
        del message, kind, file, line, title
        return ""

    def quiet(self, token: str) -> str:
        """Nothing printed is a command."""
        del token
        return ""

    def loud(self, token: str) -> str:
        """Nothing printed is a command."""
        del token
        return ""

    def mask(self, value: str) -> str:
        """There is nobody else to mask."""
        del value
        return ""

    def outputs(self, values: Mapping[str, str]) -> bytes:
        """There is nobody to hand them to."""
        del values
        return b""


Log = Local
