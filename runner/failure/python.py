"""What Python, pytest, unittest and pip print when they fail."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from runner.failure.output import Finding, Output, Weight, joined

_CALLS: Final = r"Traceback \(most recent call last\):"
_HEADER: Final = rf"((?:INTERNALERROR> )?[\s|]*){_CALLS}"
_BEHIND: Final = rf"()\S.{{0,200}}[:. ]{_CALLS}$"
"""A header on a line that the program had begun."""
_FRAME: Final = r'\s*File "(.+?)", line (\d+)'
FOREIGN: Final = (
    r".*?(?:/(?:site|dist)-packages/|/lib(?:64)?/python\d|/\.?venv/bin/)|/usr/(?:local/)?bin/"
)
_CHILD: Final = r"(?:subprocess\.)?CalledProcessError: |.*\bSystemExit: \d"
_SECTION: Final = r"_{3,} .+ _{3,}$"


def read(output: Output) -> Iterator[Finding]:
    """Everything of Python."""
    if output.has("Traceback (most"):
        yield from _traceback(output)
    if output.has("Exception Group Traceback"):
        yield from _group(output)
    if output.has("SyntaxError: ", "IndentationError: ", "TabError: "):
        yield from _syntax(output)
    if output.has(" in 0.", "failed", " error"):
        yield from _pytest(output)
    if output.has("while loading conftest"):
        yield from _conftest(output)
    if output.has("***Test Failed***"):
        yield from _doctest(output)
    if output.has("FAILED (failures=", "FAILED (errors="):
        yield from _unittest(output)
    if output.has("No matching distribution", "subprocess-exited-with-error"):
        yield from _pip(output)


def _traceback(output: Output) -> Iterator[Finding]:
    """The last one, which was not caught, and what it was raised for."""
    start = max(output.last(_HEADER), _begun(output))
    header = re.match(f"{_HEADER}|{_BEHIND}", output.lines[start])
    if header is None:
        return
    edge = header.end(1) if header[1] else 0
    body = [line[edge:] for line in output.lines[start:]]
    end = _raised(body)
    if end:
        chain = _chain(output, start)
        lines = [line[edge:] for line in output.lines[chain[-1] : start + end + 1]]
        root = lines[_raised(lines)] if chain[-1] < start else ""
        yield Finding(
            start=chain[-1],
            end=start + end,
            message=joined([*_told(body, end), root]),
            stack=re.sub(rf"^.*(?={_CALLS})", "", "\n".join(lines), count=1),
            place=_own(body[:end]),
            weight=Weight.CONSEQUENCE if re.match(_CHILD, body[end]) else Weight.CAUSE,
            more=not edge,
        )


def _begun(output: Output) -> int:
    """The last header behind something else, with a frame below it; -1 when there is none."""
    at = output.last(_BEHIND)
    below = output.lines[at + 1 : at + 2]
    return at if at >= 0 and below and re.match(_FRAME, below[0]) else -1


def _raised(body: Sequence[str]) -> int:
    """Where a traceback names its exception: behind the frames, at the edge."""
    return next((at for at, line in enumerate(body) if at and line[:1].strip()), 0)


def _told(body: Sequence[str], end: int) -> list[str]:
    """The exception; one that says nothing, with the line of code that raised it."""
    source = next((x for x in reversed(body[:end]) if not re.match(r"\s*[~^]+$", x)), "")
    silent = end > 1 and ":" not in body[end] and not re.match(_FRAME, source)
    return [body[end], source] if silent else [body[end]]


def _chain(output: Output, start: int) -> list[int]:
    """Where chained tracebacks begin, the last one first."""
    links = r"(?:During handling of|The above exception was)"
    chain = [start]
    while start > 1 and re.match(links, output.lines[start - 2]):
        start = output.last(_HEADER, start - 2)
        if start < 0:
            break
        chain.append(start)
    return chain


def _group(output: Output) -> Iterator[Finding]:
    """Exceptions raised together: each that is no group again, and what holds them."""
    start = output.last(r"\s+\+ Exception Group Traceback")
    if start < 0:
        return
    end = output.run(r"\s+[|+]", start + 1)
    rows = [re.sub(r"^\s+(?:\| ?)?", "", x) for x in output.lines[start : end + 1]]
    edges = [at for at, row in enumerate(rows) if re.match(r"\+[-+]+ (?:\d+|\.\.\.) -+$", row)]
    parts = [rows[at + 1 : to] for at, to in pairwise([*edges, len(rows)])]
    yield Finding(
        start=start,
        end=end,
        message=joined(
            [*[said for part in parts if (said := _inner(part))][:20], rows[_raised(rows)]]
        ),
        stack="\n".join(output.lines[start : end + 1]),
        place=next((own for part in (*parts, rows) if (own := _own(part))), ""),
    )


def _inner(rows: Sequence[str]) -> str:
    """One of a group's exceptions, with a traceback or without; "" when it is a group again."""
    if not rows or re.match(r"Exception Group |.*\(\d+ sub-exceptions?\)$", rows[0]):
        return ""
    start = max((at for at, row in enumerate(rows) if re.match(_HEADER, row)), default=-1)
    return rows[start + _raised(rows[start:])] if start >= 0 else rows[0]


def _own(body: Sequence[str]) -> str:
    """The last frame in the user's own code."""
    frames = [frame for line in body if (frame := re.match(_FRAME, line))]
    own = [f for f in frames if not f[1].startswith("<") and not re.match(FOREIGN, f[1])]
    return f"{own[-1][1]}:{own[-1][2]}" if own else ""


