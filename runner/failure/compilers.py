"""What compilers, linkers, type checkers and linters say: a place and what is wrong there."""

import re
from collections.abc import Iterator
from typing import Final

from runner.failure.output import Finding, Hit, Output, joined

_ROW: Final = (
    r"\s*(?:\S+: |\[ERROR\] )?(?:"
    # gcc, clang, javac, mypy, shellcheck, and pytest, which names the exception
    r"(?P<a>[^\s:()'\"]+\.[A-Za-z]\w*):(?P<b>\d+)(?::\d+)?(?::| -)? +(?:(?:fatal|internal) )?"
    r"(?:(?:compiler )?\w*[Ee]rror|\w*Exception)\b(?=[:\[]|$| \(?[A-Z]+\d+\b)"
    # tsc, C#
    r"|(?P<c>[^\s:()'\"]+\.[A-Za-z]\w*)\((?P<d>\d+),\d+\): (?:fatal )?error\b"
    # Kotlin
    r"|e: (?:file://)?(?P<m>\S+?\.kts?):(?: \()?(?P<n>\d+)[:,] ?\d+"
    # go, flake8, ruff
    r"|(?P<e>[^\s:()'\"]+\.(?:go|py)):(?P<f>\d+):\d+: (?!warning|note|info)\S"
    # make, CMake, assert of C
    r"|(?P<g>[^\s:()'\"]+):(?P<h>\d+): \*\*\* (?!\[)"
    r"|(?P<k>[^\s:()]+\.\w+):(?P<l>\d+): .*: Assertion `.*' failed\.$"
    r"|CMake Error at (?P<i>[^\s:]+):(?P<j>\d+) \(.*\):"
    # the linker
    r"|.*: undefined reference to |(?:/\S*/)?ld(?:\.\w+)?: (?!warning|/tmp/\S+: in function)"
    r"|Undefined symbols for architecture )"
)
_ARROW: Final = r"\s*--> ([^\s:]+):(\d+):\d+"
_NOT_WRONG: Final = r"(?:warning|note|help|info)\b"
_CONTEXT: Final = r"\s+(?!\d+ errors?)\S"
_GAP: Final = 50
"""Lines between two errors of one program."""


def read(output: Output) -> Iterator[Finding]:
    """Everything of compilers."""
    if output.has(
        "rror", ".kt", ".go:", ".py:", ": *** ", "undefined reference", "ld: ", "Assertion"
    ):
        yield from _rows(output)
    if output.has("--> ", "error[E"):
        yield from _arrows(output)
    if output.has("Error: "):
        yield from _terraform(output)
    if output.has("Diff in "):
        yield from _formatted(output)


def _spot(match: re.Match[str]) -> str:
    named = [text for text in match.groups() if text]
    return f"{named[0]}:{named[1]}" if len(named) > 1 else ""


def _together(rows: list[Hit]) -> list[Hit]:
    """The last rows of one form without a gap between them: what another program said, or this
    one long before, was survived.
    """
    first = len(rows) - 1
    while first > 0 and _near(rows[first - 1], rows[first]):
        first -= 1
    return rows[first:]


def _near(row: Hit, following: Hit) -> bool:
    return following[0] - row[0] <= _GAP and row[1].lastgroup == following[1].lastgroup


def _rows(output: Output) -> Iterator[Finding]:
    rows = _together(list(output.find(_ROW)))
    if not rows:
        return
    (at, match), last = rows[0], rows[-1][0]
    prose = match["i"] is not None
    context = output.run(r"\s+\S|$" if prose else _CONTEXT, at + 1, 20)
    end = max(context, output.run(_CONTEXT + r"|\S+: note: |.*\d+ errors?\b", last + 1))
    frame = (x for x in output.lines[at + 1 : context + 1] if not re.match(r"\s*\d* \||\s*\^", x))
    yield Finding(
        start=at,
        end=end,
        message=joined([output.lines[at], *frame, *(output.lines[n] for n, _ in rows[1:20])]),
        place=next((spot for _, row in rows if (spot := _spot(row))), ""),
    )


def _arrows(output: Output) -> Iterator[Finding]:
    """rustc, ruff: what is wrong stands on the line above the place."""
    rows = [
        (at - 1, match)
        for at, match in output.find(_ARROW)
        if at
        and re.match(r"\S", output.lines[at - 1])
        and not re.match(_NOT_WRONG, output.lines[at - 1])
    ]
    bare = [(at, m) for at, m in output.find(r"(error)(\[E\d+\]): ")]
    rows = _together(sorted({at: (at, match) for at, match in [*bare, *rows]}.values()))
    if not rows:
        return
    first, match = next(((at, m) for at, m in rows if m.re.pattern == _ARROW), rows[0])
    shown = r"\s|\d+ [|+-]|$|=|note|help"
    yield Finding(
        start=rows[0][0],
        end=output.run(shown + r"|error: aborting|Some errors have|For more inf", rows[-1][0] + 1),
        message=joined(output.lines[at] for at, _ in rows[:20]),
        place=_spot(match) if first == rows[0][0] and match.re.pattern == _ARROW else "",
    )


def _terraform(output: Output) -> Iterator[Finding]:
    lines = [re.sub(r"^[│╷╵] ?", "", line) for line in output.lines]
    for at, line in enumerate(lines[:-2]):
        spot = re.match(r"\s+on (\S+) line (\d+)\b", lines[at + 2])
        if spot and line.startswith("Error: "):
            end = next((n for n in range(len(lines) - 1, at, -1) if lines[n]), at)
            place = f"{spot[1]}:{spot[2]}"
            code = r"\s+(?:on \S+ line|with |\d+:)"
            said = [x for x in lines[at : end + 1] if not re.match(code, x)][:10]
            yield Finding(start=at, end=end, message=joined(said), place=place)
            return


def _formatted(output: Output) -> Iterator[Finding]:
    """rustfmt, that would write code in another way."""
    rows = list(output.find(r"Diff in (\S+?)(?::| at line )(\d+):$"))
    if rows:
        (start, _), (last, _) = rows[0], rows[-1]
        end = output.run(r"[-+ ]|$", last + 1)
        said = joined(output.lines[at] for at, _ in rows[:20])
        yield Finding(start=start, end=end, message=said, place=_spot(rows[0][1]))
