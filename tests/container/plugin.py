"""A Docker engine, a base image and the image of this tree, each once for all tests.

Owns when tests marked ``engine`` run: with CI=true or SIGNALBOX_TEST_ENGINE=1 they do, and fail
when there is no engine; otherwise they are left out, and the last lines say so.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.container import engine

ROOT: Final = Path(__file__).parents[2]
_CONTEXT: Final = ("Dockerfile", ".dockerignore", "LICENSE", "entrypoint.sh", "runner")
_LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs an engine unless one is wanted; let it run last if it is."""
    mine = [item for item in items if item.get_closest_marker("engine")]
    others = [item for item in items if not item.get_closest_marker("engine")]
    if engine.wanted():
        items[:] = others + mine
        return
    items[:] = others
    config.hook.pytest_deselected(items=mine)
    config.stash[_LEFT_OUT] = len(mine)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left out."""
    if left_out := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.section("left out", yellow=True)
        terminalreporter.line(
            f"{left_out} tests of containers need a Docker engine: "
            "SIGNALBOX_TEST_ENGINE=1 make test starts one (CI=true installs it, too)"
        )


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
def image(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, built from this tree and, offline but for Debian's packages, from wheels."""
    context = tmp_path_factory.mktemp("context")
    for name in _CONTEXT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, context / name)
    (context / "requirements").mkdir()
    shutil.copy2(ROOT / "requirements/run.txt", context / "requirements")
    _wheels(context / "wheels")
    base = engine.base_image()
    started = time.monotonic()
    engine.docker(
        *("build", "--network", "host", "--tag", "signalbox-tests/image", *_proxies()),
        *("--build-arg", f"BASE_IMAGE={base}", "--build-arg", "PIP_NO_INDEX=1", str(context)),
        timeout=600,
    )
    engine.say(f"built the image on {base} in {time.monotonic() - started:.1f} s")
    return "signalbox-tests/image"


def _wheels(directory: Path) -> None:
    """What the image installs, fetched with this machine's own settings for pip: no index, proxy
    or certificate of this machine has to be known inside the build.
    """
    fetch = "-m pip download --require-hashes --no-deps --only-binary :all: --python-version 3.11"
    command = [sys.executable, *fetch.split(), "--dest", str(directory), "-r"]
    done = subprocess.run(
        [*command, str(ROOT / "requirements/run.txt")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _proxies() -> list[str]:
    names = [
        name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "no_proxy"}
    ]
    return [word for name in names for word in ("--build-arg", name)]
