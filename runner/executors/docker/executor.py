"""Jobs in containers: one for each, made when the job is ready, gone when it has ended.

Owns the order in which a job's container comes to be and goes, and what the jobs of an execution
share: the engine, the images, the way to the workspace.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import docker.errors
import msgspec
from docker import APIClient

from runner.executors import Place, Stop
from runner.executors.docker import container
from runner.executors.docker.container import Shape
from runner.executors.docker.image import Image, Images
from runner.executors.docker.labels import Owner
from runner.executors.docker.mapping import Mapping as Ways
from runner.executors.docker.mapping import View
from runner.executors.docker.session import DockerSession, Home
from runner.executors.docker.stream import ready
from runner.executors.shell import NotStartedError
from runner.notice import Exit, Reason

READY: Final = 1.0
"""Seconds in which a container's keeper says that it lives."""


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What all jobs of an execution share."""

    owner: Owner
    workspace: str
    witness: str
    """A file in the workspace, by which a container proves that it has the same one."""
    runs: str
    """The execution's own directory."""
    pinned: Mapping[str, str] = {}
    """Digests of images, by name, that earlier executions of the chain ran in."""


class DockerExecutor:
    """Runs steps in containers of one engine."""

    def __init__(
        self, api: APIClient, around: Around, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._around, self._monotonic = api, around, monotonic
        self._images = Images(api, around.pinned)
        self._ways: Ways | None = None

    def want(self, images: Iterable[tuple[str, str]]) -> None:
        """Begin to pull these, by name and policy: jobs will need them."""
        self._images.want(images)

    def open(self, place: Place, stop: Stop) -> DockerSession | Exit:
        """A container for one job."""
        try:
            image = self._images.get(place.image, place.pull, stop)
            return self._open(place, image)
        except NotStartedError as refused:
            return refused.exit
        except (docker.errors.DockerException, OSError) as error:
            return _not_started(place, str(getattr(error, "explanation", None) or error))

    def _open(self, place: Place, image: Image) -> DockerSession:
        with contextlib.ExitStack() as held:
            _let_everybody_in(place.directory)
            pipe, fd = held.enter_context(_greeting(place.directory))

            def make(view: View) -> str:
                shape = Shape(
                    image=image,
                    user=container.user(place.user, self._around.workspace),
                    mounts=view.mounts,
                    network="",
                    pipe=pipe,
                )
                return container.create(self._api, self._around.owner, place, shape)

            made, _ = self._mapping(place).create(make)
            leaving = contextlib.ExitStack()
            leaving.callback(container.remove, self._api, made)
            with contextlib.ExitStack() as failing:
                failing.push(leaving)
                self._api.start(made)
                pipes = _greeted(fd)
                failing.pop_all()
        home = Home(
            api=self._api,
            container=made,
            job_id=place.job_id,
            directory=place.directory,
            pipes=pipes,
            facts=_facts(image),
        )
        return DockerSession(home, self._monotonic, leaving.close)

    def _mapping(self, place: Place) -> Ways:
        if self._ways is None:
            around = self._around
            witnesses = (around.witness, os.path.join(place.directory, "tags"))
            self._ways = Ways(self._api, (around.workspace, around.runs), witnesses)
        return self._ways


def _facts(image: Image) -> dict[str, str]:
    found = {
        "image": image.name,
        "image.id": image.id,
        "image.digest": image.digest,
        "image.platform": image.platform,
    }
    return {name: value for name, value in found.items() if value}


def _not_started(place: Place, why: str) -> Exit:
    return Exit(code=1, reason=Reason.CONTAINER_START, message=f"{place.image}: {why}")


def _let_everybody_in(directory: str) -> None:
    """Steps of any user write into these files; the directories above are ours alone."""
    os.chmod(directory, 0o755)  # noqa: S103
    for entry in os.scandir(directory):
        if entry.is_file(follow_symlinks=False):
            os.chmod(entry.path, 0o666)  # noqa: S103


def _greeted(fd: int) -> bool:
    """Whether the keeper's word came through the pipe: then output can come that way, too."""
    return ready([fd], READY) and bool(os.read(fd, 64))


@contextlib.contextmanager
def _greeting(directory: str) -> Iterator[tuple[str, int]]:
    """A named pipe and our end of it."""
    path = os.path.join(directory, f"pipe-{os.urandom(8).hex()}")
    os.mkfifo(path)
    os.chmod(path, 0o666)  # noqa: S103
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield path, fd
    finally:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(path)
