"""What Node, bundlers and npm print when they fail."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from runner.failure.output import Finding, Output, Weight, joined

_NPM: Final = r"npm (?:error|ERR!) ?"
THROWN: Final = (
    r"\[?(?:Uncaught )?(?:(?:\w+\.)*\w*(?:Error|Exception|Rejection)\b(?: \[\w+\])*(?::|$)"
    r"|[A-Z]\w* \[\w*Error\]: )"
)
_INNER: Final = r"\s+(?:\[cause\]: )?(\w*(?:Error|Exception)\b(?: \[\w+\])*: .*)"
"""What an error was thrown for, or what it holds."""
AT: Final = r"\s+at .*:\d+:\d+\)?(?: \{)?$"
_FRAME: Final = (
    r"\s+(?:at|\u276f) (?:.*?\(|\S+ (?=\S+$))?(?:async )?(?:file://)?"
    r"([^\s()]+):(\d+):\d+\)?(?: \{)?$"
)
_FOREIGN: Final = r"node:|internal/|\[|.*node_modules/|<"
_LIFECYCLE: Final = frozenset({"1", "2", "127", "126", "137", "ELIFECYCLE"})
_NOISE: Final = (
    r"(?:code|errno|syscall) |A complete log|For a full report|If you are behind a proxy"
    r"|In most cases|/.*-report\.txt$|\d+$"
)


def read(output: Output) -> Iterator[Finding]:
    """Everything of JavaScript but its tests and linters."""
    if output.has("    at "):
        yield from _thrown(output)
    if output.has("npm error", "npm ERR!"):
        yield from _npm(output)
    if output.has("[ERROR] ", "error during build", "ERROR in ", "╭─[ ", "[!] "):
        yield from _bundler(output)


def frame(lines: Sequence[str]) -> str:
    """The first frame in the user's own code."""
    frames = (match for line in lines if (match := re.match(_FRAME, line)))
    own = next((match for match in frames if not re.match(_FOREIGN, match[1])), None)
    return f"{own[1]}:{own[2]}" if own else ""


def _thrown(output: Output) -> Iterator[Finding]:
    """The last error that was thrown and has a stack."""
    lines = output.lines
    if output.has("npm e", "npm E"):
        lines = [re.sub("^" + _NPM, "", line) for line in lines]
    for start in range(len(lines) - 1, -1, -1):
        if not re.match(THROWN, lines[start]) and "[TimeoutError]" not in lines[start]:
            continue
        first = next(
            (at for at in range(start, len(lines[: start + 20])) if re.match(AT, lines[at])), 0
        )
        if first:
            yield _error(lines, start, first)
            return


def _error(lines: Sequence[str], start: int, first: int) -> Finding:
    end = first
    while end + 1 < len(lines) and re.match(r"\s+\S|\}|Emitted '|Node\.js v|$", lines[end + 1]):
        end += 1
        if lines[end].startswith("Node.js v"):
            break
    above = lines[max(start - 8, 0) : start]
    at = [m for line in above if (m := re.match(r"(?:file://)?(/\S+):(\d+)$", line))]
    stack = "\n".join(lines[start : end + 1]).rstrip()
    shell = "Command failed" in lines[start]
    inner = (m[1] for line in lines[start + 1 : end + 1] if (m := re.match(_INNER, line)))
    said = (line for line in lines[start:first][:6] if not re.match(r"\s+\[errors\]: \[", line))
    return Finding(
        start=start,
        end=end,
        message=joined([*(re.sub(r"^\[(.*)\] \{$", r"\1", line) for line in said), *inner]),
        place=frame(lines[first : end + 1]) or (f"{at[-1][1]}:{at[-1][2]}" if at else ""),
        stack=re.sub(r"\n+Node\.js v\S+$", "", stack),
        weight=Weight.CONSEQUENCE if shell else Weight.CAUSE,
    )


def _npm(output: Output) -> Iterator[Finding]:
    end = output.last(_NPM)
    if end < 0:
        return
    start = end
    while start and re.match(r"npm \S+ ", output.lines[start - 1] + " "):
        start -= 1
    rows = output.find(_NPM, start, end + 1)
    lines = [re.sub("^" + _NPM, "", output.lines[at]).rstrip() for at, _ in rows]
    code = next((line[5:] for line in lines if line.startswith("code ")), "")
    said = [line for line in lines if line and not re.match(_NOISE, line)]
    if "Usage:" in said:  # behind what the command is for
        del said[max(said.index("Usage:") - 1, 1) :]
    child = code in _LIFECYCLE or any(line.startswith("Lifecycle script") for line in lines)
    yield Finding(
        start=start,
        end=end,
        message=joined(said[:12] or lines[:1]),
        weight=Weight.CONSEQUENCE if child else Weight.CAUSE,
        provider=bool(re.fullmatch(r"E5\d\d|E429", code)),
    )


def _bundler(output: Output) -> Iterator[Finding]:
    """esbuild, and what is built on it; webpack; Rollup, Rolldown and Vite."""
    yield from _webpack(output)
    yield from _rolled(output)
    for at, _ in output.find(r"[✘X] \[ERROR\] "):
        spot = next(output.find(r"\s+(\S+?):(\d+):\d+:$", at, at + 4), None)
        place = f"{spot[1][1]}:{spot[1][2]}" if spot else ""
        end = output.run(r"\s+\S|$|\d+ errors?$", at + 1)
        yield Finding(start=at, end=end, message=output.lines[at], place=place)
        return
    start = output.last(r"error during build:$")
    if 0 <= start < len(output.lines) - 1:
        end = output.run(r"\S.*|\s+at ", start + 1)
        spot = next(output.find(r"file: (?:file://)?(\S+?):(\d+):\d+$", start, end + 1), None)
        place = f"{spot[1][1]}:{spot[1][2]}" if spot else ""
        said = [x for x in output.lines[start + 1 : end + 1] if not x.startswith(" ")]
        yield Finding(start=start, end=end, message=joined(said[:4]), place=place)


def _webpack(output: Output) -> Iterator[Finding]:
    rows = list(output.find(r"ERROR in (\S*?\.\w+)(?:[ :](\d+):\d+\S*)?$"))
    if not rows:
        return
    (at, spot), last = rows[0], rows[-1][0]
    said = [line for n, _ in rows[:20] for line in output.lines[n + 1 : n + 2]]
    yield Finding(
        start=at,
        end=max(
            output.last(r"webpack \S+ compiled with \d+ error"), output.run("", last + 1, 1), last
        ),
        message=joined(said),
        place=f"{spot[1]}:{spot[2]}" if spot[2] else "",
    )


def _rolled(output: Output) -> Iterator[Finding]:
    """Rolldown draws a frame around the code, Rollup tells the place on the next line."""
    errors = output.find(r"\[[A-Z_]+\] \S|\[!\] .*\w*Error\b")
    below = r"\s+╭─\[ (\S+?):(\d+):\d+ \]|(\S+) \((\d+):\d+\)$"
    rows = [(at, m) for at, _ in errors for _, m in output.find(below, at + 1, at + 2)]
    if rows:
        at, spot = rows[0]
        yield Finding(
            start=at,
            end=output.run(r"[\s│╭─}\d]|$", rows[-1][0] + 1),
            message=joined(output.lines[n].removeprefix("[!] ") for n, _ in rows[:20]),
            place=f"{spot[1] or spot[3]}:{spot[2] or spot[4]}",
        )
