"""What a person sees while it runs: plain lines, in order, complete.

Owns the form of a run's lines. Does not look back at stored executions (``report``), decides no
colour and lets nothing hostile through (``terminal``). Everything goes to one stream, so that order
is kept; a stream that is gone is done without (fault S6).
"""

import re
import threading
from typing import Final, assert_never

from runner.console.closing import Ends, Failed, closing, verdict
from runner.console.pen import Folds, Pen, Stream
from runner.console.scene import Scene, can_overlap, ended, reason, short
from runner.execution import SECOND
from runner.notice import (
    ExecutionFinished,
    ExecutionStarted,
    JobFinished,
    JobReady,
    JobSkipped,
    JobStarted,
    Notice,
    Outcome,
    Reason,
    Reported,
    StepFinished,
    StepStarted,
    Warned,
)
from runner.plan import Decision, PlannedJob
from runner.terminal import LANES, Filter, Look, Mark, Paint, cells, fit, lines, pad, plain
from runner.timing import spoken

__all__ = ["Console", "Folds", "Scene", "Stream"]

NAME: Final = 24
"""Cells a job's name may take before its output."""
_ANNOTATION: Final = re.compile(r"[ \t]*::(?:error|warning|notice)(?: [^:].*)?::.*")


class _Lane:
    """One job on the screen."""

    def __init__(self, planned: PlannedJob, colour: str, look: Look) -> None:
        self.planned, self.colour = planned, colour
        self.filter = Filter(look)
        self.name = ""
        self.head = "  "
        self.prefix = b""
        self.annotates = False
        self.failed = False
        self.quiet = False


