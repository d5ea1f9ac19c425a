"""A place for an example's commands, and the process that they run fast from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.examples.place import Place
from tests.forks import Forks

MakePlace = Callable[[Path, Mapping[str, str]], Place]


@pytest.fixture
def make_place(workspace: Workspace, forks: Forks) -> Iterator[MakePlace]:
    """Makes the place for a pipeline file and a CI's variables."""
    with ExitStack() as stack:

        def make(pipeline: Path, environ: Mapping[str, str]) -> Place:
            place = Place(workspace, forks, pipeline, environ)
            stack.callback(place.close)
            return place

        yield make
