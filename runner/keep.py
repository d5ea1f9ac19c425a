"""Files that a job keeps: found by its patterns, archived, put back on another machine.

Owns the patterns (``keep:``), the archive and every write into the workspace that puts files back.
An archive is data that anybody may have made: it is believed by its sha256 alone, and even then
nothing is written but what the job's own patterns name, inside the workspace, through no link,
never into ``.git`` or the state directory.
"""

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Final, Self, cast

import msgspec

from runner.errors import RefusedError

LIMIT: Final = 200_000_000
"""Bytes that one job may keep."""
ENTRIES: Final = 100_000
_PIECE: Final = 1024 * 1024
_MAGIC: Final = re.compile(r"[*?\[]")
_BRACKET: Final = re.compile(r"\[(!?)(\]?[^\]]+)\]")
_BROKEN: Final = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)
"""What ``tarfile`` raises for bytes that are no archive; ``OSError`` beside them."""


_NAMES: Final = 64 * 1024
"""Bytes that a long name may take in an archive."""
_TYPES: Final = frozenset(
    {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.XHDTYPE}
)


class KeepError(Exception):
    """Why nothing was kept."""


class TarHeader(tarfile.TarInfo):
    """A header such as we write. Extended ones are read whole, however large they say they are."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header; raises ``ValueError`` for one that is none of ours."""
        found = super().frombuf(buf, encoding, errors)
        extended = found.type == tarfile.XHDTYPE
        if found.type not in _TYPES or (extended and found.size > _NAMES):
            raise ValueError(f"{found.name[:80]!r} is no file")
        return found


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Where files are kept from and put back to, and which."""

    workspace: str
    patterns: tuple[str, ...]
    apart: str
    """The state directory: no part of the workspace, though it may lie in it."""

    def names(self) -> Callable[[str], bool]:
        """Whether a path, relative to the workspace, is one of these files."""
        found = re.compile("|".join(map(_regex, self.patterns)), re.DOTALL)
        state = os.path.relpath(os.path.realpath(self.apart), os.path.realpath(self.workspace))

        def named(path: str) -> bool:
            parts = path.split("/")
            if ".git" in parts or path == state or path.startswith(f"{state}/"):
                return False
            return found.fullmatch(path) is not None

        return named


# ── patterns ─────────────────────────────────────────────────────────────────────────────────────


def _regex(pattern: str) -> str:
    """``*`` and ``?`` stay within a name, ``**`` does not; a directory means all that it holds."""
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    last = len(parts) - 1
    text = ""
    for index, part in enumerate(parts):
        if part == "**":
            text += ".*" if index == last else "(?:[^/]+/)*"
        else:
            text += _segment(part) + ("" if index == last else "/")
    return f"(?:{text}(?:/.*)?)"


def _segment(part: str) -> str:
    """One name: ``*``, ``?`` and ``[a-z]``; a bracket that means nothing is a bracket."""
    text, rest = "", part
    while rest:
        bracket = _BRACKET.match(rest)
        if bracket:
            inside = re.sub(r"[\\\[\]&~|^]", r"\\\g<0>", bracket[2])
            text += f"[{'^/' if bracket[1] else ''}{inside}]"
            rest = rest[bracket.end() :]
        else:
            text += {"*": "[^/]*", "?": "[^/]"}.get(rest[0]) or re.escape(rest[0])
            rest = rest[1:]
    try:
        re.compile(text)
    except re.error:  # a range that runs backwards
        return re.escape(part)
    return text


def find(scope: Scope) -> list[str]:
    """The paths that there are, relative to the workspace: files, links and empty directories."""
    named = scope.names()
    return sorted(
        {
            path
            for pattern in scope.patterns
            for path in _walk(scope.workspace, _start(pattern))
            if named(path)
        }
    )


def _start(pattern: str) -> str:
    """The part of a pattern that is no pattern: where its files can be."""
    fixed = []
    for part in pattern.split("/"):
        if _MAGIC.search(part):
            break
        if part not in {"", "."}:
            fixed.append(part)
    return "/".join(fixed)


def _walk(workspace: str, start: str) -> Iterator[str]:
    top = os.path.realpath(workspace)
    place = os.path.join(top, start) if start else top
    if os.path.realpath(os.path.dirname(place)) != os.path.dirname(place):
        return  # through a link: not of the workspace
    if not os.path.isdir(place) or os.path.islink(place):
        if os.path.lexists(place):
            yield start
        return
    for directory, names, files in os.walk(place):
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        names[:] = [name for name in names if name != ".git" and name not in links]
        inside = os.path.relpath(directory, top)
        for name in (*files, *links):
            yield os.path.normpath(os.path.join(inside, name))
        if not names and not files and not links:
            yield inside


# ── archive ──────────────────────────────────────────────────────────────────────────────────────


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.hash, self.size = file, hashlib.sha256(), 0

    def write(self, piece: bytes) -> int:
        self.hash.update(piece)
        self.size += len(piece)
        return self._file.write(piece)


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that was made. ``left``: what could not be kept, and why."""

    sha256: str
    size: int
    files: int
    left: tuple[str, ...] = ()


