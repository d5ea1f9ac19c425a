"""A journal, an intake and executions written as a recorder would: what tests of delivery stand on.

Owns no test.
"""

import time
import uuid
from pathlib import Path

import msgspec

from runner.delivery import Delivered, Delivery, Pace, flush
from runner.event import (
    Envelope,
    Event,
    Git,
    JobEvent,
    PipelineEvent,
    Status,
    StepEvent,
    encode,
)
from runner.execution import SECOND, Execution, rfc3339
from runner.intake import target
from runner.intake.http import Intake
from runner.journal import Change, Header, Journal, Owner, Row, Tally
from tests.intake_server import Server

KEY = "0123456789abcdef0123456789abcdef"
QUICK = Pace(linger=0.02, first=0.01, longest=0.04, git=0.1, poll=0.004)
"""In a hurry while steps run; an exit has the time it has in life."""
SHORT = msgspec.structs.replace(QUICK, stall=0.15, exit=1.0, unreachable=0.1, interrupted=0.1)
"""For exits that end without success."""
GIT = encode(
    Git(
        repository_url="https://git.example/team/app",
        sha="4f1c2a9be0d35f6718a4c0b7d2e98f30516a7bcd",
        author_email="dev@example.test",
        branch="main",
    )
)


class Run:
    """One execution, written into the journal as the recorder would: one job ``build``, steps."""

    def __init__(
        self, journal: Journal, binding: str, *, age: float = 60, git: bool = True
    ) -> None:
        self.journal = journal
        self.id = str(uuid.uuid4())
        self.start = time.time_ns() - int(age * SECOND)
        self.now = self.start
        self.execution = Execution(
            unique_id=self.id, pipeline_id=self.id, pipeline="Documentation", start=self.start
        )
        self.count = 0
        header = Header(
            execution=self.execution,
            envelope=encode(Envelope(provider_name="signalbox")),
            binding=binding,
            owner=Owner(host="here", boot="b", pid=1),
            workspace="/w",
            file="pipeline.yml",
            digest="0" * 64,
            source=b"",
        )
        journal.begin(header, Change(rows=(self.row(self.pipeline(Status.RUNNING)),)))
        if git:
            journal.freeze_git(self.id, GIT)

    def row(self, event: Event) -> Row:
        self.count += 1
        final = event.status is not Status.RUNNING
        key = event.unique_id if isinstance(event, PipelineEvent) else event.id
        level = type(event).__name__.removesuffix("Event").lower()
        return Row(level=level, id=key, final=final, body=encode(event), at=self.tick())

    def tick(self) -> int:
        self.now += 1000
        return self.now

    def append(self, *events: Event) -> None:
        self.journal.append(self.id, Change(rows=tuple(map(self.row, events))))

    def end(self, status: Status) -> str | None:
        return None if status is Status.RUNNING else rfc3339(self.now)

    def pipeline(self, status: Status) -> PipelineEvent:
        return PipelineEvent(
            unique_id=self.id,
            name="Documentation",
            url="",
            start=rfc3339(self.start),
            end=self.end(status),
            status=status,
            partial_retry=False,
        )

    def job(self, status: Status, name: str = "build") -> JobEvent:
        return JobEvent(
            id=self.execution.job_id(name),
            name=name,
            pipeline_unique_id=self.id,
            pipeline_name="Documentation",
            url="",
            start=rfc3339(self.start),
            end=self.end(status),
            status=status,
        )

    def step(self, name: str, job: str = "build") -> StepEvent:
        return StepEvent(
            id=str(uuid.uuid4()),
            name=name,
            pipeline_unique_id=self.id,
            pipeline_name="Documentation",
            start=rfc3339(self.start),
            end=rfc3339(self.now),
            status=Status.SUCCESS,
            job_id=self.execution.job_id(job),
            job_name=job,
        )

    def steps(self, count: int, prefix: str = "step") -> None:
        self.append(*[self.step(f"{prefix} {number}") for number in range(count)])

    def finish(self) -> None:
        """End it ten seconds later: a running event that still waits by then is no news."""
        self.now += 10 * SECOND
        self.append(self.job(Status.SUCCESS), self.pipeline(Status.SUCCESS))


class Place:
    """A state directory and an intake, and all that is made of them in a test."""

    def __init__(self, path: Path, server: Server) -> None:
        self.server = server
        self.warnings: list[str] = []
        self.path = path
        found = target(site="", key=KEY, intake_url=server.url, token="", warn=self.warnings.append)
        assert found is not None
        self.target = found
        self.journal = Journal.open(str(path), warn=self.warnings.append)

    def run(self, *, binding: str | None = None, age: float = 60, git: bool = True) -> Run:
        own = self.target.binding if binding is None else binding
        return Run(self.journal, own, age=age, git=git)

    def connect(self) -> Intake:
        return Intake(self.target, environ={}, version="1")

    def deliver(self, run: Run, pace: Pace = QUICK) -> Delivery:
        delivery = Delivery(
            self.journal.twin,
            self.connect,
            execution=run.id,
            binding=self.target.binding,
            warn=self.warnings.append,
            clock=time.time_ns,
            monotonic=time.monotonic,
            sleep=time.sleep,
            pace=pace,
        )
        delivery.start()
        return delivery

    def flush(self, run: str = "") -> Delivered:
        connection = self.connect()
        done = flush(
            self.journal,
            connection,
            binding=self.target.binding,
            run=run,
            clock=time.time_ns,
            sleep=time.sleep,
            warn=self.warnings.append,
            pace=QUICK,
        )
        connection.close()
        return done

    def tally(self, run: Run) -> Tally:
        """What became of a run's events; every one of them is in the account."""
        seen = self.journal.tally(execution=run.id, binding=self.target.binding)
        assert seen.total == run.count
        return seen
