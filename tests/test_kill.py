"""SIGKILL at any moment: nothing shown is lost, everything opened is closed, nothing is told twice.

The oracle is the intake's model (``intake_model``: conflicting duplicates, running after final,
missing parents) and the journal; invariants inv-R0 to inv-R8 of the design. ``SIGNALBOX_SOAK``
seconds of random kills; ``make soak`` says hours.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GIT, Workspace, by_level
from tests.intake_server import Answer, Server

PIPELINE = """
    name: Killed
    jobs:
      a:
        stage: one
        steps: [echo a1, echo a2, 'echo "V=1" >> "$SIGNALBOX_OUTPUT"', sleep 0.05, echo a5]
      b: { stage: one, steps: [echo b1; sleep 0.02, echo b2, exit 3] }
      c: { stage: two, needs: [a], steps: ['test "$V" = 1', echo c2] }
      g: { needs: [c], gate: "Go?" }
"""
SECONDS = float(os.environ.get("SIGNALBOX_SOAK", "30"))
SHOWN = re.compile(r"✓ (?!succeeded|blocked)(.+?) · \d")


def recovered(workspace: Workspace, server: Server, shown: set[str]) -> None:
    """What must hold once the next writing command has run."""
    assert workspace.run("clean").code == 0
    flushed = workspace.run("flush")
    assert flushed.code == 0, flushed.err
    listed = workspace.run("list", "--json", "-n", "1000").json
    assert all(one["status"] != "running" for one in listed)
    finals: dict[str, list[Any]] = {one["id"]: [] for one in listed}
    for event in by_level(server.events, "pipeline"):
        finals[event["unique_id"]].append(event)
    for id_, told in finals.items():  # once more, where the kill came between the answer and disk
        assert told, f"{id_} has no end"
        assert all(event == told[0] for event in told)
    started = {e["id"] for e in server.events if e["level"] == "job" and e["status"] == "running"}
    assert started <= {e["id"] for e in by_level(server.events, "job")}
    steps = {s["name"] for s in by_level(server.events, "step") if s["status"] == "success"}
    assert shown <= steps
    for event in server.events:
        if event.get("error", {}).get("type") == "RunnerLost":
            assert event["status"] == "error"
    server.check()


def kill(process: subprocess.Popen[str], after: float) -> str:
    """Kill the program alone, as the kernel would; what it had shown by then."""
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    return err


def names(err: str) -> set[str]:
    return {name.strip() for name in SHOWN.findall(err)}


def test_S1_kills_at_random_moments_lose_nothing(workspace: Workspace, server: Server) -> None:
    workspace.write(PIPELINE)
    workspace.commit()
    workspace.to(server)
    seed = int(os.environ.get("SIGNALBOX_SEED", str(time.time_ns() % 100_000)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        shown: set[str] = set()
        for _ in range(4):
            if dice.random() < 0.3:
                server.script([Answer(status=dice.choice([503, 429, 202]))])
            process = workspace.start("run")
            shown |= names(kill(process, dice.uniform(0.05, 0.9)))
        recovered(workspace, server, shown)
        shutil.rmtree(workspace.path / ".signalbox")
        server.stored.clear()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here; .ci/run installs it")
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_S1_a_kill_at_each_write_to_the_disk_loses_nothing(
    workspace: Workspace, server: Server, call: str
) -> None:
    """F1 to F10 and F12 to F14, without our help: the n-th call on the journal kills."""
    workspace.write(PIPELINE)
    workspace.commit()
    workspace.to(server)
    assert workspace.run("run").code == 1  # so that the file and its tables are there
    shown: set[str] = set()
    dice = random.Random(call)
    for when in sorted(dice.sample(range(1, 40), 12)):
        shown |= names(_strace(workspace, call, when))
    recovered(workspace, server, shown)


def _strace(workspace: Workspace, call: str, when: int) -> str:
    journal = workspace.path / ".signalbox"
    watched = [f"-P{journal / name}" for name in ("journal.db", "journal.db-wal")]
    inject = f"inject={call}:signal=KILL:when={when}"
    done = subprocess.run(
        [
            *("strace", "-f", "-qq", "-o", "/dev/null", *watched),
            *("-e", f"trace={call}", "-e", inject, sys.executable, "-m", "runner", "run"),
        ],
        cwd=workspace.path,
        env=workspace.environ | GIT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stderr


def test_S11_recovery_may_be_killed_again_and_again(workspace: Workspace, server: Server) -> None:
    workspace.write(PIPELINE)
    workspace.to(server)
    process = workspace.start("run")
    workspace.until(Path(workspace.path / ".signalbox" / "journal.db").exists)
    shown = names(kill(process, 0.3))
    dice = random.Random(11)
    for _ in range(8):
        kill(workspace.start("clean"), dice.uniform(0.05, 0.4))
    recovered(workspace, server, shown)
