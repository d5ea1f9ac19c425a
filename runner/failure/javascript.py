"""What Node, Jest, Vitest, Mocha, ESLint, bundlers and npm print when they fail."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from runner.failure.output import Finding, Output, Weight, joined

_NPM: Final = r"npm (?:error|ERR!) ?"
_THROWN: Final = (
    r"\[?(?:Uncaught )?(?:(?:\w+\.)*\w*(?:Error|Exception|Rejection)\b(?: \[\w+\])*(?::|$)"
    r"|[A-Z]\w* \[\w*Error\]: )"
)
_INNER: Final = r"\s+(?:\[cause\]: )?(\w*(?:Error|Exception)\b(?: \[\w+\])*: .*)"
"""What an error was thrown for, or what it holds."""
_AT: Final = r"\s+at .*:\d+:\d+\)?(?: \{)?$"
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
    """Everything of JavaScript."""
    if output.has("    at "):
        yield from _thrown(output)
    if output.has("npm error", "npm ERR!"):
        yield from _npm(output)
    if output.has("Test Suites: ", "Tests: ", "No tests found, "):
        yield from _jest(output)
    if output.has("Test Files  "):
        yield from _vitest(output)
    if output.has(" failing"):
        yield from _mocha(output)
    if output.has("✖ failing tests:"):
        yield from _node_test(output)
    if output.has("✖ ", " problem", "Oops! "):
        yield from _eslint(output)
    if output.has(" failed\n") and output.has(" \u203a "):
        yield from _playwright(output)
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
        if not re.match(_THROWN, lines[start]) and "[TimeoutError]" not in lines[start]:
            continue
        first = next(
            (at for at in range(start, len(lines[: start + 20])) if re.match(_AT, lines[at])), 0
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


def _jest(output: Output) -> Iterator[Finding]:
    yield from _jest_itself(output)
    end = output.last(r"(?:Test Suites|Tests): +\d+ failed")
    titles = [at for at, _ in output.find(r"  ● (?!Console)", 0, max(end, 0))]
    if not titles:
        return
    summary = output.last(r"Summary of all failing tests", end)
    titles = [at for at in titles if at > summary]
    body = output.lines[titles[0] : titles[1] if len(titles) > 1 else end]
    code = next((n for n, line in enumerate(body) if re.match(r"\s+>? *\d+ \|", line)), len(body))
    advice = range(1, body.index("    Details:") + 1 if "    Details:" in body[:code] else 1)
    said = [
        line for n, line in enumerate(body[:code]) if n not in advice and not re.match(_AT, line)
    ][:15]
    spot = next((m for x in said if (m := re.match(r"\s+\w+: (/\S+): .*\((\d+):\d+\)$", x))), None)
    other = [output.lines[at] for at in titles[1:]]
    yield Finding(
        start=titles[0],
        end=output.run(r"(?:Test|Tests|Snapshots|Time|Ran all)\b", end),
        message=joined([*said, *other]),
        place=frame(body) or (f"{spot[1]}:{spot[2]}" if spot else ""),
        stack="\n".join(line[4:] for line in body if re.match(_AT, line)),
        test=True,
    )


def _jest_itself(output: Output) -> Iterator[Finding]:
    """Jest, about no test of its own: there is none, or they cover too little."""
    rows = [at for at, _ in output.find(r"No tests found, exiting|Jest: .*\bthreshold\b")]
    if rows:
        yield Finding(
            start=rows[0],
            end=output.run(r"(?:Test|Tests|Snapshots|Time|Ran all)\b|\s*$", rows[-1] + 1),
            message=joined(output.lines[at] for at in rows),
        )


def _vitest(output: Output) -> Iterator[Finding]:
    end = output.last(r" *Test Files +\d")
    titles = [at for at, _ in output.find(r" *FAIL +\S", 0, max(end, 0))]
    # An error outside of any test fails the run, too.
    titles = titles or [
        at + 1 for at, _ in output.find(r"⎯+ (?:Uncaught|Unhandled) (?!Errors)\w+ ⎯+$", 0, end)
    ]
    if not titles:
        return
    body = output.lines[titles[0] : titles[1] if len(titles) > 1 else end]
    other = [output.lines[at] for at in titles[1:]]
    yield Finding(
        start=titles[0],
        end=output.run(r" *(?:Test Files|Tests|Errors|Start at|Duration) |$", end),
        message=joined([*body[:2], *other]),
        place=frame(body),
        test=True,
    )


def _mocha(output: Output) -> Iterator[Finding]:
    start = output.last(r"  \d+ failing$")
    titles = [at for at, _ in output.find(r"  \d+\) ", max(start, 0))] if start >= 0 else []
    if not titles:
        return
    body = output.lines[titles[0] : titles[1] if len(titles) > 1 else None]
    stack = next((n for n, line in enumerate(body) if re.match(_AT, line)), len(body))
    why = next((n for n, line in enumerate(body) if re.match(r"\s+" + _THROWN, line)), stack)
    titled = [_titled(output.lines[at : at + 5]) for at in titles]
    yield Finding(
        start=start,
        end=len(output.lines) - 1 if len(titles) == 1 else output.last(r"\s+at "),
        message=joined([titled[0], *body[why:stack][:6], *titled[1:]]),
        place=frame(body),
        stack=joined(body[stack:]),
        test=True,
    )


def _titled(lines: Sequence[str]) -> str:
    """A test's name behind those of its suites: one on each line, a colon after the last."""
    end = next((n for n, line in enumerate(lines) if line.endswith(":")), 0)
    return re.sub(r"^\d+\) ", "", " ".join(" ".join(lines[: end + 1]).split()))


