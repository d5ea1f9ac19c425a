"""Where our directories are for the engine, which may be on another machine, or we in a container.

Owns finding the way by which a job's container gets the workspace and the files of steps, and
proving it: a file that we know is looked for through a container made that way. In a container our
directories have the paths that we see. Copying, where nothing else works, is ``freight``'s.

The proof is what the engine says of the file, its time of change and size: that needs no program in
the image and no start, and takes 4 ms on a container that was only created. A whole volume is
mounted only where it is what is needed, and never all that our own container has (volumes-from):
there the engine's socket is among it.
"""

import base64
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, Final, Self

import docker.errors
import msgspec
from docker import APIClient

from runner.executors.docker.calls import Client

_OF_DOCKER: Final = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
"""Files that an engine mounts into every container, from a directory named by the container's id;
a host's own mount table names other containers too, elsewhere."""
_ID: Final = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?:[/.]|$)")
_SHORT: Final = re.compile(r"[0-9a-f]{12}")


class Way(Enum):
    """How a container gets our directories."""

    SAME = "same path"
    TRANSLATED = "translated path"
    COPY = "copy"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One way, why it is taken, and its mounts as the engine's API has them."""

    way: Way
    why: str
    mounts: tuple[dict[str, Any], ...] = ()


class Mapping:
    """The way that works, found once for all jobs of an execution. Thread-safe.

    ``directories``: absolute paths that a container needs. ``witnesses``: for each a file in it,
    which proves that a container has the very same directory.
    """

    def __init__(self, api: Client, directories: Sequence[str], witnesses: Sequence[str]) -> None:
        self._api, self._witnesses = api, witnesses
        self._lock = threading.Lock()
        self._others = views(api, outermost(directories))
        self._view: View | None = None
        self._proved = False

    @property
    def view(self) -> View:
        """The way that is taken; as long as there was no container to try it, the first guess."""
        with self._lock:
            if self._view is None:
                self._view = next(self._others)
            return self._view

    def create(self, make: Callable[[View], str]) -> tuple[str, View]:
        """A container that has our directories, made by ``make``, which gives its id; and how.

        A way that does not work is not tried again. Raises what ``make`` raises, unless it is that
        the engine has no such path.
        """
        while True:
            view = self.view
            try:
                container = make(view)
            except docker.errors.APIError as error:
                if not (view.mounts and _has_no_such_path(error)):
                    raise
                self._leave(view, "the engine has no such path")
                continue
            if self._prove(container, view):
                return container, view
            self._api.remove_container(container, force=True, v=True)
            self._leave(view, "a file written here is not seen through a container")

    def _prove(self, container: str, view: View) -> bool:
        if self._proved or not view.mounts:
            return True
        seen = all(sees(self._api, container, path) for path in self._witnesses)
        if seen:
            self._proved = True
        return seen

    def _leave(self, failed: View, why: str) -> None:
        with self._lock:
            if self._view is failed:
                self._view = next(self._others, View(way=Way.COPY, why=why))


def views(api: APIClient, directories: Sequence[str]) -> Iterator[View]:
    """The ways worth trying before copying, best first."""
    ours = itself(api)
    if ours is None:
        same = tuple(_bind(path, path) for path in directories)
        yield View(way=Way.SAME, why="the engine sees what we see", mounts=same)
        return
    mounts = [Mounted.of(found) for found in ours["Mounts"]]
    short = ours["Id"][:12]
    made = translate(mounts, directories)
    if isinstance(made, str):
        why = f"{made} is in no mount of our own container {short}"
        yield View(way=Way.COPY, why=why)
        return
    as_is = all(mount["Source"] == mount["Target"] for mount in made)
    yield View(
        way=Way.SAME if as_is else Way.TRANSLATED,
        why=f"as mounted into our own container {short}",
        mounts=made,
    )


class Mounted(msgspec.Struct, frozen=True, kw_only=True):
    """A mount of our own container."""

    kind: str
    source: str
    target: str
    volume: str = ""
    writable: bool = True

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """As the engine tells it."""
        return cls(
            kind=found["Type"],
            source=found.get("Source", ""),
            target=found["Destination"],
            volume=found.get("Name", ""),
            writable=found["RW"],
        )