class Console:
    """An ``Observer`` and a ``Screen``; every method may be called from any thread."""

    def __init__(
        self, stream: Stream, look: Look, scene: Scene, folds: Folds | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._look, self._scene, self._folds = look, scene, folds
        self._pen = Pen(stream, look, folds)
        running = [job for job in scene.plan.jobs if job.decision is Decision.RUN]
        self._several = scene.parallel > 1 and can_overlap(scene.plan)
        self._names = len(running) > 1
        self._width = min(max((cells(job.name) for job in running), default=0), NAME)
        self._lanes = {
            job.key: _Lane(job, LANES[place % len(LANES)], look)
            for place, job in enumerate(running)
        }
        self._ends = Ends()
        for lane in self._lanes.values():
            self._dress(lane, self._plain(lane.planned.name))

    # ── its faces ────────────────────────────────────────────────────────────────────────────────

    def observe(self, notices: tuple[Notice, ...]) -> None:
        """Show what happened."""
        with self._lock:
            for notice in notices:
                self._take(notice)
            self._pen.flush()

    def output(self, job: str, piece: bytes) -> None:
        """Show a piece of a job's output."""
        with self._lock:
            lane = self._lanes[job]
            self._show(lane, lane.filter.feed(piece))
            self._pen.flush()

    def say(self, text: str) -> None:
        """Lines of our own, outside any job."""
        with self._lock:
            for line in lines(text):
                self._pen.line(line)
            self._pen.flush()

    def warn(self, text: str) -> None:
        """Something a person should know that changes no result."""
        with self._lock:
            self._warn(text)
            self._pen.flush()

    # ── for the live view, which shows jobs elsewhere and then opens one ─────────────────────────

    def hush(self, job: str) -> None:
        """From now on no line tells of ``job``; how it ends is still counted."""
        with self._lock:
            self._lanes[job].quiet = True

    def open(self, job: str, *, named: bool) -> None:
        """Tell of ``job`` again; ``named``: under its name."""
        with self._lock:
            lane = self._lanes[job]
            lane.quiet = False
            if named and not self._several:
                self._headline(lane)

    # ── notices ──────────────────────────────────────────────────────────────────────────────────

    def _take(self, notice: Notice) -> None:
        match notice:
            case ExecutionStarted():
                self._head()
            case JobReady() | Reported():
                pass
            case JobStarted():
                self._job_started(notice)
            case StepStarted():
                self._step_started(notice)
            case StepFinished():
                self._step_finished(notice)
            case JobFinished():
                self._job_finished(notice)
            case JobSkipped():
                self._job_skipped(notice)
            case ExecutionFinished():
                self._finished(notice)
            case Warned():
                self._warn(notice.message, notice.job)
            case _:
                assert_never(notice)

    def _head(self) -> None:
        execution, look = self._scene.execution, self._look
        kin = f"goes on from {short(execution.resumed_from)}" if execution.resumed_from else ""
        if execution.previous and not kin:
            kin = f"retries {short(execution.previous.id)}"
        title = look.paint(self._plain(execution.pipeline), Paint.STRONG)
        commit = self._plain(self._scene.commit)
        self._pen.line(look.facts(title, short(execution.unique_id), commit, self._jobs(), kin))
        self._pen.gap()

    def _jobs(self) -> str:
        count, planned = len(self._lanes), len(self._scene.plan.jobs)
        jobs = "1 job" if planned == 1 else f"{planned} jobs"
        return jobs if count == planned else f"{count} of {jobs}"

    def _job_started(self, started: JobStarted) -> None:
        lane = self._lanes[started.job]
        self._dress(lane, plain(started.name))
        waited = started.at - started.ready
        queued = f"after {spoken(waited)} in the queue" if waited >= SECOND else ""
        if not self._several:
            self._headline(lane, queued)
        elif queued:
            self._line(lane, Mark.RUNNING, f"started {self._faint(queued)}")

    def _headline(self, lane: _Lane, queued: str = "") -> None:
        if self._names and not lane.quiet:
            self._pen.gap()
            name = self._look.paint(lane.name, Paint.STRONG)
            self._pen.line(self._look.facts(name, self._faint(queued)))

    def _step_started(self, started: StepStarted) -> None:
        lane = self._lanes[started.job]
        lane.annotates = lane.planned.job.steps[started.index].annotations
        again = f"attempt {started.attempt}" if started.attempt > 1 else ""
        title = self._look.facts(plain(started.name), again)
        if self._folds and not self._several:
            self._pen.fold(title)
        else:
            self._line(lane, Mark.STEP, title)

    def _step_finished(self, finished: StepFinished) -> None:
        lane, look = self._lanes[finished.job], self._look
        self._show(lane, lane.filter.flush())
        self._pen.unfold(ok=finished.exit.ok)
        took = self._faint(spoken(finished.end - finished.start))
        name = plain(finished.name)
        if finished.exit.ok:
            self._line(lane, Mark.GOOD, look.facts(name, took), Paint.GOOD)
            return
        mark, paint = (Mark.WARN, Paint.WARN) if finished.allowed else (Mark.BAD, Paint.BAD)
        how = look.paint(ended(finished.exit), paint)
        self._line(lane, mark, look.facts(name, how, took, _next(lane, finished)), paint)
        if not finished.again and finished.exit.reason is not Reason.CANCELED:
            self._keep(lane, finished)

    def _keep(self, lane: _Lane, finished: StepFinished) -> None:
        """A failure that a person must see again, and beside the code."""
        why = reason(finished.failure) or ended(finished.exit)
        allowed = finished.allowed or lane.planned.job.allow_failure
        kind = "warning" if allowed else "error"
        self._pen.annotate(f"{plain(finished.name)}: {why}", finished.place, kind)
        if allowed:
            return
        lane.failed = True
        failed = Failed(job=finished.job, name=lane.name, step=finished, failure=finished.failure)
        self._ends.failures.append(failed)

    def _job_finished(self, finished: JobFinished) -> None:
        lane, result = self._lanes[finished.job], finished.result
        self._show(lane, lane.filter.flush())
        self._pen.unfold()
        self._ends.outcomes[finished.job] = result.outcome
        if result.allowed:
            self._ends.allowed.add(finished.job)
        elif finished.failure and result.outcome is Outcome.ERROR and not lane.failed:
            failed = Failed(job=finished.job, name=lane.name, failure=finished.failure)
            self._ends.failures.append(failed)
        if self._names and not lane.quiet:
            mark, words = verdict(self._look, result.outcome, allowed=result.allowed)
            text = f"{words} {spoken(finished.end - finished.start)}"
            self._pen.line(
                f"{lane.head}{mark} {text}" if self._several else f"{mark} {lane.name} {text}"
            )

    def _job_skipped(self, skipped: JobSkipped) -> None:
        self._ends.outcomes[skipped.job] = skipped.outcome
        if skipped.outcome is Outcome.NOT_STARTED:
            self._ends.left_out.append(skipped)
            return
        lane = self._lanes.get(skipped.job)
        if lane and lane.quiet:
            return
        mark, why = self._look.mark(Mark.LEFT_OUT), f"left out: {plain(skipped.why)}"
        if not self._several:
            self._pen.gap()
        head = self._head_of(plain(skipped.name)) if self._several else ""
        name = "" if self._several else f"{plain(skipped.name)} "
        self._pen.line(head + self._faint(f"{mark} {name}{why}"))

    def _finished(self, finished: ExecutionFinished) -> None:
        self._pen.unfold()
        for line in closing(self._look, self._scene, self._ends, finished):
            if line:
                self._pen.line(line)
            else:
                self._pen.gap()
        self._pen.aloud()

    # ── lines ────────────────────────────────────────────────────────────────────────────────────

    def _dress(self, lane: _Lane, name: str) -> None:
        """Give a job its name, which stands before each of its lines when several may run."""
        lane.name = name
        if self._several:
            lane.head = self._head_of(name, lane.colour)
            bar = self._look.paint(self._look.mark(Mark.OUTPUT), lane.colour)
            lane.prefix = self._look.encode(f"{lane.head}{bar} ")
        elif not self._folds:
            lane.prefix = b"    "

    def _head_of(self, name: str, paint: str | Paint = Paint.FAINT) -> str:
        name = fit(name, self._width, self._look.dots, middle=True)
        return self._look.paint(pad(name, self._width), paint) + " "

    def _line(self, lane: _Lane, mark: Mark, text: str, paint: str | Paint = "") -> None:
        if lane.quiet:
            return
        sign = self._look.mark(mark)
        sign = self._look.paint(sign, paint or lane.colour)
        self._pen.line(f"{lane.head}{sign} {text}")

    def _show(self, lane: _Lane, piece: bytes) -> None:
        if lane.annotates and self._folds and b"::" in piece:
            for line in piece.splitlines(keepends=True):
                self._show_or_annotate(lane, line)
        else:
            self._pen.output(lane.planned.key, lane.prefix, piece)

    def _show_or_annotate(self, lane: _Lane, line: bytes) -> None:
        """A step with ``annotations`` may speak to the host CI itself, in these three words."""
        text = line.decode(errors="replace").rstrip("\n")
        if line.endswith(b"\n") and _ANNOTATION.fullmatch(text):
            self._pen.command(plain(text))
        else:
            self._pen.output(lane.planned.key, lane.prefix, line)

    def _warn(self, message: str, job: str = "") -> None:
        sign = self._look.paint(f"{self._look.mark(Mark.WARN)} warning:", Paint.WARN)
        where = f"{self._lanes[job].name}: " if job in self._lanes else ""
        first, *rest = lines(message)
        self._pen.line(f"{sign} {where}{first}")
        for line in rest:
            self._pen.line(f"  {line}")

    def _faint(self, text: str) -> str:
        return self._look.paint(text, Paint.FAINT)

    def _plain(self, text: str) -> str:
        return plain(self._scene.mask(text))


def _next(lane: _Lane, finished: StepFinished) -> str:
    if finished.again:
        attempts = lane.planned.job.steps[finished.index].retry + 1
        return f"attempt {finished.attempt} of {attempts}, once more"
    return "allowed" if finished.allowed else ""
