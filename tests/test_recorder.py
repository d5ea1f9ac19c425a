"""The recorder: which events notices become, whatever order they come in."""

from runner.event import JobEvent, PipelineEvent, StageEvent, Status, decode
from runner.execution import SECOND, Execution
from runner.journal import Change, Header, Owner
from runner.notice import (
    ExecutionFinished,
    Exit,
    JobFinished,
    JobStarted,
    Level,
    Notice,
    Outcome,
    Result,
    Said,
    StepFinished,
)
from runner.pipeline import Pipeline
from runner.plan import make
from runner.recorder import Labels, Recorder
from tests.declared import job, pipeline

UNIQUE = "b3262537-a573-44eb-b777-4c0f37912b05"
START = 1_700_000_000 * SECOND


class Paper:
    """What a recorder appends to, for reading."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def append(self, execution: str, change: Change) -> None:
        assert execution == UNIQUE
        self.changes.append(change)

    @property
    def events(self) -> list[object]:
        return [decode(row.body) for change in self.changes for row in change.rows]


def recorded(declared: Pipeline, *notices: Notice, labels: Labels | None = None) -> Paper:
    execution = Execution(unique_id=UNIQUE, pipeline_id=UNIQUE, pipeline="P", start=START)
    header = Header(
        execution=execution,
        envelope=b"{}",
        owner=Owner(host="h", boot="b", pid=1),
        workspace="/w",
        file="/w/pipeline.yml",
        digest="",
        source=b"",
    )
    paper = Paper()
    recorder = Recorder(paper, header, make(declared), labels or Labels())
    paper.append(UNIQUE, recorder.first())
    for notice in notices:
        recorder.observe((notice,))
    return paper


def started(key: str, at: int) -> JobStarted:
    return JobStarted(job=key, name=key, at=START + at, ready=START)


def finished(key: str, start: int, end: int) -> JobFinished:
    result = Result(job=key, outcome=Outcome.SUCCESS)
    return JobFinished(job=key, start=START + start, end=START + end, result=result)


def test_a_stage_begins_with_its_first_job_whoever_tells_first() -> None:
    two = pipeline(job("a", stage="s"), job("b", stage="s"))
    paper = recorded(
        two,
        started("b", 9 * SECOND),
        started("a", 3 * SECOND),
        finished("a", 3 * SECOND, 20 * SECOND),
        finished("b", 9 * SECOND, 10 * SECOND),
    )
    stage = next(event for event in paper.events if isinstance(event, StageEvent))
    jobs = [e for e in paper.events if isinstance(e, JobEvent) and e.status is Status.SUCCESS]
    assert stage.start == min(job.start for job in jobs)
    assert stage.end == max(job.end or "" for job in jobs)
    lost = [o for change in paper.changes for o in change.opened if o.level == "stage"]
    assert decode(lost[-1].body).start == stage.start


def said(at: int, **tags: str) -> StepFinished:
    return StepFinished(
        job="a",
        index=0,
        attempt=1,
        name="x",
        start=START,
        end=START + at,
        exit=Exit(code=0),
        said=Said(tags={Level.PIPELINE: tags}),
    )


def test_a_running_pipeline_tells_more_at_most_every_ten_seconds() -> None:
    paper = recorded(
        pipeline(job("a")),
        started("a", 0),
        said(2 * SECOND, one="1"),
        said(11 * SECOND, two="2"),
        said(15 * SECOND, three="3"),
        finished("a", 0, 16 * SECOND),
        ExecutionFinished(at=START + 16 * SECOND, outcome=Outcome.SUCCESS),
    )
    told = [event for event in paper.events if isinstance(event, PipelineEvent)]
    assert [event.status.value for event in told] == ["running", "running", "success"]
    assert [set(event.tags) for event in told] == [
        set(),
        {"one:1", "two:2"},
        {"one:1", "two:2", "three:3"},
    ]
    assert len({event.start for event in told}) == 1


def test_no_step_can_say_what_only_the_pipeline_may() -> None:
    labels = Labels(pipeline_tags={"resumed_from": "x"})
    paper = recorded(
        pipeline(job("a")),
        started("a", 0),
        said(1, resumed_from="forged"),
        finished("a", 0, 2),
        ExecutionFinished(at=START + 3, outcome=Outcome.SUCCESS),
        labels=labels,
    )
    final = [event for event in paper.events if isinstance(event, PipelineEvent)][-1]
    assert final.tags == ("resumed_from:x",)
