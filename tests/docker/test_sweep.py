"""What killed runs leave in an engine is removed, and nothing else ever is."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest
from docker import APIClient

from runner.executors.docker import labels
from runner.executors.docker.labels import Owner
from runner.executors.docker.sweep import ABANDONED, Judge, sweep
from tests.conftest import Workspace, killed
from tests.docker.conftest import left

pytestmark = pytest.mark.engine
HOST = "this-host"


class Left:
    """A container, a network and a volume that some run has made."""

    def __init__(self, api: APIClient, image: str, said: dict[str, str], prefix: str) -> None:
        self._api = api
        self.names = [prefix + labels.name("job") for _ in range(3)]
        container, network, volume = self.names
        api.create_container(image, ["true"], name=container, labels=said)
        api.create_network(network, labels=said)
        api.create_volume(volume, labels=said)

    def there(self) -> int:
        """How many of the three are left."""
        api: Any = self._api
        container, network, volume = self.names
        looks = (
            lambda: api.inspect_container(container),
            lambda: api.inspect_network(network),
            lambda: api.inspect_volume(volume),
        )
        return sum(map(_is_there, looks))

    def remove(self) -> None:
        api: Any = self._api
        container, network, volume = self.names
        for remove in (
            lambda: api.remove_container(container, force=True),
            lambda: api.remove_network(network),
            lambda: api.remove_volume(volume),
        ):
            _is_there(remove)


def _is_there(look: Callable[[], object]) -> bool:
    try:
        look()
    except docker.errors.NotFound:
        return False
    return True


class Engine:
    """The engine, and what runs of several state directories left in it."""

    def __init__(self, api: APIClient, image: str, state: Path) -> None:
        self.api, self._image, self._state = api, image, state
        self._left: list[Left] = []

    def owner(self, execution: str, state: str = "", **process: int) -> Owner:
        """An owner of this test's state directory, or of another one."""
        directory = self._state / state
        directory.mkdir(exist_ok=True)
        return Owner.of(
            str(directory), execution, host=HOST, boot="boot", pid=process.get("pid", os.getpid())
        )

    def left_by(self, owner: Owner, *, expires: float = 3600.0, prefix: str = "") -> Left:
        said = labels.made(owner, job="job", expires=int(time.time() + expires))
        self._left.append(Left(self.api, self._image, said, prefix))
        return self._left[-1]

    def sweep(self, **alive: bool | None) -> None:
        judge = Judge(
            state=self.owner("any").state, host=HOST, alive=alive.__getitem__, now=int(time.time())
        )
        sweep(self.api, judge)

    def close(self) -> None:
        for one in self._left:
            one.remove()


@pytest.fixture
def engine(api: APIClient, base: str, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(api, base, tmp_path)
    yield made
    made.close()


def test_K10_what_a_dead_run_left_is_removed_and_a_live_one_keeps_its_own(engine: Engine) -> None:
    dead, live = engine.left_by(engine.owner("dead")), engine.left_by(engine.owner("live"))
    engine.sweep(dead=False, live=True)
    assert (dead.there(), live.there()) == (0, 3)


def test_K10_another_state_directory_keeps_its_own_until_long_after_its_time(
    engine: Engine,
) -> None:
    theirs = engine.owner("theirs", "other")
    recent = engine.left_by(theirs, expires=-3600)
    old = engine.left_by(theirs, expires=-ABANDONED - 60)
    engine.sweep()
    assert (recent.there(), old.there()) == (3, 0)


def test_labels_that_an_image_handed_on_are_no_proof(engine: Engine) -> None:
    foreign = engine.left_by(engine.owner("dead"), prefix="theirs-")
    engine.sweep(dead=False)
    assert foreign.there() == 3


def test_without_a_lock_the_process_decides_and_without_that_the_time(engine: Engine) -> None:
    runs = engine.left_by(engine.owner("runs"))
    gone = engine.left_by(engine.owner("gone", pid=2**22 + 1))
    elsewhere = Owner(state=engine.owner("-").state, execution="elsewhere", process="other:1:2")
    due, over = engine.left_by(elsewhere), engine.left_by(elsewhere, expires=-2)
    engine.sweep(runs=None, gone=None, elsewhere=None)
    assert [one.there() for one in (runs, gone, due, over)] == [3, 0, 3, 0]


def test_what_is_in_use_stays_and_hinders_nothing(engine: Engine, base: str) -> None:
    first, second = engine.left_by(engine.owner("dead")), engine.left_by(engine.owner("dead"))
    joined = engine.api.create_host_config(network_mode=first.names[1])
    guest = engine.api.create_container(base, ["sleep", "60"], host_config=joined)["Id"]
    engine.api.start(guest)
    try:
        engine.sweep(dead=False)
        assert (first.there(), second.there()) == (1, 0)
    finally:
        engine.api.remove_container(guest, force=True)
    engine.sweep(dead=False)
    assert first.there() == 0


# ── runs that are killed ─────────────────────────────────────────────────────────────────────────

PIPELINE = """
name: P
jobs:
  long:
    image: {base}
    services: {{ db: {{ image: {base}, command: sleep 600 }} }}
    steps: ["touch begun; sleep 600"]
  short: {{ image: {base}, steps: ["true"] }}
"""


@pytest.mark.parametrize("command", [["run", "--job", "short"], ["clean"]], ids=["run", "clean"])
def test_K10_what_a_killed_run_left_the_next_one_or_clean_removes(
    workspace: Workspace, base: str, api: APIClient, command: list[str]
) -> None:
    workspace.write(PIPELINE.format(base=base))
    with workspace.start("run", "--job", "long") as process:
        workspace.until((workspace.path / "begun").exists, within=30)
        process.kill()
    assert len(left(api, workspace.path)) == 4
    ended = workspace.run(*command)
    assert ended.code == 0, ended.text
    assert left(api, workspace.path) == []


def test_a_run_beside_it_is_spared(workspace: Workspace, base: str, api: APIClient) -> None:
    workspace.write(PIPELINE.format(base=base))
    with workspace.start("run", "--job", "long") as process, killed(process):
        workspace.until((workspace.path / "begun").exists, within=30)
        before = left(api, workspace.path)
        for command in (["run", "--job", "short"], ["clean"]):
            assert workspace.run(*command).code == 0
        assert left(api, workspace.path) == before
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert left(api, workspace.path) == []
