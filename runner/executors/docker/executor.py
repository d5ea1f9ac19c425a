"""Jobs in containers: one for each, made when the job is ready, gone when it has ended.

Owns the order in which a job's container comes to be and goes, and what the jobs of an execution
share: the engine, the images, the way to the workspace.
"""

import contextlib
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import docker.errors
import msgspec

from runner.executors import Command, Executor, Place, Session, Sink, Stop
from runner.executors.docker import container
from runner.executors.docker.calls import Client, unless_stopped
from runner.executors.docker.container import Shape
from runner.executors.docker.freight import Freight, Route, volumes
from runner.executors.docker.image import Image, Images
from runner.executors.docker.labels import Owner
from runner.executors.docker.mapping import Mapping as Ways
from runner.executors.docker.mapping import View, Way
from runner.executors.docker.network import ours as networks
from runner.executors.docker.network import ourselves
from runner.executors.docker.ownership import User, Workspace, mounts
from runner.executors.docker.services import READY as SERVED
from runner.executors.docker.services import Order, Services
from runner.executors.docker.session import DockerSession, Home
from runner.executors.docker.stream import ready
from runner.executors.shell import NotStartedError
from runner.notice import Exit, Reason

READY: Final = 3.0
"""Seconds in which a container's keeper says that it lives."""
LOOK: Final = 0.2


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What all jobs of an execution share."""

    owner: Owner
    workspace: str
    witness: str
    """A file in the workspace, by which a container proves that it has the same one."""
    runs: str
    """The execution's own directory."""
    mask: Callable[[bytes], bytes]
    """What may be written of what services print."""
    warn: Callable[[str], object]
    tell: Callable[[str], object] = str
    """What takes its time: a pull."""
    pinned: Mapping[str, str] = {}
    """Digests of images, by name, that earlier executions of the chain ran in."""

    @property
    def state(self) -> str:
        """The state directory that it lies in."""
        return os.path.dirname(os.path.dirname(self.runs))


