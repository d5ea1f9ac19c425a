"""What shells, make, git, docker build, CTest, TAP and our own runs say: tools that have no stack
and no compiler's row.
"""

import re
from collections.abc import Iterator
from typing import Final

from runner.failure import lines
from runner.failure.output import Finding, Output, Weight, cut, joined
from runner.notice import Reason

_NOT_RUN: Final = {
    127: r".*: (?:command not found|not found|No such file or directory|cannot execute: .*)$",
    126: r".*: (?:Permission denied|Is a directory|cannot execute.*|bad interpreter.*)$",
}
_FOUND: Final = 126
"""How a shell ends that has found a command, and cannot run it."""
_WIDE: Final = 500
"""Characters of a line that is data."""
_SCRIPT: Final = r"^\S+: (?=(line )?\d+: )"


def read(output: Output) -> Iterator[Finding]:
    """Everything of other tools."""
    yield from _not_run(output)
    yield from _git(output)
    yield from _make(output)
    yield from _docker(output)
    yield from _tests(output)
    if output.has("PLAY RECAP *"):
        yield from _ansible(output)
    if output.has("ninja: build stopped"):
        yield from _ninja(output)
    if output.has("::error"):
        yield from _annotated(output)
    if output.has("\n+++ "):
        yield from _difference(output)
    if output.has("its log: "):
        yield from _signalbox(output)


def _not_run(output: Output) -> Iterator[Finding]:
    """What shells say when there is no such command (127) or it is none (126); POSIX, 2.8.2. Of a
    script without its interpreter bash says that a file is missing, with either.
    """
    pattern = _NOT_RUN.get(output.ended.code)
    if pattern is None:
        return
    last = [at for at, line in enumerate(output.lines) if not lines.repeats(line)][-5:]
    for at in reversed(last):
        if re.match(pattern, output.lines[at]):
            said = re.sub(_SCRIPT, "", output.lines[at].strip())
            there = output.ended.code == _FOUND or ": cannot execute: " in said
            reason = Reason.NOT_EXECUTABLE if there else Reason.COMMAND_NOT_FOUND
            yield Finding(start=at, end=at, message=said, reason=reason)
            return


def _git(output: Output) -> Iterator[Finding]:
    """Merges and pushes; ``fatal:`` is plain."""
    for pattern in (r"CONFLICT \(", r" ! \[(?:remote )?rejected\]"):
        rows = list(output.find(pattern))
        if rows:
            end = output.run(
                r"error: |hint: |Automatic merge|Auto-merging|CONFLICT| ! ", rows[0][0]
            )
            told = output.lines[rows[0][0] : end + 1]
            said = joined(line for line in told if not line.startswith(("hint: ", "Auto-")))
            yield Finding(start=rows[0][0], end=end, message=said)


def _make(output: Output) -> Iterator[Finding]:
    own = r"g?make(?:\[\d+\])?: (?:\*\*\* No rule|\S+: (?:No such file|Command not|Permission))"
    for at, _ in output.find(own):
        yield Finding(start=at, end=at, message=output.lines[at])
        return
    for at, match in output.find(r"g?make(?:\[\d+\])?: \*\*\* \[(?:([^\s:]+):(\d+): )?.*\]"):
        written = match[1] and "CMakeFiles/" not in match[1]
        place = f"{match[1]}:{match[2]}" if written else ""
        weight = Weight.CONSEQUENCE
        yield Finding(start=at, end=at, message=output.lines[at], place=place, weight=weight)
        return


def _ninja(output: Output) -> Iterator[Finding]:
    """What the first command that failed printed."""
    end = output.last(r"ninja: build stopped")
    start = next((at for at, _ in output.find(r"FAILED: ", 0, max(end, 0))), end)
    if start < end:
        over = output.run(r"(?!\[\d+/\d+\] |FAILED: |ninja: )", start + 2)
        said = lines.that_say_why(lines.last(output.lines[start + 2 : over + 1]))
        said = said or [output.lines[start]]
        yield Finding(start=start, end=end, message=joined(said), weight=Weight.PLAIN)


def _ansible(output: Output) -> Iterator[Finding]:
    """The last task that failed on a host and was not rescued."""
    over = output.last(r"PLAY RECAP \*")
    at = output.last(r"fatal: \[", over)
    task = output.last(r"(?:TASK|RUNNING HANDLER) \[", at)
    if 0 <= task < at and output.last(r"\.\.\.ignoring", over) < at:
        said = [output.lines[n] for n, _ in output.find(r"\[ERROR\]: ", task, at)]
        spot = next(output.find(r"Origin: (\S+?):(\d+):\d+$", task, at), None)
        yield Finding(
            start=task,
            end=output.run(r"\S+ +: ok=|$", over + 1),
            message=joined([*said, cut(output.lines[at], _WIDE), output.lines[task].rstrip("* ")]),
            place=f"{spot[1][1]}:{spot[1][2]}" if spot else "",
        )


