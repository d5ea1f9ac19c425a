"""What an execution leaves in its directory for later ones: the files its jobs kept, its seal.

Owns when both are made, when they are believed and when they are put back. The forms are
``seal``'s and ``keep``'s. Where no job keeps anything and there is no SIGNALBOX_STATE_KEY, nothing
is written.

The rules of belief. With a key, only a state whose seal was signed with it is gone on from, and
only if the journal says the same. Without one, a state that nobody signed is believed as it lies
there, and one that was signed is not. A run that was killed sealed no end: what it had sealed until
then is believed, if the journal says that, and that it failed. Whoever closes it signs nothing: or
a forged execution would need nothing but to look dead.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Final, assert_never

import msgspec

from runner import keep, seal
from runner.cli.identity import owner
from runner.cli.ownership import give_back
from runner.cli.places import Place
from runner.commit import Pin
from runner.errors import RefusedError
from runner.event import Status
from runner.execution import SECOND, Execution, clock
from runner.journal import Journal, Stored
from runner.keep import Scope
from runner.notice import ExecutionFinished, JobFinished, JobSkipped, Notice, Outcome, Result
from runner.plan import Decision, Plan, PlannedJob
from runner.seal import Kept, Seal, Trust

VARIABLE: Final = "SIGNALBOX_STATE_KEY"
INDEX: Final = "kept.json"
SEAL: Final = "seal"
_SHARE: Final = 20
"""What seals on the way may take of a run's time, as a divisor."""
_SIZE: Final = 64 * 1024 * 1024
"""Bytes of a file of ours that are read."""


def key_of(environ: Mapping[str, str]) -> str:
    """The key that signs; empty: none."""
    return environ.get(VARIABLE, "").strip()


def chain(journal: Journal, stored: Stored) -> list[Stored]:
    """The executions that this one stands on and itself, the first first; as far as they are here.
    The attempt before a full re-run by a host CI may be on another machine.
    """
    known = {one.id: one for one in journal.stored()}
    found = {stored.id: stored}
    while True:
        lineage = stored.header.execution
        before = lineage.resumed_from or (lineage.previous.id if lineage.previous else "")
        if before in found or before not in known:
            return list(reversed(found.values()))
        stored = found[before] = known[before]


# ── the seal ─────────────────────────────────────────────────────────────────────────────────────


def seal_of(journal: Journal, stored: Stored) -> Seal:
    """What the journal says of an execution, as a seal."""
    header, line = stored.header, chain(journal, stored)
    pin = msgspec.json.decode(header.pin, type=Pin | None) if header.pin else None
    given = {one.id: journal.answers(one.id) for one in line[:-1]}
    results = journal.results(stored.id)
    return Seal(
        execution=header.execution,
        root=header.root,
        status=stored.status.value if stored.status else "",
        file=os.path.relpath(header.file, header.workspace),
        digest=header.digest,
        commit=pin.sha if pin else "",
        parameters=header.parameters,
        selection=header.selection,
        results=tuple(results[job] for job in sorted(results)),
        gates=stored.gates,
        answers={
            id_: tuple(answers[gate] for gate in sorted(answers))
            for id_, answers in given.items()
            if answers
        },
        standing=header.answers,
        actor=header.actor,
        retriers=header.retriers,
        kept=tuple(kept_by(journal, line).values()),
        images=images(results),
    )


def images(results: Mapping[str, Result]) -> dict[str, str]:
    """The digests of the images that jobs ran in, by name."""
    found = (result.image for result in results.values() if result.image)
    return {image.name: image.digest for image in found if image.digest}


def close(
    journal: Journal, execution: str, environ: Mapping[str, str], warn: Callable[[str], None]
) -> None:
    """Seal an execution that has ended, if there is a key."""
    key = key_of(environ)
    if not key or journal.degraded:
        return
    body = seal.encode(seal_of(journal, journal.find(execution)))
    try:
        write(os.path.join(journal.directory(execution), SEAL), seal.paper("seal", body, key))
    except OSError as error:
        warn(f"it could not be sealed, so nothing can go on from it: {error}")