class DockerExecutor:
    """Runs steps in containers of one engine."""

    def __init__(
        self, api: Client, around: Around, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._around, self._monotonic = api, around, monotonic
        self._images = Images(api, around.pinned, around.tell)
        self._ways: Ways | None = None
        self._networks: tuple[str, ...] | None = None

    def want(self, images: Iterable[tuple[str, str]]) -> None:
        """Begin to pull these, by name and policy: jobs will need them."""
        self._images.want(images)

    def open(self, place: Place, stop: Stop) -> Session | Exit:
        """A container for one job, and its services."""
        try:
            image = self._images.get(place.image, place.pull, stop)
        except NotStartedError as refused:
            return refused.exit

        def make(network: str) -> Session:
            if place.isolation == "step":
                return Fresh(lambda: self._container(place, image, network))
            return self._container(place, image, network)

        return _patiently(place, stop, lambda: self._served(place, image.id, stop, make))

    def beside(self, place: Place, stop: Stop, here: Executor) -> Session | Exit:
        """A place ``here`` for one job, with its services in containers beside it."""

        def make(_network: str) -> Session:
            opened = here.open(place, stop)
            if isinstance(opened, Exit):
                raise NotStartedError(opened)
            return opened

        return _patiently(place, stop, lambda: self._served(place, "", stop, make))

    def _served(
        self, place: Place, keeper: str, stop: Stop, make: Callable[[str], Session]
    ) -> Session:
        """What ``make`` makes on the network of the job's services, and the services, if any."""
        if not place.services:
            return make("")
        order = Order(
            services=place.services,
            job=place.job_id,
            labels=container.labelled(self._around.owner, place),
            seconds=container.lasts(place) + int(SERVED),
            pull=place.pull,
            keeper=keeper,
            published=not place.image,
            ourselves="" if place.image else ourselves(self._api),
            keep=lambda name, log: self._keep(f"{place.job_id}.{name}.log", log),
        )
        services = Services(self._api, self._images, order, self._monotonic)
        with contextlib.ExitStack() as made:
            made.callback(services.close)
            services.start(stop)
            session = make(services.network)
            return Beside(session, made.pop_all())

    def _container(self, place: Place, image: Image, network: str) -> DockerSession:
        around, api = self._around, self._api
        # Made on the first of its networks: an engine may have none of its own to begin with.
        first, *further = [network, *self._joined()] if network else [*self._joined(), ""]
        user = User.of(place.user, image.user, around.workspace)
        with contextlib.ExitStack() as made, _greeting(place.directory) as (pipe, fd):
            _let_everybody_in(place.directory)

            route = Route(workspace=around.workspace, apart=around.state, files=place.directory)

            def make(view: View) -> str:
                copied = view.way is Way.COPY
                own = mounts(
                    *(api, view, user),
                    state=around.state,
                    runs=around.runs,
                    directory=place.directory,
                )
                shape = Shape(
                    image=image,
                    mounts=volumes(route) if copied else own,
                    network=first,
                    pipe="" if copied else pipe,
                )
                return container.create(api, around.owner, place, shape)

            job, view = self._mapping(place).create(make)
            made.callback(container.remove, api, job)
            freight = None
            if view.way is Way.COPY:
                freight = Freight(api, job, route)
                freight.send()
                made.callback(self._bring_back, freight)
            for joined in filter(None, further):
                api.connect_container_to_network(job, joined)
            api.start(job)
            if not freight:
                made.callback(self._workspace(place).give_back, api, job, user)
            home = Home(
                api=self._api,
                container=job,
                job_id=place.job_id,
                user=user.name,
                directory=place.directory,
                freight=freight,
                pipes=not freight and _greeted(fd, api, job),
                image=image.told,
            )
            return DockerSession(home, self._monotonic, made.pop_all().close)

    def _joined(self) -> tuple[str, ...]:
        """The networks that we are on."""
        if self._networks is None:
            self._networks = networks(self._api)
        return self._networks

    def _bring_back(self, freight: Freight) -> None:
        try:
            freight.bring_back()
        except (docker.errors.DockerException, OSError, tarfile.TarError) as error:
            self._around.warn(f"what a job changed in the workspace did not come back: {error}")

    def _workspace(self, place: Place) -> Workspace:
        around = self._around
        return Workspace(
            path=around.workspace,
            state=around.state,
            since=time.time_ns(),
            directory=place.directory,
        )

    def _keep(self, name: str, log: bytes) -> None:
        """A service's log, beside those of the jobs."""
        with contextlib.suppress(OSError), open(f"{self._around.runs}/{name}", "wb") as file:
            file.write(self._around.mask(log))

    def _mapping(self, place: Place) -> Ways:
        if self._ways is None:
            around = self._around
            witnesses = (around.witness, os.path.join(place.directory, "tags"))
            self._ways = Ways(self._api, (around.workspace, around.runs), witnesses)
        return self._ways


class Beside:
    """A job's place, and its services beside it."""

    def __init__(self, session: Session, services: contextlib.ExitStack) -> None:
        self._session, self._services = session, services
        self.image = session.image
        self.run = session.run

    def close(self) -> None:
        """The job first."""
        self._session.close()
        self._services.close()


class Fresh:
    """A container for every step: ``isolation: step``. The first is there before the job starts."""

    def __init__(self, make: Callable[[], DockerSession]) -> None:
        self._make = make
        self._next: DockerSession | None = make()
        self.image = self._next.image

    def run(self, command: Command, sink: Sink, stop: Stop) -> Exit:
        """Run one step to its end, and that of its container."""
        try:
            session = self._next or unless_stopped(self._make, stop, DockerSession.close)
        except NotStartedError as refused:
            return refused.exit
        except (docker.errors.DockerException, OSError) as error:
            return _not_started(_said(error))
        if session is None:
            return _stopped(stop)
        self._next = session
        try:
            return session.run(command, sink, stop)
        finally:
            self.close()

    def close(self) -> None:
        """Whatever is open."""
        session, self._next = self._next, None
        if session:
            session.close()


def _patiently(place: Place, stop: Stop, make: Callable[[], Session]) -> Session | Exit:
    """What is made, unless somebody asks to stop meanwhile; or why it cannot be."""
    try:
        opened = unless_stopped(make, stop, lambda late: late.close())
    except NotStartedError as refused:
        return refused.exit
    except (docker.errors.DockerException, OSError) as error:
        return _not_started(f"{place.image}: {_said(error)}")
    return opened or _stopped(stop)


def _stopped(stop: Stop) -> Exit:
    assert stop.reason is not None  # noqa: S101 - nothing else ends an opening early
    return Exit(code=143, signal=15, reason=stop.reason, message="it was still being started")


def _not_started(why: str) -> Exit:
    return Exit(code=1, reason=Reason.CONTAINER_START, message=why)


def _said(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)


def _let_everybody_in(directory: str) -> None:
    """Steps of any user write into these files; the directories above are ours alone."""
    os.chmod(directory, 0o755)  # noqa: S103
    for entry in os.scandir(directory):
        if entry.is_file(follow_symlinks=False):
            os.chmod(entry.path, 0o666)  # noqa: S103


def _greeted(fd: int, api: Client, job: str) -> bool:
    """Whether the keeper's word comes through the pipe: then output can come that way, too. None
    comes from another kernel, and from a container that has no shell, which has ended by now.
    """
    until = time.monotonic() + READY
    while not ready([fd], LOOK):
        if not container.lives(api, job):
            why = "its container ended at once: steps need /bin/sh and sleep in the image"
            raise NotStartedError(Exit(code=1, reason=Reason.CONTAINER_START, message=why))
        if time.monotonic() > until:
            return False
    return bool(os.read(fd, 64))


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
