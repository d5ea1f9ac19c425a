"""What Go and Rust programs, and sanitizers in C programs, print when they fail at run time."""

import re
from collections.abc import Iterator
from typing import Final

from runner.failure.output import Finding, Output, joined

_LIBRARY: Final = (
    # Go's own packages have no dot in their first part, modules do
    r".*/(?:go(?:-?[\d.]+)?|go/[\d.]+(?:/\w+)?|libexec)/src/[a-z]+/|.*(?:/pkg/mod/|/vendor/)"
    r"|_testmain\.go|/rustc/|.*/\.cargo/"
)


def read(output: Output) -> Iterator[Finding]:
    """Everything of native programs at run time."""
    if output.has("goroutine ", "panic: "):
        yield from _go_panic(output)
    if output.has("--- FAIL: "):
        yield from _go_test(output)
    if output.has(" panicked at "):
        yield from _rust(output)
    if output.has("Sanitizer: "):
        yield from _sanitizer(output)


def _go_panic(output: Output) -> Iterator[Finding]:
    start = output.last(r"(?:panic: |fatal error: |runtime: goroutine stack exceeds)")
    if start < 0 or output.last(r"(?:goroutine \d+ |runtime stack:)") < start:
        return
    end = output.run(r"\S.*\(.*\)$|\S.*|\t|$", start + 1)
    end = next((at - 1 for at, _ in output.find(r"FAIL|make|exit status", start, end + 1)), end)
    frames = [m for _, m in output.find(r"\t(\S+\.go):(\d+)", start, end + 1)]
    own = [match for match in frames if not re.match(_LIBRARY, match[1])]
    yield Finding(
        start=start,
        end=end,
        message=output.lines[start],
        place=f"{own[0][1]}:{own[0][2]}" if own else "",
        stack="\n".join(output.lines[start : end + 1]).rstrip(),
    )


def _go_test(output: Output) -> Iterator[Finding]:
    failed = list(output.find(r"\s*--- FAIL: "))
    if not failed:
        return
    end = max(output.last(r"FAIL(?:\t|$)"), failed[-1][0])
    start = failed[0][0]
    said = list(output.find(r"\s*--- FAIL: |\s+(\S+\.go):(\d+): |panic: ", start, end))
    spot = next((match for _, match in said if match[1]), None)
    yield Finding(
        start=start,
        end=end,
        message=joined(output.lines[at] for at, _ in said[:30]),
        place=f"{spot[1]}:{spot[2]}" if spot else "",
        test=True,
    )


def _rust(output: Output) -> Iterator[Finding]:
    panics = list(output.find(r"thread '.*' (?:\(\d+\) )?panicked at (?:.*', )?([^\s:]+):(\d+)"))
    if not panics:
        return
    result = output.last(r"test result: FAILED")
    first = panics[0][0] if result > panics[0][0] else panics[-1][0]
    place = next(match for at, match in panics if at == first)
    end = output.run(r"(?!note: |stack backtrace|$)", first + 1, 6)
    over = output.run(r"stack backtrace:|\s+\d+: |\s+at |note: |error: test failed", end + 1)
    others = [output.lines[at] for at, _ in panics if at > first]
    yield Finding(
        start=first,
        end=max(over, output.run(r"", result, 3) if result > first else over),
        message=joined([*output.lines[first : end + 1], *others]),
        place=f"{place[1]}:{place[2]}",
        stack="\n".join(output.lines[first : over + 1]) if over > end + 1 else "",
        test=result > first,
    )


def _sanitizer(output: Output) -> Iterator[Finding]:
    start = next((at for at, _ in output.find(r"(?:==\d+==)?ERROR: \w+Sanitizer: |==\d+==")), -1)
    if start < 0:
        return
    frames = [m for _, m in output.find(r"\s+#\d+ \S+ in \S+ ([^\s:]+\.\w+):(\d+)", start)]
    own = [match for match in frames if not match[1].startswith("..")]
    end = output.run(r"\s|#|==|SUMMARY|Shadow|=>|[0-9a-z]|$", start + 1)
    frames_end = output.run(r"\w.*|\s+#\d+ ", start + 1)
    yield Finding(
        start=start,
        end=end,
        message=re.sub(r"==\d+==", "", output.lines[start]),
        place=f"{own[0][1]}:{own[0][2]}" if own else "",
        stack="\n".join(output.lines[start : frames_end + 1]),
    )
