"""The services of one job: containers beside it, on a network of its own, until the job is over.

Owns starting them, waiting until they are ready, what is shown when they are not, and removing them
with their network. Images are fetched by ``image``; the job's own container is ``container``'s.

A service runs what its image says, so nothing in it can know when the job's time is up. All of them
therefore live in the pid namespace of a keeper, a container that sleeps for so long: when it ends,
the kernel ends them, whatever has become of us.
"""

import contextlib
import shlex
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import docker.errors
import msgspec
from docker.types import LogConfig

from runner.executors import Stop
from runner.executors.docker import labels, script
from runner.executors.docker.calls import BRISK, CLOSING, Client
from runner.executors.docker.container import CAPABILITIES, PIDS, STOPPING
from runner.executors.docker.forward import Forward
from runner.executors.docker.image import Images
from runner.executors.docker.stream import Stream, ready
from runner.executors.shell import NotStartedError
from runner.notice import Exit, Reason
from runner.pipeline import Service

READY: Final = 300.0
"""Seconds that all services of a job may take to be ready."""
ATTEMPT: Final = 30.0
"""Seconds for one attempt of ``ready``, as for Docker's own health checks."""
PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts; the last is for all that follow."""
SHOWN: Final = 50
"""Lines of a log that are shown when a service is not well."""
KEPT: Final = 1024 * 1024
_LOG: Final = LogConfig(type="json-file", config={"max-size": "5m", "max-file": "2"})
"""Whatever the engine's own driver: it must be possible to read it, and it must be bounded."""
_MORE: Final = ("SETPCAP", "SYS_CHROOT")
"""Capabilities that official images of servers use to give up others."""
_REMOVALS: Final = 30
_FREEING: Final = 0.1
"""A network is free a moment after its last container: tries, and seconds between them."""

_Errors: Final = (docker.errors.DockerException, OSError)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a job asks for. ``labels`` are for all that is made, ``seconds`` until its time is up.
    ``keep`` gets what each has printed, by name, in the end. ``published``: the job itself runs
    here, and reaches the ports on 127.0.0.1; ``ourselves`` is our own container, if we are in one
    with a network of its own.
    """

    services: Mapping[str, Service]
    job: str
    labels: Mapping[str, str]
    seconds: int
    pull: str = ""
    """When their images are pulled."""
    keeper: str = ""
    """An image with a shell, for the keeper; empty: the services' own are tried."""
    published: bool = False
    ourselves: str = ""
    keep: Callable[[str, bytes], object]


