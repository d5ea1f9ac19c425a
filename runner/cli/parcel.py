"""One run as one plain file: a tar of fixed names, signed where there is a key.

Owns the form of the file, both ways, and every limit on its size but a log's (``excerpt``). In it,
in this order::

    contents            a signed paper (``seal.paper``): every other member, its size and sha256
    executions.json     the run and what it stands on, the first execution first (``journal.Past``)
    seal                what may be believed of the run (``seal.Seal``), as it lies beside it
    runs/ID/JOB.log     what a job printed, masked
    runs/ID/JOB.tar     what a job kept; runs/ID/kept.json lists them

No key, no value of a secret, no path of the machine is in it but what events and logs say. What is
read is hostile until ``read`` has returned: sizes first, then sha256, types, ``customs``. Nothing
is written before.
"""

import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, Final

import msgspec

from runner import keep, seal
from runner.cli import custody, customs, excerpt
from runner.commit import Pin
from runner.errors import RefusedError, SurroundingsError, UsageError
from runner.journal import Header, Journal, Past, State, Stored
from runner.seal import Kept, Trust

_CONTENTS: Final = 16 * 1024 * 1024
_EXECUTIONS: Final = 256 * 1024 * 1024
_ARCHIVE: Final = keep.LIMIT + keep.ENTRIES * 2048
"""What is kept, and the headers around it."""
_MEMBERS: Final = 50_000
_PIECE: Final = 1024 * 1024
_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FILE: Final = re.compile(rf"runs/({_UUID})/(?:{_UUID}\.(log|tar)|kept\.json)")
_BROKEN: Final = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError)
"""What reading bytes raises that are no parcel; msgspec's errors are ``ValueError``."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the parcel."""

    name: str
    size: int
    sha256: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a parcel holds."""

    run: str
    members: tuple[Member, ...]


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A parcel that was read and found good."""

    path: str
    run: str
    chain: tuple[Past, ...]
    seal: bytes
    """As it is to lie beside the run; empty: it has none."""
    files: tuple[Member, ...]
    trust: Trust


# ── pack ─────────────────────────────────────────────────────────────────────────────────────────


def pack(journal: Journal, stored: Stored, path: str, environ: Mapping[str, str]) -> Trust:
    """Write one run to ``path``; whether it is signed. Raises ``RefusedError`` when its own state
    is not to be believed, ``SurroundingsError`` when it cannot be written.
    """
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise SurroundingsError(f"{path} cannot be written: it is no plain file")
    if stored.status is None:
        raise RefusedError(f"{stored.id[:8]} is still running", "export it when it has ended")
    sealed, key = _sealed(journal, stored, environ)
    line = custody.chain(journal, stored)
    for one in line:
        _hush(journal, one)
    chain = tuple(_past(journal, one) for one in line)
    papers = {"executions.json": msgspec.json.encode(chain), "seal": sealed}
    if len(papers["executions.json"]) > _EXECUTIONS:
        raise SurroundingsError(f"{stored.id[:8]} has too many events to be exported")
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "xb", opener=_private) as file:
            _write(file, stored.id, papers, dict(_files(journal, line)), key)
            _give(file)
        os.rename(temporary, path)
    except OSError as error:
        raise SurroundingsError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    return Trust.GOOD if key else Trust.UNSIGNED


def _sealed(journal: Journal, stored: Stored, environ: Mapping[str, str]) -> tuple[bytes, str]:
    """The seal and the key to sign the parcel with. What was not sealed when it ended is not
    vouched for now: it travels unsigned.
    """
    path = os.path.join(journal.directory(stored.id), custody.SEAL)
    if os.path.lexists(path):
        custody.believe(journal, stored, environ)
        return custody.read(path), custody.key_of(environ)
    return seal.paper("seal", seal.encode(custody.seal_of(journal, stored)), ""), ""


def _hush(journal: Journal, stored: Stored) -> None:
    """From now on two may send its events: a running one must not come after the other's final."""
    stale = [
        event.seq
        for event in journal.events(stored.id, downstream=True)
        if event.state is State.WAITING and not event.final
    ]
    if stale:
        journal.settle(stale, State.SUPERSEDED)


def _past(journal: Journal, stored: Stored) -> Past:
    """An execution without what is this machine's."""
    header = stored.header
    pin = msgspec.json.decode(header.pin, type=Pin | None) if header.pin else None
    slim = msgspec.structs.replace(
        header,
        workspace="",
        file=os.path.relpath(header.file, header.workspace),
        pin=msgspec.json.encode(msgspec.structs.replace(pin, root="") if pin else None),
    )
    events = tuple(journal.events(stored.id, downstream=True))
    return Past(
        stored=msgspec.structs.replace(stored, header=slim),
        events=events,
        results=tuple(journal.results(stored.id).values()),
        answers=tuple(journal.answers(stored.id).values()),
        logs=tuple(excerpt.unsent(journal, stored, events)),
    )