class Sealer:
    """An observer: seals an execution when it begins, whenever a job has ended and at its end."""

    def __init__(
        self,
        journal: Journal,
        execution: str,
        environ: Mapping[str, str],
        warn: Callable[[str], None],
    ) -> None:
        self._journal, self._execution = journal, execution
        self._environ, self._warn, self._clock = environ, warn, clock()
        self._begun, self._spent = self._clock(), 0
        self._seal(lambda _: None)

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """Seal what the recorder has just put into the journal."""
        kinds = set(map(type, notices))
        if ExecutionFinished in kinds:
            self._seal(self._warn)
        elif {JobFinished, JobSkipped} & kinds and self._may():
            self._seal(lambda _: None)

    def _may(self) -> bool:
        """The seals of thousands of jobs are large: on the way they take a share of the time."""
        return self._spent < SECOND + (self._clock() - self._begun) // _SHARE

    def _seal(self, warn: Callable[[str], None]) -> None:
        before = self._clock()
        close(self._journal, self._execution, self._environ, warn)
        self._spent += self._clock() - before


def believe(journal: Journal, stored: Stored, environ: Mapping[str, str]) -> Trust:
    """Whether ``stored`` may be gone on from; raises ``RefusedError`` if not."""
    key, short = key_of(environ), stored.id[:8]
    path = os.path.join(journal.directory(stored.id), SEAL)
    try:
        body, trust = seal.read("seal", read(path), key)
    except FileNotFoundError:
        body, trust = b"", Trust.UNSIGNED
    except (OSError, ValueError) as error:
        raise RefusedError(f"the seal of {short} cannot be read: {error}", "start anew") from None
    refuse(f"the state of {short}", trust, key)
    if trust is Trust.GOOD and not _agrees(journal, stored, body):
        raise RefusedError(
            f"the journal does not say of {short} what was sealed when it ended: it was changed",
            "start anew, or import the run from where it was exported",
        )
    if hashlib.sha256(stored.header.source).hexdigest() != stored.header.digest:
        raise RefusedError(f"the pipeline file that {short} was started with was changed in it")
    return trust


def refuse(what: str, trust: Trust, key: str) -> None:
    """Raise ``RefusedError`` unless somebody with this key, or none, may believe it."""
    match trust:
        case Trust.GOOD:
            return
        case Trust.UNSIGNED:
            if not key:
                return
            hint = f"it ran without {VARIABLE}: unset it to believe it all the same"
        case Trust.UNCHECKED:
            hint = f"set {VARIABLE} to the key that it was signed with"
        case Trust.FORGED:
            hint = f"see that {VARIABLE} is the same on both sides; if it is, do not use this state"
        case _:
            assert_never(trust)
    raise RefusedError(f"{what} is not believed: {trust.value}", hint)


def _agrees(journal: Journal, stored: Stored, body: bytes) -> bool:
    """As values: an older version of us wrote fewer fields."""
    try:
        said, now = seal.decode(body), seal.decode(seal.encode(seal_of(journal, stored)))
    except msgspec.DecodeError:
        return False
    if not said.status and stored.status is Status.ERROR:  # it was killed
        now = msgspec.structs.replace(now, status="")
    return said == now


# ── what jobs keep ───────────────────────────────────────────────────────────────────────────────


class Keeper:
    """An observer: archives what a job keeps when it has ended well, before the next one starts."""

    def __init__(
        self,
        plan: Plan,
        execution: Execution,
        runs: str,
        scope: Callable[[tuple[str, ...]], Scope],
        warn: Callable[[str], None],
    ) -> None:
        self._planned = {job.key: job for job in plan.jobs if job.job.keep}
        self._execution, self._runs, self._scope, self._warn = execution, runs, scope, warn
        self._kept: list[Kept] = []

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """Archive for the jobs that have ended."""
        for notice in notices:
            if isinstance(notice, JobFinished) and notice.result.job in self._planned:
                result = notice.result
                if result.outcome is Outcome.SUCCESS or result.allowed:
                    self._keep(self._planned[result.job])

    def _keep(self, planned: PlannedJob) -> None:
        kept = Kept(job=planned.key, execution=self._execution.unique_id)
        path = os.path.join(self._runs, f"{self._execution.job_id(planned.key)}.tar")
        try:
            made = keep.archive(self._scope(planned.job.keep), path)
        except keep.KeepError as error:
            kept = msgspec.structs.replace(kept, problem=str(error))
            self._warn(f"nothing that {planned.key} keeps will travel: {error}")
        else:
            kept = msgspec.structs.replace(kept, sha256=made.sha256, size=made.size)
            for left in made.left:
                self._warn(f"{planned.key} does not keep {left}")
            if not made.files:
                self._warn(f"{planned.key} keeps {', '.join(planned.job.keep)}: there is none")
        self._kept.append(kept)
        write(os.path.join(self._runs, INDEX), msgspec.json.encode(self._kept))


