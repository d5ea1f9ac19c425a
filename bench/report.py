"""The report of 5,000 steps: ``python -m bench.report``.

Must: made in 1 s from the journal by the whole command, 2.5 MB at most, open within 1.5 s in
Chromium (from the file's name to the first frame after loading; the browser runs already).
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser

from bench.pairs import cost
from runner.event import Envelope, PipelineEvent, encode
from runner.execution import Execution
from runner.journal import Change, Ended, Header, Journal, Owner, Row
from tests import told as cases
from tests.browser import chromium

STEPS = 5_000
MADE, SIZE, OPEN = 1.0, 2_500_000, 1.5
ROUNDS = 5
_FRAME = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"


def fill(state: str) -> None:
    """A journal with an execution of many steps."""
    events, beside = cases.large(STEPS)
    assert beside.git
    journal = Journal.open(state, warn=print)
    header = Header(
        execution=Execution(
            unique_id=cases.RUN, pipeline_id=cases.RUN, pipeline=cases.NAME, start=cases.START
        ),
        envelope=encode(Envelope(provider_name="signalbox", service="bench")),
        owner=Owner(host="here", boot="", pid=0),
        workspace=state,
        file="pipeline.yml",
        digest="0" * 64,
        source=b"",
    )
    journal.begin(header, Change())
    journal.freeze_git(cases.RUN, encode(beside.git))
    rows = tuple(
        Row(level="step", id=str(number), final=True, body=encode(event), at=cases.START)
        for number, event in enumerate(events)
    )
    (last,) = (event for event in events if isinstance(event, PipelineEvent))
    journal.append(cases.RUN, Change(rows=rows, ended=Ended(at=cases.START, status=last.status)))
    journal.close()


def opened(browser: Browser, url: str) -> float:
    """Seconds until the page is there, in a context that has seen nothing before."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    begin = time.perf_counter()
    page.goto(url)
    page.evaluate(_FRAME)
    took = time.perf_counter() - begin
    assert page.locator(".s").count() == STEPS
    page.context.close()
    return took


def main() -> None:
    """Make, weigh, open."""
    with tempfile.TemporaryDirectory() as place, chromium.running() as browser:
        state, file = f"{place}/state", Path(place) / "report.html"
        fill(state)
        command = [sys.executable, "-m", "runner", "report", "--state", state, "--html", str(file)]
        env = {"PATH": "/usr/bin:/bin", "HOME": place, "PYTHONPATH": str(Path(__file__).parents[1])}
        costs = [cost(command, cwd=place, env=env) for _ in range(ROUNDS)]
        made, cpu = (statistics.median(getattr(c, name) for c in costs) for name in ("wall", "cpu"))
        size = file.stat().st_size
        opens = statistics.median(opened(browser, file.as_uri()) for _ in range(ROUNDS))
    found = (
        (f"report of {STEPS:,} steps made", f"{made:.2f} s, {cpu:.2f} s CPU", MADE, made),
        (f"report of {STEPS:,} steps, bytes", f"{size:,}", SIZE, size),
        (f"report of {STEPS:,} steps opens", f"{opens:.2f} s", OPEN, opens),
    )
    for name, text, bound, measured in found:
        print(f"{'ok  ' if measured <= bound else 'OVER'} {name:<44} {text:<58} <= {bound:,}")
    if any(measured > bound for _, _, bound, measured in found):
        sys.exit("over its bounds")


if __name__ == "__main__":
    main()