def _node_test(output: Output) -> Iterator[Finding]:
    """Node's own runner, where its reporter is ``spec``."""
    start = output.last(r"✖ failing tests:")
    titles = [at for at, _ in output.find(r"✖ ", start + 1)] if start >= 0 else []
    if not titles:
        return
    body = output.lines[titles[0] + 1 : titles[1] - 1 if len(titles) > 1 else None]
    stack = next((n for n, line in enumerate(body) if re.match(_AT, line)), len(body))
    spot = re.match(r"test at (\S+?):(\d+):\d+$", output.lines[titles[0] - 1])
    first, *others = (re.sub(r" \([\d.]+ms\)$", "", output.lines[at]) for at in titles)
    yield Finding(
        start=start,
        end=output.run(r"\s|$|✖ |test at ", start + 1, len(output.lines)),
        message=joined([first, *body[:stack][:15], *others]),
        place=frame(body) or (f"{spot[1]}:{spot[2]}" if spot else ""),
        stack="\n".join(line for line in body[stack:] if re.match(_AT, line)),
        test=True,
    )


def _playwright(output: Output) -> Iterator[Finding]:
    end = output.last(r"\s+\d+ failed$")
    titles = list(output.find(r"\s+\d+\) (.* \u203a .*?)(?: ─*)?$", 0, max(end, 0)))
    if not titles:
        return
    body = output.lines[titles[0][0] + 1 : titles[1][0] if len(titles) > 1 else end]
    code = next((n for n, line in enumerate(body) if re.match(r"\s+(?:>? *\d+ \||╔)", line)), 12)
    first, *others = (title[1] for _, title in titles)
    spot = re.search(r"(\S+?):(\d+):\d+ \u203a ", first)
    yield Finding(
        start=titles[0][0],
        end=output.run(r"\s+|$", end + 1),
        message=joined([first, *body[:code], *others]),
        place=frame(body) or (f"{spot[1]}:{spot[2]}" if spot else ""),
        test=True,
    )


def _eslint(output: Output) -> Iterator[Finding]:
    end = output.last(r"✖ \d+ problem")
    many = output.last(r"ESLint found too many warnings")
    kind = "warning" if many > end else "error"
    rows = list(output.find(rf"\s+(\d+):\d+\s+{kind}\s+(.+)", 0, max(end, 0)))
    files = [at for at, _ in output.find(r"[^\s:]+\.\w+$", 0, rows[-1][0])] if rows else []
    if not files:
        yield from _eslint_itself(output)
        return
    said, file = [], 0
    for at, row in rows[:50]:
        while file + 1 < len(files) and files[file + 1] < at:
            file += 1
        said.append(f"{output.lines[files[file]]}:{row[1]}: {' '.join(row[2].split())}")
    place = said[0].partition(": ")[0]
    said += output.lines[many : many + 1] if many > end else []
    yield Finding(start=rows[0][0] - 1, end=max(end, many), message=joined(said), place=place)


def _eslint_itself(output: Output) -> Iterator[Finding]:
    """ESLint that could not begin."""
    start = output.last(r"Oops! Something went wrong! :\(")
    said = (
        next(output.find(r"(?!ESLint: \d)\S", start + 1, start + 8), None) if start >= 0 else None
    )
    if said:
        yield Finding(start=start, end=said[0], message=output.lines[said[0]])


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
    at, spot = rows[0]
    said = [line for n, _ in rows[:20] for line in output.lines[n + 1 : n + 2]]
    yield Finding(
        start=at,
        end=max(output.last(r"webpack \S+ compiled with \d+ error"), rows[-1][0] + 1),
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
