"""A Docker engine, a base image and the image of this tree, each once for all tests.

Owns when tests marked ``engine`` run: with CI=true or SIGNALBOX_TEST_ENGINE=1 they do, and fail
when there is no engine; otherwise they are left out, and the last lines say so.
"""

from collections.abc import Iterator
from typing import Final

import pytest

from tests import left_out
from tests.container import build, engine

_WHY: Final = (
    "tests of containers need a Docker engine: "
    "SIGNALBOX_TEST_ENGINE=1 make test starts one (CI=true installs it, too)"
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs an engine unless one is wanted; let it run last if it is."""
    mine = [item for item in items if item.get_closest_marker("engine")]
    if engine.wanted():
        left_out.last(items, mine)
    else:
        left_out.leave(config, items, mine, _WHY)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[None]:
    """A running engine."""
    engine.install()
    with engine.running():
        yield


@pytest.fixture(scope="session")
def base(docker_engine: None) -> str:
    """The name of an image of Debian, with bash and coreutils."""
    return engine.base_image()


@pytest.fixture(scope="session")
def images(docker_engine: None) -> tuple[str, str]:
    """The image of this tree, and its slim twin."""
    return build.build()


@pytest.fixture(scope="session")
def image(images: tuple[str, str]) -> str:
    """The image, as most people use it."""
    return images[0]


@pytest.fixture(scope="session")
def slim(images: tuple[str, str]) -> str:
    """The image without tools."""
    return images[1]
