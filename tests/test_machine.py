"""Run, kill, resume, reject, retry, export, flush in any order, against a model of the rules.

The program is the real one, in a workspace of its own; the model is which executions there are and
what may be done with each. What the intake was told is judged at the end of every history: nothing
twice with other bytes, nothing running after its end, nothing lost, everything closed.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import KEY, Workspace, by_level
from tests.intake_server import Answer, Server, intake

PIPELINE = """
    name: P
    jobs:
      J1: { stage: build, steps: ['echo "V=1" >> "$SIGNALBOX_OUTPUT"'] }
      J2: { stage: build, needs: [J1], steps: ['test ! -e fails'] }
      G: { needs: [J2], gate: "Go on?" }
      J3: { stage: ship, needs: [G, J1], steps: ['test "$V" = 1 -a ! -e fails'] }
"""
EXAMPLES = int(os.environ.get("SIGNALBOX_HISTORIES", "6"))


PICK = st.integers(0, 99)


def _one_of(runs: list[str], pick: int) -> list[str]:
    """One of them, or none; what is drawn must not hang on how quick a kill was."""
    return [runs[pick % len(runs)]] if runs else []


class Histories(RuleBasedStateMachine):
    """``open``: the executions that wait at the gate; ``failed``: those that may be retried. What
    is carried to another machine goes on there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        (self.root / "work").mkdir()
        (self.root / "home").mkdir()
        self.workspace = Workspace(self.root / "work", self.root / "home")
        self.elsewhere = Workspace(self.root / "elsewhere", self.root / "home")
        self.intake = intake(key=KEY)
        self.server: Server = self.intake.__enter__()
        self.open: list[str] = []
        self.answered: list[str] = []
        self.failed: list[str] = []
        self.well: list[str] = []

    @initialize()
    def prepare(self) -> None:
        self.workspace.git("init", "-q", "-b", "main")
        self.workspace.git("remote", "add", "origin", "https://git.example.test/a/b.git")
        self.workspace.write(PIPELINE)
        self.workspace.commit()
        self.workspace.git("clone", "-q", ".", str(self.elsewhere.path))
        self.elsewhere.git("remote", "set-url", "origin", "https://git.example.test/a/b.git")
        self.workspace.to(self.server)
        self.elsewhere.to(self.server)

    def teardown(self) -> None:
        try:
            if (self.workspace.path / ".signalbox").exists():
                self._judge()
        finally:
            self.intake.__exit__(None, None, None)
            shutil.rmtree(self.root, ignore_errors=True)

    @rule(fails=st.booleans())
    def run(self, fails: bool) -> None:
        self._may_fail(fails)
        code = self.workspace.run("run").code
        assert code == (1 if fails else 75)
        (self.failed if fails else self.open).append(self._last())

    @rule(after=st.floats(0.05, 0.5))
    def kill(self, after: float) -> None:
        self._may_fail(False)
        before = self._ids()
        process = self.workspace.start("run")
        try:
            process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        self.workspace.run("clean")
        for one in self._listed():
            if one["id"] not in before:
                (self.open if one["status"] == "blocked" else self.failed).append(one["id"])

    @rule(pick=PICK, fails=st.booleans(), approve=st.booleans())
    def answer(self, pick: int, fails: bool, approve: bool) -> None:
        if not self.open:
            return
        run = self.open.pop(pick % len(self.open))
        self._may_fail(fails)
        code = self.workspace.run("resume", run, "--approve" if approve else "--reject", "G").code
        assert code == (1 if fails or not approve else 0)
        self.answered.append(run)
        if approve:
            (self.failed if fails else self.well).append(self._last())

    @rule(pick=PICK)
    def answer_what_waits_for_none(self, pick: int) -> None:
        for run in _one_of(self.answered + self.failed + self.well, pick):
            assert self.workspace.run("resume", run, "--approve", "G").code == 5

    @rule(pick=PICK, fails=st.booleans())
    def retry(self, pick: int, fails: bool) -> None:
        self._may_fail(fails)
        for run in _one_of(self.failed, pick):
            code = self.workspace.run("retry", run).code
            status = self._listed()[0]["status"]
            assert code == {"error": 1, "blocked": 75, "success": 0}[status]
            kept = {"error": self.failed, "blocked": self.open, "success": self.well}
            kept[status].append(self._last())

    @rule(pick=PICK)
    def retry_what_did_not_fail(self, pick: int) -> None:
        for run in _one_of(self.well, pick):
            assert self.workspace.run("retry", run).code == 5

    @rule(pick=PICK, fails=st.booleans())
    def carry(self, pick: int, fails: bool) -> None:
        runs = [*self.open, *self.failed]
        for run in _one_of(runs, pick):
            box = str(self.root / f"{run}.box")
            assert self.workspace.run("export", run, box).code == 0
            assert self.elsewhere.run("import", box).code == 0
            assert self.elsewhere.run("import", box).code in {0, 5}
            flag = self.elsewhere.path / "fails"
            flag.touch() if fails else flag.unlink(missing_ok=True)
            if run in self.open:
                # Here it waits on: an answer counts once per state, and this one knows of none.
                self.open.remove(run)
                code = self.elsewhere.run("resume", run, "--approve", "G").code
                assert code == (1 if fails else 0)
            else:
                assert self.elsewhere.run("retry", run).code in ({1} if fails else {0, 75})

    @rule(trouble=st.sampled_from([503, 429, 403]))
    def flush_in_trouble(self, trouble: int) -> None:
        if (self.workspace.path / ".signalbox").exists():
            self.server.script([Answer(status=trouble)])
            self.workspace.run("flush")
            self.server.calm()  # there may have been nothing to send

    # ── what the model asks ──────────────────────────────────────────────────────────────────────

    def _may_fail(self, fails: bool) -> None:
        flag = self.workspace.path / "fails"
        flag.touch() if fails else flag.unlink(missing_ok=True)

    def _listed(self, place: Workspace | None = None) -> list[dict[str, Any]]:
        place = place or self.workspace
        if not (place.path / ".signalbox").exists():
            return []
        found: list[dict[str, Any]] = place.run("list", "--json", "-n", "999").json
        return found

    def _ids(self, place: Workspace | None = None) -> set[str]:
        return {one["id"] for one in self._listed(place)}

    def _last(self) -> str:
        return str(self._listed()[0]["id"])

    def _judge(self) -> None:
        for place in (self.workspace, self.elsewhere):
            assert not self._ids(place) or place.run("flush").code == 0
        # What waited when it was carried, both send: the same bytes, which ``check`` sees to.
        finals = {event["unique_id"] for event in by_level(self.server.events, "pipeline")}
        assert finals == self._ids() | self._ids(self.elsewhere)
        for event in by_level(self.server.events, "pipeline"):
            assert not (event.get("is_resumed") and event.get("previous_attempt"))
            assert event["partial_retry"] is False or event.get("previous_attempt")
        self.server.check(secrets=[KEY])


def test_any_history_is_told_whole_and_once() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=8,
            deadline=None,
            phases=[Phase.generate],  # a history takes seconds; shrinking one takes an hour
            suppress_health_check=list(HealthCheck),
        ),
    )
