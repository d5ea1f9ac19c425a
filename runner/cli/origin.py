"""What an execution goes on from: the results and answers of its chain, the file it was given.

Owns what a resume and a retry read alike. Whether the run is in a state for it is for ``answer``
and ``retry`` to say.
"""

import hashlib
import os
from collections.abc import Mapping

import msgspec

from runner import commit, manifest
from runner.cli import places
from runner.cli.places import Place
from runner.commit import Pin
from runner.errors import RefusedError
from runner.journal import Journal, Stored
from runner.notice import History
from runner.pipeline import Pipeline


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline file, read."""

    place: Place
    text: bytes
    pipeline: Pipeline

    def given(self, stored: Stored) -> dict[str, str]:
        """The values that ``stored`` was started with, of the parameters that are declared."""
        known = self.pipeline.parameters
        return {name: v for name, v in stored.header.parameters.items() if name in known}


def here(stored: Stored, state: str) -> Stored:
    """``stored`` where its state lies now: a workspace that was moved, copied with its state or is
    mounted at another path is as one that it was imported into.
    """
    header = stored.header
    if os.path.exists(header.file):
        return stored
    inside = os.path.relpath(header.file, header.workspace)
    for workspace in (os.path.dirname(state), places.top_level(os.getcwd()) or os.getcwd()):
        file = os.path.join(workspace, inside)
        if os.path.isfile(file):
            moved = msgspec.structs.replace(header, workspace=workspace, file=file, imported=True)
            return msgspec.structs.replace(stored, header=moved)
    return stored


def history(journal: Journal, stored: Stored) -> History:
    """Results lie with every execution of a chain, and so do the answers that count in it."""
    return History(
        results=journal.results(stored.id),
        answers={answer.gate: answer for answer in stored.header.answers},
        asked={gate.gate: gate.asked for gate in stored.gates},
    )


def declared(stored: Stored, environ: Mapping[str, str], *, accept_changed: bool) -> Declared:
    """The file that ``stored`` was started with; raises ``RefusedError`` when the one that lies
    here, or the commit, is another, unless that is accepted.
    """
    see_pipeline(stored)
    place = Place(file=stored.header.file, workspace=stored.header.workspace)
    if accept_changed:
        text, pipeline = places.read(place)
        return Declared(place=place, text=text, pipeline=pipeline)
    _see_unchanged(place, stored, environ)
    text = stored.header.source
    return Declared(place=place, text=text, pipeline=manifest.load(text, place.file))


def see_pipeline(stored: Stored) -> None:
    """Raise ``RefusedError`` when it was a command: what of it would run again is not kept."""
    if not stored.header.source:
        short = stored.id[:8]
        raise RefusedError(f"{short} was one command, not a pipeline", "signalbox exec runs it")


def _see_unchanged(place: Place, stored: Stored, environ: Mapping[str, str]) -> None:
    try:
        with open(place.file, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise RefusedError(
            f"{place.file}, which {stored.id[:8]} was started with: {error.strerror or error}",
            "put it back, or import the run into the workspace that has it",
        ) from None
    if digest != stored.header.digest:
        raise RefusedError(
            f"{place.file} is not what {stored.id[:8]} was started with",
            "put it back, or say --accept-changed",
        )
    pinned = msgspec.json.decode(stored.header.pin, type=Pin | None)
    now = commit.pin(place.directory, environ)
    if pinned and (now.sha if now else "") != pinned.sha:
        raise RefusedError(
            f"{stored.id[:8]} was started at commit {pinned.sha[:12] or 'none'}, here is "
            f"{(now.sha[:12] if now else '') or 'none'}",
            f"git checkout {pinned.sha[:12]}, or say --accept-changed",
        )
