"""The workspace and the files of steps, copied into a job's container and back again.

Owns what travels where an engine sees none of our directories, and every write into the workspace
that comes of it. Whether that is needed is ``mapping``'s to say.

The workspace goes in before the job and comes back after it, all but the state directory. What a
job left as it was is not written: another may have changed it here. What came back is written
inside the workspace alone, through no link. The files of steps travel with every step.
"""

import contextlib
import io
import os
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final

import msgspec

from runner.executors import Sink
from runner.executors.docker.calls import Client
from runner.executors.docker.mapping import look

_PIECE: Final = 1024 * 1024
_RECENT: Final = 2
"""Seconds: an archive's times are whole seconds, so a file this young may change unseen."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What is copied: the workspace but for ``apart``, and the ``files`` of steps."""

    workspace: str
    apart: str
    files: str


def volumes(route: Route) -> list[dict[str, Any]]:
    """Places of the container's own for what is copied into it: volumes that go with it."""
    return [
        {"Type": "volume", "Target": path, "VolumeOptions": {"NoCopy": True}}
        for path in (route.workspace, route.files)
    ]


class Freight:
    """The copies of one job's directories in its container."""

    def __init__(self, api: Client, container: str, route: Route) -> None:
        self._api, self._container, self._route = api, container, route
        self._sent: dict[str, tuple[int, ...]] = {}
        self._masks = 0

    def send(self) -> None:
        """The workspace, as it is now."""
        workspace, apart = self._route.workspace, self._route.apart
        self._sent = self._put(workspace, _walk(workspace, apart))

    def push(self) -> None:
        """The files of the step that is about to start."""
        self._put(self._route.files, _walk(self._route.files, ""))

    def pull(self) -> None:
        """The files of the step that has ended."""
        files = self._route.files
        with contextlib.closing(_Home(files)) as home:
            for path, member, content in self._got(files):
                if member.isreg() and ("/" in path or os.path.exists(f"{files}/{path}")):
                    home.take(path, member, content)

    def bring_back(self) -> None:
        """What the job has changed in the workspace."""
        sent, self._sent = self._sent, {}
        with contextlib.closing(_Home(self._route.workspace)) as home:
            for path, member, content in self._got(self._route.workspace):
                known = sent.pop(path, None) == _as_archived(member)
                if not known and not self._is_apart(path):
                    home.take(path, member, content)
            for path in sorted(sent, reverse=True):  # what is in a directory before it
                home.remove(path)

    def _is_apart(self, path: str) -> bool:
        """The files of steps may lie in the workspace, below the state directory."""
        whole, apart = f"{self._route.workspace}/{path}", self._route.apart
        return whole == apart or whole.startswith(f"{apart}/")

    def watching(self, sink: Sink) -> Sink:
        """A sink that knows the step's masks before it is given output."""
        return _Watching(sink, self._fetch_masks)

    def _fetch_masks(self) -> None:
        """Twenty times quicker than fetching them is to ask whether there are more."""
        path = f"{self._route.files}/mask"
        found = look(self._api, self._container, path)
        if found and found.size != self._masks:
            for _, _, content in self._got(path):
                with open(path, "wb") as file:
                    _copy(content(), file)
            self._masks = found.size

    # ── archives ─────────────────────────────────────────────────────────────────────────────────

    def _put(self, directory: str, paths: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """What was put there: signatures by path; of what may change unseen, none that matches."""
        put: dict[str, tuple[int, ...]] = {}
        recent = time.time() - _RECENT
        with tempfile.TemporaryFile(dir=self._route.files) as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for path in paths:
                    with contextlib.suppress(OSError):  # it is gone, or nobody may read it
                        member = tar.gettarinfo(f"{directory}/{path}", path)
                        if not (member.isreg() or member.isdir() or member.issym()):
                            continue
                        _add(tar, member, f"{directory}/{path}")
                        young = member.isreg() and member.mtime > recent
                        put[path] = () if young else _as_archived(member)
            file.seek(0)
            self._api.put_archive(self._container, directory, file)
        return put

    def _got(self, path: str) -> Iterator[tuple[str, tarfile.TarInfo, Callable[[], IO[bytes]]]]:
        """What is at ``path`` in the container, relative to it; content is there until the next."""
        pieces, _ = self._api.get_archive(self._container, path, chunk_size=_PIECE)
        reader = io.BufferedReader(_Reader(iter(pieces)), _PIECE)
        with tarfile.open(fileobj=reader, mode="r|") as tar:
            for member in tar:
                _, _, below = member.name.partition("/")
                if below or member.isreg():
                    yield below, member, lambda member=member: _content(tar, member)  # type: ignore[misc]


def _walk(directory: str, apart: str) -> Iterator[str]:
    """Everything in it, relative to it, through no link; a directory before what is in it."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            entries = sorted(os.scandir(os.path.join(directory, below)), key=lambda e: e.name)
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(below, entry.name)
            if entry.path == apart:
                continue
            yield path
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)


def _as_archived(member: tarfile.TarInfo) -> tuple[int, ...]:
    """What two archives of the same thing agree on."""
    kind = (member.isreg(), member.isdir(), member.issym())
    size = member.size if member.isreg() else 0
    changed = int(member.mtime) if member.isreg() else 0
    return (*map(int, kind), stat.S_IMODE(member.mode), size, changed, hash(member.linkname))


def _add(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    member.mtime = int(member.mtime)
    member.uname = member.gname = ""
    if not member.isreg():
        tar.addfile(member)
        return
    with open(path, "rb") as file:
        tar.addfile(member, file)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    found = tar.extractfile(member)
    assert found is not None  # noqa: S101 - asked for regular files alone
    return found


def _copy(content: IO[bytes], file: IO[bytes]) -> None:
    while piece := content.read(_PIECE):
        file.write(piece)


class _Reader(io.RawIOBase):
    """Pieces of an answer, read as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or next(self._pieces, b"")
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


# ── writing into the workspace ───────────────────────────────────────────────────────────────────


class _Home:
    """The workspace, written to through no link."""

    def __init__(self, workspace: str) -> None:
        self._root = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
        found = os.fstat(self._root)
        self._owner = (found.st_uid, found.st_gid) if os.geteuid() == 0 else None

    def close(self) -> None:
        os.close(self._root)

    def take(self, path: str, member: tarfile.TarInfo, content: Callable[[], IO[bytes]]) -> None:
        """Make it here what it is there; what cannot be is left out."""
        with contextlib.suppress(OSError), self._above(path, make=True) as (place, name):
            if member.isdir():
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=place)
                    self._give(name, place)
            elif member.issym():
                self._replace(
                    name, place, lambda new: os.symlink(member.linkname, new, dir_fd=place)
                )
            elif member.islnk():
                self._link(member, name, place)
            elif member.isreg():
                self._replace(name, place, lambda new: _write(new, place, member, content()))

    def remove(self, path: str) -> None:
        """The job has removed it; a directory stays if something new is in it here."""
        with contextlib.suppress(OSError), self._above(path, make=False) as (place, name):
            found = os.stat(name, dir_fd=place, follow_symlinks=False)
            (os.rmdir if stat.S_ISDIR(found.st_mode) else os.unlink)(name, dir_fd=place)

    def _link(self, member: tarfile.TarInfo, name: str, place: int) -> None:
        _, _, target = member.linkname.partition("/")
        with self._above(target, make=False) as (there, source):
            self._replace(
                name,
                place,
                lambda new: os.link(
                    source, new, src_dir_fd=there, dst_dir_fd=place, follow_symlinks=False
                ),
            )

    def _replace(self, name: str, place: int, make: Callable[[str], None]) -> None:
        new = f".{os.urandom(8).hex()}"
        try:
            make(new)
            self._give(new, place)
            with contextlib.suppress(IsADirectoryError, NotADirectoryError):
                os.rename(new, name, src_dir_fd=place, dst_dir_fd=place)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=place)

    def _give(self, name: str, place: int) -> None:
        if self._owner:
            os.chown(name, *self._owner, dir_fd=place, follow_symlinks=False)

    @contextlib.contextmanager
    def _above(self, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """The directory that holds it, open, and its name there."""
        *above, name = path.split("/")
        place = os.dup(self._root)
        try:
            for part in above:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=place)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                deeper = os.open(part, flags, dir_fd=place)
                os.close(place)
                place = deeper
            if name in {"", ".", ".."}:
                raise OSError(name)
            yield place, name
        finally:
            os.close(place)


def _write(name: str, place: int, member: tarfile.TarInfo, content: IO[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(name, flags, 0o600, dir_fd=place), "wb") as file:
        _copy(content, file)
        os.fchmod(file.fileno(), member.mode & 0o777)
        os.utime(file.fileno(), (member.mtime, member.mtime))


class _Watching:
    """A sink before which something is done."""

    def __init__(self, sink: Sink, first: Callable[[], None]) -> None:
        self._sink, self._first = sink, first

    def write(self, piece: bytes) -> None:
        self._first()
        self._sink.write(piece)

    def idle(self) -> None:
        self._first()
        self._sink.idle()