def archive(scope: Scope, path: str) -> Archived:
    """Archive what there is at ``path``; raises ``KeepError``. Equal files make equal archives: no
    times, no owners, in order.
    """
    temporary, left, files = f"{path}.tmp", [], 0
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with open(temporary, "xb", opener=_private) as file:
            out = _Hashed(file)
            with tarfile.open(
                fileobj=cast("IO[bytes]", out), mode="w|", format=tarfile.PAX_FORMAT
            ) as tar:
                for name, why in _put_all(tar, scope):
                    files += not why
                    left += [f"{name}: {why}"] if why else []
        os.rename(temporary, path)
    except (OSError, ValueError) as error:  # ValueError: a name that is no text
        raise KeepError(f"it cannot be archived: {error}") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return Archived(sha256=out.hash.hexdigest(), size=out.size, files=files, left=tuple(left))


def _put_all(tar: tarfile.TarFile, scope: Scope) -> Iterator[tuple[str, str]]:
    """Each path, and why it was left out."""
    found = find(scope)
    if len(found) > ENTRIES:
        raise KeepError(f"{len(found)} files are more than the {ENTRIES} that may be kept")
    room = LIMIT
    for name in found:
        size = os.lstat(os.path.join(scope.workspace, name)).st_size
        room -= size
        if room < 0:
            raise KeepError(f"it is more than {LIMIT // 1_000_000} MB")
        yield name, _put(tar, scope.workspace, name)


