"""What the JVM, Maven, Gradle and JUnit under them print when they fail."""

import re
from collections.abc import Iterator
from typing import Final

from runner.failure.output import Finding, Output, Weight, joined

_THROWN: Final = (
    r"(?:.{0,60}Exception in thread \"[^\"]*\" |=> |\s*)"
    r"((?:[a-z_]\w*\.)+[A-Z][\w$.]*(?:Exception|Error|Throwable|Failure)\w*(?::.*)?$)"
)
_AT: Final = r"\s+at [\w.$/@<>-]+\("
_STACK: Final = r"\s+at |\s*Caused by: |\s+\.\.\. \d+ |\s+Suppressed: "
_OWN: Final = (
    r"\s+at (?!(?:javax?|jakarta|jdk|com\.sun|sun|kotlinx?|scala|groovy|reactor|okhttp3|retrofit2"
    r"|io\.(?:netty|micronaut|quarkus|vertx)|com\.(?:google|fasterxml|zaxxer|mysql)"
    r"|org\.(?:junit|gradle|apache|springframework|hibernate|mockito|assertj|hamcrest|testng|slf4j"
    r"|postgresql|h2|codehaus|jetbrains))\.)"
)
"""A frame that is not a library's."""
_FRAME: Final = _OWN + r"(?![\w.]+/)[\w.$<>]+\((\w+\.(?:java|kt|scala|groovy)):(\d+)\)"


def read(output: Output) -> Iterator[Finding]:
    """Everything of the JVM."""
    if output.has("\tat ", "    at "):
        yield from thrown(output)
    if output.has("MethodSource ["):
        yield from _console(output)
    if output.has("BUILD FAILURE", "[Help 1]"):
        yield from _maven(output)
    if output.has("FAILURE: Build", " FAILED"):
        yield from _gradle(output)


def thrown(output: Output, start: int = 0, end: int | None = None) -> Iterator[Finding]:
    """Every exception with a stack."""
    over = -1
    for at, match in output.find(_THROWN, start, end):
        following = output.lines[at + 1 : at + 2]
        if at <= over or not following or not re.match(_AT, following[0]):
            continue
        over = output.run(_STACK, at + 1)
        root = next(reversed(list(output.find(r"\s*Caused by: ", at, over + 1))), (at, match))[0]
        frames = [m for _, m in output.find(_FRAME, root, over + 1)]
        frames = frames or [m for _, m in output.find(_FRAME, at, over + 1)]
        yield Finding(
            start=at,
            end=over,
            message=joined([match[1], output.lines[root] if root > at else ""]),
            place=f"{frames[0][1]}:{frames[0][2]}" if frames else "",
            stack="\n".join(output.lines[at : over + 1]),
        )


def _console(output: Output) -> Iterator[Finding]:
    """JUnit's own launcher."""
    titles = [at for at, _ in output.find(r"\s+MethodSource \[") if at]
    if not titles:
        return
    why = next((at for at, _ in output.find(r"\s+=> ", titles[0])), titles[0])
    over = output.run(r"\s+[\w.$/<>\[]+", why + 1)
    frames = [m for _, m in output.find(_FRAME.replace("at ", "", 1), why, over + 1)]
    named = [output.lines[at - 1] for at in titles]
    yield Finding(
        start=titles[0] - 1,
        end=max(output.last(r"\[ +\d+ tests? failed"), over),
        message=joined([named[0], output.lines[why].replace("=> ", "", 1), *named[1:]]),
        place=f"{frames[0][1]}:{frames[0][2]}" if frames else "",
        stack=joined(output.lines[why : over + 1]),
        test=True,
    )


def _maven(output: Output) -> Iterator[Finding]:
    end = output.last(r"\[ERROR\]")
    start = next((at for at, _ in output.find(r"\[ERROR\]")), end)
    failed = output.last(r"\[INFO\] BUILD FAILURE|\[ERROR\] .* -> \[Help 1\]$")
    failed = start if failed < 0 else failed  # with ``-q`` only errors are told
    if not 0 <= failed <= end:
        return
    start = min(start, failed)
    end = output.run(r"\s*$", end + 1)
    compiled = list(output.find(r"\[ERROR\] (\S+):\[(\d+),\d+\] (.*)", start, failed))
    tests = list(output.find(r"\[ERROR\]   (\w+)\.[^\s:]+:(\d+)(?:->\S+)? ", start, failed))
    if compiled:
        said = [f"{row[1]}:{row[2]}: {row[3]}" for _, row in compiled]
        place = said[0].partition(": ")[0]
        yield Finding(start=start, end=end, message=joined(said), place=place)
    elif tests:
        stack = next(thrown(output, start, tests[0][0]), None)
        yield Finding(
            start=start,
            end=end,
            message=joined(output.lines[at].removeprefix("[ERROR]") for at, _ in tests),
            place=f"{tests[0][1][1]}.java:{tests[0][1][2]}",
            stack=stack.stack if stack else "",
            test=True,
        )
    else:
        why = next((m[1] for _, m in output.find(r"\[ERROR\] (.+)", failed)), "")
        why = why.removesuffix(" -> [Help 1]")
        child = re.search(r"Command execution failed|Non-zero exit", why) is not None
        weight = Weight.CONSEQUENCE if child else Weight.CAUSE
        yield Finding(start=failed, end=end, message=why, weight=weight)


_SEEN_ABOVE: Final = (
    r".*(?:Compilation (?:failed|error)|failing tests|non-zero exit value|See the report"
    r"|see the log)"
)


def _gradle(output: Output) -> Iterator[Finding]:
    tests = list(output.find(r"(?=.* FAILED$)\S.* > "))
    if tests:
        at = tests[0][0]
        spot = next(output.find(r"\s+.* at (\w+\.\w+):(\d+)$", at, at + 4), None)
        said = [x for n, _ in tests for x in output.lines[n : n + 2]]
        place = f"{spot[1][1]}:{spot[1][2]}" if spot else ""
        end = max(output.last(r"\d+ tests? completed, "), tests[-1][0])
        yield Finding(start=at, end=end, message=joined(said), place=place, test=True)
    start = output.last(r"FAILURE: Build ")
    wrong = output.last(r"\* What went wrong:")
    if start < 0 or wrong < start:
        return
    tried = next(
        (at for at, _ in output.find(r"\* Try:|\* Exception is:", wrong)), len(output.lines)
    )
    about = output.lines[wrong + 1 : tried]
    seen = any(re.match(_SEEN_ABOVE, line) for line in about)
    end = max(output.last(r"BUILD FAILED"), tried - 1)
    spot = next(output.find(r"\S+ file '([^']+)' line: (\d+)", start, wrong), None)
    yield Finding(
        start=start,
        end=end,
        message=joined(about),
        place=f"{spot[1][1]}:{spot[1][2]}" if spot else "",
        weight=Weight.CONSEQUENCE if seen else Weight.CAUSE,
    )
