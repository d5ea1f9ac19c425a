"""How fast ``flush`` empties a journal of waiting events, into an intake in a process of its own.

    python -m bench.flush [EVENTS]

Must: 30,000 events a second. The journal is filled first; timed is ``delivery.flush`` alone,
from the first query to the last answer settled.
"""

import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import uuid

from runner.delivery import flush
from runner.event import Envelope, Git, Node, Status, StepEvent, encode
from runner.execution import Execution, rfc3339
from runner.intake import target
from runner.intake.http import Intake
from runner.journal import Change, Header, Journal, Owner, Row

ROUNDS = 3
MUST = 30_000


def fill(state: str, binding: str, events: int) -> None:
    """An execution whose ``events`` steps all wait."""
    journal = Journal.open(state, warn=print)
    start = time.time_ns() - 60_000_000_000
    run = str(uuid.uuid4())
    header = Header(
        execution=Execution(unique_id=run, pipeline_id=run, pipeline="Bench", start=start),
        envelope=encode(Envelope(provider_name="signalbox", service="bench", env="ci")),
        binding=binding,
        owner=Owner(host="here", boot="", pid=0),
        workspace="/w",
        file="pipeline.yml",
        digest="0" * 64,
        source=b"",
    )
    journal.begin(header, Change())
    git = Git(
        repository_url="https://git.example/team/app",
        sha="4f1c2a9be0d35f6718a4c0b7d2e98f30516a7bcd",
        author_email="dev@example.test",
        author_name="Dev",
        message="A commit",
        branch="main",
    )
    journal.freeze_git(run, encode(git))
    for begin in range(0, events, 5000):
        rows = tuple(row(run, number, start) for number in range(begin, min(begin + 5000, events)))
        journal.append(run, Change(rows=rows))
    journal.close()


def row(run: str, number: int, start: int) -> Row:
    """One finished step."""
    step = StepEvent(
        id=str(uuid.uuid4()),
        name=f"step {number}",
        pipeline_unique_id=run,
        pipeline_name="Bench",
        start=rfc3339(start),
        end=rfc3339(start + number),
        status=Status.SUCCESS,
        job_id=run,
        job_name="build",
        node=Node(hostname="bench"),
        tags=("team:web", "attempt:1"),
    )
    return Row(level="step", id=step.id, final=True, body=encode(step), at=start + number)


def once(events: int) -> float:
    """Events a second, of one flush."""
    sink = subprocess.Popen(
        [sys.executable, "-m", "tests.intake_server", "--sink"], stdout=subprocess.PIPE, text=True
    )
    assert sink.stdout is not None
    url = sink.stdout.readline().strip()
    to = target(site="", key="k" * 32, intake_url=url, token="", warn=print)
    assert to is not None
    with tempfile.TemporaryDirectory() as folder:
        fill(f"{folder}/state", to.binding, events)
        journal = Journal.open(f"{folder}/state", warn=print)
        intake = Intake(to, environ={}, version="bench")
        began = time.monotonic()
        done = flush(
            journal,
            intake,
            binding=to.binding,
            clock=time.time_ns,
            sleep=time.sleep,
            warn=print,
        )
        seconds = time.monotonic() - began
        intake.close()
        journal.close()
    sink.send_signal(signal.SIGTERM)
    tally = json.loads(sink.communicate(timeout=10)[0])
    assert done.sent == tally["events"] == events, (done, tally)
    return events / seconds


def main() -> None:
    """Print the median of a few rounds."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rates = sorted(once(events) for _ in range(ROUNDS))
    median = rates[len(rates) // 2]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mark = "ok  " if median >= MUST else "OVER"
    print(f"{mark} flush of {events:,} events: {median:,.0f}/s (>= {MUST:,}), {peak:.0f} MB")


if __name__ == "__main__":
    main()