def kept_by(journal: Journal, line: list[Stored]) -> dict[str, Kept]:
    """What each job of a chain kept last."""
    found: dict[str, Kept] = {}
    for stored in line:
        for kept in index(journal.directory(stored.id)):
            if kept.execution == stored.id:
                found.pop(kept.job, None)
                found[kept.job] = kept
    return found


def index(directory: str) -> tuple[Kept, ...]:
    """What the jobs of one execution kept."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(read(os.path.join(directory, INDEX)), type=tuple[Kept, ...])
    return ()


def archive_of(journal: Journal, kept: Kept) -> str:
    """Where its archive lies."""
    job_id = journal.find(kept.execution).header.execution.job_id(kept.job)
    return os.path.join(journal.directory(kept.execution), f"{job_id}.tar")


def scope_of(place: Place, state: str) -> Callable[[tuple[str, ...]], Scope]:
    """The files that patterns mean here."""
    return lambda patterns: Scope(workspace=place.workspace, patterns=patterns, apart=state)


@contextmanager
def turn(journal: Journal, before: Stored) -> Iterator[None]:
    """From looking at ``before`` until what goes on from it is begun: one at a time, or those who
    are refused would put files back under the feet of the one who is not. Where there is no lock
    to be had they might.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with ExitStack() as held:
        with suppress(OSError):
            place = os.open(journal.directory(before.id), flags)
            held.callback(os.close, place)
            fcntl.flock(place, fcntl.LOCK_EX)
        yield


def take_over(
    journal: Journal, before: Stored, plan: Plan, place: Place, environ: Mapping[str, str]
) -> None:
    """Before an execution goes on from ``before``, and before it is begun: see that it may, and
    bring back what its jobs kept. Raises ``RefusedError``; then no answer has counted, and nothing
    was put back.
    """
    _see_free(journal, before)
    believe(journal, before, environ)
    since = clock()()
    scope = scope_of(place, os.path.dirname(os.path.dirname(journal.directory(before.id))))
    if put_back(journal, before, plan, scope, replace=before.header.imported):
        give_back(place.workspace, since)


def _see_free(journal: Journal, before: Stored) -> None:
    """Since it was looked at, another may have had its turn."""
    if by := journal.find(before.id).answered_by:
        raise RefusedError(
            f"{before.id[:8]} has been answered already: execution {by[:8]} goes on from it",
            f"signalbox show {by[:8]}",
        )
    journal.see_alone(before, owner())


def put_back(
    journal: Journal,
    before: Stored,
    plan: Plan,
    scope: Callable[[tuple[str, ...]], Scope],
    *,
    replace: bool,
) -> int:
    """Before any job runs: what done jobs kept is in the workspace; how many files were written.

    Where the run was, a file that is there stays as it is; elsewhere (``replace``) it becomes what
    was kept. Raises ``RefusedError`` when files are gone and nothing can bring them back.
    """
    kept = kept_by(journal, chain(journal, before))
    done = {
        job.key: job
        for job in plan.jobs
        if job.decision is Decision.DONE and job.job.keep and _ran(job)
    }
    for key in done.keys() - kept.keys():
        kept[key] = Kept(job=key, execution="", problem="it was not archived")
    written = 0
    for key, one in kept.items():
        if key in done:
            written += _put_back(journal, one, scope(done[key].job.keep), replace=replace)
    return written


def _ran(job: PlannedJob) -> bool:
    """Whether it ended as a job must that keeps something."""
    result = job.result
    return result is not None and (result.allowed or result.outcome is Outcome.SUCCESS)


def _put_back(journal: Journal, kept: Kept, scope: Scope, *, replace: bool) -> int:
    path = "" if kept.problem else archive_of(journal, kept)
    if path and os.path.lexists(path):
        return len(keep.restore(scope, path, kept.sha256, replace=replace))
    if keep.find(scope):
        return 0
    why = kept.problem or "its archive is gone"
    raise RefusedError(
        f"what {kept.job} kept ({', '.join(scope.patterns)}) is not here: {why}",
        f"run it again: signalbox retry --from {kept.job}",
    )


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def read(path: str) -> bytes:
    """A file of ours, through no link; raises ``OSError``."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return file.read(_SIZE)


def write(path: str, content: bytes) -> None:
    """A file of ours, whole or not at all; raises ``OSError``."""
    temporary = f"{path}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(content)
    os.rename(temporary, path)
