"""An execution as Markdown for a host CI's job page: verdict, jobs, failures, the tree of times.

Owns the page's form and its limit. Nothing in a name or message can become markup. What
steps wrote as Markdown themselves comes last, as they wrote it, so it cannot swallow the rest.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from runner.event import Failure, Status
from runner.execution import MILLISECOND
from runner.report import JobTold, Told
from runner.report.tree import tree
from runner.report.words import commit, ended, moment, short
from runner.terminal import Look, lines, plain
from runner.timing import spoken

LIMIT: Final = 1024 * 1024
"""Bytes of one step's page on GitHub; a longer one is refused whole."""
MESSAGE: Final = 30
"""Lines of a failure's message."""

_SIGN: Final = {
    Status.SUCCESS: "✅",
    Status.ERROR: "❌",
    Status.CANCELED: "⏹️",
    Status.SKIPPED: "⚪",
    Status.BLOCKED: "✋",
    Status.RUNNING: "⏳",
}
_MARKUP: Final = re.compile(r"[\\`*_\[\]|~<>&@:!#$]|(?<=www)\.")
"""No text of others begins a line here, so what counts only there is left as it is."""
_WORST: Final = (Status.ERROR, Status.CANCELED, Status.RUNNING, Status.BLOCKED)
_CUT: Final = "\n*The page's limit is reached: what is missing here is in `signalbox show`.*\n"


def page(told: Told, summaries: Iterable[str] = (), *, limit: int = LIMIT) -> str:
    """The whole page, worst first, at most ``limit`` bytes; what has no room is left out."""
    taken: list[str] = []
    room, cut = limit - len(_CUT.encode()), ""
    for part in _parts(told, summaries):
        size = len(part.encode()) + 1
        if size > room:
            cut = _CUT
        else:
            room -= size
            taken.append(part)
    return "\n".join(taken) + cut


def escape(text: str) -> str:
    """``text`` as one line of prose that means only itself."""
    return _MARKUP.sub(_harmless, plain(text))


def fence(text: str) -> str:
    """``text`` as a block of code, whatever backticks it holds."""
    body = "\n".join(lines(text))
    longest = max(map(len, re.findall(r"`+", body)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}text\n{body}\n{ticks}"


def _harmless(match: re.Match[str]) -> str:
    """Punctuation as an entity: means itself in Markdown and HTML, also between the two."""
    return f"&#{ord(match[0])};"


def _parts(told: Told, summaries: Iterable[str]) -> Iterator[str]:
    yield from _verdict(told)
    for job in _worst_first(told.jobs):
        yield from _failure(job)
    yield from _left(told)
    yield from _jobs(told)
    yield _details("Where the time went", fence(tree(told, Look(width=100))))
    yield from summaries


def _verdict(told: Told) -> Iterator[str]:
    how = ended(told.status, told.duration_ms, gone_on=told.gone_on)
    yield f"## {_SIGN[told.status]} {escape(told.name)}: {how}\n"
    facts = [escape(told.id[:8]), escape(commit(told)), moment(told.start)]
    facts += [f"executing {_spoken(told.execution_ms)}"] if told.jobs else []
    facts += [escape(f"{name}={value}") for name, value in told.parameters.items()]
    yield " · ".join(filter(None, facts)) + "\n"
    if told.failure and not any(job.failure == told.failure for job in told.jobs):
        yield _message(told.failure)


def _failure(job: JobTold) -> Iterator[str]:
    """Each way in which the job failed, once; a step that did better later is no failure."""
    if job.status is not Status.ERROR:
        return
    seen: set[Failure] = set()
    for name, failure in [*((step.name, step.failure) for step in job.steps), ("", job.failure)]:
        if failure and failure not in seen:
            seen.add(failure)
            where = f"{escape(job.name)}: {escape(name)}" if name else escape(job.name)
            yield f"### {_sign(job)} {where}\n"
            yield _message(failure)


def _message(failure: Failure) -> str:
    text = list(lines(failure.message))
    cut = [f"... {len(text) - MESSAGE} more lines"] if len(text) > MESSAGE else []
    block = fence("\n".join(text[-MESSAGE:] if cut else text))
    return "\n".join((f"**{escape(failure.type)}**", *cut, "", block, ""))


def _left(told: Told) -> Iterator[str]:
    for question in told.questions:
        resume = f"signalbox resume {short(told.id)} --approve {shlex.quote(question.gate)}"
        yield f"### ✋ {escape(question.question)}\n"
        yield fence(resume) + "\n"
    if told.not_started:
        yield "### Not started\n"
        yield from (f"- ⚪ {escape(job.name)}: {escape(job.why)}" for job in told.not_started)
        yield ""


def _jobs(told: Told) -> Iterator[str]:
    if not told.jobs:
        return
    yield "| | Job | Stage | Steps | Took | Queued | |"
    yield "|---|---|---|---:|---:|---:|---|"
    for job in _worst_first(told.jobs):
        yield _job(job)
    yield ""


def _job(job: JobTold) -> str:
    queued = _spoken(job.queue_ms) if job.queue_ms else ""
    path = "critical path" if job.on_critical_path else ""
    note = "allowed to fail" if job.allowed else ""
    cells = (
        _sign(job),
        escape(job.name),
        escape(job.stage),
        str(len(job.steps)),
        "" if job.status is Status.SKIPPED else _spoken(job.duration_ms),
        queued,
        ", ".join(filter(None, (path, note))),
    )
    return f"| {' | '.join(cells)} |"


def _sign(job: JobTold) -> str:
    return "⚠️" if job.allowed else _SIGN[job.status]


def _worst_first(jobs: Sequence[JobTold]) -> list[JobTold]:
    return sorted(jobs, key=_badness)


def _badness(job: JobTold) -> int:
    if job.allowed:
        return len(_WORST)
    return _WORST.index(job.status) if job.status in _WORST else len(_WORST) + 1


def _details(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>\n"


def _spoken(milliseconds: int) -> str:
    return spoken(milliseconds * MILLISECOND)
