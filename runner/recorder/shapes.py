"""The events of one execution: what each carries, from what is known of its part.

Owns ids, times, tags and links of every event (interface, section 6; Datadog's guide). Keeps no
state: which event is due when is the recorder's.
"""

import msgspec

from runner.event import Failure, JobEvent, PipelineEvent, StageEvent, Status, StepEvent
from runner.execution import MILLISECOND, Execution, rfc3339
from runner.notice import Level, StepFinished, StepStarted
from runner.plan import Plan
from runner.recorder.parts import Labeled, Labels, OpenJob, OpenStage


class Shapes:
    """Makes the events of ``execution``."""

    def __init__(self, execution: Execution, plan: Plan, labels: Labels) -> None:
        self._execution, self._plan, self._labels = execution, plan, labels
        self._stages = {job.key: job.job.stage for job in plan.jobs}

    def step(
        self, step: StepStarted | StepFinished, job: OpenJob, end: int, failure: Failure | None
    ) -> StepEvent:
        """One attempt."""
        execution, stage = self._execution, self._stages[step.job]
        start = step.at if isinstance(step, StepStarted) else step.start
        labels = self._step_labels(step, job)
        return StepEvent(
            id=execution.step_id(step.job, step.index, step.attempt),
            name=step.name,
            pipeline_unique_id=execution.unique_id,
            pipeline_name=execution.pipeline,
            start=rfc3339(start),
            end=rfc3339(end),
            status=Status.ERROR if failure else Status.SUCCESS,
            job_id=execution.job_id(step.job),
            job_name=job.started.name,
            stage_id=execution.stage_id(stage) if stage else None,
            stage_name=stage or None,
            url=self._labels.job_url or None,
            node=self._labels.node,
            tags=labels.written(),
            metrics=labels.measured(),
            error=failure,
        )

    def _step_labels(self, step: StepStarted | StepFinished, job: OpenJob) -> Labeled:
        pipeline = self._plan.pipeline
        if isinstance(step, StepStarted):
            return Labeled(self._labels.tags, pipeline.tags, job.started.tags)
        labels = Labeled(self._labels.tags, pipeline.tags, job.started.tags, step.tags)
        labels.add(step.said, Level.STEP)
        if step.retried:
            labels.tags["attempt"] = str(step.attempt)
        if step.allowed:
            labels.tags["allowed_failure"] = "true"
        return labels

    def further(self, step: StepEvent, job: OpenJob) -> StepEvent:
        """A step that the plan does not know: its parents are ours, whatever it says."""
        execution, key = self._execution, job.started.job
        stage = self._stages[key]
        labels = (self._labels.tags, self._plan.pipeline.tags, job.started.tags)
        tags = Labeled(*labels, dict(tag.split(":", 1) for tag in step.tags))
        return msgspec.structs.replace(
            step,
            id=execution.part("job", key, "further", step.id),
            pipeline_unique_id=execution.unique_id,
            pipeline_name=execution.pipeline,
            job_id=execution.job_id(key),
            job_name=job.started.name,
            stage_id=execution.stage_id(stage) if stage else None,
            stage_name=stage or None,
            url=self._labels.job_url or None,
            node=self._labels.node,
            start=max(step.start, rfc3339(job.started.at)),
            end=max(step.end, rfc3339(job.started.at)),
            tags=tags.written(),
        )

    def job(
        self, job: OpenJob, status: Status, end: int | None, failure: Failure | None, **tags: str
    ) -> JobEvent:
        """A job; without an end it is running."""
        execution, started = self._execution, job.started
        stage = self._stages[started.job]
        return JobEvent(
            id=execution.job_id(started.job),
            name=started.name,
            pipeline_unique_id=execution.unique_id,
            pipeline_name=execution.pipeline,
            url=self._labels.job_url,
            start=rfc3339(started.at),
            end=rfc3339(end) if end is not None else None,
            status=status,
            stage_id=execution.stage_id(stage) if stage else None,
            stage_name=stage or None,
            dependencies=tuple(map(execution.job_id, started.dependencies)),
            queue_time=max(started.at - started.ready, 0) // MILLISECOND,
            node=self._labels.node,
            tags=job.written(**tags),
            metrics=job.measured(),
            error=failure,
        )

    def stage(
        self, name: str, stage: OpenStage, status: Status, end: int, failure: Failure | None
    ) -> StageEvent:
        """A stage, as far as its jobs have come."""
        execution = self._execution
        return StageEvent(
            id=execution.stage_id(name),
            name=name,
            pipeline_unique_id=execution.unique_id,
            pipeline_name=execution.pipeline,
            start=rfc3339(stage.start),
            end=rfc3339(end),
            status=status,
            dependencies=tuple(map(execution.stage_id, stage.needs)),
            queue_time=max(stage.start - stage.ready, 0) // MILLISECOND,
            tags=stage.written(),
            metrics=stage.measured(),
            error=failure,
        )

    def pipeline(
        self,
        said: Labeled,
        status: Status,
        end: int | None,
        failure: Failure | None = None,
        *,
        not_started: int = 0,
    ) -> PipelineEvent:
        """The pipeline; without an end it is running."""
        execution = self._execution
        more = dict(self._labels.pipeline_tags)  # ours: no step may say otherwise
        if not_started:
            more["jobs.not_started"] = str(not_started)
        return PipelineEvent(
            unique_id=execution.unique_id,
            pipeline_id=execution.pipeline_id,
            name=execution.pipeline,
            url=execution.url,
            start=rfc3339(execution.start),
            end=rfc3339(end) if end is not None else None,
            status=status,
            partial_retry=execution.partial_retry,
            previous_attempt=execution.previous,
            parent_pipeline=execution.parent,
            is_manual=execution.manual,
            is_resumed=True if execution.resumed_from else None,
            queue_time=execution.queue_time,
            parameters=self._plan.parameters or None,
            node=self._labels.node,
            tags=said.written(**more),
            metrics=said.measured(),
            error=failure,
        )