def _syntax(output: Output) -> Iterator[Finding]:
    """A file that is no Python: no traceback, a frame alone."""
    for at, _ in output.find(r"(?:Syntax|Indentation|Tab)Error: "):
        start = output.last(_FRAME + "$", at)
        if at - 5 < start < at:
            stack = "\n".join(output.lines[start : at + 1])
            place = _own(output.lines[start:at])
            yield Finding(start=start, end=at, message=output.lines[at], place=place, stack=stack)


def _pytest(output: Output) -> Iterator[Finding]:
    end = output.last(r"=* ?(?:\d+ \w+, )*\d+ (?:failed|errors?)\b.* in \d+\.\d+s")
    if end < 0:
        none = output.last(r"=* ?no tests ran in ")
        if none >= 0:
            said = output.lines[none].strip("= ")
            yield Finding(start=none, end=none, message=said, weight=Weight.PLAIN)
        return
    headers = [at for at, _ in output.find(r"=+ (?:FAILURES|ERRORS) =+$", 0, end)]
    summary = max(output.last(r"=+ short test summary info =+$", end), -1)
    start = headers[0] if headers else max(summary, 0)
    first = _first(output, start, summary if summary > start else end)
    named = [
        output.lines[at] for at, _ in output.find(r"(?:FAILED|ERROR) \S", max(summary, 0), end)
    ]
    why = [line[1:] for line in first if re.match(r"E\s", line)]
    reasons = named if named and " - " in named[0] else [*named[:1], *why, *named[1:]]
    yield Finding(
        start=start,
        end=end,
        message=joined(reasons or [output.lines[end].strip("= ")]),
        place=_crash(first),
        stack="\n".join(first),
        test=True,
    )


def _conftest(output: Output) -> Iterator[Finding]:
    """What pytest says instead of a report when it cannot begin."""
    start = output.last(r"\w+ while loading conftest ")
    if start < 0:
        return
    end = output.run(r"\S+\.py:\d+: in |\s+\S|E\s", start + 1)
    body = output.lines[start + 1 : end + 1]
    why = [line[1:] for line in body if re.match(r"E\s", line)]
    yield Finding(
        start=start,
        end=end,
        message=joined([output.lines[start], *why]),
        place=_crash(body),
        stack="\n".join(body),
    )


def _doctest(output: Output) -> Iterator[Finding]:
    end = output.last(r"\*\*\*Test Failed\*\*\*")
    rows = [at for at, _ in output.find(r"Failed example:$", 1, end)]
    if rows:
        over = next((at for at, _ in output.find(r"\*{60,}$", rows[0], end)), end)
        said = [*output.lines[rows[0] : over], *(output.lines[at - 1] for at in rows[1:])]
        place = _own(output.lines[rows[0] - 1 : rows[0]])
        yield Finding(start=rows[0] - 1, end=end, message=joined(said), place=place, test=True)


def _first(output: Output, start: int, end: int) -> Sequence[str]:
    """The lines of the first failure, without its title."""
    titles = [at for at, _ in output.find(_SECTION, start, end)]
    if not titles:
        return [line for line in output.lines[start + 1 : end] if line]
    stop = titles[1] if len(titles) > 1 else end
    captured = next((at for at, _ in output.find(r"-+ Captured ", titles[0], stop)), stop)
    other = next((at for at, _ in output.find(r"=+ \w", titles[0], captured)), captured)
    return output.lines[titles[0] + 1 : other]


def _crash(section: Sequence[str]) -> str:
    """Where a test broke: the last place that is not in a library."""
    found = [m for line in section if (m := re.match(r"(\S+\.py):(\d+)(?:: |:?$)", line))]
    if section and re.match(r"E\s", section[0]):  # --tb=line: one failure after the other
        found = found[:1]
    own = [match for match in found if not re.match(FOREIGN, match[1])]
    return f"{own[-1][1]}:{own[-1][2]}" if own else _own(section)


def _unittest(output: Output) -> Iterator[Finding]:
    end = output.last(r"FAILED \((?:failures|errors)=")
    titles = [at for at, _ in output.find(r"(?:FAIL|ERROR): \S+ \(", 0, end)]
    if not titles:
        return
    over = next((at for at, _ in output.find(r"[=-]{60,}$", titles[0] + 2, end)), end)
    body = output.lines[titles[0] + 2 : over]
    why = next(
        (line for line in reversed(body) if re.match(r"[\w.]+(?:Error|Exception)\b", line)), ""
    )
    named = [output.lines[at] for at in titles]
    yield Finding(
        start=titles[0],
        end=end,
        message=joined([named[0], why, *named[1:]]),
        place=_own(body),
        stack="\n".join(body).strip(),
        test=True,
    )


def _pip(output: Output) -> Iterator[Finding]:
    end = output.last(r"ERROR: No matching distribution")
    if end >= 0:
        before = output.find(r"WARNING: Retrying|Could not fetch URL|ERROR: Could not find", 0, end)
        start = next((at for at, _ in before), end)
        lines = (output.lines[at] for at, _ in output.find(r"ERROR: ", start, end + 1))
        yield Finding(start=start, end=end, message=joined(lines))
    start = output.last(r"\s*(?:error: )?subprocess-exited-with-error")
    if start >= 0:
        end = output.last(r"\s*(?:note: |hint: |error: |╰─>|\u00d7 |ERROR: )")
        said = output.lines[start + 2 : start + 3] or [output.lines[start]]
        consequence = Weight.CONSEQUENCE
        yield Finding(start=start, end=max(end, start), message=joined(said), weight=consequence)