def translate(
    mounts: Sequence[Mounted], directories: Sequence[str]
) -> tuple[dict[str, Any], ...] | str:
    """The mounts by which another container sees the same at ``directories``, with what is mounted
    below them; or the directory for which there is none.
    """
    made: list[dict[str, Any]] = []
    usable = [mount for mount in mounts if mount.kind in {"bind", "volume"}]
    for directory in directories:
        around = [mount for mount in mounts if _within(directory, mount.target)]
        nearest = max(around, key=lambda mount: len(mount.target), default=None)
        if nearest is None or nearest not in usable:
            return directory
        below = [m for m in usable if _within(m.target, directory) and m is not nearest]
        made += [_again(nearest, directory), *(_again(mount, mount.target) for mount in below)]
    return tuple(made)


def _again(mount: Mounted, path: str) -> dict[str, Any]:
    """What ``mount`` holds at ``path``, mounted there once more."""
    if mount.kind == "volume" and path == mount.target:
        return _mount("volume", mount.volume, path, writable=mount.writable)
    rest = PurePosixPath(path).relative_to(mount.target)
    return _mount("bind", str(PurePosixPath(mount.source) / rest), path, writable=mount.writable)


def _bind(source: str, target: str) -> dict[str, Any]:
    return _mount("bind", source, target, writable=True)


def _mount(kind: str, source: str, target: str, *, writable: bool) -> dict[str, Any]:
    return {"Type": kind, "Source": source, "Target": target, "ReadOnly": not writable}


def outermost(directories: Sequence[str]) -> tuple[str, ...]:
    """Without those that lie in another."""
    return tuple(
        path
        for path in dict.fromkeys(directories)
        if not any(_within(path, other) and path != other for other in directories)
    )


def _within(path: str, directory: str) -> bool:
    return PurePosixPath(path).is_relative_to(directory)


# ── which container we are ───────────────────────────────────────────────────────────────────────


def itself(api: APIClient) -> dict[str, Any] | None:
    """Our own container, as this engine knows it; None: we are in none of its containers."""
    for name in names():
        try:
            found: dict[str, Any] = api.inspect_container(name)
        except docker.errors.NotFound:
            continue
        return found
    return None


def names() -> Iterator[str]:
    """By what our container may be known, surest first. On the host's network the hostname is the
    host's; with a cgroup namespace the cgroup says nothing; the mount table says it always.
    """
    yield from _of_mounts(_read("/proc/self/mountinfo"))
    yield from _ID.findall(_read("/proc/self/cgroup"))
    if _SHORT.fullmatch(host := os.uname().nodename):
        yield host


def _of_mounts(table: str) -> Iterator[str]:
    for line in table.splitlines():
        root, target = line.split()[3:5]
        if target in _OF_DOCKER:
            yield from _ID.findall(root)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# ── the proof ────────────────────────────────────────────────────────────────────────────────────


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says of a file in a container."""

    size: int
    mtime: str


def look(api: Client, container: str, path: str) -> Found | None:
    """What is at ``path`` in a container, which need not run; None: nothing."""
    # To ask for the archive itself, as the SDK does, takes thirty times as long.
    heading = api.heading(f"/containers/{container}/archive", path=path)
    if heading is None:
        return None
    said = base64.b64decode(heading["X-Docker-Container-Path-Stat"])
    return msgspec.json.decode(said, type=Found)


def sees(api: Client, container: str, path: str) -> bool:
    """Whether the file at ``path`` is in the container the very one that it is here."""
    here, found = os.stat(path), look(api, container, path)
    if found is None or found.size != here.st_size:
        return False
    changed = datetime.fromisoformat(found.mtime).timestamp()
    return abs(changed - here.st_mtime) < 1e-4  # noqa: PLR2004 - floats


def _has_no_such_path(error: docker.errors.APIError) -> bool:
    return "bind source path does not exist" in str(error.explanation)
