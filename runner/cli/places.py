"""Where things lie: the pipeline file, the workspace, the state directory.

Owns the search for them (interface, sections 2 and 4). Creates nothing.
"""

import os
from collections.abc import Mapping
from typing import Final

import msgspec

from runner.errors import SurroundingsError, UsageError
from runner.pipeline import Pipeline

NAMES: Final = ("pipeline.yml", "pipeline.yaml")
STATE: Final = ".signalbox"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline file and what surrounds it; every path absolute."""

    file: str
    workspace: str

    @property
    def directory(self) -> str:
        """Where steps start."""
        return os.path.dirname(self.file)

    @property
    def shown(self) -> str:
        """The file as a person at ``workspace`` would name it."""
        return os.path.relpath(self.file, self.workspace)

    def within(self, path: str) -> str:
        """A path that is relative to ``directory`` as one of the repository, which CIs annotate."""
        found = os.path.normpath(os.path.join(self.directory, path))
        inside = os.path.relpath(found, self.workspace)
        return path if inside.startswith("..") else inside


def place(file: str | None) -> Place:
    """The pipeline file named, or the one found here or above; raises ``UsageError``."""
    path = os.path.abspath(file) if file else _search(os.getcwd())
    directory = os.path.dirname(path)
    return Place(file=path, workspace=top_level(directory) or directory)


def argument(place: Place) -> str:
    """FILE as a person types it here; empty: it is the one that is found without."""
    try:
        return "" if _search(os.getcwd()) == place.file else os.path.relpath(place.file)
    except UsageError:
        return os.path.relpath(place.file)
    except OSError:  # a step has removed where we are
        return place.file


def read(place: Place, shown: str | None = None) -> tuple[bytes, Pipeline]:
    """The text of the file and what it declares; raises ``PipelineFileError``."""
    from runner import manifest  # yaml is loaded by who reads a file

    text = _text(place.file)
    return text, manifest.load(text, shown or os.path.relpath(place.file))


def state(option: str | None, environ: Mapping[str, str], workspace: str | None = None) -> str:
    """The state directory: ``--state``, SIGNALBOX_STATE, else ``.signalbox`` in the workspace."""
    chosen = option or environ.get("SIGNALBOX_STATE")
    if chosen:
        return os.path.abspath(chosen)
    here = os.getcwd()
    return os.path.join(workspace or _near(here) or top_level(here) or here, STATE)


def is_there(path: str) -> bool:
    """Whether there is such a thing; raises ``SurroundingsError`` where that is kept from us."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        message = f"{os.path.dirname(path)} cannot be read: {error.strerror}"
        hint = "look as the user whose it is, or choose another with --state or SIGNALBOX_STATE"
        raise SurroundingsError(message, hint) from None
    return True


def top_level(directory: str) -> str | None:
    """The top of the git work tree that holds ``directory``, without asking git."""
    from runner import commit

    return commit.top_level(directory)


def _near(directory: str) -> str | None:
    """The directory, here or above, that has state already."""
    for above in _upwards(directory):
        if os.path.isdir(os.path.join(above, STATE)):
            return above
    return None


def _search(start: str) -> str:
    top = top_level(start)
    for directory in _upwards(start):
        for name in NAMES:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                return path
        if directory == top or top is None:
            break
    raise UsageError(
        f"no {NAMES[0]} here" + (f" or above, up to {top}" if top else ""),
        "signalbox init writes one",
    )


def _upwards(directory: str) -> list[str]:
    found = [directory]
    while (above := os.path.dirname(found[-1])) != found[-1]:
        found.append(above)
    return found


def _text(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(2 * 1024 * 1024)  # the parser's own limit is lower, and says so
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        hint = "signalbox init writes a first pipeline file" if missing else "name a pipeline file"
        raise UsageError(f"{os.path.relpath(path)}: {error.strerror or error}", hint) from None