class Services:
    """The services of one job. Used by its thread; ``close`` removes everything, whenever."""

    def __init__(
        self, api: Client, images: Images, order: Order, monotonic: Callable[[], float]
    ) -> None:
        self._api, self._images, self._order, self._monotonic = api, images, order, monotonic
        self._keeper = ""
        self._started: dict[str, str] = {}
        self._forwards: list[Forward] = []
        self.network = ""
        """Its id, once there is one."""

    def start(self, stop: Stop, limit: float = READY) -> None:
        """All of them, ready. Raises ``NotStartedError``; ``close`` belongs to that as well."""
        try:
            self._make_network()
            images = {
                name: self._images.get(service.image, self._order.pull, stop).id
                for name, service in self._order.services.items()
            }
            self._keep(self._order.keeper, *images.values())
            for name, image in images.items():
                if stop.reason is not None:
                    raise NotStartedError(_stopped(stop.reason))
                self._begin(name, image)
            self._await(stop, self._monotonic() + limit)
            self._forward()
        except docker.errors.APIError as error:
            raise NotStartedError(_exit(Reason.CONTAINER_START, str(error.explanation))) from error
        except _Errors as error:
            why = f"the engine does not answer: {error}"
            raise NotStartedError(_exit(Reason.CONTAINER_START, why)) from error

    def close(self) -> None:
        """Remove them and their network. Idempotent, never raises; what an engine that is gone does
        not remove is left to ``sweep``.
        """
        with self._api.within(BRISK):
            for name in self._started:
                if log := self._log(name)[-KEPT:]:
                    self._order.keep(name, log)
        while self._forwards:
            self._forwards.pop().close()
        started, self._started = self._started, {}
        keeper, self._keeper = self._keeper, ""
        network, self.network = self.network, ""
        with self._api.within(CLOSING), contextlib.suppress(*_Errors):
            for container in filter(None, (keeper, *started.values())):  # all die with the keeper
                with contextlib.suppress(docker.errors.APIError):
                    self._api.remove_container(container, force=True, v=True)
            if network and self._order.published and self._order.ourselves:
                with contextlib.suppress(docker.errors.APIError):
                    self._api.disconnect_container_from_network(self._order.ourselves, network)
            for _ in range(_REMOVALS if network else 0):
                if self._is_removed(network):
                    return
                threading.Event().wait(_FREEING)

    def _is_removed(self, network: str) -> bool:
        try:
            self._api.remove_network(network)
        except docker.errors.NotFound:
            return True
        except docker.errors.APIError:  # not free yet
            return False
        return True

    # ── start ────────────────────────────────────────────────────────────────────────────────────

    def _make_network(self) -> None:
        made = self._api.create_network(
            labels.name(self._order.job), driver="bridge", labels=dict(self._order.labels)
        )
        self.network = made["Id"]
        if self._order.published and self._order.ourselves:
            self._api.connect_container_to_network(self._order.ourselves, self.network)

    def _forward(self) -> None:
        """Ports on our own localhost: the engine's is another one."""
        if not (self._order.published and self._order.ourselves):
            return
        for name, container in self._started.items():
            networks = self._api.inspect_container(container)["NetworkSettings"]["Networks"]
            address = next(iter(networks.values()))["IPAddress"]
            for port, here in map(_port, self._order.services[name].ports):
                there, _, protocol = port.partition("/")
                if protocol != "tcp":
                    continue
                try:
                    self._forwards.append(Forward(here, (address, int(there))))
                except OSError as error:
                    raise self._unwell(name, f"port {here}: {error.strerror}") from error

    def _keep(self, *images: str) -> None:
        """The keeper, from the first image that can. Without one they do not end by themselves, and
        are left to ``sweep``.
        """
        for image in filter(None, images):
            made = self._api.create_container(
                image=image,
                entrypoint=script.keeper(self._order.seconds, ""),
                command=[],
                user="0",
                name=labels.name(self._order.job),
                labels=dict(self._order.labels),
                healthcheck={"test": ["NONE"]},
                stop_timeout=STOPPING,
                host_config=self._bounds(init=True, auto_remove=True, network_mode="none"),
            )
            try:
                self._api.start(made["Id"])
            except docker.errors.APIError:  # no shell in it
                self._api.remove_container(made["Id"], force=True, v=True)
            else:
                self._keeper = made["Id"]
                return

    @property
    def _publishes(self) -> bool:
        return self._order.published and not self._order.ourselves

    def _begin(self, name: str, image: str) -> None:
        service = self._order.services[name]
        endpoint: Any = {self.network: self._api.create_endpoint_config(aliases=[name])}
        ports = dict(map(_port, service.ports)) if self._publishes else {}
        made = self._api.create_container(
            image=image,
            command=shlex.split(service.command) or None,
            environment=dict(service.env),
            name=labels.name(self._order.job),
            hostname=name,
            labels=dict(self._order.labels),
            ports=[tuple(port.split("/")) for port in ports],
            networking_config=self._api.create_networking_config(endpoint),
            host_config=self._bounds(
                network_mode=self.network,
                pid_mode=f"container:{self._keeper}" if self._keeper else None,
                port_bindings={port: ("127.0.0.1", here) for port, here in ports.items()},
            ),
        )
        self._started[name] = made["Id"]
        try:
            self._api.start(made["Id"])
        except docker.errors.APIError as error:
            raise self._unwell(name, str(error.explanation)) from error

    def _bounds(self, **more: Any) -> dict[str, Any]:
        return self._api.create_host_config(
            cap_drop=["ALL"],
            cap_add=[*CAPABILITIES, *_MORE],
            security_opt=["no-new-privileges:true"],
            pids_limit=PIDS,
            log_config=_LOG,
            **more,
        )

    # ── ready ────────────────────────────────────────────────────────────────────────────────────

    def _await(self, stop: Stop, until: float) -> None:
        watches = [
            _Watch(self._api, name, container, self._order.services[name].ready)
            for name, container in self._started.items()
        ]
        try:
            while watches:
                now = self._monotonic()
                watches = [watch for watch in watches if not self._is_ready(watch, now)]
                if stop.reason is not None:
                    raise NotStartedError(_stopped(stop.reason))
                if watches and now > until:
                    raise self._unwell(watches[0].name, watches[0].said or "it is still starting")
                ready([stop.fd, *(watch.fd for watch in watches if watch.fd >= 0)], PAUSES[0])
        finally:
            for watch in watches:
                watch.close()

    def _is_ready(self, watch: "_Watch", now: float) -> bool:
        try:
            return watch.look(now)
        except _GoneError as gone:
            raise self._unwell(watch.name, str(gone)) from gone

    def _unwell(self, name: str, why: str) -> NotStartedError:
        lines = self._log(name).splitlines(keepends=True)[-SHOWN:]
        return NotStartedError(
            Exit(
                code=1,
                reason=Reason.SERVICE_UNHEALTHY,
                message=f"{name}: {why}",
                output=b"".join((f"the service {name} printed:\n".encode(), *lines)),
            )
        )

    def _log(self, name: str) -> bytes:
        with contextlib.suppress(*_Errors):
            said: bytes = self._api.logs(self._started[name], tail=10_000)
            return said
        return b""


