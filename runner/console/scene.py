"""What the console knows before anything runs, and how an end is put into words."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter

import msgspec

from runner.event import Failure
from runner.execution import Execution
from runner.notice import Exit, Reason
from runner.plan import Decision, Plan
from runner.terminal import lines


def again(job: str) -> dict[str, str]:
    """The command that runs one job again, and what that is called."""
    return {"again": f"signalbox run --only {shlex.quote(job)}"}


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before anything runs."""

    plan: Plan
    execution: Execution
    parallel: int
    """How many jobs may run at once."""
    commit: str = ""
    """``main@4f2a91c``, when known."""
    mask: Callable[[str], str] = str
    """Hides secrets in what the plan says; notices and output are masked already."""
    state: str = ""
    """What commands must be told to find it, ``--state DIR``; empty: they do."""
    commands: Callable[[str], Mapping[str, str]] = again
    """What to type when the job of this key has failed, by what it is for."""
    picture: Callable[[], Iterable[str]] = tuple
    """Draws the execution once it has ended, before what failed is told."""


def can_overlap(plan: Plan) -> bool:
    """Whether two jobs of this execution could ever run at the same time."""
    running = {job.key for job in plan.jobs if job.decision is Decision.RUN}
    needs = {job.key: job.needs for job in plan.jobs}
    needs |= {gate.key: gate.needs for gate in plan.gates}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    while sorter.is_active():
        ready = list(sorter.get_ready())
        jobs = [key for key in ready if key in running]
        while passed := [key for key in ready if key not in running]:
            sorter.done(*passed)
            ready = list(sorter.get_ready())
            jobs += [key for key in ready if key in running]
        if len(jobs) > 1:
            return True
        sorter.done(*jobs)
    return False


def short(unique_id: str) -> str:
    """As much of an id as a person types."""
    return unique_id.partition("-")[0]


def ended(exit_: Exit) -> str:
    """How a process ended, in a word or two: ``exit 1``, ``signal 9``, ``command not found``."""
    if exit_.reason is Reason.EXITED:
        return f"exit {exit_.code}"
    if exit_.reason is Reason.SIGNAL:
        return f"signal {exit_.signal}"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", exit_.reason.value).lower()


def reason(failure: Failure | None) -> str:
    """``Type: first line of the message``; nothing when there is nothing to say."""
    if failure is None:
        return ""
    first = next((line.strip() for line in lines(failure.message) if line.strip()), "")
    return f"{failure.type}: {first}" if first else failure.type
