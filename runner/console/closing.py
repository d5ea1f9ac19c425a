"""The last lines of a run: what failed and how to see it again, what did not start, what waits.

Owns what a person needs when the rest has scrolled away. Pure: lines of text from what is known.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from runner.console.scene import Scene, ended, reason, short
from runner.event import Failure
from runner.notice import ExecutionFinished, JobSkipped, Outcome, Reason, StepFinished
from runner.plan import PlannedGate
from runner.terminal import Look, Mark, Paint, counted, lines, pad, plain
from runner.timing import spoken

TOLD_AGAIN: Final = 20
"""Failed steps and jobs not started that are listed; of the rest, the number."""
_DAY: Final = 86_400.0
_ENDS: Final = {
    Outcome.SUCCESS: (Mark.GOOD, Paint.GOOD, "succeeded in"),
    Outcome.ERROR: (Mark.BAD, Paint.BAD, "failed in"),
    Outcome.CANCELED: (Mark.STOPPED, Paint.WARN, "canceled after"),
    Outcome.SKIPPED: (Mark.LEFT_OUT, Paint.FAINT, "every job was left out, after"),
    Outcome.NOT_STARTED: (Mark.LEFT_OUT, Paint.FAINT, "not started, after"),
}
_COUNTED: Final = {
    Outcome.SUCCESS: "succeeded",
    Outcome.ERROR: "failed",
    Outcome.CANCELED: "canceled",
    Outcome.SKIPPED: "left out",
    Outcome.NOT_STARTED: "not started",
}


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A failure to be told again; ``step`` is missing when the job itself failed."""

    job: str
    name: str
    step: StepFinished | None = None
    failure: Failure | None = None


class Ends(msgspec.Struct, kw_only=True):
    """What has been seen of the jobs' ends so far."""

    outcomes: dict[str, Outcome] = {}
    allowed: set[str] = set()
    """Jobs that failed, as they may."""
    failures: list[Failed] = []
    left_out: list[JobSkipped] = []


def verdict(look: Look, outcome: Outcome, *, allowed: bool = False) -> tuple[str, str]:
    """The mark of an end and its words, ``failed in``, both in its colour."""
    mark, paint, words = _ENDS[outcome]
    if allowed:
        mark, paint, words = Mark.WARN, Paint.WARN, "failed, as it may, in"
    return look.paint(look.mark(mark), paint), look.paint(words, paint)


def closing(look: Look, scene: Scene, ends: Ends, finished: ExecutionFinished) -> Iterator[str]:
    """All of it, with an empty line between the parts."""
    yield ""
    yield from scene.picture()
    for failed in ends.failures[:TOLD_AGAIN]:
        yield ""
        yield from _failed(look, scene, failed)
    if len(ends.failures) > TOLD_AGAIN:
        yield ""
        yield counted(len(ends.failures) - TOLD_AGAIN, "more failed step") + ": signalbox show"
    yield from _not_started(look, ends.left_out)
    waiting = [gate for gate in scene.plan.gates if gate.key in finished.gates]
    for gate in waiting:
        yield ""
        yield from _waiting(look, scene, gate, finished.questions.get(gate.key, gate.question))
    yield ""
    yield _total(look, scene, ends, finished)


def _failed(look: Look, scene: Scene, failed: Failed) -> Iterator[str]:
    mark = look.paint(look.mark(Mark.BAD), Paint.BAD)
    step = failed.step
    how = ended(step.exit) if step else ""
    where = plain(step.name) if step else ""
    place = plain(step.place) if step else ""
    name = look.paint(failed.name, Paint.STRONG)
    yield f"{mark} {look.facts(name, where, look.paint(how, Paint.BAD), place)}"
    if why := _why(failed):
        yield f"  {why}"
    bar = look.paint(look.mark(Mark.OUTPUT), Paint.FAINT)
    if step and step.tail:
        yield from (f"  {bar} {line}" for line in lines(step.tail))
    commands = scene.commands(failed.job)
    width = max(map(len, commands)) + 1
    for label, command in commands.items():
        yield f"  {look.paint(pad(f'{label}:', width), Paint.FAINT)} {plain(command)}"


def _why(failed: Failed) -> str:
    """The reason, unless the lines below or the exit code say the same."""
    step, why = failed.step, reason(failed.failure)
    if step is None or step.exit.reason is not Reason.EXITED:
        return why
    said = {line.strip() for line in lines(step.tail)}
    kind, _, message = why.partition(": ")
    if not message or message in said:
        return ""
    return why if kind != Reason.EXITED.value else message


def _not_started(look: Look, left_out: Iterable[JobSkipped]) -> Iterator[str]:
    jobs = list(left_out)
    if not jobs:
        return
    yield ""
    yield "Not started"
    mark = look.paint(look.mark(Mark.LEFT_OUT), Paint.FAINT)
    for job in jobs[:TOLD_AGAIN]:
        yield f"  {mark} {look.facts(plain(job.name), look.paint(plain(job.why), Paint.FAINT))}"
    if len(jobs) > TOLD_AGAIN:
        yield f"  and {len(jobs) - TOLD_AGAIN} more"


def _waiting(look: Look, scene: Scene, gate: PlannedGate, question: str) -> Iterator[str]:
    mark = look.paint(look.mark(Mark.WAITING), Paint.WARN)
    asks = look.paint(plain(scene.mask(question)), Paint.STRONG)
    yield f"{mark} {look.facts(asks, *_terms(gate))}"
    resume = f"signalbox resume {short(scene.execution.unique_id)}"
    there = " ".join(filter(None, (shlex.quote(gate.key), scene.state)))
    yield f"  yes: {resume} --approve {there}"
    yield f"  no:  {resume} --reject {there}"


def _terms(gate: PlannedGate) -> Iterator[str]:
    declared = gate.gate
    if declared.approvers:
        yield plain("asks " + ", ".join(declared.approvers))
    if declared.expires is not None:
        yield f"within {_within(declared.expires)}"


def _within(seconds: float) -> str:
    days = int(seconds / _DAY)
    if days and days * _DAY == seconds:
        return "1 day" if days == 1 else f"{days} days"
    return spoken(int(seconds * 1_000_000_000))


def _total(look: Look, scene: Scene, ends: Ends, finished: ExecutionFinished) -> str:
    took = spoken(finished.at - scene.execution.start)
    if finished.gates:
        mark = look.paint(look.mark(Mark.WAITING), Paint.WARN)
        words = look.paint("waiting for an answer after", Paint.WARN)
    else:
        mark, words = verdict(look, finished.outcome)
    return look.facts(f"{mark} {words} {took}", _counts(ends))


def _counts(ends: Ends) -> str:
    """``5 jobs: 3 succeeded, 1 failed, 1 not started``; no parts when they all agree."""
    counted = Counter(end for job, end in ends.outcomes.items() if job not in ends.allowed)
    total = "1 job" if len(ends.outcomes) == 1 else f"{len(ends.outcomes)} jobs"
    parts = [f"{counted[end]} {word}" for end, word in _COUNTED.items() if counted[end]]
    if ends.allowed:
        parts.append(f"{len(ends.allowed)} failed, as allowed")
    return f"{total}: {', '.join(parts)}" if len(parts) > 1 else total
