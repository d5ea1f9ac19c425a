"""Executions to draw: events as a recorder makes them, with times that can be counted."""

import uuid
from collections.abc import Sequence

import msgspec

from runner.event import (
    Domain,
    Event,
    Failure,
    Git,
    JobEvent,
    PipelineEvent,
    StageEvent,
    Status,
    StepEvent,
)
from runner.execution import MILLISECOND, Link, rfc3339
from runner.report import Beside, Delivery, NotStarted, Question

START = 1_772_442_900_000 * MILLISECOND  # 2026-03-02T09:15:00Z
RUN = "3f9c2a1e-5b1d-4e0a-9a53-0c4f6f1f7a11"
NAME = "Documentation Build"


def at(milliseconds: int) -> str:
    return rfc3339(START + milliseconds * MILLISECOND)


def failure(message: str, kind: str = "ExitCode") -> Failure:
    return Failure(domain=Domain.USER, type=kind, message=message)


def pipeline(status: Status, end: int | None, **more: object) -> PipelineEvent:
    event = PipelineEvent(
        unique_id=RUN,
        pipeline_id=RUN,
        name=NAME,
        url="",
        start=at(0),
        end=None if end is None else at(end),
        status=status,
        partial_retry=False,
        is_manual=True,
    )
    return msgspec.structs.replace(event, **more)


def job(
    key: str, start: int, end: int | None, status: Status = Status.SUCCESS, **more: object
) -> JobEvent:
    event = JobEvent(
        id=key,
        name=key,
        pipeline_unique_id=RUN,
        pipeline_name=NAME,
        url="",
        start=at(start),
        end=None if end is None else at(end),
        status=status if end is not None else Status.RUNNING,
        stage_name="check",
        queue_time=0,
    )
    return msgspec.structs.replace(event, **more)


def step(
    of: str, name: str, start: int, end: int, status: Status = Status.SUCCESS, **more: object
) -> StepEvent:
    event = StepEvent(
        id=f"{of}/{name}/{start}",
        name=name,
        pipeline_unique_id=RUN,
        pipeline_name=NAME,
        start=at(start),
        end=at(end),
        status=status,
        job_id=of,
        job_name=of,
    )
    return msgspec.structs.replace(event, **more)


def stage(name: str, start: int, end: int, status: Status) -> StageEvent:
    return StageEvent(
        id=name,
        name=name,
        pipeline_unique_id=RUN,
        pipeline_name=NAME,
        start=at(start),
        end=at(end),
        status=status,
    )


GIT = Git(
    repository_url="https://example.com/docs.git",
    sha="4f2a91c0d1e2f30415263748596a7b8c9d0e1f20",
    author_email="author@example.com",
    branch="main",
    message="Say what a gate is\n\nLonger.",
)


def failing() -> tuple[Sequence[Event], Beside]:
    """Everything that a tree can show: a wait, a retry, a failure, jobs left out, tags."""
    broken = failure("assert 1 == 2\ntests/test_a.py:12: AssertionError")
    tags = ("team:web",)
    events: list[Event] = [
        pipeline(Status.RUNNING, None),
        job("lint", 0, None),
        job("test (3.11)", 0, None),
        step("lint", "ruff check .", 0, 200, tags=tags),
        step("lint", "Types", 200, 1300, tags=tags),
        job("lint", 0, 1300, tags=(*tags, "tool:ruff")),
        step("test (3.11)", "pytest", 0, 2000, Status.ERROR, error=broken, tags=("attempt:1",)),
        step("test (3.11)", "pytest", 2000, 4800, tags=("attempt:2",), metrics=("coverage:87.5",)),
        job("test (3.11)", 0, 4800),
        step("test (3.12)", "pytest", 1300, 6300, Status.ERROR, error=broken),
        job("test (3.12)", 1300, 6300, Status.ERROR, error=broken, queue_time=1300),
        job("docs", 1300, 1300, Status.SKIPPED),
        stage("check", 0, 6300, Status.ERROR),
        step(
            "notify",
            "curl chat",
            6300,
            6400,
            Status.ERROR,
            error=failure("no route to host"),
            tags=("allowed_failure:true",),
        ),
        job("notify", 6300, 6400, stage_name=None, dependencies=("test (3.12)",)),
        pipeline(
            Status.ERROR,
            6400,
            error=broken,
            tags=(*tags, "jobs.not_started:1"),
            metrics=("pages:12",),
            parameters={"TARGET": "staging"},
            queue_time=400,
        ),
    ]
    beside = Beside(
        git=GIT,
        not_started=(NotStarted(name="deploy", why="test (3.12) did not end well"),),
        delivery=Delivery(delivered=12, waiting=3),
    )
    return events, beside


def blocked() -> tuple[Sequence[Event], Beside]:
    """A run that waits at a gate and goes on from another."""
    events: list[Event] = [
        step("build", "make", 0, 61_000),
        job("build", 0, 61_000, stage_name=None),
        pipeline(
            Status.BLOCKED,
            61_050,
            is_resumed=True,
            tags=("resumed_from:aaaaaaaa-0000-4000-8000-000000000000",),
            parent_pipeline=Link(id="bbbbbbbb-0000-4000-8000-000000000000"),
        ),
    ]
    question = Question(
        gate="approve deploy",
        question="Deploy to staging?",
        approvers=("ops",),
        expires=at(7 * 86_400_000),
    )
    return events, Beside(questions=(question,), delivery=Delivery(local=3))


def large(steps: int = 5_000, jobs: int = 50) -> tuple[Sequence[Event], Beside]:
    """Many steps, as a monorepo has them: stages, queues, retries, failures, tags, measures."""
    each = steps // jobs
    events: list[Event] = []
    for number in range(jobs):
        key, begin = f"package {number:02d}", number % 10 * 20_000
        bad = number % 10 == 7
        for place in range(each):
            start = begin + place * 1_700 + number * 13
            status = Status.ERROR if bad and place == each - 1 else Status.SUCCESS
            event = step(
                key,
                f"pytest packages/{number:02d}/tests/test_module_{place:03d}.py",
                start,
                start + 1_600,
                status,
                tags=("team:web", "team.owner:build") if place % 10 == 0 else ("team:web",),
                metrics=("coverage:87.5",) if place % 20 == 0 else (),
                error=failure(f"assert {place} == {number}\n" * 20) if status is _BAD else None,
            )
            events.append(msgspec.structs.replace(event, id=str(uuid.UUID(int=_ID + len(events)))))
        events.append(
            job(
                key,
                begin + number * 13,
                begin + each * 1_700 + number * 13,
                _BAD if bad else Status.SUCCESS,
                error=failure("assert 1 == 2") if bad else None,
                stage_name=f"stage {number // 10}",
                queue_time=number * 13,
                tags=("team:web", f"package:{number}"),
            )
        )
    events.append(pipeline(_BAD, 400_000, tags=("team:web",)))
    return events, Beside(git=GIT, delivery=Delivery(local=len(events)))


_BAD = Status.ERROR
_ID = 0x3F9C2A1E5B1D4E0A9A530C4F00000000
