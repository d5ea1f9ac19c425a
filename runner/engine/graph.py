"""Which job may start now: the graph of needs while it is being carried out.

Owns the standing of every job and gate: waiting, ready, ended, left out. No threads, no clock: the
engine asks and tells. A stage is no barrier; a job is ready the moment what it needs has ended
(interface, section 2 "Meaning").
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from runner.notice import Outcome, Result
from runner.pipeline import Condition
from runner.plan import Decision, Plan, PlannedGate, PlannedJob


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """All that the job needs is settled, and as it wishes."""

    job: PlannedJob


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """The job will not run in this execution: SKIPPED or NOT_STARTED."""

    job: PlannedJob
    outcome: Outcome
    why: str


Move = Ready | LeftOut

_STOPPED = "the execution was stopped first"


class Graph:
    """The standing of one plan. ``begin`` once, then ``ended`` for every job that was ready."""

    def __init__(self, plan: Plan) -> None:
        self._jobs = {job.key: job for job in plan.jobs}
        self._gates = {gate.key: gate for gate in plan.gates}
        self._nodes: dict[str, PlannedJob | PlannedGate] = {**self._jobs, **self._gates}
        self._open = {key: len(node.needs) for key, node in self._nodes.items()}
        self._behind: dict[str, list[str]] = {}
        for key, node in self._nodes.items():
            for need in node.needs:
                self._behind.setdefault(need, []).append(key)
        self._passed: set[str] = set()
        self._stopped = False
        self.results: dict[str, Result] = {}

    def begin(self) -> list[Move]:
        """What can be said before anything ran."""
        moves: list[Move] = []
        for job in self._jobs.values():
            if job.decision is Decision.CUT:
                why = "a gate that it stands behind was rejected"
                moves.append(self._leave_out(job, Outcome.SKIPPED, why))
        roots = [key for key, count in self._open.items() if not count]
        return moves + self._reach(roots)

    def ended(self, result: Result) -> list[Move]:
        """A job that was ready is over: what follows."""
        self.results[result.job] = result
        return self._reach(self._settle(result.job))

    def stop(self) -> None:
        """Nothing more may start."""
        self._stopped = True

    def rest(self) -> list[Move]:
        """At the very end: the jobs that nothing was said of."""
        unsaid = [job for job in self._jobs.values() if job.decision is Decision.RUN]
        moves: list[Move] = [
            self._leave_out(job, Outcome.NOT_STARTED, _STOPPED)
            for job in unsaid
            if job.key not in self.results
        ]
        return moves or self._unasked()

    def _unasked(self) -> list[Move]:
        """When all has ended well and no gate waits, what stands behind gates belongs to no later
        execution: they need what was left out, so nobody is asked.
        """
        behind = [job for job in self._jobs.values() if job.decision is Decision.WAIT]
        if self.waiting or self.rejected or any(map(self._bad, self.results)):
            return []
        return [
            self._leave_out(
                job,
                Outcome.NOT_STARTED,
                f"{self._closed(job)}, whose needs were left out, is not asked",
            )
            for job in behind
        ]

    def _closed(self, job: PlannedJob) -> str:
        """The gate that stands nearest before a job behind gates."""
        need = next(need for need in job.needs if self._nodes[need].decision is Decision.WAIT)
        return need if need in self._gates else self._closed(self._jobs[need])

    @property
    def waiting(self) -> tuple[str, ...]:
        """The gates that a person must answer now: all that they need has ended well."""
        return tuple(
            key
            for key, gate in self._gates.items()
            if gate.decision is Decision.WAIT and key in self._passed
        )

    @property
    def rejected(self) -> bool:
        """Whether a gate was answered with no."""
        return any(gate.answer and not gate.answer.approved for gate in self._gates.values())

    @property
    def all_skipped(self) -> bool:
        """Whether this execution had jobs to run and left every one of them out by its ``if``."""
        keys = [job.key for job in self._jobs.values() if job.decision is Decision.RUN]
        return bool(keys) and all(self._skipped(key) for key in keys)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _settle(self, key: str) -> list[str]:
        reached = []
        for behind in self._behind.get(key, ()):
            self._open[behind] -= 1
            if not self._open[behind]:
                reached.append(behind)
        return reached

    def _reach(self, keys: Iterable[str]) -> list[Move]:
        """Nodes whose needs are all settled; what they settle in turn is reached as well."""
        moves: list[Move] = []
        queue = deque(keys)
        while queue:
            key = queue.popleft()
            settled = self._reach_gate(key) if key in self._gates else self._reach_job(key, moves)
            if settled:
                queue += self._settle(key)
        return moves

    def _reach_gate(self, key: str) -> bool:
        if all(self._well(need) for need in self._gates[key].needs):
            self._passed.add(key)
        return self._gates[key].decision is Decision.DONE

    def _reach_job(self, key: str, moves: list[Move]) -> bool:
        job = self._jobs[key]
        if job.decision is Decision.DONE and job.result:
            self.results[key] = job.result
            return True
        if job.decision is not Decision.RUN:
            return False
        outcome = self._wanted(job)
        if outcome is Outcome.SUCCESS:
            moves.append(Ready(job=job))
            return False
        moves.append(self._leave_out(job, outcome, self._why_not(job, outcome)))
        return True

    def _wanted(self, job: PlannedJob) -> Outcome:
        """SUCCESS: it may start; else how it is left out."""
        if self._stopped:
            return Outcome.NOT_STARTED
        match job.job.condition:
            case Condition.ALWAYS:
                return Outcome.SUCCESS
            case Condition.FAILURE:
                bad = any(self._bad(need) for need in job.needs)
                return Outcome.SUCCESS if bad else Outcome.SKIPPED
            case Condition.SUCCESS:
                if any(self._bad(need) for need in job.needs):
                    return Outcome.NOT_STARTED
                skipped = any(self._skipped(need) for need in job.needs)
                return Outcome.SKIPPED if skipped else Outcome.SUCCESS

    def _why_not(self, job: PlannedJob, outcome: Outcome) -> str:
        if self._stopped:
            return _STOPPED
        if job.job.condition is Condition.FAILURE:
            return "nothing that it needs failed"
        if outcome is Outcome.SKIPPED:
            return f"{', '.join(filter(self._skipped, job.needs))} was left out"
        return f"{', '.join(filter(self._bad, job.needs))} did not end well"

    def _leave_out(self, job: PlannedJob, outcome: Outcome, why: str) -> LeftOut:
        self.results[job.key] = Result(job=job.key, outcome=outcome)
        return LeftOut(job=job, outcome=outcome, why=why)

    def _bad(self, key: str) -> bool:
        if key in self._gates:
            return key not in self._passed
        result = self.results.get(key)
        if result is None:
            return True
        return not result.allowed and result.outcome not in {Outcome.SUCCESS, Outcome.SKIPPED}

    def _skipped(self, key: str) -> bool:
        result = self.results.get(key)
        return result is not None and result.outcome is Outcome.SKIPPED

    def _well(self, key: str) -> bool:
        return not self._bad(key) and not self._skipped(key)