def _files(journal: Journal, line: list[Stored]) -> Iterator[tuple[str, str]]:
    """What lies beside the executions, by its name in the parcel."""
    for stored in line:
        directory = journal.directory(stored.id)
        for name in sorted(os.listdir(directory) if os.path.isdir(directory) else ()):
            inside, path = f"runs/{stored.id}/{name}", os.path.join(directory, name)
            if _FILE.fullmatch(inside) and os.path.isfile(path) and not os.path.islink(path):
                yield inside, path


def _write(
    file: IO[bytes], run: str, papers: Mapping[str, bytes], files: Mapping[str, str], key: str
) -> None:
    """Twice through the files: the contents, with every sha256, come first."""
    members = [_member(name, io.BytesIO(body)) for name, body in papers.items()]
    for name, path in files.items():
        with _taken(path) as source:
            members.append(_member(name, source))
    contents = msgspec.json.encode(Contents(run=run, members=tuple(members)))
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "contents", io.BytesIO(seal.paper("contents", contents, key)))
        for name, body in papers.items():
            _add(tar, name, io.BytesIO(body))
        for name, path in files.items():
            with _taken(path) as source:
                _add(tar, name, source)


def _taken(path: str) -> IO[bytes]:
    """A file as it travels."""
    file = open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")  # noqa: SIM115
    return excerpt.tail(file) if path.endswith(".log") else file


def _size(source: IO[bytes]) -> int:
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    return size


def _member(name: str, source: IO[bytes]) -> Member:
    size = _size(source)
    found = hashlib.sha256()
    while piece := source.read(_PIECE):
        found.update(piece)
    return Member(name=name, size=size, sha256=found.hexdigest())