def _docker(output: Output) -> Iterator[Finding]:
    """A build: what failed in it was printed before; the Dockerfile's line is the place."""
    end = output.last(r"ERROR: failed to (?:solve|build)")
    if end < 0:
        return
    start = next((at for at, _ in output.find(r"-{6}$", 0, end)), end)
    spot = next(output.find(r"([\w./-]+):(\d+)$", max(end - 15, 0), end), None)
    yield Finding(
        start=start,
        end=end,
        message=output.lines[end],
        place=f"{spot[1][1]}:{spot[1][2]}" if spot else "",
        weight=Weight.CONSEQUENCE if ": process " in output.lines[end] else Weight.CAUSE,
    )


def _difference(output: Output) -> Iterator[Finding]:
    """A diff that is the last of all: ``git diff --exit-code`` and what else compares. No place:
    git tells files from the top of the repository, wherever it was called.
    """
    files = [at for at, _ in output.find(r"\+\+\+ \S")]
    last = max((at for at, line in enumerate(output.lines) if line), default=-1)
    part = r"[-+ @\\]|diff |index |(?:new|deleted|similarity|rename|old) |$"
    ends = [at for at in files if output.run(part, at, len(output.lines)) >= last]
    if not ends:
        return
    first = ends[0]
    others = (output.lines[at] for at in ends[1:20])
    yield Finding(
        start=max(first - 3, 0),
        end=last,
        message=joined([*output.lines[first - 1 : first + 12], *others]),
        weight=Weight.PLAIN,
    )


def _signalbox(output: Output) -> Iterator[Finding]:
    """A run of ours inside the step: its closing tells each failed step once more."""
    ends = [at for at, _ in output.find(r"\s+its log: +signalbox logs ")]
    titles = [output.last(r"✗ \S.* · ", at) for at in ends]
    if not titles or min(titles) < 0:
        return
    title, *others = (output.lines[at].removeprefix("✗ ") for at in titles)
    told = output.lines[titles[0] + 1 : ends[0]]
    told = [line for line in told if not re.match(r"  [a-z ]+: +signalbox ", line)]
    said = [re.sub(r"^  (?:│ ?)?", "", line) for line in told]
    spot = re.match(r".* · (\S+:\d+)$", title)
    yield Finding(
        start=titles[0],
        end=len(output.lines) - 1,
        message=joined([title, *said, *others]),
        place=spot[1] if spot else "",
        weight=Weight.PLAIN,
    )


def _annotated(output: Output) -> Iterator[Finding]:
    """What a tool asks a host CI to show beside the code."""
    rows = list(output.find(r"::error(?: (.*?))?::(.+)"))[-lines.RUN :]
    if not rows:
        return
    spots = (re.search(r"(?:^|,)file=([^,]+),(?:.*,)?line=(\d+)", row[1] or "") for _, row in rows)
    spot = next((spot for spot in spots if spot), None)
    yield Finding(
        start=rows[0][0],
        end=rows[-1][0],
        message=joined(row[2].partition("%0A")[0].replace("%25", "%") for _, row in rows),
        place=f"{spot[1]}:{spot[2]}" if spot else "",
        weight=Weight.PLAIN,
    )


def _tests(output: Output) -> Iterator[Finding]:
    """CTest and TAP: names of what failed."""
    start = output.last(r"The following tests FAILED:")
    if start >= 0:
        end = output.run(r"\s+\d+ - |Errors while|$", start + 1)
        said = joined(output.lines[start : end + 1][:20])
        yield Finding(start=start, end=end, message=said, weight=Weight.PLAIN, test=True)
    failed = list(output.find(r"\s*not ok \d+ (?!.*# (?:SKIP|TODO))"))
    if failed:
        at = failed[0][0]
        spot = next(output.find(r"\s+location: '(?:file://)?(\S+?):(\d+):\d+'", at, at + 6), None)
        yield Finding(
            start=at,
            end=max(output.last(r"# (?:fail|failed|duration_ms) "), failed[-1][0]),
            message=joined([*(output.lines[n] for n, _ in failed[:20]), *_tap(output, at)]),
            place=f"{spot[1][1]}:{spot[1][2]}" if spot else "",
            test=True,
        )


def _tap(output: Output, at: int) -> list[str]:
    """The ``error`` of a failed TAP test, over several lines or in one."""
    said = next(output.find(r"\s+error: (.*)", at, at + 12), None)
    if not said:
        return []
    end = output.run(r"\s{4}|\s*$", said[0] + 1) if said[1][1].startswith("|") else said[0]
    return [said[1][1].strip("|-'"), *output.lines[said[0] + 1 : end + 1]]
