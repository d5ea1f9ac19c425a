"""Rows as a recorder would write them, and processes to be killed, for the journal's tests."""

import os
import socket
import traceback
import uuid
from collections.abc import Callable
from contextlib import suppress

from runner.event import Envelope, Status, encode
from runner.execution import Execution
from runner.journal import Change, Ended, GateWaiting, Header, Journal, Open, Owner, Row
from runner.notice import Answer

BINDING = "site-and-key"
OWNER = Owner(host=socket.gethostname(), boot="this-boot", pid=os.getpid())
GIT = b'{"sha":"' + b"a" * 40 + b'"}'


def header(
    *,
    id: str = "",  # noqa: A002
    start: int = 1_700_000_000_000_000_000,
    binding: str = BINDING,
    owner: Owner = OWNER,
    nested: bool = False,
    resumed_from: str = "",
) -> Header:
    unique_id = id or str(uuid.uuid4())
    return Header(
        execution=Execution(
            unique_id=unique_id,
            pipeline_id=unique_id,
            pipeline="Docs",
            start=start,
            resumed_from=resumed_from,
        ),
        envelope=encode(Envelope(provider_name="signalbox", service="docs")),
        binding=binding,
        owner=owner,
        workspace="/repo",
        file="pipeline.yml",
        digest="0" * 64,
        source=b"name: Docs\n",
        parameters={"TARGET": "staging"},
        pin=b"\0opaque\xff",
        nested=nested,
    )


def row(part: str, *, level: str = "step", final: bool = True, at: int = 1, note: str = "") -> Row:
    body = f'{{"level":"{level}","id":"{part}","note":"{note}"}}'.encode()
    return Row(level=level, id=part, final=final, body=body, at=at)


def opened(part: str, level: str = "step") -> Open:
    return Open(level=level, id=part, body=row(part, level=level).body)


def rows(*parts: str) -> Change:
    return Change(rows=tuple(row(part) for part in parts))


def blocked(*gates: str) -> Change:
    waiting = tuple(GateWaiting(gate=gate, question=f"{gate}?", asked=5) for gate in gates)
    return Change(ended=Ended(at=5, status=Status.BLOCKED, gates=waiting))


def ended(status: Status = Status.SUCCESS, at: int = 9) -> Change:
    return Change(ended=Ended(at=at, status=status))


def answer(gate: str, who: str = "a person") -> Answer:
    return Answer(gate=gate, approved=True, who=who, at=7)


def parts(journal: Journal, execution: str) -> list[str]:
    return [event.id for event in journal.events(execution)]


def begun(journal: Journal, *, git: bytes | None = GIT, **kinds: object) -> str:
    """An execution with its git settled; returns its id."""
    new = header(**kinds)  # type: ignore[arg-type]
    journal.begin(new, Change())
    journal.freeze_git(new.execution.unique_id, git)
    return new.execution.unique_id


def fork(work: Callable[[], None]) -> int:
    """A process of its own that does ``work``; exit code 1 and a traceback if that fails."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 (nothing may return into the tests of the parent)
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code; negative: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, 9)
    os.waitpid(pid, 0)
