"""What the test runners of JavaScript print when tests fail."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from runner.failure.javascript import AT, THROWN, frame
from runner.failure.output import Finding, Output, joined

_AVA_OUTSIDE: Final = r"  (?:Uncaught exception|Unhandled rejection) in "


def read(output: Output) -> Iterator[Finding]:
    """Everything of them."""
    if output.has("Test Suites: ", "Tests: ", "No tests found, "):
        yield from _jest(output)
    if output.has("Test Files  "):
        yield from _vitest(output)
    if output.has(" failing"):
        yield from _mocha(output)
    if output.has("✖ failing tests:"):
        yield from _node_test(output)
    if output.has("✘ [fail]: ", "Uncaught exception in ", "Unhandled rejection in "):
        yield from _ava(output)
    if output.has("  Message:\n"):
        yield from _jasmine(output)
    if output.has(" failed\n") and output.has(" \u203a "):
        yield from _playwright(output)


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
        line for n, line in enumerate(body[:code]) if n not in advice and not re.match(AT, line)
    ][:15]
    spot = next((m for x in said if (m := re.match(r"\s+\w+: (/\S+): .*\((\d+):\d+\)$", x))), None)
    other = [output.lines[at] for at in titles[1:]]
    yield Finding(
        start=titles[0],
        end=output.run(r"(?:Test|Tests|Snapshots|Time|Ran all)\b", end),
        message=joined([*said, *other]),
        place=frame(body) or (f"{spot[1]}:{spot[2]}" if spot else ""),
        stack="\n".join(line[4:] for line in body if re.match(AT, line)),
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
    stack = next((n for n, line in enumerate(body) if re.match(AT, line)), len(body))
    why = next((n for n, line in enumerate(body) if re.match(r"\s+" + THROWN, line)), stack)
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
    stack = next((n for n, line in enumerate(body) if re.match(AT, line)), len(body))
    spot = re.match(r"test at (\S+?):(\d+):\d+$", output.lines[titles[0] - 1])
    first, *others = (re.sub(r" \([\d.]+ms\)$", "", output.lines[at]) for at in titles)
    yield Finding(
        start=start,
        end=output.run(r"\s|$|✖ |test at ", start + 1, len(output.lines)),
        message=joined([first, *body[:stack][:15], *others]),
        place=frame(body) or (f"{spot[1]}:{spot[2]}" if spot else ""),
        stack="\n".join(line for line in body[stack:] if re.match(AT, line)),
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


def _ava(output: Output) -> Iterator[Finding]:
    """AVA: the tests by name, then each with what went wrong, between rules; or who threw outside
    of any.
    """
    titles = [m[1] for _, m in output.find(r"\s+✘ \[fail\]: (.*?)(?: Error thrown in test)?$")]
    edges = [at for at, _ in output.find(r"  ─$")] if titles else []
    edges = edges or [at - 1 for at, _ in output.find(_AVA_OUTSIDE)]
    if not edges:
        return
    end = output.run(r"(?!  ─$)", edges[0] + 1)
    others = titles[1:]
    end = next((at for at in range(edges[0], end) if output.lines[at].strip() in others), end)
    body = output.lines[edges[0] + 1 : end + 1]
    spots = [m for line in body if (m := re.match(r"  ([^\s:]+):(\d+)$", line))]
    frames = r"\s+\u203a |" + AT
    code = rf"{frames}|\s+\d+: |  [^\s:]+:\d+$|\s+✘ .* exited with "
    said = [line for line in body if not re.match(code, line)]
    yield Finding(
        start=edges[0],
        end=max(output.last(r"  \d+ (?:tests?|uncaught|unhandled|hooks?|known) "), end),
        message=joined([*said[:15], *others]),
        place=f"{spots[0][1]}:{spots[0][2]}" if spots else frame(body),
        stack="\n".join(line for line in body if re.match(frames, line)),
        test=True,
    )


def _jasmine(output: Output) -> Iterator[Finding]:
    end = output.last(r"\d+ specs?, \d+ failures?")
    titles = list(output.find(r"\d+\) (\S.*)", output.last(r"Failures:$") + 1, max(end, 0)))
    if not titles:
        return
    body = output.lines[titles[0][0] + 1 : titles[1][0] if len(titles) > 1 else end]
    stack = next((n for n, line in enumerate(body) if line == "  Stack:"), len(body))
    first, *others = (title[1] for _, title in titles)
    yield Finding(
        start=titles[0][0],
        end=output.run(r"Finished in |Randomized with ", end + 1),
        message=joined([first, *(x for x in body[:stack] if x != "  Message:"), *others]),
        place=frame(body),
        stack=joined(line for line in body[stack:] if re.match(AT, line)),
        test=True,
    )