class _GoneError(Exception):
    """The service will never be ready, and why."""


class _Watch:
    """Whether one service is ready, asked again and again."""

    def __init__(self, api: Client, name: str, container: str, command: str) -> None:
        self.name = name
        self.said = ""
        """Why it is not ready yet."""
        self._api, self._container, self._command = api, container, command
        self._stream: Stream | None = None
        self._output = b""
        self._attempts = 0
        self._next = 0.0
        self._latest = 0.0

    @property
    def fd(self) -> int:
        """Ready when an attempt has something to say; -1: none is under way."""
        return self._stream.fd if self._stream else -1

    def look(self, now: float) -> bool:
        """Whether it is ready; raises ``_GoneError`` when it never will be."""
        if self._stream:
            return self._attempted(self._stream, now)
        if now < self._next:
            return False
        pause = PAUSES[min(self._attempts, len(PAUSES) - 1)]
        self._attempts, self._next, self._latest = self._attempts + 1, now + pause, now + ATTEMPT
        state = self._api.inspect_container(self._container)["State"]
        if not state["Running"]:
            raise _GoneError(_ended(state))
        if not self._command:
            return self._by_image(state.get("Health") or {})
        self._attempt()
        return False

    def _by_image(self, health: Mapping[str, Any]) -> bool:
        """As the image's own health check says; without one, running is all that can be known."""
        last = (health.get("Log") or [{}])[-1]
        self.said = (
            f"its image's health check said: {last.get('Output', '').strip() or 'nothing yet'}"
        )
        if health.get("Status") == "unhealthy":
            raise _GoneError(self.said)
        return health.get("Status", "healthy") in {"healthy", "none"}

    def _attempt(self) -> None:
        try:
            made = self._api.exec_create(self._container, [script.SHELL, "-c", self._command])
            self._stream, self._output = Stream(self._api, made["Id"]), b""
        except docker.errors.APIError as error:  # it ended just now: the next look says how
            self.said = str(error.explanation)

    def _attempted(self, stream: Stream, now: float) -> bool:
        pieces = stream.read()
        self._output = (self._output + b"".join(pieces or ()))[-4096:]
        if pieces is not None and now < self._latest:
            return False
        found = self._api.exec_inspect(stream.id)
        self.close()
        last = self._output.decode(errors="replace").strip().splitlines()[-1:]
        if found["Running"]:
            self.said = f"`{self._command}` took longer than {ATTEMPT:g} s"
            return False
        self.said = ": ".join([f"`{self._command}` ended with {found['ExitCode']}", *last])
        return bool(found["ExitCode"] == 0)

    def close(self) -> None:
        """Ask no more."""
        if self._stream:
            self._stream.close()
            self._stream = None


def _ended(state: Mapping[str, Any]) -> str:
    if state.get("OOMKilled"):
        return "it ended because its memory ran out"
    return f"it ended with {state['ExitCode']}"


def _port(declared: str) -> tuple[str, int]:
    """``8080:80/tcp``: the port in the container, and here."""
    ports, _, protocol = declared.partition("/")
    here, _, there = ports.rpartition(":")
    return f"{there}/{protocol or 'tcp'}", int(here or there)


def _exit(reason: Reason, message: str) -> Exit:
    return Exit(code=1, reason=reason, message=message)


def _stopped(why: Reason) -> Exit:
    return Exit(code=143, signal=15, reason=why, message="its services were still starting")
