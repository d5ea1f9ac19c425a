"""Pipelines for tests, declared in a line."""

from runner.pipeline import Condition, Gate, Job, Pipeline, Step


def step(run: str = "true", **more: object) -> Step:
    return Step(name=run.splitlines()[0], run=run, **more)  # type: ignore[arg-type]


def job(key: str, *needs: str, runs: tuple[str, ...] = ("true",), **more: object) -> Job:
    steps = tuple(step(run) for run in runs)
    return Job(**{"key": key, "name": key, "needs": needs, "steps": steps, **more})  # type: ignore[arg-type]


def gate(key: str, *needs: str, **more: object) -> Gate:
    return Gate(**{"key": key, "name": key, "needs": needs, "question": f"{key}?", **more})  # type: ignore[arg-type]


def pipeline(*jobs: Job | Gate, **more: object) -> Pipeline:
    return Pipeline(**{"name": "P", "jobs": jobs, **more})  # type: ignore[arg-type]


ALWAYS, FAILURE = Condition.ALWAYS, Condition.FAILURE
