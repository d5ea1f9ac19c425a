"""Jobs in containers of an engine that a test chooses, and what is left of them there."""

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import APIClient

from runner.executors import Place, Session, Stop
from runner.executors.docker import connection, labels
from runner.executors.docker.executor import Around, DockerExecutor
from runner.executors.docker.labels import Owner
from runner.notice import Exit
from tests.conftest import Workspace
from tests.container.engine import base_image
from tests.contract.conftest import Job
from tests.docker import tiny
from tests.docker.daemon import Daemon, daemon


class Jobs:
    """Opens jobs in containers of one engine, all in one workspace."""

    def __init__(self, url: str, directory: Path, image: str) -> None:
        self.api = connection.connect({**os.environ, "DOCKER_HOST": url} if url else os.environ)
        self.workspace, self._runs = directory / "workspace", directory / "state/runs/one"
        self._image, self._opened = image, contextlib.ExitStack()
        self.warnings: list[str] = []
        self.workspace.mkdir()
        self._runs.mkdir(parents=True)
        (self.workspace / "pipeline.yml").touch()
        self.owner = Owner.of(str(self._runs), "tests", host="h", boot="b", pid=os.getpid())
        around = Around(
            owner=self.owner,
            workspace=str(self.workspace),
            witness=str(self.workspace / "pipeline.yml"),
            runs=str(self._runs),
            mask=lambda text: text.replace(b"hunter2", b"***"),
            warn=self.warnings.append,
        )
        self.executor = DockerExecutor(self.api, around)

    def try_to_open(self, stop: Stop | None = None) -> Session | Exit:
        return self._open(self.place(), stop)

    def place(self, name: str = "job", **more: object) -> Place:
        directory = self._runs / name
        directory.mkdir(exist_ok=True)
        (directory / "tags").touch()
        known = {"job_id": name, "directory": str(directory), "image": self._image, "pull": "never"}
        return Place(**{**known, **more})  # type: ignore[arg-type]

    def open(self, name: str = "job", **more: object) -> Job:
        opened = self._open(self.place(name, **more))
        assert not isinstance(opened, Exit), opened
        return Job(opened, self.workspace, name)

    def _open(self, place: Place, stop: Stop | None = None) -> Session | Exit:
        with contextlib.closing(stop or Stop()) as asked:
            opened = self.executor.open(place, asked)
        if not isinstance(opened, Exit):
            self._opened.callback(opened.close)
        return opened

    def container(self) -> str:
        """The id of the one container there is."""
        (found,) = self.api.containers(filters=self._ours())
        return str(found["Id"])

    def left(self) -> list[str]:
        """The names of all that is there of these jobs."""
        return of_state(self.api, self.owner.state)

    def log(self, name: str) -> str:
        return (self._runs / name).read_text()

    def close(self) -> None:
        with self.api:
            self._opened.close()

    def _ours(self) -> dict[str, str]:
        return {"label": f"{labels.STATE}={self.owner.state}"}


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    """A workspace whose program finds the engine of the tests."""
    if host := os.environ.get("DOCKER_HOST"):
        workspace.environ["DOCKER_HOST"] = host
    return workspace


@pytest.fixture
def jobs(base: str, tmp_path: Path) -> Iterator[Jobs]:
    """Jobs in the machine's engine."""
    made = Jobs("", tmp_path, base)
    yield made
    made.close()


@pytest.fixture(scope="session")
def second(docker_engine: None) -> Iterator[Daemon]:
    """An engine that may be killed; whoever does starts it again."""
    with daemon("second", base_image()) as running:
        yield running


@pytest.fixture(scope="session")
def remote(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """An engine that sees no directory of the tests."""
    with daemon("remote", tiny.build(), hidden=tmp_path_factory.getbasetemp()) as running:
        yield running


@pytest.fixture
def there(second: Daemon, base: str, tmp_path: Path) -> Iterator[Jobs]:
    """Jobs in that engine."""
    made = Jobs(second.url, tmp_path, base)
    yield made
    second.revive()
    made.close()
    gc.collect()  # what the SDK did not close is this test's


@pytest.fixture
def api(docker_engine: None) -> Iterator[APIClient]:
    """The machine's engine."""
    with connection.connect(os.environ) as client:
        yield client


def left(api: APIClient, workspace: Path) -> list[str]:
    """The names of what there is of the runs of a workspace."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    try:
        state = labels.identify(str(workspace / ".signalbox"), boot)
    except FileNotFoundError:
        return []
    return of_state(api, state)


def of_state(api: APIClient, state: str) -> list[str]:
    """The same by what ``labels.identify`` says of a state directory."""
    ours = {"label": f"{labels.STATE}={state}"}
    containers = api.containers(all=True, filters=ours)
    found = ["".join(one["Names"]) for one in containers if one["Names"]]  # else: on its way out
    return found + [found["Name"] for found in api.networks(filters=ours)]