def _put(tar: tarfile.TarFile, workspace: str, name: str) -> str:
    path = os.path.join(workspace, name)
    seen = os.lstat(path)
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(seen.st_mode) & 0o777
    if stat.S_ISLNK(seen.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
        if not _stays(name, member.linkname):
            return "it leads out of the workspace"
        tar.addfile(member)
    elif stat.S_ISDIR(seen.st_mode):
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif stat.S_ISREG(seen.st_mode):
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            member.size = os.fstat(file.fileno()).st_size
            tar.addfile(member, file)
    else:
        return "it is no file"
    return ""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _stays(name: str, target: str) -> bool:
    """Whether a link leads into the workspace. Steps upwards come first and count from a real
    directory: after a name, which may be a link itself, ``..`` could lead anywhere.
    """
    parts = target.split("/")
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return not target.startswith("/") and ups <= name.count("/") and ".." not in parts[ups:]


# ── put back ─────────────────────────────────────────────────────────────────────────────────────


def digest(path: str) -> str:
    """sha256 of a file; raises ``OSError``."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restore(scope: Scope, path: str, sha256: str, *, replace: bool) -> list[str]:
    """Put back what is missing, and with ``replace`` what differs; what was written. Raises
    ``RefusedError`` for an archive that is not what was kept, or cannot be put back.
    """
    hint = "run the job that kept it again: signalbox retry --from JOB"
    try:
        if digest(path) != sha256:
            raise RefusedError("an archive of kept files is not what was archived", hint)
        with tarfile.open(path, "r|", tarinfo=TarHeader) as tar:
            return list(_restore_all(tar, scope, replace=replace))
    except (*_BROKEN, OSError) as error:
        raise RefusedError(f"kept files cannot be put back: {error}", hint) from error


def _restore_all(tar: tarfile.TarFile, scope: Scope, *, replace: bool) -> Iterator[str]:
    named, room = scope.names(), LIMIT
    for count, member in enumerate(tar):
        room -= member.size
        if count >= ENTRIES or room < 0:
            raise ValueError("it holds more than may be kept")
        parts = member.name.split("/")
        if {"", ".", ".."} & {*parts} or "\0" in member.name or not named(member.name):
            raise ValueError(f"{member.name!r} is not what the job keeps")
        if _restore(tar, member, scope.workspace, replace=replace):
            yield member.name


def _restore(
    tar: tarfile.TarFile, member: tarfile.TarInfo, workspace: str, *, replace: bool
) -> bool:
    *above, name = member.name.split("/")
    with ExitStack() as held:
        place = _enter(held, workspace, above)
        seen = _look(name, place)
        if member.isdir():
            return seen is None and _made(name, place)
        if seen is not None and not replace:
            return False
        if member.issym():
            return _link(member, name, place)
        if not member.isreg():
            raise ValueError(f"{member.name!r} is no file")
        return _write(tar, member, name, place, seen)


def _enter(held: ExitStack, workspace: str, above: Sequence[str]) -> int:
    """The directory that a file belongs into, made if need be, reached through no link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    place = os.open(workspace, flags)
    held.callback(os.close, place)
    for name in above:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=place)
        place = os.open(name, flags | os.O_NOFOLLOW, dir_fd=place)
        held.callback(os.close, place)
    return place


def _look(name: str, place: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _made(name: str, place: int) -> bool:
    os.mkdir(name, dir_fd=place)
    return True


def _link(member: tarfile.TarInfo, name: str, place: int) -> bool:
    if not _stays(member.name, member.linkname):
        raise ValueError(f"{member.name!r} is a link that leads out of the workspace")
    with suppress(OSError):
        if os.readlink(name, dir_fd=place) == member.linkname:
            return False
    temporary = _temporary(name, place)
    os.symlink(member.linkname, temporary, dir_fd=place)
    os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    return True


def _write(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    name: str,
    place: int,
    seen: os.stat_result | None,
) -> bool:
    """Written beside, compared on the way, renamed only if it is news: the archive is read once."""
    temporary, source = _temporary(name, place), tar.extractfile(member)
    assert source is not None  # noqa: S101 - it is a regular file
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with ExitStack() as held:
        file = held.enter_context(open(os.open(temporary, flags, 0o600, dir_fd=place), "wb"))
        held.callback(_gone, temporary, place)
        same = seen is not None and stat.S_ISREG(seen.st_mode) and seen.st_size == member.size
        same = same and not (seen.st_mode ^ member.mode) & 0o111 if seen else False
        there = held.enter_context(_there(name, place)) if same else None
        while piece := source.read(_PIECE):
            same = same and there is not None and there.read(len(piece)) == piece
            file.write(piece)
        if same:
            return False
        file.flush()
        os.fchmod(file.fileno(), member.mode & 0o777)
        os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    return True


def _there(name: str, place: int) -> IO[bytes]:
    return open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place), "rb")


def _temporary(name: str, place: int) -> str:
    """A name beside the file's own; what a killed run left under it is removed."""
    temporary = f".{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}.kept"
    _gone(temporary, place)
    return temporary


def _gone(name: str, place: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=place)
