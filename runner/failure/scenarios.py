"""What Behave, Cucumber and Robot Framework print when a scenario fails."""

import re
from collections.abc import Iterator
from typing import Final

from runner.failure.javascript import AT, frame
from runner.failure.output import Finding, Output, joined

_STEP: Final = r"\s+(?:Given|When|Then|And|But|\*) .* # (\S+):(\d+)$"
_WHY: Final = 15
"""Lines of one failure that are told."""


def read(output: Output) -> Iterator[Finding]:
    """Everything of them."""
    if output.has(" scenarios passed, ", " scenario passed, "):
        yield from _behave(output)
    if output.has(") Scenario: "):
        yield from _cucumber(output)
    if output.has("| FAIL |"):
        yield from _robot(output)


def _behave(output: Output) -> Iterator[Finding]:
    """The first step that failed, where it is defined, and each scenario."""
    end = output.last(r"\d+ scenarios? passed, ")
    failed = [
        at for at, _ in output.find(r"\s+(?:ASSERT FAILED: |Traceback \(most)", 0, max(end, 0))
    ]
    step = output.last(_STEP, failed[0]) if failed else -1
    spot = re.match(_STEP, output.lines[step]) if step >= 0 else None
    if not spot:
        return
    raised = output.find(r"\s+(?:ASSERT FAILED: .|[\w.]*(?:Error|Exception)\b)", failed[0], end)
    why = next((output.lines[at] for at, _ in raised), "")
    scenarios = output.find(r"  (\S+\.feature:\d+ .*)", failed[0], end)
    yield Finding(
        start=step,
        end=output.run(r"\d+ steps? |Took |$", end + 1),
        message=joined(
            [output.lines[step].partition(" # ")[0], why, *(m[1] for _, m in scenarios)]
        ),
        place=f"{spot[1]}:{spot[2]}",
        test=True,
    )


def _cucumber(output: Output) -> Iterator[Finding]:
    end = output.last(r"\d+ scenarios? \(")
    titles = list(output.find(r"\d+\) (Scenario: .*) # (\S+):(\d+)$", 0, max(end, 0)))
    if not titles:
        return
    (at, first), *others = titles
    body = output.lines[at + 1 : others[0][0] if others else end]
    step = next((n for n, line in enumerate(body) if re.match(r"\s+[✖?] ", line)), 0)
    stack = next((n for n, line in enumerate(body) if re.match(AT, line)), len(body))
    why = [line.partition(" # ")[0] for line in body[step:stack]]
    yield Finding(
        start=at,
        end=output.run(r"\d+ steps? \(|\d+m[\d.]+s ", end + 1),
        message=joined([*why[:_WHY], first[1], *(title[1] for _, title in others)]),
        place=frame(body) or f"{first[2]}:{first[3]}",
        stack="\n".join(line for line in body if re.match(AT, line)),
        test=True,
    )


def _robot(output: Output) -> Iterator[Finding]:
    """Robot Framework: a test, and below it why; a suite has its sum there."""
    rows = [at for at, _ in output.find(r"(?=.*\| FAIL \|$)")]
    said: list[str] = []
    for at in rows:
        over = output.run(r"(?![-=]{70})", at + 1, _WHY)
        why = output.lines[at + 1 : over + 1]
        if why and not re.match(r"\d+ tests?, ", why[0]):
            said += [f"{output.lines[at].removesuffix('| FAIL |').rstrip()}: {why[0]}", *why[1:]]
    if said:
        end = output.run(r"\d+ tests?, |[-=]{70}|(?:Output|Log|Report): |$", rows[-1] + 1)
        yield Finding(start=rows[0], end=end, message=joined(said), test=True)