def _add(tar: tarfile.TarFile, name: str, source: IO[bytes]) -> None:
    """No times, no owners: the same run is the same file."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = _size(source), 0o600
    tar.addfile(member, source)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _give(file: IO[bytes]) -> None:
    """In a container we are root; the file is for who owns the directory."""
    above = os.stat(os.path.dirname(os.path.abspath(file.name)))
    if os.geteuid() == 0 and above.st_uid:
        os.fchown(file.fileno(), above.st_uid, above.st_gid)


# ── read ─────────────────────────────────────────────────────────────────────────────────────────


def read(path: str, key: str) -> Parcel:
    """The parcel at ``path``. Raises ``UsageError`` when there is none, ``RefusedError`` when it is
    not one, was changed or is not to be believed.
    """
    try:
        if not os.path.isfile(path):
            raise UsageError(f"{path} is no file", "signalbox export writes one")
        with tarfile.open(path, "r|", tarinfo=keep.TarHeader) as tar:
            return _read(path, tar, key)
    except _BROKEN as error:
        raise RefusedError(
            f"{path} is no exported run, or it was damaged or changed: {error}",
            "export it again",
        ) from error


def _read(path: str, tar: tarfile.TarFile, key: str) -> Parcel:
    body, trust = seal.read("contents", _body(_next(tar), tar, _CONTENTS), key)
    if trust is not Trust.UNCHECKED:  # what is signed may be looked at without a key
        custody.refuse(path, trust, key)
    contents = msgspec.json.decode(body, type=Contents)
    papers, files = _checked(contents)
    executions = _verified(papers[0], tar, _EXECUTIONS)
    sealed = _verified(papers[1], tar, _CONTENTS)
    small = {file.name: _verified_file(file, tar) for file in files}
    if tar.next() is not None:
        raise ValueError("it holds more than it says")
    chain = msgspec.json.decode(executions, type=tuple[Past, ...])
    customs.examine(chain, contents.run)
    _see_kept(chain, files, small)
    return Parcel(
        path=path,
        run=contents.run,
        chain=chain,
        seal=b"" if seal.read("seal", sealed, key)[1] is Trust.UNSIGNED else sealed,
        files=files,
        trust=trust,
    )


def _checked(contents: Contents) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    """The papers and the files; each where it belongs, none twice, none too large."""
    names = [member.name for member in contents.members]
    papers, files = contents.members[:2], contents.members[2:]
    if names[:2] != ["executions.json", "seal"] or len(set(names)) != len(names) > _MEMBERS:
        raise ValueError("its contents are in disorder")
    for file in files:
        match = _FILE.fullmatch(file.name)
        if not match:
            raise ValueError(f"{file.name[:80]!r} does not belong into it")
        limit = {"log": excerpt.LIMIT, "tar": _ARCHIVE}.get(match[2], _CONTENTS)
        if not 0 <= file.size <= limit:
            raise ValueError(f"{file.name} is too large")
    return papers, files


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo:
    member = tar.next()
    if member is None or not member.isreg():
        raise ValueError("something is missing in it")
    return member


def _body(member: tarfile.TarInfo, tar: tarfile.TarFile, limit: int) -> bytes:
    source = tar.extractfile(member)
    if source is None or member.size > limit:
        raise ValueError(f"{member.name[:80]!r} is too large")
    return source.read()


def _verified(wanted: Member, tar: tarfile.TarFile, limit: int) -> bytes:
    """The next member, which must be the one that the contents name, to the bit."""
    found = _next(tar)
    if (found.name, found.size) != (wanted.name, wanted.size):
        raise ValueError(f"{wanted.name} is not where it should be")
    body = _body(found, tar, limit)
    if hashlib.sha256(body).hexdigest() != wanted.sha256:
        raise ValueError(f"{wanted.name} is not what was exported")
    return body


def _verified_file(wanted: Member, tar: tarfile.TarFile) -> bytes:
    """The same for what may be large; only what we read ourselves is given."""
    if wanted.name.endswith(".json"):
        return _verified(wanted, tar, _CONTENTS)
    _pour(wanted, _next(tar), tar, None)
    return b""


def _pour(
    wanted: Member, found: tarfile.TarInfo, tar: tarfile.TarFile, into: IO[bytes] | None
) -> None:
    source = tar.extractfile(found)
    if source is None or (found.name, found.size) != (wanted.name, wanted.size):
        raise ValueError(f"{wanted.name} is not where it should be")
    seen = hashlib.sha256()
    while piece := source.read(_PIECE):
        seen.update(piece)
        if into:
            into.write(piece)
    if seen.hexdigest() != wanted.sha256:
        raise ValueError(f"{wanted.name} is not what was exported")


def _see_kept(
    chain: tuple[Past, ...], files: tuple[Member, ...], small: Mapping[str, bytes]
) -> None:
    """Files belong to executions that came along, archives are those that are listed."""
    executions = {past.stored.id: past.stored.header.execution for past in chain}
    listed = {}
    for name, body in small.items():
        execution = executions[_owner(name, executions)]
        for kept in msgspec.json.decode(body, type=tuple[Kept, ...]) if body else ():
            path = f"runs/{execution.unique_id}/{execution.job_id(kept.job)}.tar"
            listed[path] = kept.sha256
            if kept.execution != execution.unique_id:
                raise ValueError("what was kept is another execution's")
    for file in files:
        if file.name.endswith(".tar") and listed.get(file.name) != file.sha256:
            raise ValueError(f"{file.name} is not what was kept")


def _owner(name: str, executions: Mapping[str, object]) -> str:
    match = _FILE.fullmatch(name)
    if not match or match[1] not in executions:
        raise ValueError(f"{name} belongs to no execution in it")
    return match[1]


# ── take in ──────────────────────────────────────────────────────────────────────────────────────


def unpack(parcel: Parcel, journal: Journal, workspace: str) -> list[str]:
    """Put a parcel into the journal, its run at home in ``workspace``; the ids of executions that
    were not here. Files first: a run is there when all of it is.
    """
    chain = tuple(_at_home(past, workspace) for past in parcel.chain)
    known = {stored.id for stored in journal.stored()}
    directories = {past.stored.id: journal.reserve(past.stored.id) for past in chain}
    ends = {
        f"runs/{past.stored.id}/{event.id}.log": event.at
        for past in chain
        for event in past.events
        if event.level == "job" and event.final
    }
    try:
        with tarfile.open(parcel.path, "r|", tarinfo=keep.TarHeader) as tar:
            for _ in ("contents", "executions.json", "seal"):
                _next(tar)
            for file in parcel.files:
                directory = directories[_owner(file.name, directories)]
                _place(file, tar, directory, ends.get(file.name))
        if parcel.seal and parcel.run not in known:
            custody.write(os.path.join(directories[parcel.run], custody.SEAL), parcel.seal)
    except _BROKEN as error:
        raise SurroundingsError(f"{parcel.path} cannot be imported: {error}") from error
    return journal.admit(chain)


def _place(file: Member, tar: tarfile.TarFile, directory: str, at: int | None) -> None:
    """A file of a run, where there is none: what lies here is not overwritten. ``at`` (epoch
    nanoseconds) is when a log was last written: its lines are told to be of that time.
    """
    found, path = _next(tar), os.path.join(directory, os.path.basename(file.name))
    if os.path.lexists(path):
        return
    temporary = f"{path}.import"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with open(temporary, "xb", opener=_private) as into:
            _pour(file, found, tar, into)
        if at is not None:
            os.utime(temporary, ns=(at, at))
        os.rename(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _at_home(past: Past, workspace: str) -> Past:
    header = past.stored.header
    return msgspec.structs.replace(
        past, stored=msgspec.structs.replace(past.stored, header=_rebased(header, workspace))
    )


def _rebased(header: Header, workspace: str) -> Header:
    pin = msgspec.json.decode(header.pin, type=Pin | None) if header.pin else None
    return msgspec.structs.replace(
        header,
        workspace=workspace,
        file=os.path.join(workspace, header.file),
        pin=msgspec.json.encode(msgspec.structs.replace(pin, root=workspace) if pin else None),
        imported=True,
    )
